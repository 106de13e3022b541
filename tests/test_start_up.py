"""Importing the package and asking for help loads nothing heavy, and transformers still finds the model."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

import majl_hf

HEAVY = {"torch", "transformers", "numpy", "rich", "soundfile", "av", "soxr", "pydantic", "gradio", "datasets"}
# Orders of imports; each needs its own process, and `found` shows that it worked.
FIRST_USES = {
    "transformers before the package, then several threads": """
from transformers import AutoConfig
import majl_hf, numpy
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
with ThreadPoolExecutor(4) as pool:
    separate = lambda _: majl_hf.separate(numpy.zeros(8_000, "float32"), 16_000, folder)
    found = len(list(pool.map(separate, range(4)))) == 4
assert AutoConfig.from_pretrained(folder)""",
    "a part, in a worker": """
import majl_hf, sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
use = '''
import majl_hf.models.tiny_separator_majl
from transformers.pipelines import PIPELINE_REGISTRY
PIPELINE_REGISTRY.check_task("majl-separation-pitch")'''
with ProcessPoolExecutor(1, get_context("spawn")) as pool:
    pool.submit(exec, use).result()
found = "transformers" not in sys.modules""",
    "looking, copying and reloading, then a library that uses transformers": """
import copy, importlib.util, majl_hf, pickle, sys
specs = [importlib.util.find_spec(name) for name in ("transformers", "majl_hf.models.modeling_majl")]
copies = pickle.loads(pickle.dumps(copy.deepcopy(specs)))
assert copies[0].loader.path == specs[0].origin and "transformers" not in sys.modules
importlib.reload(majl_hf)
import evaluate
from transformers import AutoFeatureExtractor, AutoModel, pipeline
assert AutoFeatureExtractor.from_pretrained(folder)
assert type(AutoModel.from_pretrained(folder)) is majl_hf.MajlModel
found = pipeline("majl-separation-pitch", model=folder)
from transformers.models.auto import configuration_auto
importlib.reload(sys.modules["transformers.models"])
assert "majl_hf" not in type(configuration_auto.__loader__).__module__""",
}


def in_a_new_process(code: str) -> str:
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, f"{code}\n{process.stderr}"
    return process.stdout


@pytest.mark.parametrize("arguments", [None, ["--help"], ["--version"], ["separate", "--help"], ["no-such-verb"]])
def test_nothing_heavy_is_loaded(arguments):
    run = "import majl_hf"
    if arguments is not None:
        run = f"from majl_hf.cli import app\ntry: app({arguments})\nexcept SystemExit: pass"
    output = in_a_new_process(f"import json, sys\n{run}\nprint(json.dumps(sorted(sys.modules)))")
    assert not HEAVY & set(json.loads(output.splitlines()[-1]))
    if arguments == ["--help"]:
        assert all(word in output for word in ("separate", "pitch", "data", "push", "130"))


def test_every_first_use_finds_the_model(tiny_model_folder, tmp_path):
    shutil.copytree(tiny_model_folder, tmp_path, dirs_exist_ok=True)
    config = majl_hf.MajlConfig.from_pretrained(tmp_path)
    majl_hf.MajlFeatureExtractor.from_config(config).save_pretrained(tmp_path)
    programs = [f"folder = {str(tmp_path)!r}{use}\nassert found" for use in FIRST_USES.values()]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(in_a_new_process, programs))


def test_names_are_those_that_are_listed():
    assert {*majl_hf.__all__} <= {*dir(majl_hf)}
    assert all(getattr(majl_hf, name) is not None for name in majl_hf.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Majl'"):
        majl_hf.Majl  # noqa: B018


@pytest.mark.parametrize("make", [np.asarray, torch.from_numpy])
def test_separate_returns_what_the_pipeline_does(tiny_model_folder, make):
    from transformers import pipeline

    audio = (0.1 * np.random.default_rng(0).standard_normal((2, 22_050))).astype(np.float32)
    expected = pipeline("majl-separation-pitch", model=tiny_model_folder)({"array": audio, "sampling_rate": 22_050})
    for model in (tiny_model_folder, Path(tiny_model_folder), majl_hf.load_model(tiny_model_folder, device="cpu")):
        found = majl_hf.separate(make(audio), 22_050, model=model, device="cpu")
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)


def test_separate_takes_what_the_pipeline_does_and_lists(tiny_model_folder, tmp_path):
    def separate(*arguments):
        return majl_hf.separate(*arguments, model=model)

    model = majl_hf.load_model(tiny_model_folder, device="cpu")
    audio = (0.1 * np.random.default_rng(0).standard_normal(8_000)).astype(np.float32)
    path = tmp_path / "song.wav"
    soundfile.write(path, audio, 16_000, subtype="FLOAT")
    expected = separate(audio, 16_000)["vocals"]
    item = {"array": audio, "sampling_rate": 16_000}
    for found in (
        separate(item),
        separate(item, "16000"),
        separate({"array": audio}, 16_000.0),
        separate(audio.tolist(), 16_000),
        separate(str(path)),
        separate({"bytes": path.read_bytes(), "path": None}),
        *separate([audio, torch.from_numpy(audio)], 16_000),
        *separate([item, path]),
    ):
        np.testing.assert_array_equal(np.atleast_2d(found["vocals"]), np.atleast_2d(expected))
    assert separate([]) == [] and separate([], 16_000) == []
    assert separate(np.stack([audio, audio]), 16_000)["vocals"].shape == (2, 8_000)
    with pytest.raises(ValueError, match="sampling_rate is 8000, but dict input has a rate of its own"):
        separate(item, 8_000)
    with pytest.raises(ValueError, match="str input has a rate of its own"):
        separate(str(path), 8_000)
    with pytest.raises(ValueError, match="without a sampling rate"):
        separate(audio)
