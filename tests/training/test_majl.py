"""The whole of MAJL on a tiny corpus: stage 1, pseudo labels, merged weights, stage 2, by one command that resumes."""

import json
import os
import re
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
from majl_hf.recipe import load_recipe, load_stage, made_from, make_model
from majl_hf.system.settings import merged
from majl_hf.training import is_finished, make_trainer, records


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


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    counts = {"full": 3, "separation": 2, "pitch": 2, "vocals": 1, "accompaniment": 2}
    return write_built(tmp_path_factory.mktemp("built") / "rows", make_rows(counts, duration_s=1.0))


@pytest.fixture
def recipe(tiny_model_folder, tmp_path, rows) -> Path:
    return write(tmp_path / "majl.yaml", config(tmp_path, tiny_model_folder, str(rows)))


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


def test_one_command_does_all_and_resumes(tiny_model_folder, rows, tmp_path, monkeypatch):
    """One stage is stopped, one is launched; the others run in this process, because a new one spends most of its time
    on imports."""
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

    def run_stage(command, advice):
        if "accelerate.commands.launch" in command and command[-1] == "stage_2":
            return in_a_process(command, advice)
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


@pytest.fixture
def ran(recipe, tiny_model_folder, monkeypatch):
    """The stages whose commands were run, each replaced by one that writes what the stage would, with weights that are
    new each time."""
    ran = []

    def finish(command, advice):
        name = command[command.index("--stage") + 1]
        max_steps = int(command[command.index("--max-steps") + 1]) if "--max-steps" in command else None
        stages = load_recipe(recipe, max_steps)
        stage, folder = stages[name], Path(stages[name].out)
        shutil.copytree(tiny_model_folder, folder, dirs_exist_ok=True)
        if name == "pseudo_labels":
            plan = {"origin": "pseudo_labels", "shards": [], "finished": True, "facts": stage.min_row_confidence}
            (folder / "build.json").write_text(json.dumps(plan))
        else:
            records.begin(stage, made_from=made_from(stages, name))
            (folder / "model.safetensors").write_bytes(os.urandom(8))
            records.finish(stage)
        launcher = ["accelerate.commands.launch", "--num_processes", "2", "-m"] if name != "merged" else []
        assert command[2 : command.index("majl_hf.cli")] == launcher
        ran.append(name)
        return 0

    monkeypatch.setattr(train, "_wait_for", finish)
    return ran


def test_what_changed_makes_the_rest_anew(recipe, ran, tmp_path, monkeypatch):
    def run(*options):
        ran.clear()
        result = CliRunner().invoke(app, ["train", str(recipe), "--launch", "--num_processes 2", *options])
        assert result.exit_code == 0, result.output
        return ran

    values = yaml.safe_load(recipe.read_text())
    assert run() == list(values["stages"])
    assert run() == ["pseudo_labels"]  # detects that nothing has changed
    values["stages"]["pseudo_labels"]["min_row_confidence"] = 0.1
    write(recipe, values)
    assert run() == ["pseudo_labels", "stage_2"]  # `merged` does not depend on them
    values["stages"]["merged"]["share"] = 0.75
    write(recipe, values)
    assert run() == ["pseudo_labels", "merged", "stage_2"]
    shutil.rmtree(tmp_path / "stage-1")
    assert run() == ["stage_1", "pseudo_labels", "merged", "stage_2"]
    assert run("--fresh") == list(values["stages"])
    for code, options, advice in (
        (-9, [], "run the same command again to resume"),
        (7, [], "correct what is reported above and run the same command again to resume"),
        (7, ["--fresh"], "correct what is reported above and run the same command again without --fresh to resume"),
    ):
        monkeypatch.setattr(train, "_wait_for", lambda command, advice, code=code: code)
        result = CliRunner().invoke(app, ["train", str(recipe), *options])
        stage = "stage_1" if options else "pseudo_labels"
        assert result.exit_code == code
        assert result.stderr == f"error: stage {stage} ended with exit code {code}; {advice}\n"


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        # Settings
        ("pseudo_labels", {"theshold": 1}, "stage pseudo_labels: theshold: unknown key; allowed are views_semitones, "),
        ("pseudo_labels", {"min_row_confidence": 2}, "stage pseudo_labels: min_row_confidence: .* got 2"),
        ("pseudo_labels", {"views_semitones": [0, 2]}, "agrees with itself"),
        ("pseudo_labels", {"date": "soon"}, "stage pseudo_labels: date: .*'soon'"),
        ("stage_2", {"extends": "stage_3"}, "stage stage_2: extends: got 'stage_3'; allowed are stage_1, "),
        ("stage_1", {"extends": "stage_2"}, "'stage_1' extends itself"),
        ("merged", {"share": 1.5}, "stage merged: share: .*got 1.5"),
        # Folders
        ("merged", {"out": "pseudo"}, "two stages write to pseudo"),
        ("merged", {"out": "pseudo/merged"}, "pseudo_labels and merged write to pseudo and pseudo/merged, one inside"),
        ("pseudo_labels", {"out": "."}, "pseudo_labels: it would write to ., which contains the folder that you work"),
        ("merged", {"out": ".."}, "merged: it would write to .., which contains the folder that you work in"),
        ("merged", {"model": "x/a", "out": "x"}, "merged: it reads x/a, but it writes to x"),
        (
            "stage_1",
            {"model": "pseudo"},
            "stage_1: it reads pseudo, but the later stage pseudo_labels writes to pseudo",
        ),
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


@pytest.mark.parametrize(
    ("stage", "change", "message"),
    [
        ("stage_2", {"arguments": {"lr_scheduler_type": "nonsense"}}, "stage_2: arguments: nonsense is not a valid"),
        (
            "stage_2",
            {"arguments": {"lr_scheduler_type": "warmup_stable_decay"}},
            "stage_2: arguments: .*num_decay_steps",
        ),
        ("stage_2", {"learning_rates": {"encoder": 1}}, "stage_2: learning_rates names 'encoder', which matches no"),
        ("stage_2", {"learning_rates": {"refiner": 1}}, "stage_2: learning_rates names 'refiner'"),
        ("stage_2", {"model_config_overrides": {"window": 1}}, r"stage_2: model_config_overrides names \['window'\]"),
        ("stage_2", {"model": "nothing"}, "stage_2: the model 'nothing' cannot be loaded: .* Give a folder"),
        ("stage_2", {"model": None, "separator": "x", "pitch_estimator": "fcpe"}, "stage_2: .*no separator preset 'x'"),
        ("stage_2", {"validation": {"corpora": [rows_of("nothing")]}}, "stage_2: nothing is neither a folder"),
        ("stage_2", {"validation": {"corpora": [mir1k_of("no", "a")]}}, "stage_2: The mir1k folder no does not exist"),
        ("pseudo_labels", {"pitch_teacher": "nobody"}, "pseudo_labels: There is no pitch_teacher 'nobody'; give a"),
        ("pseudo_labels", {"rows": "nothing"}, "pseudo_labels: nothing is neither a folder with a built corpus nor"),
        ("merged", {"start": "nothing"}, "merged: the model 'nothing' cannot be loaded"),
    ],
)
def test_a_stage_that_cannot_run_is_found_before_the_first_one_runs(recipe, ran, stage, change, message):
    values = yaml.safe_load(recipe.read_text())
    values["stages"][stage] = merged(values["stages"][stage], change)
    result = CliRunner().invoke(app, ["train", str(write(recipe, values))])
    assert result.exit_code == 2 and not ran, result.output
    assert re.search(message, result.stderr) and result.stderr.startswith(f"error: {recipe}, stage {stage}")


@pytest.mark.parametrize("stage", ["stage_1", "stage_2", "pseudo_labels", "merged"])
@pytest.mark.parametrize("options", [[], ["--fresh"], ["--stage", "STAGE"], ["--stage", "STAGE", "--fresh"]])
def test_a_folder_that_no_stage_wrote_is_left_alone(recipe, ran, stage, options):
    folder = Path(load_stage(recipe, stage).out)
    (folder / "songs").mkdir(parents=True)
    (folder / "songs/own.wav").write_bytes(b"mine")
    (folder / "settings.json").write_text('{"editor.tabSize": 4}')
    result = CliRunner().invoke(app, ["train", str(recipe), *(stage if o == "STAGE" else o for o in options)])
    assert result.exit_code == 2 and not ran and f"{folder} contains s" in result.stderr
    assert (folder / "songs/own.wav").read_bytes() == b"mine"


def test_results_survive_a_stage_that_fails(recipe, ran, tmp_path, monkeypatch):
    """A later stage's folder is only emptied when its own turn comes."""
    command = ["train", str(recipe), "--launch", "--num_processes 2"]
    assert CliRunner().invoke(app, command).exit_code == 0
    shutil.rmtree(tmp_path / "stage-1")
    monkeypatch.setattr(train, "_wait_for", lambda command, advice: 1)
    assert CliRunner().invoke(app, command).exit_code == 1
    assert (tmp_path / "merged/finished.json").exists() and (tmp_path / "stage-2/finished.json").exists()


def test_a_run_starts_over_where_its_start_has_changed(recipe, ran, tmp_path, monkeypatch):
    """Its folder is emptied when the run begins, without what was written for the former start."""
    assert CliRunner().invoke(app, ["train", str(recipe), "--launch", "--num_processes 2"]).exit_code == 0
    folder, calls = tmp_path / "stage-2", []

    def fake(config, resume, made_from):
        calls.append((resume, made_from, sorted(path.name for path in folder.iterdir())))

    monkeypatch.setattr("majl_hf.training.train", fake)
    before = sorted(path.name for path in folder.iterdir())
    assert CliRunner().invoke(app, ["train", str(recipe), "--stage", "stage_2"]).exit_code == 0
    (tmp_path / "merged/model.safetensors").write_bytes(b"other weights")
    assert CliRunner().invoke(app, ["train", str(recipe), "--stage", "stage_2"]).exit_code == 0
    (first, then) = calls
    assert first[0] and first[2] == before and not then[0] and then[2] == []
    assert first[1].keys() == then[1].keys() == {str(tmp_path / name) for name in ("merged", "pseudo")}
    assert [name for name in first[1] if first[1][name] != then[1][name]] == [str(tmp_path / "merged")]


def test_a_dry_run_lists_the_stages(recipe, ran, tmp_path):
    def listed(*options):
        ran.clear()
        result = CliRunner().invoke(app, ["train", str(recipe), "--dry-run", *options])
        assert result.exit_code == 0 and not ran, result.output
        return [line.replace(str(tmp_path), "") for line in result.stdout.splitlines()]

    states = [
        "stage_1: train, /stage-1, 40 steps, to do",
        "pseudo_labels: label, /pseudo, to do",
        "merged: merge, /merged, to do",
        "stage_2: train, /stage-2, 40 steps, to do",
    ]
    assert listed() == states
    assert CliRunner().invoke(app, ["train", str(recipe), "--launch", "--num_processes 2"]).exit_code == 0
    done = [line.replace("to do", "finished") for line in states]
    done[1] = done[1].replace("finished", "checked again")
    assert listed() == done and listed("--fresh") == states and listed("--stage", "merged") == [done[2]]
    (tmp_path / "stage-1/finished.json").unlink()
    (tmp_path / "stage-1/checkpoint-7").mkdir()
    (tmp_path / "stage-1/checkpoint-7/trainer_state.json").write_text("{}")
    assert listed() == [states[0].replace("to do", "resumes after step 7"), *states[1:]]
    assert listed("--max-steps", "3")[0] == "stage_1: train, /stage-1-trial, 3 steps, to do"


def test_a_trial_has_folders_of_its_own(recipe, tmp_path):
    values = yaml.safe_load(recipe.read_text())
    values["stages"]["merged"]["model"] += "/checkpoint-20"
    stages = load_recipe(write(recipe, values), max_steps=3)
    folder = str(tmp_path)
    assert [stage.out for stage in stages.values()] == [
        f"{folder}/{name}-trial" for name in ("stage-1", "pseudo", "merged", "stage-2")
    ]
    assert stages["merged"].model == stages["pseudo_labels"].pitch_teacher == f"{folder}/stage-1-trial"
    assert stages["stage_2"].model == f"{folder}/merged-trial"
    assert stages["stage_2"].data.sources[1].folder == f"{folder}/pseudo-trial"
    assert stages["stage_2"].arguments["max_steps"] == 3
    assert stages["merged"].start == values["stages"]["merged"]["start"]


def test_the_home_folder_is_expanded_once(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    recipe.write_text(recipe.read_text().replace(f"{tmp_path}/", "~/"))
    stages = load_recipe(recipe)
    assert [stage.out for stage in stages.values()] == [
        f"{tmp_path}/{name}" for name in ("stage-1", "pseudo", "merged", "stage-2")
    ]
    assert stages["merged"].model == stages["pseudo_labels"].vocals_teacher == f"{tmp_path}/stage-1"
    assert made_from(stages, "stage_2").keys() == {f"{tmp_path}/merged", "~/pseudo"}  # corpora expand their folders


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
