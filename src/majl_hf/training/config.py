"""The YAML file of a training run: model, data, optimisation, each a section that refuses unknown keys."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from ..config_file import Section, read_config_file
from ..data import Mir1kCorpus, MixingConfig, StemsCorpus


class ValidationConfig(Section):
    """What a checkpoint is judged by while it trains.

    Args:
        corpora: clips of validation singers and songs.
        max_clips: clips of each corpus, evenly spread over it; all where left out.
        max_clip_s: seconds of each clip, from its start.
    """

    corpora: tuple[Annotated[Mir1kCorpus | StemsCorpus, Field(discriminator="kind")], ...] = ()
    max_clips: int | None = Field(default=None, gt=0)
    max_clip_s: float = Field(default=60.0, gt=0)


class TrainingConfig(Section):
    """A whole run.

    Args:
        model: folder, Hub id or shipped name of the model that training starts from.
        model_config_overrides: fields of `MajlConfig` that differ from that model's.
        data: sources and mixing, see `majl_hf.data.MixingConfig`; `length` is worked out from the number of steps.
        validation: clips for the validation score.
        learning_rates: learning rate by the beginning of a parameter's name, the longest match wins; 0 freezes.
        arguments: fields of `transformers.TrainingArguments`.
    """

    model: str
    model_config_overrides: dict[str, Any] = {}
    data: dict[str, Any]
    validation: ValidationConfig = ValidationConfig()
    learning_rates: dict[str, Annotated[float, Field(ge=0)]] = {}
    arguments: dict[str, Any]

    def mixing(self, length: int, **overrides) -> MixingConfig:
        """The data section for an epoch of `length` items."""
        return MixingConfig.model_validate({**self.data, **overrides, "length": length})


def load_training_config(path: str | Path) -> TrainingConfig:
    """Read a run's YAML file. `${NAME}` in it stands for an environment variable.

    Raises:
        ValueError: a variable is not set, a key is unknown, a value is out of range; the message names it.
    """
    return TrainingConfig.model_validate(read_config_file(path))
