"""The settings of a training run: model, data, optimisation, each a section that refuses unknown keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, PlainSerializer, field_validator, model_validator
from transformers import TrainingArguments
from typing_extensions import TypedDict

from ..mixing.config import Corpus, MixingConfig
from ..system.settings import Location, Section
from .balancing import BALANCES, Balance
from .weights import STRATEGIES

# Fields of TrainingArguments that joint training needs, where a run does not set them.
BASE_ARGUMENTS = {
    "remove_unused_columns": False,
    "label_names": ["vocals", "f0_hz"],
    "num_train_epochs": 1,
    "report_to": "none",
    "metric_for_best_model": "score",
    "greater_is_better": True,
}
# A float of TrainingArguments, such as save_steps; whole numbers stay such in records and messages.
_Number = Annotated[float, AfterValidator(lambda x: int(x) if x.is_integer() else x), PlainSerializer(lambda x: x)]


def _type_of_argument(name: str, declared: Any) -> Any:
    """The type of a field of TrainingArguments as pydantic checks it; fields that are no plain values are checked by
    TrainingArguments itself."""
    if name == "output_dir":
        return Location
    if not set(get_args(declared) or (declared,)) <= {bool, int, float, str, NoneType}:
        return Any
    return _Number if declared is float else declared


Arguments = TypedDict(
    "Arguments",
    {name: _type_of_argument(name, field.type) for name, field in TrainingArguments.__dataclass_fields__.items()},
    total=False,
)
"""Fields of TrainingArguments, of their types."""


class ValidationConfig(Section):
    """What a checkpoint is judged by while it trains.

    Args:
        corpora: clips of validation singers and songs; of rows without vocals only the pitch is judged.
        max_clips: clips of each corpus, evenly spread over it; default: all.
        max_clip_s: seconds of each clip, those in which the reference vocals are loudest, else from its start.
        score: `eval_score` as a sum: metric by name (such as `mir1k_sdr_db`, see `validation.Validation`) to the factor
            that it counts with; left out, the mean SDR in dB of the corpora plus ten times their mean overall accuracy.
    """

    corpora: tuple[Corpus, ...] = ()
    max_clips: int | None = Field(default=None, gt=0)
    max_clip_s: float = Field(default=60.0, gt=0)
    score: dict[str, float] = {}

    @field_validator("corpora")
    @classmethod
    def _check_names(cls, corpora):
        folders = [Path(corpus.folder) for corpus in corpora]
        names = [folder.name for folder in folders]
        if shared := [str(folder) for folder in folders if names.count(folder.name) > 1]:
            raise ValueError(
                f"the folders {', '.join(shared)} have the same name, which their scores would share; rename one of "
                "them, or give a link to it with another name"
            )
        return corpora


class _Options(Section):
    """Options of a strategy, which is made once to see whether it takes them."""

    options: dict[str, Any] = {}

    @model_validator(mode="after")
    def _check_options(self):
        try:
            self.make()
        except TypeError as error:
            names = sorted(self.options)
            raise ValueError(f"options {names} do not fit the strategy {self.strategy!r} ({error})") from error
        return self


class WeightingConfig(_Options):
    """Weights of frames.

    Args:
        strategy: one of `weights.STRATEGIES`.
        options: what that strategy takes, such as `{error_exponent: 1}` for DWHS.
        warmup_share: of the steps, in which the weights are the confidences.
    """

    strategy: Literal[tuple(STRATEGIES)] = "confidence"
    warmup_share: float = Field(default=0.1, ge=0, le=1)

    def make(self):
        return STRATEGIES[self.strategy](**self.options)


class BalancingConfig(_Options):
    """Weights of the two losses.

    Args:
        strategy: one of `balancing.BALANCES`. Its `pitch_weight` is the model's `pitch_loss_weight`.
        options: what that strategy takes besides.
    """

    strategy: Literal[tuple(BALANCES)] = "fixed"

    def make(self, pitch_weight: float = 1.0) -> Balance:
        return BALANCES[self.strategy](pitch_weight=pitch_weight, **self.options)


class TrainingConfig(Section):
    """A whole run.

    Args:
        model: folder, Hub id or shipped name of the model that training starts from.
        separator, pitch_estimator: instead of `model`, parts with random weights of the seed in `arguments`: the name
            of a preset (`majl models --backbones` lists them), or a mapping with `preset` or `model_type` and what
            differs from its defaults.
        model_config_overrides: fields of `MajlConfig` that differ from that model's; of its parts' configs too, as
            mappings under `separator_config` and `pitch_estimator_config`, where their weights stay the same.
        data: sources and mixing. `length`, `sampling_rate`, `num_channels`, `hop_s` and `num_frames` follow from the
            model and the number of steps.
        validation: clips for the validation score.
        learning_rates: learning rate by the beginning of a parameter's name, the longest match wins; 0 freezes.
        weighting, balancing: weights of frames and of the two losses.
        average_decay: keep a moving average of the weights, which is judged and saved; left out, none is kept.
        early_stopping_evaluations: end after that many evaluations without a better score; left out, never.
        threads: CPU threads per process; left out, the machine's cores divided by its processes. `accelerate
            launch` alone would leave one.
        arguments: fields of `transformers.TrainingArguments`, `output_dir` and `max_steps` among them.
    """

    model: Location | None = None
    separator: str | dict[str, Any] | None = None
    pitch_estimator: str | dict[str, Any] | None = None
    model_config_overrides: dict[str, Any] = {}
    data: MixingConfig
    validation: ValidationConfig = ValidationConfig()
    learning_rates: dict[str, Annotated[float, Field(ge=0)]] = {}
    weighting: WeightingConfig = WeightingConfig()
    balancing: BalancingConfig = BalancingConfig()
    average_decay: float | None = Field(default=None, ge=0, lt=1)
    early_stopping_evaluations: int | None = Field(default=None, gt=0)
    threads: int | None = Field(default=None, gt=0)
    arguments: Arguments

    @field_validator("arguments", mode="before")
    @classmethod
    def _check_names(cls, arguments: Any) -> Any:
        if isinstance(arguments, Mapping) and (
            unknown := [name for name in arguments if name not in TrainingArguments.__dataclass_fields__]
        ):
            raise ValueError(f"TrainingArguments has no {', '.join(map(str, unknown))}")
        return arguments

    @field_validator("arguments")
    @classmethod
    def _check_arguments(cls, arguments: Arguments) -> Arguments:
        if not arguments.get("output_dir"):
            raise ValueError("output_dir is missing, the folder of the run")
        if arguments.get("max_steps", 0) <= 0:
            raise ValueError(f"max_steps is {arguments.get('max_steps')}; a run needs a number of steps above 0")
        return arguments

    @model_validator(mode="after")
    def _check_start(self) -> TrainingConfig:
        parts = [part for part in (self.separator, self.pitch_estimator) if part is not None]
        if len(parts) != (2 if self.model is None else 0):
            raise ValueError("a run starts from `model`, or else from both `separator` and `pitch_estimator`.")
        return self

    @property
    def out(self) -> str:
        """Folder of the run."""
        return self.arguments["output_dir"]

    @property
    def corpora(self) -> tuple[Corpus, ...]:
        return *self.data.sources, *self.validation.corpora

    @property
    def inputs(self) -> tuple[str | None, ...]:
        """Models and folders that the run reads."""
        return self.model, *(corpus.folder for corpus in self.corpora)

    def with_arguments(self, **arguments) -> TrainingConfig:
        """The same run with other `arguments`."""
        return self.model_copy(update={"arguments": {**self.arguments, **arguments}})
