"""What a row of the matrix means for one seed: folders, and the training configuration of each stage.

OUT/corpus/                     the reduced corpus, see `reduced`
OUT/start/seed-S/               the starting point, where it has random weights
OUT/cells/CELL/seed-S/          run.json     what the run was made with
                                stage-N/     the trained model, stage.json when it is finished, log.json
                                stage-N/pseudo/      what the model of the stage before has labelled for this one
                                scores_validation.json, scores_test.json
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from majl_hf.errors import ConfigError
from majl_hf.pseudo_labels import PseudoLabelConfig
from majl_hf.system.settings import merged, validated
from majl_hf.training.config import TrainingConfig

from .config import AblationConfig

# Between the seeds of two stages, so that the second one does not draw the items of the first again.
SEED_STEP = 1_000_003


@dataclass(frozen=True)
class Stage:
    """A stage of a run; `pseudo_labels` is what has to be labelled before it."""

    folder: Path
    training: TrainingConfig
    steps: int
    pseudo_labels: PseudoLabelConfig | None


@dataclass(frozen=True)
class Run:
    """A row of the matrix for one seed; `model` is the folder, or the name, of the model that it ends with."""

    cell: str
    seed: int
    folder: Path
    model: str
    stages: tuple[Stage, ...]

    @property
    def facts(self) -> dict[str, Any]:
        """Everything that decides what the run comes to, for JSON; folders of the machine are part of it."""
        return {
            "cell": self.cell,
            "seed": self.seed,
            "model": self.model,
            "stages": [
                {
                    "training": stage.training.model_dump(mode="json"),
                    "pseudo_labels": stage.pseudo_labels and stage.pseudo_labels.model_dump(mode="json"),
                }
                for stage in self.stages
            ],
        }

    @property
    def digest(self) -> str:
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()[:32]

    def scores_file(self, split: str) -> Path:
        return self.folder / f"scores_{split}.json"


@dataclass(frozen=True)
class Budget:
    """What a row spends in a run: optimiser steps of each stage, items and seconds of audio over all of them."""

    stage_steps: tuple[int, ...]
    items: int
    audio_s: float

    @property
    def steps(self) -> int:
        return sum(self.stage_steps)


def corpus_folder(config: AblationConfig) -> Path:
    return Path(config.out) / "corpus"


def start_folder(config: AblationConfig, seed: int) -> str:
    """Folder or name of the model that all rows of a seed start from."""
    return config.start.model or str(Path(config.out) / "start" / f"seed-{seed}")


def plan_run(config: AblationConfig, cell: str, seed: int) -> Run:
    """The stages of a row for a seed.

    Raises:
        ConfigError: sections that do not make a `TrainingConfig` or a `PseudoLabelConfig`; the message names the row.
    """
    folder = Path(config.out) / "cells" / cell / f"seed-{seed}"
    model = start_folder(config, seed)
    stages = []
    steps = config.stage_steps(cell)
    for number, (stage, num_steps) in enumerate(zip(config.cells[cell].stages, steps, strict=True)):
        stage_folder = folder / f"stage-{number + 1}"
        folders = {
            "@reduced": str(corpus_folder(config)),
            "@complete": config.corpus.rows,
            "@pseudo": str(stage_folder / "pseudo"),
        }
        of_the_run = {
            "model": model,
            "data": {"seed": seed + SEED_STEP * number, "segment_samples": config.budget.segment_samples},
            "arguments": {
                "output_dir": str(stage_folder),
                "max_steps": num_steps,
                "per_device_train_batch_size": config.budget.batch_size,
                "seed": seed + SEED_STEP * number,
            },
        }
        section = merged(config.train_section(cell, stage), of_the_run)
        where = f"stage {number + 1} of the row {cell!r}"
        training = validated(TrainingConfig, _with_folders(section, folders, cell), where)
        pseudo = None
        if stage.pseudo_labels is not None:
            labelling = {"pitch_teacher": model, "vocals_teacher": model, "label_kinds": ["separation", "pitch"]}
            labelling |= {**config.pseudo_labels, **stage.pseudo_labels}
            labelling |= {"rows": folders["@reduced"], "out": folders["@pseudo"]}
            pseudo = validated(PseudoLabelConfig, labelling, f"the pseudo labels of {where}")
        stages.append(Stage(stage_folder, training, num_steps, pseudo))
        model = str(stage_folder)
    return Run(cell, seed, folder, model, tuple(stages))


def budgets(config: AblationConfig, sampling_rate: int) -> dict[str, Budget]:
    """What each row spends; all that are trained spend the same, see `AblationConfig.stage_steps`.

    Args:
        sampling_rate: of the models, Hz.

    Raises:
        ConfigError: as of `plan_run`.
    """
    spent = {}
    for cell in config.cells:
        steps = tuple(stage.steps for stage in plan_run(config, cell, config.seeds[0]).stages)
        items = sum(steps) * config.budget.batch_size
        spent[cell] = Budget(steps, items, items * config.budget.segment_samples / sampling_rate)
    return spent


def _with_folders(value: Any, folders: Mapping[str, str], cell: str) -> Any:
    """`value` with its `@NAME`s replaced."""
    if isinstance(value, Mapping):
        return {key: _with_folders(item, folders, cell) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_with_folders(item, folders, cell) for item in value]
    if isinstance(value, str) and value.startswith("@"):
        if value not in folders:
            raise ConfigError(f"The row {cell!r} names the folder {value!r}; use one of {', '.join(folders)}.")
        return folders[value]
    return value
