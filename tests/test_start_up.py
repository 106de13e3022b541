"""Importing the package and asking for help loads nothing heavy, and transformers still finds the model."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

import majl_hf

HEAVY = ("torch", "transformers", "numpy", "rich", "soundfile", "gradio", "datasets")
FIRST_USES = {
    "pipeline": "from transformers import pipeline; found = pipeline('majl-separation-pitch', model=folder).model",
    "AutoConfig": "from transformers import AutoConfig; found = AutoConfig.from_pretrained(folder)",
    "a model's module": "from majl_hf.models.tiny_separator_majl import TinySeparator as found",
}


def in_a_new_process(code: str) -> str:
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    return process.stdout.splitlines()[-1]


@pytest.mark.parametrize("arguments", [None, ["--help"], ["--version"], ["separate", "--help"], ["no-such-verb"]])
def test_nothing_heavy_is_loaded(arguments):
    run = "import majl_hf"
    if arguments is not None:
        run = f"from majl_hf.cli import app\ntry: app({arguments})\nexcept SystemExit: pass"
    loaded = in_a_new_process(f"import json, sys\n{run}\nprint(json.dumps(sorted(sys.modules)))")
    assert not set(HEAVY) & set(json.loads(loaded))


def test_every_first_use_finds_the_model(tiny_model_folder):
    # One process for each, all at once: they differ in what is imported first.
    processes = {
        name: subprocess.Popen(
            [sys.executable, "-c", f"import majl_hf\nfolder = {tiny_model_folder!r}\n{use}\nprint(found)"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, use in FIRST_USES.items()
    }
    for name, process in processes.items():
        _, errors = process.communicate()
        assert process.returncode == 0, f"{name}: {errors}"


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
    for model in (tiny_model_folder, majl_hf.load_model(tiny_model_folder, device="cpu")):
        found = majl_hf.separate(make(audio), 22_050, model=model, device="cpu")
        assert found.keys() == expected.keys()
        for name, values in expected.items():
            np.testing.assert_array_equal(found[name], values)
