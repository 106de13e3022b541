"""Train and score the rows of a matrix, one after the other; what is finished is passed over.

A run that was killed is resumed from its last checkpoint; its pseudo labels and its scores appear whole or not at all.
A run locks its folder, so two processes of the same command share the matrix.
"""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from majl_hf.checkpoints.loading import checkpoint_sha256
from majl_hf.errors import ConfigError
from majl_hf.evaluation.runner import evaluate
from majl_hf.evaluation.systems import MajlSystem
from majl_hf.mixing.config import Corpus
from majl_hf.models.configuration_majl import MajlConfig
from majl_hf.models.modeling_majl import MajlModel
from majl_hf.pseudo_labels import run_pseudo_labels
from majl_hf.system.files import locked, new_folder, write_json
from majl_hf.system.provenance import code_revision
from majl_hf.training.run import last_checkpoint, seeded_model, train

from .config import AblationConfig
from .plan import Run, Stage, corpus_folder, plan_run, start_folder
from .reduced import make_reduced_corpus

RUN_FILE, STAGE_FILE, LOG_FILE = "run.json", "stage.json", "log.json"


def prepare(config: AblationConfig) -> dict:
    """Make the reduced corpus and the starting points, unless they are there; returns the corpus's facts.

    Raises:
        ConfigError: they are there and were made otherwise; several processes in one run.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "An ablation runs in one process, since several would take more items a step; give the command without a "
            "launcher, several times if you like."
        )
    facts = make_reduced_corpus(config.corpus, corpus_folder(config))
    if config.start.parts is not None:
        for seed in config.seeds:
            _make_start(config.start.parts, seed, Path(start_folder(config, seed)))
    return facts


def run_matrix(
    config: AblationConfig,
    cells: Sequence[str],
    seeds: Sequence[int],
    test: bool = False,
    say: Callable[[str], None] = print,
) -> list[str]:
    """Train and score rows, seed by seed, so that a matrix that is stopped has whole columns.

    Args:
        test: score on the test corpus too.
        say: is told what begins and ends.

    Returns:
        What was passed over since another process was at it.
    """
    for cell in cells:
        plan_run(config, cell, seeds[0])  # a mistake in the last row is found before the first one is trained
    prepare(config)
    busy = []
    for seed in seeds:
        for cell in cells:
            run = plan_run(config, cell, seed)
            with locked(run.folder) as free:
                if not free:
                    busy.append(f"{cell}, seed {seed}")
                    say(f"{cell}, seed {seed}: another process is at it")
                    continue
                carry_out(config, run, test, say)
    return busy


def carry_out(config: AblationConfig, run: Run, test: bool = False, say: Callable[[str], None] = print) -> None:
    """All of a run that is not done yet.

    Raises:
        ConfigError: its folder has a run with other settings.
    """
    _check_made_with(run)
    for number, stage in enumerate(run.stages, start=1):
        if not (stage.folder / STAGE_FILE).is_file():
            say(f"{run.cell}, seed {run.seed}: stage {number} of {len(run.stages)}, {stage.steps} steps")
            _train_stage(stage)
    for split, corpus in (("validation", config.evaluate.validation), ("test", config.evaluate.test if test else None)):
        if corpus is not None and not run.scores_file(split).is_file():
            _score(run, split, corpus)
            say(f"{run.cell}, seed {run.seed}: scored on {split}")


def _part(config: MajlConfig, name: str) -> dict | None:
    """What a part's config says that is not a default; None where there is no such part."""
    part = getattr(config, name)
    return None if part is None else part.to_diff_dict()


def _make_start(parts: dict, seed: int, folder: Path) -> None:
    """A model with random weights drawn from `seed`, saved in `folder` unless it is there."""
    config = MajlConfig(**parts)
    with locked(folder.parent, wait=True):
        if not folder.is_dir():
            with new_folder(folder) as part:
                seeded_model(config, seed).eval().save_pretrained(part)
    there = MajlConfig.from_pretrained(folder)
    if any(_part(there, name) != _part(config, name) for name in MajlConfig.sub_configs):
        raise ConfigError(f"{folder} has other parts than `start.parts` says. Choose another `out`.")


def _check_made_with(run: Run) -> None:
    path = run.folder / RUN_FILE
    if path.is_file():
        if json.loads(path.read_text(encoding="utf-8"))["digest"] != run.digest:
            raise ConfigError(
                f"{run.folder} was made with other settings than the configuration has now. Delete that folder to "
                "train this row again, or give the row another name."
            )
        return
    write_json(path, {"digest": run.digest, **run.facts})


def _train_stage(stage: Stage) -> None:
    """Label what the stage needs and train it, from its last checkpoint where there is one."""
    start_s, labelling_s = time.perf_counter(), 0.0
    if stage.pseudo_labels is not None:
        report = run_pseudo_labels(stage.pseudo_labels)
        labelling_s = time.perf_counter() - start_s
        start_s = time.perf_counter()
        kept = {name: summary["num_kept"] for name, summary in report.report["directions"].items()}
    else:
        kept = {}
    checkpoint = last_checkpoint(stage.folder)
    done = 0 if checkpoint is None else int(checkpoint.rpartition("-")[2])
    trainer = train(stage.training)
    wall_s = time.perf_counter() - start_s
    if trainer.state.global_step != stage.steps:
        raise ConfigError(f"{stage.folder} made {trainer.state.global_step} steps instead of {stage.steps}.")
    log = trainer.state.log_history
    write_json(stage.folder / LOG_FILE, {"log": log})
    facts = {
        "steps": stage.steps,
        # A session that resumed a checkpoint measured its own steps only.
        "training_s": None if done >= stage.steps else wall_s * stage.steps / (stage.steps - done),
        "labelling_s": labelling_s,
        "pseudo_rows": kept,
        "resumed_at_step": done,
        "threads": torch.get_num_threads(),
        "code_revision": code_revision(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "losses": _ends_of_losses(log),
    }
    del trainer
    gc.collect()  # the Trainer and its callbacks hold each other
    write_json(stage.folder / STAGE_FILE, facts)
    for folder in stage.folder.glob("checkpoint-*"):
        shutil.rmtree(folder)


def _ends_of_losses(log: Sequence[dict]) -> dict[str, list[float]]:
    """Loss by name -> its mean over the first and over the last tenth of the log's entries."""
    losses = {}
    for name in ("separation_loss", "pitch_loss"):
        values = [entry[name] for entry in log if name in entry]
        count = max(1, len(values) // 10)
        if values:
            losses[name] = [sum(part) / count for part in (values[:count], values[-count:])]
    return losses


def _score(run: Run, split: str, corpus: Corpus) -> None:
    """Score the run's model on every clip of a corpus and keep the scores."""
    start_s = time.perf_counter()
    if run.stages and run.stages[0].training.threads:
        torch.set_num_threads(run.stages[0].training.threads)
    system = MajlSystem(MajlModel.from_pretrained(run.model).eval(), run.cell)
    items = [
        {"id": item.id, "song": item.song, "singer": item.singer, "duration_s": item.duration_s}
        | {name: value for name, value in item.scores.items() if math.isfinite(value)}
        for item in evaluate(system, corpus).items
    ]
    write_json(
        run.scores_file(split),
        {
            "cell": run.cell,
            "seed": run.seed,
            "digest": run.digest,
            "corpus": corpus.model_dump(mode="json", exclude={"folder"}),
            "checkpoint_sha256": checkpoint_sha256(run.model),
            "code_revision": code_revision(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "wall_s": time.perf_counter() - start_s,
            "items": items,
        },
    )
