"""What the folder of a run or another stage records: its settings, and what it was made from.

RUN/settings.json   the current settings, which were changed at which step, digests of the results of earlier stages
                    that it was made from; written when a run begins
RUN/finished.json   the settings of a finished run
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import MISSING
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from transformers import TrainingArguments

from ..errors import ConfigError
from ..system.files import write_atomically, write_json
from ..system.settings import Section
from .config import BASE_ARGUMENTS, TrainingConfig

SETTINGS_NAME, FINISHED_NAME = "settings.json", "finished.json"
# These have no influence on the weights.
NEUTRAL = (
    "threads",
    *(
        f"arguments.{name}"
        for name in (
            "output_dir", "run_name", "project", "logging_*", "log_*", "report_to", "disable_tqdm", "save_*",
            "dataloader_num_workers", "dataloader_prefetch_factor", "dataloader_persistent_workers",
            "dataloader_pin_memory", "use_cpu", "push_to_hub", "hub_*", "skip_memory_metrics",
        )
    ),
)  # fmt: skip
# These decide when a run is evaluated and when it ends.
EVALUATION = ("validation.*", "early_stopping_evaluations", "arguments.eval_*", "arguments.per_device_eval_batch_size")
LENGTH = ("arguments.max_steps", "arguments.num_train_epochs")
_log = logging.getLogger(__name__)

MadeFrom = Mapping[str, str | None]
"""Path of what a stage reads of an earlier one -> digest of its content; None where it does not exist."""
Changes = Mapping[str, tuple[Any, Any]]
"""Dotted key of a setting -> its value in the folder and the one that is given; None where it is not set."""


def begin(
    config: Section,
    step: int = 0,
    changes: Changes | None = None,
    made_from: MadeFrom | None = None,
    folder: Path | None = None,
) -> None:
    """Record the settings of a run that begins, or that resumes after `step` steps with `changes`; in `folder`, which
    is `config.out` by default."""
    path = (folder or Path(config.out)) / SETTINGS_NAME
    history = json.loads(path.read_text(encoding="utf-8"))["changes"] if step and path.is_file() else []
    if changes:
        _log.warning("%s resumes after step %d with %s", config.out, step, described(changes))
        history.append({"step": step, "settings": changes})
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = {"settings": config.model_dump(mode="json"), "changes": history, "made_from": made_from or {}}
    write_json(path, facts)


def finish(config: Section, folder: Path | None = None) -> None:
    """Record that a stage is finished; in `folder`, which is `config.out` by default."""
    write_atomically((folder or Path(config.out)) / FINISHED_NAME, config.model_dump_json(indent=1))


def is_finished(config: Section) -> bool:
    """Whether this stage was finished with these settings, as far as they influence the weights."""
    try:
        text = (Path(config.out) / FINISHED_NAME).read_text(encoding="utf-8")
    except OSError:
        return False
    if not isinstance(config, TrainingConfig):
        return text == config.model_dump_json(indent=1)
    try:
        return all(_is_any(key, NEUTRAL) for key in _changes(json.loads(text), config))
    except ValueError:  # of another version
        return False


def is_stale(config: Section, made_from: MadeFrom) -> bool:
    """Whether the stage's folder was made from something else, so that it has to be made again."""
    recorded = (_read(Path(config.out) / SETTINGS_NAME) or {}).get("made_from", {})
    return any(path in recorded and recorded[path] != digest for path, digest in made_from.items())


def has_record(folder: Path) -> bool:
    """Whether a training run, or a stage that makes a model, has written this folder."""
    settings, finished = _read(folder / SETTINGS_NAME) or {}, _read(folder / FINISHED_NAME) or {}
    return settings.keys() >= {"settings", "changes"} or not finished.keys().isdisjoint(("arguments", "out"))


def _read(path: Path) -> dict | None:
    """A record, or None where it is missing or something else."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def changes_since(config: TrainingConfig) -> Changes:
    """The settings that differ from those in the run's folder, empty where the folder has no record.

    Raises:
        ConfigError: the record cannot be read, or a setting differs that cannot change during a run.
    """
    out = Path(config.out)
    try:
        if (out / SETTINGS_NAME).is_file():
            recorded = json.loads((out / SETTINGS_NAME).read_text(encoding="utf-8"))["settings"]
        elif (out / FINISHED_NAME).is_file():
            recorded = json.loads((out / FINISHED_NAME).read_text(encoding="utf-8"))
        else:
            return {}
        changes = _changes(recorded, config)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"The settings recorded in {out} cannot be read ({error}). Delete the folder to start over, or choose "
            "another output_dir."
        ) from error
    fixed = {key: values for key, values in changes.items() if not _may_change(key, *values, config)}
    if fixed:
        raise ConfigError(
            f"{out} was started with other settings: {described(fixed)}. Restore them to resume, give --fresh to "
            "delete the folder and start over, or choose another output_dir."
        )
    return changes


def described(changes: Changes) -> str:
    """Changes in words: `arguments.learning_rate: 0.001 -> 5e-05`."""
    return ", ".join(f"{key}: {_shown(before)} -> {_shown(now)}" for key, (before, now) in changes.items())


def _changes(recorded: Mapping, config: TrainingConfig) -> Changes:
    """The changes from settings as JSON; ValueError where they are not those of a run."""
    try:
        before = dict(_flat(TrainingConfig.model_validate(recorded).model_dump(mode="json")))
    except ValidationError as error:
        raise ValueError(f"they are of another version: {error.error_count()} keys do not fit") from error
    now = dict(_flat(config.model_dump(mode="json")))
    pairs = {key: tuple(values.get(key, _default(key)) for values in (before, now)) for key in sorted({*before, *now})}
    return {key: (old, new) for key, (old, new) in pairs.items() if old != new}


def _may_change(key: str, before: Any, now: Any, config: TrainingConfig) -> bool:
    """Whether a run can resume with another value of a setting."""
    if key in LENGTH:
        return before is None or now is None or now > before
    if _is_any(key, EVALUATION):
        # Scores by which the best checkpoint is found have to be comparable.
        is_judged = config.early_stopping_evaluations is not None or config.arguments.get("load_best_model_at_end")
        return not (is_judged and key.startswith("validation."))
    return _is_any(key, NEUTRAL)


def _is_any(key: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(key, pattern) for pattern in patterns)


def _flat(value: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """The values in nested mappings and lists, each with its dotted key."""
    if isinstance(value, Mapping | list):
        for name, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _flat(item, f"{key}.{name}" if key else str(name))
    else:
        yield key, value


def _default(key: str) -> Any:
    """The value of a setting that is not set; in `arguments`, the default of `TrainingArguments`."""
    section, _, name = key.partition(".")
    if section != "arguments" or name not in TrainingArguments.__dataclass_fields__:
        return None
    default = BASE_ARGUMENTS.get(name, TrainingArguments.__dataclass_fields__[name].default)
    return None if default is MISSING else getattr(default, "value", default)


def _shown(value: Any) -> str:
    return "not set" if value is None else str(value)
