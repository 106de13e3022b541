"""The YAML file of a training run: model, data, optimisation, each a section that refuses unknown keys.

One file can hold the whole of MAJL: what `stage_1:` and `stage_2:` say takes the place of what stands beside them, when
that stage is trained. Sections are merged key by key, lists and values are replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_serializer, model_validator

from ..mixing.config import Corpus, MixingConfig
from ..system.settings import Section, read_config_file
from .balancing import BALANCES, Balance
from .weights import STRATEGIES

STAGES = (1, 2)


class ValidationConfig(Section):
    """What a checkpoint is judged by while it trains.

    Args:
        corpora: clips of validation singers and songs; of rows without vocals only the pitch is judged.
        max_clips: clips of each corpus, evenly spread over it; all where left out.
        max_clip_s: seconds of each clip, those in which the reference vocals are loudest, else from its start.
        score: `eval_score` as a sum: metric by name (say `mir1k_sdr_db`, see `validation.Validation`) to the factor
            that it counts with; left out, the mean SDR in dB of the corpora plus ten times their mean overall accuracy.
    """

    corpora: tuple[Corpus, ...] = ()
    max_clips: int | None = Field(default=None, gt=0)
    max_clip_s: float = Field(default=60.0, gt=0)
    score: dict[str, float] = {}


class WeightingConfig(Section):
    """Weights of frames.

    Args:
        strategy: one of `hard_samples.STRATEGIES`.
        options: what that strategy takes, say `{alpha: 0.5}` of DWHS.
        warmup_share: of the steps, in which the weights are the confidences.
    """

    strategy: Literal[tuple(STRATEGIES)] = "confidence"
    options: dict[str, Any] = {}
    warmup_share: float = Field(default=0.1, ge=0, le=1)

    @model_validator(mode="after")
    def _check_options(self) -> WeightingConfig:
        self.make()
        return self

    def make(self):
        """The strategy; ValueError where it has no such option."""
        return _made("weighting", self.strategy, STRATEGIES, self.options)


class BalancingConfig(Section):
    """Weights of the two losses.

    Args:
        strategy: one of `balancing.BALANCES`. `pitch_weight` of it is the model's `pitch_loss_weight`.
        options: what that strategy takes beside it.
    """

    strategy: Literal[tuple(BALANCES)] = "fixed"
    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _check_options(self) -> BalancingConfig:
        self.make(1.0)
        return self

    def make(self, pitch_weight: float) -> Balance:
        """The balance; ValueError where it has no such option."""
        return _made("balancing", self.strategy, BALANCES, {"pitch_weight": pitch_weight, **self.options})


def _made(section: str, name: str, choices: dict, options: dict[str, Any]):
    try:
        return choices[name](**options)
    except TypeError as error:
        raise ValueError(f"{section}.options {sorted(options)} do not fit the strategy {name!r} ({error}).") from error


class TrainingConfig(Section):
    """A whole run.

    Args:
        model: folder, Hub id or shipped name of the model that training starts from.
        separator, pitch_estimator: instead of `model`, parts with random weights of the seed in `arguments`: the name
            of a preset (`majl models --backbones` lists them), or a mapping with `preset` or `model_type` and what
            differs from its defaults.
        model_config_overrides: fields of `MajlConfig` that differ from that model's; of its parts' configs too, as
            mappings under `separator_config` and `pitch_estimator_config`, where their weights stay the same.
        data: sources and mixing, see `mixing.config.MixingConfig`; `length` is worked out from the number of steps.
        validation: clips for the validation score.
        learning_rates: learning rate by the beginning of a parameter's name, the longest match wins; 0 freezes.
        weighting, balancing: weights of frames and of the two losses.
        average_decay: keep a moving average of the weights, which is judged and saved; left out, none is kept.
        early_stopping_evaluations: end after so many evaluations without a better score; left out, never.
        threads: CPU threads a process computes with; left out, the machine's cores over its processes. `accelerate
            launch` alone would leave one.
        pseudo_labels: for `pseudo_labels.load_pseudo_label_config`, which reads it from the same file.
        arguments: fields of `transformers.TrainingArguments`.
    """

    model: str | None = None
    separator: str | dict[str, Any] | None = None
    pitch_estimator: str | dict[str, Any] | None = None
    model_config_overrides: dict[str, Any] = {}
    data: dict[str, Any]
    validation: ValidationConfig = ValidationConfig()
    learning_rates: dict[str, Annotated[float, Field(ge=0)]] = {}
    weighting: WeightingConfig = WeightingConfig()
    balancing: BalancingConfig = BalancingConfig()
    average_decay: float | None = Field(default=None, ge=0, lt=1)
    early_stopping_evaluations: int | None = Field(default=None, gt=0)
    threads: int | None = Field(default=None, gt=0)
    pseudo_labels: dict[str, Any] = {}
    arguments: dict[str, Any]

    @model_validator(mode="after")
    def _check_start(self) -> TrainingConfig:
        parts = [part for part in (self.separator, self.pitch_estimator) if part is not None]
        if len(parts) != (2 if self.model is None else 0):
            raise ValueError("a run starts from `model`, or else from both `separator` and `pitch_estimator`.")
        return self

    @model_serializer(mode="wrap")
    def _leave_out_parts(self, serialize) -> dict[str, Any]:
        """Without parts that are not given: a run from a model is written down as it was before there were any."""
        return {
            name: value
            for name, value in serialize(self).items()
            if value is not None or name not in ("separator", "pitch_estimator")
        }

    def mixing(self, length: int, **overrides) -> MixingConfig:
        """The data section for an epoch of `length` items."""
        return MixingConfig.model_validate({**self.data, **overrides, "length": length})


def load_training_config(path: str | Path, stage: int | None = None) -> TrainingConfig:
    """Read a run's YAML file. `${NAME}` in it stands for an environment variable.

    Args:
        stage: 1 or 2; None for a file without stages.

    Raises:
        ValueError: a variable is not set, a key is unknown, a value is out of range, the stage is missing, or the file
            has stages and none was asked for; the message names it.
    """
    values = dict(read_config_file(path))
    stages = {number: values.pop(f"stage_{number}") for number in STAGES if f"stage_{number}" in values}
    if stage is None and stages:
        raise ValueError(f"{path} has the stages {sorted(stages)}; say which one to train with --stage.")
    if stage is not None and stage not in stages:
        raise ValueError(f"{path} has no section stage_{stage}; its stages are {sorted(stages) or 'none'}.")
    return TrainingConfig.model_validate(values if stage is None else merged(values, stages[stage]))


def merged(values: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`values` with `changes` in their place; mappings key by key, all else as a whole."""
    result = dict(values)
    for key, change in changes.items():
        both = isinstance(change, Mapping) and isinstance(result.get(key), Mapping)
        result[key] = merged(result[key], change) if both else change
    return result
