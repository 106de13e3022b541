"""Stage-1 training on a tiny corpus: it learns, resumes bit for bit, freezes what it should, and names what broke."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors.torch import load_file

from majl_hf import MajlModel
from majl_hf.training import NonFiniteLossError, load_training_config, make_trainer, parameter_groups, train
from majl_hf.training.trainer import DwhsTrainer

ROOT = Path(__file__).parents[2]
RATE = 16_000


def write_mir1k(folder: Path, num_clips: int = 4, seconds: float = 2.0) -> None:
    """Sung tones over noise in MIR-1K's layout: left accompaniment, right vocals, label line k at 0.02 (k + 1) s."""
    (folder / "Wavfile").mkdir(parents=True)
    (folder / "PitchLabel").mkdir()
    rng = np.random.default_rng(0)
    time_s = np.arange(int(seconds * RATE)) / RATE
    rows = ["clip,singer,sex,song,duration_s,clip_split,singer_split"]
    for index in range(num_clips):
        semitone = 57.0 + 2 * index
        hz = 440 * 2 ** ((semitone - 69) / 12)
        vocals = 0.1 * sum(np.sin(2 * np.pi * k * hz * time_s) / k for k in range(1, 6))
        accompaniment = 0.05 * rng.standard_normal(len(time_s))
        name, singer = f"s{index}_1_01", f"s{index}"
        soundfile.write(folder / f"Wavfile/{name}.wav", np.stack([accompaniment, vocals], axis=1), RATE)
        num_lines = int((seconds - 0.04) / 0.02) + 1
        (folder / f"PitchLabel/{name}.pv").write_text("\n".join([f"{semitone}"] * num_lines))
        split = "validation" if index == num_clips - 1 else "train"
        rows.append(f"{name},{singer},f,{singer}_1,{seconds},{split},{split}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")


@pytest.fixture(scope="module")
def config_file(tmp_path_factory, tiny_model_folder):
    folder = tmp_path_factory.mktemp("training")
    write_mir1k(folder / "mir1k")
    values = {
        "model": tiny_model_folder,
        "model_config_overrides": {"window_s": 2.0},
        "threads": 1,
        "learning_rates": {"separator": 3e-3, "pitch_estimator": 3e-3},
        "data": {
            "segment_samples": 16_000,
            "sources": [
                {
                    "kind": "mir1k",
                    "folder": "${TINY_CORPUS}/mir1k",
                    "split_column": "singer_split",
                    "split_value": "train",
                }
            ],
        },
        "validation": {
            "corpora": [
                {
                    "kind": "mir1k",
                    "folder": "${TINY_CORPUS}/mir1k",
                    "split_column": "singer_split",
                    "split_value": "validation",
                }
            ],
            "max_clip_s": 1.0,
        },
        "arguments": {
            "output_dir": "${TINY_CORPUS}/run",
            "max_steps": 8,
            "per_device_train_batch_size": 2,
            "learning_rate": 1e-3,
            "lr_scheduler_type": "constant",
            "save_steps": 4,
            "logging_steps": 1,
            "use_cpu": True,
            "disable_tqdm": True,
        },
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(autouse=True)
def _corpus_folder(monkeypatch, config_file):
    monkeypatch.setenv("TINY_CORPUS", str(config_file.parent))


def configured(config_file, tmp_path, **arguments):
    config = load_training_config(config_file)
    merged = {**config.arguments, "output_dir": str(tmp_path / "run"), **arguments}
    return config.model_copy(update={"arguments": merged})


def state_of(folder) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def test_losses_fall_and_are_logged_apart(config_file, tmp_path):
    trainer = train(configured(config_file, tmp_path, max_steps=60))
    logs = [entry for entry in trainer.state.log_history if "separation_loss" in entry]
    assert len(logs) == 60
    for name in ("loss", "separation_loss", "pitch_loss"):
        values = np.array([entry[name] for entry in logs])
        assert np.isfinite(values).all()
        assert values[-15:].mean() < 0.8 * values[:5].mean(), name


def test_resumed_equals_uninterrupted(config_file, tmp_path, interrupt):
    whole = tmp_path / "whole"
    train(configured(config_file, whole))
    parts = tmp_path / "parts"
    interrupt(make_trainer(configured(config_file, parts)), 6)
    assert (parts / "run/checkpoint-4").is_dir() and not (parts / "run/checkpoint-8").exists()
    train(configured(config_file, parts))
    expected, got = state_of(whole / "run"), state_of(parts / "run")
    assert expected.keys() == got.keys()
    for name in expected:
        assert torch.equal(expected[name], got[name]), name
    assert not torch.equal(state_of(parts / "run/checkpoint-4")["separator.head.weight"], got["separator.head.weight"])


def test_a_part_can_be_frozen(config_file, tmp_path):
    config = configured(config_file, tmp_path, max_steps=2)
    config = config.model_copy(update={"learning_rates": {"separator": 0.0, "pitch_estimator": 1e-3}})
    train(config)
    before, after = state_of(config.model), state_of(tmp_path / "run")
    for name in before:
        is_frozen = name.startswith("separator")
        assert torch.equal(before[name], after[name]) == is_frozen, name


def test_learning_rates_by_name(tiny_model_folder):
    model = MajlModel.from_pretrained(tiny_model_folder)
    groups = parameter_groups(model, {"separator": 1e-3, "separator.head": 5e-3, "pitch_estimator": 0.0}, 7e-4, 0.1)
    by_parameter = {id(p): group for group in groups for p in group["params"]}
    assert by_parameter[id(model.separator.head.weight)]["lr"] == 5e-3
    assert by_parameter[id(model.separator.head.bias)]["weight_decay"] == 0.0
    assert by_parameter[id(model.separator.layers[0].weight)]["lr"] == 1e-3
    assert by_parameter[id(model.separator.layers[0].weight)]["weight_decay"] == 0.1
    assert not any(parameter.requires_grad for parameter in model.pitch_estimator.parameters())
    with pytest.raises(ValueError, match=r"'seperator'.*pitch_estimator.head"):
        parameter_groups(model, {"seperator": 1e-3}, 1e-3, 0.0)


def test_validation_scores_whole_clips(config_file, tmp_path):
    trainer = make_trainer(configured(config_file, tmp_path))
    metrics = trainer.evaluate()
    assert {"eval_mir1k_sdr_db", "eval_mir1k_rpa", "eval_mir1k_oa", "eval_score"} <= metrics.keys()
    expected = metrics["eval_mir1k_sdr_db"] + 10 * metrics["eval_mir1k_oa"]
    assert metrics["eval_score"] == pytest.approx(expected)


def test_non_finite_loss_names_the_items(config_file, tmp_path):
    trainer = make_trainer(configured(config_file, tmp_path))
    with torch.no_grad():
        trainer.model.separator.head.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"step 0 .*s\d_1_01"):
        trainer.train()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("TINY_CORPUS", "NOT_SET_ANYWHERE"), "environment variable NOT_SET_ANYWHERE"),
        (lambda text: text.replace("segment_samples", "segment_sample"), "segment_sample"),
        (lambda text: text.replace("learning_rates", "learning_rate"), "learning_rate"),
        (lambda text: text.replace("max_steps: 8", "max_steps: 0"), "max_steps is 0"),
    ],
)
def test_mistakes_in_the_file_are_named(config_file, tmp_path, change, message):
    path = tmp_path / "run.yaml"
    path.write_text(change(config_file.read_text()))
    with pytest.raises(ValueError, match=message):
        make_trainer(load_training_config(path))


def test_the_command_trains_and_the_result_loads(config_file):
    environment = {**os.environ, "TINY_CORPUS": str(config_file.parent), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "accelerate.commands.launch", "--cpu", "--num_processes", "1"]
    command += [str(ROOT / "scripts/train.py"), str(config_file), "--max-steps", "2"]
    process = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert process.returncode == 0, process.stderr[-3000:]
    run = config_file.parent / "run"
    assert isinstance(MajlModel.from_pretrained(run), MajlModel)
    state = json.loads((run / "checkpoint-2/trainer_state.json").read_text())
    assert state["global_step"] == 2


def test_items_are_read_in_order(config_file, tmp_path):
    """So that a resumed run goes on with the items that come next."""
    trainer = make_trainer(configured(config_file, tmp_path))
    assert isinstance(trainer, DwhsTrainer)
    batches = [batch["ids"] for batch in trainer.get_train_dataloader()]
    expected = [trainer.train_dataset[index]["id"] for index in range(len(trainer.train_dataset))]
    assert [item for batch in batches for item in batch] == expected
