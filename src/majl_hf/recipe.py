"""Recipes: YAML files whose named stages lead from corpora to a model; see `system.settings.load_stages`.

    kind: train       the default; settings beside `stages` apply to all of these
    kind: label       pseudo labels
    kind: merge       a model made from others
    kind: calibrate   a model with its decoding calibrated

Every stage has a folder of its own, its `out`; it names those of earlier stages where it uses them.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import Field

from .checkpoints.merging import move_towards, use_pitch_estimator
from .errors import ConfigError
from .evaluation.calibration import calibrate
from .mixing.clips import iter_validation_clips
from .mixing.config import Corpus
from .models.feature_extraction_majl import MajlFeatureExtractor
from .models.modeling_majl import MajlModel
from .pseudo_labels.config import PseudoLabelConfig
from .system.settings import Section, load_stages
from .training.config import TrainingConfig
from .training.records import FINISHED_NAME, finish


class MergeConfig(Section):
    """A model made from others, each given by its folder, Hub id or shipped name.

    Args:
        model: whose weights are taken.
        out: folder of the result.
        start, share: see `checkpoints.merging.move_towards`.
        pitch_estimator: a model with the same separator, whose pitch estimator the result gets.
    """

    model: str
    out: str
    start: str | None = None
    share: Annotated[float, Field(ge=0, le=1)] = 1.0
    pitch_estimator: str | None = None

    def make(self) -> MajlModel:
        model = MajlModel.from_pretrained(self.model)
        if self.start is not None:
            move_towards(model, MajlModel.from_pretrained(self.start), self.share)
        if self.pitch_estimator is not None:
            use_pitch_estimator(model, MajlModel.from_pretrained(self.pitch_estimator))
        return model


class CalibrationConfig(Section):
    """A copy of a model with its decoding chosen on validation clips; see `evaluation.calibration.calibrate`."""

    model: str
    out: str
    corpus: Corpus
    keep_path: bool = False

    def make(self) -> MajlModel:
        model = MajlModel.from_pretrained(self.model).eval()
        calibrate(model, iter_validation_clips(self.corpus), keep_path=self.keep_path)
        return model


KINDS = {"train": TrainingConfig, "label": PseudoLabelConfig, "merge": MergeConfig, "calibrate": CalibrationConfig}
Stage = TrainingConfig | PseudoLabelConfig | MergeConfig | CalibrationConfig


def load_recipe(path: str | Path) -> dict[str, Stage]:
    """The stages of a file by name, in order, all of them checked; of a file without `stages` the only one.

    Raises:
        ConfigError: the file cannot be used; the message names the stage, the key, what was got and what is allowed.
    """
    stages = load_stages(path, KINDS)
    outs = [Path(stage.out) for stage in stages.values()]
    if shared := next((out for out in outs if outs.count(out) > 1), None):
        raise ConfigError(f"{path}: two stages write to {shared}; give each a folder of its own.")
    return stages


def load_stage(path: str | Path, name: str | None = None) -> Stage:
    """One stage of a file, whose other stages are checked as well.

    Args:
        name: may be left out where there is only one.

    Raises:
        ConfigError: as of `load_recipe`; there is no such stage, or there are several and none is named.
    """
    stages = load_recipe(path)
    if name is None and len(stages) == 1:
        return next(iter(stages.values()))
    if name not in stages:
        got = "no stage is chosen" if name is None else f"there is no stage {name!r}"
        raise ConfigError(f"{path}: {got}; its stages are {', '.join(stages)} (--stage).")
    return stages[name]


def make_model(stage: MergeConfig | CalibrationConfig) -> None:
    """Run a stage that makes a model without training."""
    discard([stage])
    model = stage.make()
    model.save_pretrained(stage.out)
    MajlFeatureExtractor.from_config(model.config).save_pretrained(stage.out)
    finish(stage)


def discard(stages: Iterable[Stage]) -> None:
    """Make stages start over, since what they were made from has changed. Pseudo labels detect that themselves."""
    for stage in stages:
        if isinstance(stage, TrainingConfig):
            shutil.rmtree(stage.out, ignore_errors=True)
        elif not isinstance(stage, PseudoLabelConfig):
            (Path(stage.out) / FINISHED_NAME).unlink(missing_ok=True)
