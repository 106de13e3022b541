"""A run's folder says with which settings it was trained; a resumed run has these, or is refused."""

import json
import shutil

import pytest
from training_runs import mir1k_of, run_values, write_singers

from majl_hf.errors import ConfigError
from majl_hf.training import TrainingConfig, is_finished, train
from majl_hf.training.records import described
from majl_hf.training.run import checkpoint_to_resume


@pytest.fixture(scope="module")
def started(tmp_path_factory, tiny_model_folder):
    """The settings of a run of four steps, and the folder where its first two were trained."""
    folder = tmp_path_factory.mktemp("started")
    write_singers(folder / "mir1k", num_clips=3)
    values = run_values(tiny_model_folder, folder / "run", mir1k_of(folder / "mir1k", "train"), max_steps=4)
    values["arguments"] |= {"save_steps": 2, "logging_steps": 1}
    config = TrainingConfig.model_validate(values)
    train(config.with_arguments(max_steps=2))
    return config, folder / "run"


def _changed(config, key: str, value) -> TrainingConfig:
    """The settings with another value at a dotted key."""
    values = config.model_dump(mode="json")
    *sections, name = key.split(".")
    section = values
    for part in sections:
        section = section[int(part) if part.isdigit() else part]
    section[name] = value
    return TrainingConfig.model_validate(values)


@pytest.mark.parametrize(
    ("key", "value", "shown"),
    [
        ("arguments.learning_rate", 5e-5, "0.001 -> 5e-05"),
        ("arguments.weight_decay", 0.1, "0.0 -> 0.1"),
        ("arguments.lr_scheduler_type", "linear", "constant -> linear"),
        ("arguments.max_steps", 1, "2 -> 1"),
        ("average_decay", 0.9, "not set -> 0.9"),
        ("learning_rates.separator", 0.0, "not set -> 0.0"),
        ("data.seed", 1, "0 -> 1"),
        ("data.sources.0.split_value", "validation", "train -> validation"),
    ],
)
def test_a_setting_that_a_run_cannot_change_is_refused_by_name(started, key, value, shown):
    config, folder = started
    before = sorted(path.name for path in folder.iterdir())
    with pytest.raises(ConfigError, match=f"started with other settings: {key}: {shown}.*Restore.*--fresh"):
        train(_changed(config, key, value))
    assert sorted(path.name for path in folder.iterdir()) == before


def test_all_differences_are_named_at_once(started):
    config, _ = started
    with pytest.raises(ConfigError, match=r"learning_rate: 0\.001 -> 0\.1, arguments\.seed: 42 -> 7\. Restore"):
        checkpoint_to_resume(config.with_arguments(learning_rate=0.1, seed=7))


def test_settings_that_a_run_can_change_are_applied_and_recorded(started, tmp_path, caplog):
    config, folder = started[0], tmp_path / "moved"
    shutil.copytree(started[1], folder)
    config = config.with_arguments(output_dir=str(folder))
    _, changes = checkpoint_to_resume(config.with_arguments(weight_decay=0.0))  # as it is by default
    assert described(changes).startswith("arguments.max_steps: 2 -> 4, arguments.output_dir: ")
    trainer = train(config.with_arguments(save_steps=3, logging_steps=4, dataloader_num_workers=0))
    assert (folder / "checkpoint-3").is_dir() and trainer.state.logging_steps == 4
    assert [entry["step"] for entry in trainer.state.log_history if "loss" in entry] == [1, 2, 4]
    (text,) = [text for text in caplog.messages if "resumes" in text]
    assert "after step 2 with arguments.logging_steps: 1 -> 4" in text
    record = json.loads((folder / "settings.json").read_text())
    assert record["settings"]["arguments"]["save_steps"] == 3
    (change,) = record["changes"]
    assert change["step"] == 2 and change["settings"]["arguments.max_steps"] == [2, 4]
    assert json.loads((folder / "finished.json").read_text()) == record["settings"]


def test_a_finished_run_is_known_by_the_settings_that_matter(tmp_path, tiny_model_folder):
    write_singers(tmp_path / "mir1k", num_clips=3)
    values = run_values(tiny_model_folder, tmp_path / "run", mir1k_of(tmp_path / "mir1k", "train"), max_steps=1)
    config = TrainingConfig.model_validate(values)
    assert not is_finished(config)
    train(config)
    assert is_finished(config) and is_finished(config.with_arguments(logging_steps=9))
    assert not is_finished(config.with_arguments(max_steps=2))
    assert not is_finished(config.with_arguments(learning_rate=0.1))
    assert not is_finished(_changed(config, "early_stopping_evaluations", 2))


def test_scores_stay_comparable_where_the_best_checkpoint_is_kept(started):
    config, _ = started
    other = _changed(config, "validation.max_clip_s", 1.0)
    assert set(checkpoint_to_resume(other)[1]) >= {"validation.max_clip_s"}
    with pytest.raises(ConfigError, match=r"validation\.max_clip_s: 60\.0 -> 1\.0"):
        checkpoint_to_resume(_changed(other, "early_stopping_evaluations", 2))


@pytest.mark.parametrize("text", ["{", "{}", '{"settings": {"model": 1}, "changes": []}'])
def test_a_record_that_cannot_be_read(started, text, tmp_path):
    config, folder = started
    path = folder / "settings.json"
    kept = path.read_text()
    try:
        path.write_text(text)
        with pytest.raises(ConfigError, match=r"cannot be read.*Delete the folder"):
            checkpoint_to_resume(config)
        path.unlink()
        (folder / "finished.json").rename(tmp_path / "finished.json")
        assert checkpoint_to_resume(config)[0] is not None  # nothing is recorded
        (tmp_path / "finished.json").rename(folder / "finished.json")
    finally:
        path.write_text(kept)
