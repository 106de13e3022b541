"""Saved checkpoints, read back: through the package, and through `trust_remote_code` where it is not installed."""

import json
import subprocess
import sys

import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, pipeline
from without_package import WITHOUT_PACKAGE

import majl_hf
from majl_hf import MajlConfig, MajlFeatureExtractor, MajlModel, checkpoints
from majl_hf.models.modeling_majl import SHIPPED_CHECKPOINTS


@pytest.fixture(scope="module")
def folder(tiny_model_folder, tmp_path_factory):
    target = tmp_path_factory.mktemp("door")
    model = MajlModel.from_pretrained(tiny_model_folder)
    model.save_pretrained(target)
    MajlFeatureExtractor.from_config(model.config).save_pretrained(target)
    return target


def test_reload_is_bit_equal(folder):
    first = MajlModel.from_pretrained(folder)
    second, info = MajlModel.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values()), info
    saved = load_file(folder / "model.safetensors")
    state = second.state_dict()
    assert saved.keys() == state.keys()
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, state[name]) and torch.equal(tensor, saved[name]), name


def test_auto_classes_find_it(folder):
    assert isinstance(AutoConfig.from_pretrained(folder), MajlConfig)
    assert isinstance(AutoModel.from_pretrained(folder), MajlModel)
    assert isinstance(AutoFeatureExtractor.from_pretrained(folder), MajlFeatureExtractor)


def test_shipped_names_are_known_everywhere(folder, monkeypatch):
    """Without the Hub, which the tests cannot reach."""
    monkeypatch.setitem(SHIPPED_CHECKPOINTS, "majl-test", str(folder))
    monkeypatch.setitem(checkpoints.SHIPPED, "majl-test", str(folder))
    for loader, kind in (
        (majl_hf.load_model, MajlModel),
        (MajlModel.from_pretrained, MajlModel),
        (MajlConfig.from_pretrained, MajlConfig),
        (MajlFeatureExtractor.from_pretrained, MajlFeatureExtractor),
        (AutoModel.from_pretrained, MajlModel),
        (AutoConfig.from_pretrained, MajlConfig),
        (AutoFeatureExtractor.from_pretrained, MajlFeatureExtractor),
    ):
        assert isinstance(loader("majl-test"), kind)
    assert isinstance(AutoModel.from_pretrained(pretrained_model_name_or_path="majl-test"), MajlModel)
    separate = transformers.pipeline("majl-separation-pitch", model="majl-test")
    assert isinstance(separate.model, MajlModel)


def test_saved_files_name_no_folder_of_this_machine(folder, tmp_path):
    """Also where the parts were loaded from somewhere."""
    model = MajlModel.from_pretrained(folder)
    model.separator.save_pretrained(tmp_path / "part")
    part = AutoModel.from_pretrained(tmp_path / "part")
    MajlModel.from_parts(part, model.pitch_estimator).save_pretrained(tmp_path / "joined")
    for path in [*folder.glob("*.json"), *(tmp_path / "joined").glob("*.json")]:
        text = path.read_text()
        assert str(folder.parent) not in text and str(tmp_path) not in text


def run(code: str, *arguments) -> dict:
    """Run code in a fresh interpreter, isolated from this project; its last line of output is JSON."""
    command = [sys.executable, "-c", f"import json, sys\n{code}", *map(str, arguments)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert process.returncode == 0, process.stderr[-3000:]
    return json.loads(process.stdout.strip().splitlines()[-1])


SHARED = """
import torch
from transformers import AutoFeatureExtractor, AutoModel
arguments = {"trust_remote_code": True} if sys.argv[2] == "remote" else {}
model = AutoModel.from_pretrained(sys.argv[1], **arguments)
extractor = AutoFeatureExtractor.from_pretrained(sys.argv[1], **arguments)
audio = torch.sin(torch.arange(8000) * 0.1).numpy()
with torch.no_grad():
    output = model(**extractor(audio, sampling_rate=16_000, return_tensors="pt"))
print(json.dumps({
    "module": type(model).__module__,
    "package": "majl_hf" in sys.modules,
    "vocals": output.vocals.double().abs().sum().item(),
    "logits": output.pitch_logits.double().abs().sum().item(),
    "shape": list(output.vocals.shape),
}))
"""


def test_both_doors_give_the_same(folder):
    here = run("import majl_hf\n" + SHARED, folder, "package")
    there = run(WITHOUT_PACKAGE + SHARED, folder, "remote")
    assert here["module"] == "majl_hf.models.modeling_majl" and here["package"]
    assert there["module"].startswith("transformers_modules.") and not there["package"]
    assert here["shape"] == there["shape"] == [1, 1, 8000]
    assert here["vocals"] == there["vocals"] and here["logits"] == there["logits"]


PIPELINE = """
import numpy
from transformers import pipeline
arguments = {"trust_remote_code": True} if sys.argv[2] == "remote" else {}
separate = pipeline("majl-separation-pitch", model=sys.argv[1], **arguments)
audio = numpy.sin(numpy.arange(20_000) * 0.1).astype("float32")
output = separate({"array": audio, "sampling_rate": 16_000})
message = ""
try:
    separate({"array": audio, "sampling_rate": 22_050}) if sys.argv[2] == "remote" else None
except ImportError as error:
    message = str(error)
print(json.dumps({
    "module": type(separate).__module__,
    "f0_hz": output["f0_hz"].tolist(),
    "vocals": float(numpy.abs(output["vocals"]).sum()),
    "message": message,
}))
"""


def test_pipeline_through_both_doors(folder, tmp_path):
    pipeline("majl-separation-pitch", model=str(folder)).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert "default" not in config["custom_pipelines"]["majl-separation-pitch"]
    here = run("import majl_hf\n" + PIPELINE, folder, "package")
    there = run(WITHOUT_PACKAGE + PIPELINE, tmp_path, "remote")
    assert here["module"] == "majl_hf.models.pipeline_majl"
    assert there["module"].startswith("transformers_modules.")
    assert here["f0_hz"] == there["f0_hz"] and here["vocals"] == there["vocals"]
    assert "22050 Hz" in there["message"] and "pip install majl_hf" in there["message"]


def test_unregistered_part_is_named(tmp_path, folder):
    config = json.loads((folder / "config.json").read_text())
    config["separator_config"]["model_type"] = "somebodys-separator"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"somebodys-separator.*not registered"):
        MajlConfig.from_pretrained(tmp_path)
