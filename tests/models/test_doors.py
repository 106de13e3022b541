"""Saved checkpoints, read back: through the package, and through `trust_remote_code` where it is not installed."""

import json
import subprocess
import sys

import numpy as np
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


REMOTE = """
import json, numpy, sys, torch
from transformers import AutoFeatureExtractor, AutoModel, pipeline
saved_model, saved_pipeline, results = sys.argv[1:]
model = AutoModel.from_pretrained(saved_model, trust_remote_code=True)
extractor = AutoFeatureExtractor.from_pretrained(saved_model, trust_remote_code=True)
separate = pipeline("majl-separation-pitch", model=saved_pipeline, trust_remote_code=True)
assert type(model).__module__.startswith("transformers_modules.") and "majl_hf" not in sys.modules
assert type(separate).__module__.startswith("transformers_modules.")
audio = numpy.sin(numpy.arange(20_000) * 0.1).astype("float32")
with torch.no_grad():
    output = model(**extractor(audio, sampling_rate=16_000, return_tensors="pt"))
song = separate({"array": audio, "sampling_rate": 16_000})
numpy.savez(results, vocals=output.vocals, logits=output.pitch_logits, stem=song["vocals"], f0_hz=song["f0_hz"])
try:
    separate({"array": audio, "sampling_rate": 22_050})
except ImportError as error:
    print(error)
"""


def test_without_the_package_the_results_are_the_same(folder, tmp_path):
    separate = pipeline("majl-separation-pitch", model=str(folder))
    separate.save_pretrained(tmp_path / "pipeline")
    config = json.loads((tmp_path / "pipeline" / "config.json").read_text())
    assert "default" not in config["custom_pipelines"]["majl-separation-pitch"]
    arguments = [folder, tmp_path / "pipeline", tmp_path / "results.npz"]
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGE + REMOTE, *arguments], capture_output=True, text=True, timeout=240
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert "22050 Hz" in process.stdout and "pip install majl_hf" in process.stdout
    remote = np.load(tmp_path / "results.npz")
    audio = np.sin(np.arange(20_000) * 0.1).astype(np.float32)
    with torch.no_grad():
        output = separate.model(torch.from_numpy(audio)[None, None])
    assert output.vocals.shape == (1, 1, 20_000)
    assert np.array_equal(remote["vocals"], output.vocals) and np.array_equal(remote["logits"], output.pitch_logits)
    song = separate({"array": audio, "sampling_rate": 16_000})
    assert np.array_equal(remote["stem"], song["vocals"]) and np.array_equal(remote["f0_hz"], song["f0_hz"])


def test_unregistered_part_is_named(tmp_path, folder):
    config = json.loads((folder / "config.json").read_text())
    config["separator_config"]["model_type"] = "somebodys-separator"
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"somebodys-separator.*not registered"):
        MajlConfig.from_pretrained(tmp_path)
