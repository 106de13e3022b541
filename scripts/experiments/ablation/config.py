"""The YAML file of an ablation: one corpus, one budget, some seeds, and variants, the rows of the table.

A variant for one seed is a recipe: stages that train or label, each in its own folder `OUT/VARIANT/seed-SEED/STAGE`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from majl_hf.checkpoints import find_checkpoint
from majl_hf.errors import ConfigError
from majl_hf.mixing.config import Corpus
from majl_hf.models.configuration_majl import MajlConfig
from majl_hf.pseudo_labels import PseudoLabelConfig
from majl_hf.system.settings import Section, extension_chain, merged, validated
from majl_hf.training.config import TrainingConfig

from .reduced import ReducedConfig

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]  # of a folder and of a file

# Between the seeds of two stages, so that the second does not draw the same items as the first.
SEED_STEP = 1_000_003


class BudgetConfig(Section):
    """What every variant may spend: optimiser steps over all its stages; number and samples of segments per step."""

    steps: int = Field(gt=0)
    batch_size: int = Field(gt=0)
    segment_samples: int = Field(gt=0)


class CellConfig(Section):
    """A variant, which is a row of the table.

    Args:
        title: its name in the table.
        extends: name of a variant whose `train` this one's is merged into.
        enabled: whether it is trained when the command names no variants.
        train: fields of `TrainingConfig` that differ from the matrix's `train`.
        stages: name -> settings. Stages that train (fields of `TrainingConfig` that differ from the variant's) divide
            the budget's steps evenly and start from the one before. With `kind: label` (and fields of
            `PseudoLabelConfig`) the model of the stage before labels the reduced corpus. Empty for the start itself.
    """

    title: str
    extends: str | None = None
    enabled: bool = True
    train: dict[str, Any] = {}
    stages: dict[Name, dict[str, Any]] = {"train": {}}


class EvaluateConfig(Section):
    """Corpora on which the final models are scored, whole clips.

    Args:
        validation, test: corpora; the test corpus is only read on demand.
        cluster: unit that the bootstrap draws: all clips of a song, all clips of a singer, or single clips.
    """

    validation: Corpus
    test: Corpus | None = None
    cluster: Literal["song", "singer", "clip"] = "song"


class AblationConfig(Section):
    """A matrix of variants and seeds.

    Args:
        name: of its section in the card and of its results file.
        title, about: heading and text of that section.
        out: folder of everything that is trained.
        seeds: of initial weights (where they are random), items and order; equal for all variants.
        start: what every variant starts from: `model`, or `separator` and `pitch_estimator`, as in a `TrainingConfig`.
        corpus: made before anything is trained.
        train: fields of `TrainingConfig` that all variants share. As the folder of a source, `@NAME` is that of the
            stage NAME of the same run.
        pseudo_labels: fields of `PseudoLabelConfig` that all stages with pseudo labels share.
        references: variants that the others are compared with, by clip and seed; the target is over the first.
        main: the variant that has to reach the target.
        target: metric -> margin of `main` over the first reference; in dB, or a fraction if the metric is one.
    """

    name: Name
    title: str
    about: str = ""
    out: str
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = Field(min_length=1)
    start: dict[Literal["model", "separator", "pitch_estimator"], Any]
    corpus: ReducedConfig
    budget: BudgetConfig
    train: dict[str, Any]
    pseudo_labels: dict[str, Any] = {}
    cells: dict[Name, CellConfig] = Field(min_length=1)
    evaluate: EvaluateConfig
    references: tuple[str, ...] = Field(min_length=1)
    main: str
    target: dict[Literal["sdr_db", "rpa", "oa"], float] = {}

    @model_validator(mode="after")
    def _check_names(self) -> AblationConfig:
        if unknown := [name for name in (*self.references, self.main) if name not in self.cells]:
            raise ValueError(f"there is no variant {unknown[0]!r}; the variants are {', '.join(self.cells)}.")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"the seeds {list(self.seeds)} contain one twice.")
        return self

    def start_config(self) -> MajlConfig:
        """The config of the model that every variant starts from."""
        if "model" in self.start:
            return MajlConfig.from_pretrained(find_checkpoint(self.start["model"]))
        parts = ("separator", "pitch_estimator")
        return MajlConfig(**{f"{part}_config": self.start.get(part) for part in parts})

    def stage_steps(self, cell: str) -> list[int]:
        """Optimiser steps of each training stage of a variant; they add up to the budget."""
        count = sum(not _is_label(stage) for stage in self.cells[cell].stages.values())
        return [end - begin for begin, end in pairwise(self.budget.steps * n // (count or 1) for n in range(count + 1))]

    def spent(self, cell: str, sampling_rate: int) -> dict[str, Any]:
        """What a variant spends in a run, which is the same for all variants that train: steps, those of each stage,
        items, and seconds of audio with models of this rate."""
        steps = self.stage_steps(cell)
        items = sum(steps) * self.budget.batch_size
        audio_s = items * self.budget.segment_samples / sampling_rate
        return {"steps": sum(steps), "stage_steps": steps, "items": items, "audio_s": audio_s}


@dataclass(frozen=True)
class Run:
    """A variant for one seed: its stages by name, and the folder or the name of its final model."""

    cell: str
    seed: int
    folder: Path
    stages: Mapping[str, TrainingConfig | PseudoLabelConfig]
    model: str

    @property
    def file(self) -> Path:
        """The record of what was done."""
        return self.folder / "run.json"


def plan_run(config: AblationConfig, cell: str, seed: int) -> Run:
    """The stages of a variant for a seed.

    Raises:
        ConfigError: sections that do not make a `TrainingConfig` or a `PseudoLabelConfig`, or that set what all
            variants share; the message names the variant and the stage.
    """
    extends = {name: section.extends for name, section in config.cells.items()}
    chain = reversed(extension_chain(cell, extends, f"cells.{cell}"))
    of_row = reduce(merged, (config.cells[name].train for name in chain), config.train)
    folder, stages, start = Path(config.out) / cell / f"seed-{seed}", {}, config.start
    training = enumerate(config.stage_steps(cell))
    for name, section in config.cells[cell].stages.items():
        where, out = f"variant {cell!r}, stage {name!r}", str(folder / name)
        if _is_label(section):
            teachers = dict.fromkeys(("pitch_teacher", "vocals_teacher"), start.get("model"))
            own = {key: value for key, value in section.items() if key != "kind"}
            values = {**teachers, **config.pseudo_labels, **own, "rows": config.corpus.out, "out": out}
            stages[name] = validated(PseudoLabelConfig, values, where)
            continue
        number, num_steps = next(training)
        of_run = {
            **start,
            "early_stopping_evaluations": None,
            "data": {"seed": seed + SEED_STEP * number, "segment_samples": config.budget.segment_samples},
            "arguments": {
                "output_dir": out,
                "max_steps": num_steps,
                "per_device_train_batch_size": config.budget.batch_size,
                "gradient_accumulation_steps": 1,
                "load_best_model_at_end": False,
                "seed": seed + SEED_STEP * number,
            },
        }
        values = merged(of_row, section)
        _refuse_both(values, of_run, where)
        values = merged(values, of_run)
        sources = values["data"].get("sources", ())
        values["data"]["sources"] = [_with_folder(source, folder, stages, where) for source in sources]
        stages[name] = validated(TrainingConfig, values, where)
        start = {"model": out}
    if start.get("model") is None:
        raise ConfigError(f"variant {cell!r} trains nothing, and there is no `start.model` to score.")
    return Run(cell, seed, folder, stages, start["model"])


def _refuse_both(values: Mapping, of_run: Mapping, where: str) -> None:
    """Refuse settings of a variant that the run itself sets."""
    parts = ("data", "arguments")
    both = [key for key in of_run if key in values and key not in parts]
    both += [f"{part}.{key}" for part in parts for key in of_run[part] if key in values.get(part, {})]
    if both:
        raise ConfigError(
            f"{where} sets {', '.join(both)}, which all variants share. Use `budget`, `start` and `seeds`."
        )


def _is_label(stage: Mapping) -> bool:
    return stage.get("kind") == "label"


def _with_folder(source: Mapping, folder: Path, stages: Mapping, where: str) -> dict:
    """A source whose folder `@NAME` is replaced by that of the earlier stage NAME."""
    name = source.get("folder", "")
    if not name.startswith("@"):
        return dict(source)
    if name[1:] not in stages:
        raise ConfigError(f"{where} reads the folder {name!r}; the stages before it are {', '.join(stages) or 'none'}.")
    return {**source, "folder": str(folder / name[1:])}
