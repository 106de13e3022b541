"""The YAML file of an ablation: one corpus, one budget, some seeds, and rows that differ in what the file says."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from majl_hf.mixing.config import Corpus
from majl_hf.system.settings import Section, extension_chain, load_settings, merged

Share = Annotated[float, Field(gt=0, lt=1)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]  # of a folder and of a file

# What is the same for all rows, or decided for each run; a section `train` must not say it.
_OF_THE_BUDGET = {
    "arguments": ("max_steps", "num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps",
                  "output_dir", "seed", "data_seed", "load_best_model_at_end"),
    "data": ("length", "seed", "segment_samples", "sampling_rate", "num_channels", "streaming"),
}  # fmt: skip
_OF_THE_RUN = ("model", "early_stopping_evaluations", "validation")


class StartConfig(Section):
    """What every row starts from: either a trained model, or parts with random weights, other ones for each seed.

    Args:
        model: folder, Hub id or shipped name.
        parts: fields of `MajlConfig`, its `separator_config` and `pitch_estimator_config` with their `model_type`.
    """

    model: str | None = None
    parts: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _check_one(self) -> StartConfig:
        if (self.model is None) == (self.parts is None):
            raise ValueError("start needs either `model` or `parts`.")
        return self


class ReducedConfig(Section):
    """How labels are taken from a corpus of "full" rows.

    Args:
        rows: folder of a built corpus; its split `split` is used.
        full_share: of the songs, which keep everything.
        separation_share: of the other songs, which keep their stems and lose the pitch; what is left keeps the mixture
            and the pitch.
        seed: of the assignment of songs, which all rows and seeds of the matrix share.
    """

    rows: str
    split: str = "train"
    full_share: Share = 0.25
    separation_share: Share = 0.5
    seed: int = Field(default=0, ge=0)


class BudgetConfig(Section):
    """What every row may spend: optimiser steps over all its stages, and segments of so many samples a step."""

    steps: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    segment_samples: int = Field(gt=0)


class StageConfig(Section):
    """A part of a row's training.

    Args:
        share: of the budget's steps; those of a row add up to 1.
        pseudo_labels: fields of `PseudoLabelConfig`; where they are given, the model of the stage before labels the
            reduced corpus first. Who labels, what and to where is not said here.
        train: fields of `TrainingConfig` that differ from the row's.
    """

    share: float = Field(default=1.0, gt=0, le=1)
    pseudo_labels: dict[str, Any] | None = None
    train: dict[str, Any] = {}


class CellConfig(Section):
    """A row of the table.

    Args:
        title: what the table calls it.
        extends: name of a row whose `train` this one's comes on top of.
        enabled: whether it is trained when the command names no rows.
        train: fields of `TrainingConfig` that differ from the matrix's `train`.
        stages: empty for the starting point as it is.
    """

    title: str
    extends: str | None = None
    enabled: bool = True
    train: dict[str, Any] = {}
    stages: tuple[StageConfig, ...] = (StageConfig(),)


class EvaluateConfig(Section):
    """What the final models are scored on, whole clips.

    Args:
        validation, test: corpora; the test corpus is only read on demand.
        cluster: what the bootstrap draws: all clips of a song, all clips of a singer, or single clips.
    """

    validation: Corpus
    test: Corpus | None = None
    cluster: Literal["song", "singer", "clip"] = "song"


class AblationConfig(Section):
    """A matrix of rows and seeds.

    In `train` and in the rows, a folder may be `@reduced` (the corpus with labels taken away), `@complete` (the corpus
    as it was) or `@pseudo` (what the row's own model of the stage before has labelled).

    Args:
        name: of its section in the card and of its results file.
        title, about: heading and text of that section.
        out: folder of everything that is trained.
        seeds: of initial weights (where they are random), items and order; equal for all rows.
        train: fields of `TrainingConfig` that all rows share.
        pseudo_labels: fields of `PseudoLabelConfig` that all stages with pseudo labels share.
        references: rows that the others are compared with, clip by clip and seed by seed; the target is over the first.
        main: the row that has to reach the target.
        target: metric -> margin of `main` over the first reference; dB, or a fraction where the metric is one.
    """

    name: Name
    title: str
    about: str = ""
    out: str
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    start: StartConfig
    corpus: ReducedConfig
    budget: BudgetConfig
    train: dict[str, Any]
    pseudo_labels: dict[str, Any] = {}
    cells: dict[Name, CellConfig] = Field(min_length=1)
    evaluate: EvaluateConfig
    references: tuple[str, ...] = Field(min_length=1)
    main: str
    target: dict[Literal["sdr_db", "rpa", "oa"], float] = {}

    @field_validator("seeds")
    @classmethod
    def _check_seeds(cls, seeds):
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"the seeds {list(seeds)} name one twice.")
        return seeds

    @model_validator(mode="after")
    def _check_names(self) -> AblationConfig:
        for name in (*self.references, self.main, *(c.extends for c in self.cells.values() if c.extends)):
            if name not in self.cells:
                raise ValueError(f"there is no row {name!r}; the rows are {', '.join(self.cells)}.")
        return self

    @model_validator(mode="after")
    def _check_budgets(self) -> AblationConfig:
        sections = {"train": self.train}
        for name, cell in self.cells.items():
            sections[f"cells.{name}.train"] = cell.train
            for number, stage in enumerate(cell.stages, start=1):
                sections[f"cells.{name}.stages, {number}, train"] = stage.train
            self.stage_steps(name)
        for where, section in sections.items():
            found = [key for key in _OF_THE_RUN if key in section]
            for part, keys in _OF_THE_BUDGET.items():
                found += [f"{part}.{key}" for key in keys if key in (section.get(part) or {})]
            if found:
                raise ValueError(
                    f"{where} sets {', '.join(found)}; this is one for all rows. Use `budget`, `start` and `seeds`."
                )
        for name, cell in self.cells.items():
            for number, stage in enumerate(cell.stages):
                if stage.pseudo_labels is not None and number == 0:
                    raise ValueError(f"the first stage of {name} has pseudo labels, but no model that could make them.")
        return self

    def stage_steps(self, name: str) -> list[int]:
        """Optimiser steps of each stage of a row, which add up to the budget (none for a row without stages).

        Raises:
            ValueError: the shares do not add up to 1, or a stage is left without a step.
        """
        shares = [stage.share for stage in self.cells[name].stages]
        if not shares:
            return []
        if abs(sum(shares) - 1.0) > 1e-6:
            raise ValueError(
                f"the stages of {name} share {sum(shares):g} of the budget; all rows need to spend the same, so the "
                "shares of a row need to add up to 1."
            )
        ends = [round(sum(shares[: number + 1]) * self.budget.steps) for number in range(len(shares))]
        steps = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
        if min(steps) < 1:
            raise ValueError(f"the stages of {name} get {steps} steps; each needs at least one.")
        return steps

    def train_section(self, name: str, stage: StageConfig) -> dict[str, Any]:
        """Fields of `TrainingConfig` of a stage of a row: the matrix's, those of the rows it extends, its own."""
        extends = {cell: section.extends for cell, section in self.cells.items()}
        section: dict[str, Any] = dict(self.train)
        for cell in reversed(extension_chain(name, extends, f"cells.{name}")):
            section = merged(section, self.cells[cell].train)
        return merged(section, stage.train)


def load_ablation_config(path: str | Path) -> AblationConfig:
    """The YAML file of an ablation.

    Raises:
        ConfigError: not readable, an unknown key, a value that does not fit, rows that do not spend the same.
    """
    return load_settings(path, AblationConfig)
