"""The whole of MAJL on a tiny corpus: stage 1, pseudo labels, merged weights, stage 2, by one command that resumes."""

import json
import shutil
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from built_corpora import make_rows, write_built
from datasets import load_dataset
from training_runs import mir1k_of, rows_of, run_values, write_singers
from typer.testing import CliRunner

from majl_hf import MajlModel
from majl_hf.checkpoints.merging import use_pitch_estimator
from majl_hf.cli import app, train
from majl_hf.errors import ConfigError
from majl_hf.mixing.items import collate
from majl_hf.recipe import load_recipe, load_stage, make_model
from majl_hf.training import is_finished, make_trainer


def config(folder: Path, model: str, rows: str) -> dict:
    labelled = rows_of(rows, label_kinds=["full", "accompaniment"])
    values = run_values(model, "", labelled, per_device_train_batch_size=4)
    values["data"]["speed_probability"] = 0.0
    return {
        **values,
        "model_config_overrides": {"separator_gradient_scale": 0.02},
        "learning_rates": {"separator": 3e-3, "pitch_estimator": 3e-3},
        "average_decay": 0.9,
        "stages": {
            # Saved so often that the first checkpoint comes long before the end.
            "stage_1": {"arguments": {"output_dir": str(folder / "stage-1"), "max_steps": 40, "save_steps": 2}},
            "pseudo_labels": {
                "kind": "label",
                "rows": rows,
                "out": str(folder / "pseudo"),
                "pitch_teacher": str(folder / "stage-1"),
                "vocals_teacher": str(folder / "stage-1"),
                "min_row_confidence": 0.0,
                "date": "2026-01-01",
            },
            "merged": {
                "kind": "merge",
                "model": str(folder / "stage-1"),
                "start": model,
                "share": 0.5,
                "out": str(folder / "merged"),
            },
            "stage_2": {
                "extends": "stage_1",
                "model": str(folder / "merged"),
                "weighting": {"strategy": "dwhs"},
                "data": {"sources": [labelled, rows_of(folder / "pseudo")]},
                "arguments": {"output_dir": str(folder / "stage-2"), "save_steps": 20},
            },
        },
    }


def write(path: Path, values: dict) -> Path:
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


@pytest.fixture
def recipe(tiny_model_folder, tmp_path) -> Path:
    return write(tmp_path / "majl.yaml", config(tmp_path, tiny_model_folder, "rows"))


def run(path: Path, *options: str) -> str:
    result = CliRunner().invoke(app, ["train", str(path), *options])
    assert result.exit_code == 0, result.output
    return result.stdout


def log_of(folder: Path) -> list[dict]:
    state = json.loads((folder / "checkpoint-40/trainer_state.json").read_text())
    return [entry for entry in state["log_history"] if "separation_loss" in entry]


def losses(path: Path, stage: str, model: str | Path) -> torch.Tensor:
    """Separation and pitch loss of a model on items of a stage."""
    dataset = make_trainer(load_stage(path, stage)).train_dataset
    batch = collate([dataset[index] for index in range(24)])
    with torch.no_grad():
        output = MajlModel.from_pretrained(model).eval()(**batch)
    return torch.stack([output.separation_loss, output.pitch_loss])


def stop_when(is_reached, done: threading.Event) -> None:
    """Send this process SIGTERM."""
    while not is_reached():
        if done.wait(0.05):
            return
    signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)


def test_one_command_does_all_and_resumes(tiny_model_folder, tmp_path, monkeypatch):
    """One stage is stopped, one is launched; the others run in this process, because a new one spends most of its time
    on imports."""
    counts = {"full": 3, "separation": 2, "pitch": 2, "vocals": 1, "accompaniment": 2}
    rows = write_built(tmp_path / "rows", make_rows(counts, duration_s=1.0))
    path = write(tmp_path / "majl.yaml", config(tmp_path, tiny_model_folder, str(rows)))

    # Stopped in stage 1, it says how to resume, and resumes.
    is_reached, done = (tmp_path / "stage-1/checkpoint-2/trainer_state.json").exists, threading.Event()
    thread = threading.Thread(target=stop_when, args=(is_reached, done))
    thread.start()
    stopped = CliRunner().invoke(app, ["train", str(path)])
    done.set()
    thread.join()
    assert stopped.exit_code == 143 and "stopped: run the same command again to resume" in stopped.stderr
    assert is_reached() and not (tmp_path / "stage-1/finished.json").exists()

    in_a_process = train._wait_for

    def run_stage(command):
        if "accelerate.commands.launch" in command and command[-1] == "stage_2":
            return in_a_process(command)
        return CliRunner().invoke(app, command[command.index("majl_hf.cli") + 1 :]).exit_code

    monkeypatch.setattr(train, "_wait_for", run_stage)
    output = run(path)
    assert output.count("=== majl train") == output.count("=== ") == 4

    for stage, before, after in (("stage_1", tiny_model_folder, "stage-1"), ("stage_2", "merged", "stage-2")):
        log = log_of(tmp_path / after)
        assert [entry["step"] for entry in log] == list(range(1, 41))
        for name in ("loss", "separation_loss", "pitch_loss", "weight/pitch_mean"):
            assert np.isfinite([entry[name] for entry in log if name in entry]).all()
        assert ("weight/blamed_on_separation" in set().union(*log)) == (stage == "stage_2")
        # On the same items, since the losses of different items differ by more than is learnt.
        assert (losses(path, stage, tmp_path / after) < losses(path, stage, tmp_path / before)).all(), stage
    labelled = load_dataset(str(tmp_path / "pseudo"), split="train", cache_dir=str(tmp_path / "cache"))
    assert sorted(labelled["id"]) == ["c/pitch0", "c/pitch1", "c/separation0", "c/separation1", "c/vocals0"]
    report = json.loads((tmp_path / "pseudo/pseudo_labels.json").read_text())
    assert report["num_rows"] == 5
    weights = [MajlModel.from_pretrained(folder).state_dict() for folder in (tiny_model_folder, tmp_path / "stage-1")]
    for name, tensor in MajlModel.from_pretrained(tmp_path / "merged").state_dict().items():
        assert torch.allclose(tensor, (weights[0][name] + weights[1][name]) / 2, atol=1e-6), name

    # Stage 2 is deleted: only that is run again, with the same result.
    expected = (tmp_path / "stage-2/model.safetensors").read_bytes()
    pseudo = {shard: shard.stat().st_mtime_ns for shard in (tmp_path / "pseudo/data").iterdir()}
    shutil.rmtree(tmp_path / "stage-2")
    output = run(path, "--launch", "--cpu --num_processes 1")
    assert output.count("=== accelerate launch --cpu --num_processes 1 -m majl_hf.cli train") == 2
    assert "stage stage_1 is finished" in output and "stage merged is finished" in output
    assert (tmp_path / "stage-2/model.safetensors").read_bytes() == expected
    assert pseudo == {shard: shard.stat().st_mtime_ns for shard in (tmp_path / "pseudo/data").iterdir()}


def test_what_changed_makes_the_rest_anew(recipe, tmp_path, monkeypatch):
    """Each stage's command is replaced by one that writes the files that the stage would write."""
    ran = []

    def finish(command):
        name = command[command.index("--stage") + 1]
        stage = load_stage(recipe, name)
        Path(stage.out).mkdir(exist_ok=True)
        is_label = name == "pseudo_labels"
        launcher = ["accelerate.commands.launch", "--num_processes", "2", "-m"] if name != "merged" else []
        assert command[2 : command.index("majl_hf.cli")] == launcher
        text = json.dumps(stage.min_row_confidence) if is_label else stage.model_dump_json(indent=1)
        (Path(stage.out) / ("build.json" if is_label else "finished.json")).write_text(text)
        ran.append(name)
        return 0

    def run(*options):
        ran.clear()
        result = CliRunner().invoke(app, ["train", str(recipe), "--launch", "--num_processes 2", *options])
        assert result.exit_code == 0, result.output
        return ran

    monkeypatch.setattr(train, "_wait_for", finish)
    values = yaml.safe_load(recipe.read_text())
    assert run() == list(values["stages"])
    assert run() == ["pseudo_labels"]  # detects that nothing has changed
    values["stages"]["pseudo_labels"]["min_row_confidence"] = 0.1
    write(recipe, values)
    assert run() == ["pseudo_labels", "merged", "stage_2"]
    values["stages"]["merged"]["share"] = 0.75
    write(recipe, values)
    assert run() == ["pseudo_labels", "merged", "stage_2"]
    shutil.rmtree(tmp_path / "stage-1")
    assert run() == list(values["stages"]) and run("--fresh") == list(values["stages"])
    monkeypatch.setattr(train, "_wait_for", lambda command: 7)
    result = CliRunner().invoke(app, ["train", str(recipe)])
    assert result.exit_code == 7 and "stage pseudo_labels ended with exit code 7; run the same" in result.stderr


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        ("pseudo_labels", {"theshold": 1}, "stage pseudo_labels: theshold: unknown key; allowed are views_semitones, "),
        ("pseudo_labels", {"min_row_confidence": 2}, "stage pseudo_labels: min_row_confidence: .* got 2"),
        ("pseudo_labels", {"views_semitones": [0, 2]}, "agrees with itself"),
        ("pseudo_labels", {"date": "soon"}, "stage pseudo_labels: date: .*'soon'"),
        ("stage_2", {"extends": "stage_3"}, "stage stage_2: extends: got 'stage_3'; allowed are stage_1, "),
        ("stage_1", {"extends": "stage_2"}, "'stage_1' extends itself"),
        ("merged", {"share": 1.5}, "stage merged: share: .*got 1.5"),
        ("merged", {"out": "pseudo"}, "two stages write to pseudo"),
    ],
)
def test_a_mistake_in_any_stage_is_found_before_the_first_one_runs(recipe, stage, change, message):
    values = yaml.safe_load(recipe.read_text())
    values["stages"]["pseudo_labels"]["out"] = "pseudo"
    values["stages"][stage] |= change
    write(recipe, values)
    with pytest.raises(ConfigError, match=message):
        load_stage(recipe, "stage_1")
    result = CliRunner().invoke(app, ["train", str(recipe)])
    assert result.exit_code == 2 and result.stderr.startswith(f"error: {recipe}") and result.stderr.count("\n") == 1


def test_stages_of_one_file(recipe):
    stages = load_recipe(recipe)
    first, second = stages["stage_1"], stages["stage_2"]
    assert first.out.endswith("stage-1") and second.out.endswith("stage-2")
    assert second.arguments["max_steps"] == second.arguments["save_steps"] * 2 == 40
    assert first.weighting.strategy == "confidence" and second.weighting.strategy == "dwhs"
    assert stages["pseudo_labels"].date == "2026-01-01" and stages["pseudo_labels"].splits == ("train",)
    for name, message in ((None, "no stage is chosen; its"), ("stage_3", "there is no stage 'stage_3'; its")):
        with pytest.raises(ConfigError, match=f"{message} stages are stage_1, pseudo_labels, merged, stage_2"):
            load_stage(recipe, name)


def test_models_made_from_others(tiny_model_folder, tmp_path):
    """A pitch estimator of another model, and a calibrated copy; both are recorded as finished."""
    other = MajlModel.from_pretrained(tiny_model_folder)
    with torch.no_grad():
        other.pitch_estimator.head.bias.add_(1.0)
    other.save_pretrained(tmp_path / "other")
    corpus = mir1k_of(write_singers(tmp_path / "mir1k", num_clips=2, seconds=1.0), "validation")
    stages = {
        "merged": {"kind": "merge", "model": tiny_model_folder, "pitch_estimator": str(tmp_path / "other")},
        "calibrated": {"kind": "calibrate", "model": str(tmp_path / "merged"), "corpus": corpus, "keep_path": True},
    }
    stages = {name: {**stage, "out": str(tmp_path / name)} for name, stage in stages.items()}
    made = {}
    for name, stage in load_recipe(write(tmp_path / "recipe.yaml", {"stages": stages})).items():
        assert not is_finished(stage)
        make_model(stage)
        assert is_finished(stage)
        made[name] = MajlModel.from_pretrained(stage.out)
        assert torch.equal(made[name].pitch_estimator.head.bias, other.pitch_estimator.head.bias)
    before, after = (made[name].config for name in stages)
    assert before.voicing_scale != after.voicing_scale and before.viterbi_jump_cost == after.viterbi_jump_cost
    with torch.no_grad():
        other.separator.head.bias.add_(1.0)
    with pytest.raises(ValueError, match="with another separator"):
        use_pitch_estimator(made["merged"], other)
