"""docs/plugging_in_a_model.md: its package is the one in tests/plugin_package, and all of its Python runs."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from transformers import pipeline

from majl_hf import MajlModel
from majl_hf.models.configuration_majl import part_config
from majl_hf.training import TrainingConfig

ROOT = Path(__file__).parents[1]
DOCUMENT = (ROOT / "docs" / "plugging_in_a_model.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "tests" / "plugin_package"


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", DOCUMENT, flags=re.MULTILINE | re.DOTALL)
    return [code for named, code in found if named == language]


def test_the_package_is_the_printed_one():
    assert (PACKAGE / "learned_filter" / "__init__.py").read_text(encoding="utf-8") in blocks("python")


def test_every_block_runs(tmp_path, monkeypatch):
    """Only the plug-in's import is needed: a package from outside, without changes to this one."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    for block in blocks("python"):
        exec(compile(block, "docs/plugging_in_a_model.md", "exec"), {})
    (parts,) = blocks("")
    data = {"sources": [{"kind": "music", "folder": "music"}]}
    config = TrainingConfig(**yaml.safe_load(parts), data=data, arguments={"output_dir": "run", "max_steps": 1})
    assert part_config(config.pitch_estimator, "pitch_estimator").hop_length == 320
    audio = 0.1 * np.random.default_rng(0).standard_normal(8_000).astype(np.float32)
    for name in ("my-model", "wrapped"):
        output = pipeline("majl-separation-pitch", model=name)({"array": audio, "sampling_rate": 16_000})
        assert output["vocals"].shape == audio.shape and np.isfinite(output["f0_hz"]).all()


def test_an_unknown_preset_names_those_there_are():
    with pytest.raises(ValueError, match=r"'band-loss'.*spleeter"):
        MajlModel.config_class(separator_config="band-loss")
