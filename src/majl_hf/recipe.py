"""Recipes: YAML files whose named stages lead from corpora to a model; see `system.settings.load_stages`.

    kind: train       the default; settings beside `stages` apply to all of these
    kind: label       pseudo labels
    kind: merge       a model made from others
    kind: calibrate   a model with its decoding calibrated

Every stage has a folder of its own, its `out`; it names those of earlier stages where it uses them. A stage records
digests of what it has read of earlier ones (`records.begin`), so one that was made from something else is known and is
made again when its turn comes. Only folders with the record of a stage are ever deleted or replaced.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from .checkpoints.hub_errors import explain
from .checkpoints.loading import checkpoint_sha256
from .checkpoints.merging import move_towards, use_pitch_estimator
from .errors import ConfigError, MajlError
from .evaluation.calibration import calibrate
from .mixing.clips import iter_validation_clips
from .mixing.config import Corpus
from .models.configuration_majl import MajlConfig
from .models.feature_extraction_majl import MajlFeatureExtractor
from .models.modeling_majl import MajlModel
from .pseudo_labels.config import PseudoLabelConfig
from .pseudo_labels.run import ORIGIN
from .pseudo_labels.teachers import check_teacher
from .rows.writing import BUILD_FILE, plan_in, read_plan
from .system.files import new_folder
from .system.settings import Location, Section, load_stages
from .training import records
from .training.config import TrainingConfig
from .training.run import check_run, checkpoint_to_resume, step_of

Share = Annotated[float, Field(ge=0, le=1)]


class MergeConfig(Section):
    """A model made from others, each given by its folder, Hub id or shipped name.

    Args:
        model: whose weights are taken.
        out: folder of the result.
        start, share: see `checkpoints.merging.move_towards`.
        shares: of parts that have another share.
        pitch_estimator: a model with the same separator, whose pitch estimator the result gets.
    """

    model: Location
    out: Location
    start: Location | None = None
    share: Share = 1.0
    shares: dict[Literal["separator", "pitch_estimator", "refiner"], Share] = {}
    pitch_estimator: Location | None = None

    @property
    def corpora(self) -> tuple[Corpus, ...]:
        return ()

    @property
    def inputs(self) -> tuple[str | None, ...]:
        """Models that the stage reads."""
        return self.model, self.start, self.pitch_estimator

    def make(self) -> MajlModel:
        model = MajlModel.from_pretrained(self.model)
        if self.start is not None:
            shares = dict.fromkeys(dict(model.named_children()), self.share) | self.shares
            move_towards(model, MajlModel.from_pretrained(self.start), shares)
        if self.pitch_estimator is not None:
            use_pitch_estimator(model, MajlModel.from_pretrained(self.pitch_estimator))
        return model


class CalibrationConfig(Section):
    """A copy of a model with its decoding chosen on validation clips; see `evaluation.calibration.calibrate`."""

    model: Location
    out: Location
    corpus: Corpus
    keep_path: bool = False

    @property
    def corpora(self) -> tuple[Corpus, ...]:
        return (self.corpus,)

    @property
    def inputs(self) -> tuple[str | None, ...]:
        """Models and folders that the stage reads."""
        return self.model, self.corpus.folder

    def make(self) -> MajlModel:
        model = MajlModel.from_pretrained(self.model).eval()
        calibrate(model, iter_validation_clips(self.corpus), keep_path=self.keep_path)
        return model


KINDS = {"train": TrainingConfig, "label": PseudoLabelConfig, "merge": MergeConfig, "calibrate": CalibrationConfig}
FINISHED, TO_DO = "finished", "to do"
Stage = TrainingConfig | PseudoLabelConfig | MergeConfig | CalibrationConfig


# Loading


def load_recipe(path: str | Path, max_steps: int | None = None) -> dict[str, Stage]:
    """The stages of a file by name, in order, all of them checked; of a file without `stages` the only one.

    Args:
        max_steps: for a trial: runs have this number of steps, and every stage writes to `OUT-trial` instead of OUT
            and reads what the trials of earlier stages wrote.

    Raises:
        ConfigError: the file cannot be used; the message names the stage, the key, what was got and what is allowed.
    """
    stages = load_stages(path, KINDS)
    _check_folders(path, stages)
    if max_steps is not None:
        stages = _trial(stages, max_steps)
        _check_folders(path, stages)
    return stages


def load_stage(path: str | Path, name: str | None = None) -> Stage:
    """One stage of a file, whose other stages are checked as well.

    Args:
        name: may be left out where there is only one.

    Raises:
        ConfigError: as of `load_recipe` and `chosen`.
    """
    stages = load_recipe(path)
    return stages[chosen(path, stages, name)]


def chosen(path: str | Path, stages: Mapping[str, Stage], name: str | None) -> str:
    """The name of a stage, that of the only one if none is given.

    Raises:
        ConfigError: there is no such stage, or there are several and none is named.
    """
    if name is None and len(stages) == 1:
        return next(iter(stages))
    if name not in stages:
        got = "no stage is chosen" if name is None else f"there is no stage {name!r}"
        raise ConfigError(f"{path}: {got}; its stages are {', '.join(stages)} (--stage).")
    return name


def _check_folders(path: str | Path, stages: Mapping[str, Stage]) -> None:
    """Check that every stage has a folder of its own, where it overwrites nothing that it or an earlier stage reads."""
    outs = {name: _place(stage.out) for name, stage in stages.items()}
    names = list(stages)
    for number, (name, out) in enumerate(outs.items()):
        if Path.cwd().is_relative_to(out):
            raise ConfigError(
                f"{path}, stage {name}: it would write to {stages[name].out}, which contains the folder that you work "
                "in; give it a folder of its own, such as runs/NAME."
            )
        for other in names[:number]:
            if out == outs[other]:
                raise ConfigError(f"{path}: two stages write to {stages[name].out}; give each a folder of its own.")
            if out.is_relative_to(outs[other]) or outs[other].is_relative_to(out):
                raise ConfigError(
                    f"{path}: the stages {other} and {name} write to {stages[other].out} and {stages[name].out}, one "
                    "inside the other; give each a folder of its own."
                )
        for reader in names[: number + 1]:
            if overwritten := next((p for p in _inputs(stages[reader]) if _place(p).is_relative_to(out)), None):
                writer = "it" if reader == name else f"the later stage {name}"
                raise ConfigError(
                    f"{path}, stage {reader}: it reads {overwritten}, but {writer} writes to {stages[name].out}; "
                    "choose another folder for the result."
                )


def _place(path: str) -> Path:
    return Path(os.path.expandvars(path)).expanduser().resolve()


def _inputs(stage: Stage) -> list[str]:
    return [path for path in stage.inputs if path is not None]


def _trial(stages: Mapping[str, Stage], max_steps: int) -> dict[str, Stage]:
    trials = {_place(stage.out): f"{Path(stage.out)}-trial" for stage in stages.values()}

    def moved(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: moved(item) for key, item in value.items()}
        if isinstance(value, list):
            return [moved(item) for item in value]
        if not isinstance(value, str):
            return value
        # A checkpoint of a certain step becomes the result, since a trial may have too few steps for it.
        place = _place(value)
        return next((trials[folder] for folder in (place, *place.parents) if folder in trials), value)

    def tried(stage: Stage) -> Stage:
        stage = type(stage).model_validate(moved(stage.model_dump(mode="json")))
        return stage.with_arguments(max_steps=max_steps) if isinstance(stage, TrainingConfig) else stage

    return {name: tried(stage) for name, stage in stages.items()}


# Before the first stage runs


def check(path: str | Path, stages: Mapping[str, Stage]) -> None:
    """Check what can be known of stages before the first of them runs: their folders, corpora, models, teachers and
    settings of training. What an earlier one of these stages makes need not exist yet.

    Raises:
        MajlError: a stage that cannot run; the message names it.
    """
    made: dict[Path, MajlConfig | None] = {}
    for name, stage in stages.items():
        try:
            check_out(stage)
            for corpus in stage.corpora:
                if not any(_place(corpus.folder).is_relative_to(out) for out in made):
                    corpus.check()
            made[_place(stage.out)] = _check_stage(stage, made)
        except MajlError as error:
            raise ConfigError(f"{path}, stage {name}: {error}") from error


def _check_stage(stage: Stage, made: Mapping[Path, MajlConfig | None]) -> MajlConfig | None:
    """The config of the model that a stage makes; None of pseudo labels."""
    if isinstance(stage, TrainingConfig):
        return check_run(stage, None if stage.model is None else _model_config(stage.model, made))
    if isinstance(stage, PseudoLabelConfig):
        for role in ("pitch_teacher", "vocals_teacher"):
            name = getattr(stage, role)
            if name is not None and not any(_place(name).is_relative_to(out) for out in made):
                check_teacher(role, name)
        return None
    others = _inputs(stage)[1:] if isinstance(stage, MergeConfig) else ()
    for name in others:
        _model_config(name, made)
    return _model_config(stage.model, made)


def _model_config(name: str, made: Mapping[Path, MajlConfig | None]) -> MajlConfig:
    """The config of a model that exists or that an earlier stage makes."""
    for out, config in made.items():
        if _place(name).is_relative_to(out):
            if config is None:
                raise ConfigError(f"{name} is made by a stage of kind label and is not a model.")
            return config
    try:
        return MajlConfig.from_pretrained(name)
    except (OSError, ValueError) as error:
        reason = explain(error, name) or next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ConfigError(
            f"the model {name!r} cannot be loaded: {reason} Give a folder, a Hub id or a name of `majl models`."
        ) from error


# Running


def made_from(stages: Mapping[str, Stage], name: str) -> dict[str, str | None]:
    """Digests of what a stage reads of earlier ones: of a model's weights, or of a plan of pseudo labels."""
    earlier = [_place(stages[other].out) for other in list(stages)[: list(stages).index(name)]]
    read = {path: _place(path) for path in _inputs(stages[name])}
    return {path: _digest(place) for path, place in read.items() if any(place.is_relative_to(out) for out in earlier)}


def _digest(folder: Path) -> str | None:
    plan = folder / BUILD_FILE
    return hashlib.sha256(plan.read_bytes()).hexdigest() if plan.is_file() else checkpoint_sha256(folder)


def is_finished(stage: Stage, digests: records.MadeFrom) -> bool:
    """Whether a stage was finished with these settings, from what is there now. Pseudo labels find that out when they
    are run; they count as unfinished."""
    if isinstance(stage, PseudoLabelConfig):
        return False
    return records.is_finished(stage) and not records.is_stale(stage, digests)


def states(stages: Mapping[str, Stage], names: Sequence[str]) -> dict[str, str]:
    """What some of the stages will do: "finished", "checked again" (pseudo labels), "resumes after step N", "to do".

    Raises:
        ConfigError: a run whose settings have changed and which cannot resume.
    """
    result: dict[str, str] = {}
    changing: list[Path] = []  # folders that are about to change
    for name in names:
        stage, digests = stages[name], made_from(stages, name)
        is_made_again = any(_place(path).is_relative_to(out) for path in _inputs(stage) for out in changing)
        if is_made_again or (isinstance(stage, TrainingConfig) and records.is_stale(stage, digests)):
            result[name] = TO_DO
        elif isinstance(stage, PseudoLabelConfig):
            result[name] = "checked again" if (read_plan(Path(stage.out)) or {}).get("finished") else TO_DO
        elif is_finished(stage, digests):
            result[name] = FINISHED
        else:
            step = step_of(checkpoint_to_resume(stage)[0]) if isinstance(stage, TrainingConfig) else 0
            result[name] = f"resumes after step {step}" if step else TO_DO
        if result[name] not in (FINISHED, "checked again"):
            changing.append(_place(stage.out))
    return result


def make_model(stage: MergeConfig | CalibrationConfig, digests: records.MadeFrom | None = None) -> None:
    """Run a stage that makes a model without training.

    Raises:
        ConfigError: as of `check_out`.
    """
    check_out(stage)
    model = stage.make()
    with new_folder(Path(stage.out)) as folder:
        model.save_pretrained(folder)
        MajlFeatureExtractor.from_config(model.config).save_pretrained(folder)
        records.begin(stage, made_from=digests, folder=folder)
        records.finish(stage, folder)


def discard(stage: TrainingConfig) -> None:
    """Empty the folder of a run. Its record goes last, so that a folder that is partly deleted is still known.

    Raises:
        ConfigError: as of `check_out`; nothing is deleted then.
    """
    check_out(stage)
    if not Path(stage.out).is_dir():
        return
    order = (records.FINISHED_NAME, records.SETTINGS_NAME)
    for path in sorted(Path(stage.out).iterdir(), key=lambda path: (path.name != order[0], path.name == order[1])):
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def check_out(stage: Stage) -> None:
    """Check that a stage's folder is new, empty, or was written by such a stage.

    Raises:
        MajlError: it contains something else.
    """
    out = Path(stage.out)
    if not out.exists():
        return
    if not out.is_dir():
        raise ConfigError(f"{out} is a file, and a folder is needed to write to; choose another one.")
    if isinstance(stage, PseudoLabelConfig):
        if (plan_in(out) or {}).get("origin", ORIGIN) != ORIGIN:
            raise ConfigError(f"{out} is a corpus of another origin; choose another folder for the pseudo labels.")
        return
    name = next((path.name for path in sorted(out.iterdir()) if not path.name.startswith(".majl")), None)
    if name is not None and not records.has_record(out):
        raise ConfigError(
            f"{out} contains {name} but no record of a stage, so it may be yours and is not overwritten; move it away "
            "or choose another folder for the result."
        )
