"""The whole of MAJL on a tiny corpus: stage 1, pseudo labels, stage 2, by one command that goes on where it was."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from datasets import load_dataset
from row_files import make_rows, write_built

from majl_hf import MajlModel
from majl_hf.mixing.items import collate
from majl_hf.training import load_training_config, make_trainer

ROOT = Path(__file__).parents[2]


def config(folder: Path, model: str, rows: str) -> dict:
    pseudo = {"kind": "rows", "folder": str(folder / "pseudo"), "weight": 1.0}
    labelled = {"kind": "rows", "folder": rows, "label_kinds": ["full", "accompaniment"]}
    return {
        "model": model,
        "model_config_overrides": {"separator_gradient_scale": 0.02},
        "threads": 1,
        "learning_rates": {"separator": 3e-3, "pitch_estimator": 3e-3},
        "average_decay": 0.9,
        "data": {"segment_samples": 8000, "speed_probability": 0.0, "sources": [labelled]},
        "arguments": {
            "per_device_train_batch_size": 4,
            "lr_scheduler_type": "constant",
            "save_steps": 20,
            "logging_steps": 1,
            "use_cpu": True,
            "disable_tqdm": True,
        },
        "stage_1": {"arguments": {"output_dir": str(folder / "stage-1"), "max_steps": 40}},
        "pseudo_labels": {
            "rows": rows,
            "out": str(folder / "pseudo"),
            "pitch_teacher": str(folder / "stage-1"),
            "vocals_teacher": str(folder / "stage-1"),
            "min_row_confidence": 0.0,
            "date": "2026-01-01",
        },
        "stage_2": {
            "model": str(folder / "stage-1"),
            "weighting": {"strategy": "dwhs"},
            "data": {"sources": [labelled, pseudo]},
            "arguments": {"output_dir": str(folder / "stage-2"), "max_steps": 40},
        },
    }


def run(path: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, str(ROOT / "scripts/run_majl.py"), str(path), "--launch", "--cpu --num_processes 1"]
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def log_of(folder: Path) -> list[dict]:
    state = json.loads((folder / "checkpoint-40/trainer_state.json").read_text())
    return [entry for entry in state["log_history"] if "separation_loss" in entry]


def losses(path: Path, stage: int, model: str | Path) -> torch.Tensor:
    """Separation and pitch loss of a model on items of a stage."""
    dataset = make_trainer(load_training_config(path, stage)).train_dataset
    batch = collate([dataset[index] for index in range(24)])
    with torch.no_grad():
        output = MajlModel.from_pretrained(model).eval()(**batch)
    return torch.stack([output.separation_loss, output.pitch_loss])


@pytest.mark.timeout(600)
def test_one_command_does_all_and_goes_on_where_it_was(tiny_model_folder, tmp_path):
    counts = {"full": 3, "separation": 2, "pitch": 2, "vocals": 1, "accompaniment": 2}
    rows = write_built(tmp_path / "rows", make_rows(tmp_path / "audio", counts, duration_s=1.0))
    path = tmp_path / "majl.yaml"
    path.write_text(yaml.safe_dump(config(tmp_path, tiny_model_folder, str(rows))))
    process = run(path)
    assert process.returncode == 0, process.stderr[-3000:]
    assert process.stdout.count("=== accelerate launch") == 3

    models = [tiny_model_folder, tmp_path / "stage-1", tmp_path / "stage-2"]
    for stage in (1, 2):
        log = log_of(models[stage])
        assert [entry["step"] for entry in log] == list(range(1, 41))
        for name in ("loss", "separation_loss", "pitch_loss", "weight/pitch_mean"):
            assert np.isfinite([entry[name] for entry in log if name in entry]).all()
        assert ("weight/blamed_on_separation" in set().union(*log)) == (stage == 2)
        # On the same items: from step to step they differ by more than is learnt.
        assert (losses(path, stage, models[stage]) < losses(path, stage, models[stage - 1])).all(), stage
    labelled = load_dataset(str(tmp_path / "pseudo"), split="train", cache_dir=str(tmp_path / "cache"))
    assert sorted(labelled["id"]) == ["c/pitch0", "c/pitch1", "c/separation0", "c/separation1", "c/vocals0"]
    report = json.loads((tmp_path / "pseudo/pseudo_labels.json").read_text())
    assert report["num_rows"] == 5

    # Stage 2 is lost: only that is made again, and as it was.
    expected = (tmp_path / "stage-2/model.safetensors").read_bytes()
    pseudo = {shard: shard.stat().st_mtime_ns for shard in (tmp_path / "pseudo/data").iterdir()}
    shutil.rmtree(tmp_path / "stage-2")
    process = run(path)
    assert process.returncode == 0, process.stderr[-3000:]
    assert "stage 1 is finished" in process.stdout
    assert (tmp_path / "stage-2/model.safetensors").read_bytes() == expected
    assert pseudo == {shard: shard.stat().st_mtime_ns for shard in (tmp_path / "pseudo/data").iterdir()}
