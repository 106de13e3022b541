"""Train and score the runs of a matrix, one after the other; finished ones are skipped.

    OUT/VARIANT/seed-SEED/run.json      settings, facts of the finished stages, scores by split
    OUT/VARIANT/seed-SEED/STAGE/        the trained model and the Trainer's log, or pseudo labels

An interrupted run is resumed from the last checkpoint. A stage that another variant has finished with the same seed and
settings is copied from there. A run locks its folder, so that processes of the same command can share the matrix.
"""

from __future__ import annotations

import gc
import json
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from majl_hf.errors import ConfigError
from majl_hf.evaluation.runner import evaluate
from majl_hf.evaluation.systems import MajlSystem
from majl_hf.mixing.config import Corpus
from majl_hf.pseudo_labels import PseudoLabelConfig, run_pseudo_labels
from majl_hf.system.files import locked, write_json
from majl_hf.system.provenance import code_revision
from majl_hf.training.config import TrainingConfig
from majl_hf.training.run import last_checkpoint, train

from .config import AblationConfig, Run, plan_run
from .reduced import make_reduced_corpus


def run_matrix(config: AblationConfig, cells: Sequence[str], seeds: Sequence[int], test: bool = False) -> list[str]:
    """Train and score variants, seed by seed, so that an interrupted matrix has complete seeds; print each step.

    Args:
        test: also score on the test corpus.

    Returns:
        The runs that were skipped since another process was running them.

    Raises:
        ConfigError: a folder has a run with other settings; several processes in one run.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError(
            "An ablation runs in one process, since several would use more items per step; run the command without a "
            "launcher, several times if you like."
        )
    runs = [plan_run(config, cell, seed) for seed in seeds for cell in cells]  # all errors are found before training
    make_reduced_corpus(config.corpus)
    if threads := config.train.get("threads"):
        torch.set_num_threads(threads)
    splits = {"validation": config.evaluate.validation} | ({"test": config.evaluate.test} if test else {})
    busy = []
    for run in runs:
        with locked(run.folder) as free:
            if free:
                _carry_out(run, splits)
            else:
                busy.append(f"{run.cell}, seed {run.seed}")
    return busy


def read_record(run: Run) -> dict:
    """Content of a run's `run.json`: `settings`, `stages` (name -> facts), `scores` (split -> items).

    Raises:
        ConfigError: it was made with other settings.
    """
    stages = {name: stage.model_dump(mode="json") for name, stage in run.stages.items()}
    settings = {"model": run.model, "stages": stages}
    if not run.file.is_file():
        return {"settings": settings, "stages": {}, "scores": {}}
    record = json.loads(run.file.read_text(encoding="utf-8"))
    if record.get("settings") != settings:
        raise ConfigError(
            f"{run.folder} was made with other settings than the configuration has now. Delete that folder to train "
            "this variant again, or give the variant another name."
        )
    return record


def _carry_out(run: Run, splits: dict[str, Corpus | None]) -> None:
    """Run everything that is not done yet."""
    record = read_record(run)
    write_json(run.file, record)
    for name, stage in run.stages.items():
        if name not in record["stages"]:
            print(f"{run.cell}, seed {run.seed}: stage {name}", flush=True)
            facts = _copy(run, name)
            if facts is None:
                facts = _label(stage) if isinstance(stage, PseudoLabelConfig) else _train(stage)
            record["stages"][name] = facts
            write_json(run.file, record)
            for checkpoint in Path(stage.out).glob("checkpoint-*"):
                shutil.rmtree(checkpoint)
    for split, corpus in splits.items():
        if corpus is not None and split not in record["scores"]:
            print(f"{run.cell}, seed {run.seed}: scores on {split}", flush=True)
            record["scores"][split] = _score(run, corpus)
            write_json(run.file, record)


def _copy(run: Run, name: str) -> dict | None:
    """Copy a stage from another variant's run that has finished it, if it is not begun here; its facts, or None."""
    out = Path(run.stages[name].out)
    if out.exists():
        return None
    wanted = _settings_until(read_record(run)["settings"]["stages"], name, run.folder)
    for file in sorted(run.folder.parent.parent.glob(f"*/{run.folder.name}/{run.file.name}")):
        other = json.loads(file.read_text(encoding="utf-8"))
        settings = other["settings"]["stages"]
        if name in other["stages"] and _settings_until(settings, name, file.parent) == wanted:
            part = out.with_name(f"{name}.part")
            shutil.rmtree(part, ignore_errors=True)
            shutil.copytree(file.parent / name, part)
            part.rename(out)
            return other["stages"][name]
    return None


def _settings_until(stages: Mapping[str, dict], last: str, folder: Path) -> str | None:
    """The settings of the stages up to `last`, without the run's folder; None if there is no such stage."""
    if last not in stages:
        return None
    until = dict(list(stages.items())[: list(stages).index(last) + 1])
    return json.dumps(until).replace(json.dumps(str(folder))[1:-1], "")


def _label(stage: PseudoLabelConfig) -> dict:
    start_s = time.perf_counter()
    report = run_pseudo_labels(stage).report
    kept = {name: summary["num_kept"] for name, summary in report["directions"].items()}
    return {"labelling_s": time.perf_counter() - start_s, "pseudo_rows": kept, "revision": code_revision()}


def _train(stage: TrainingConfig) -> dict:
    """Train a stage, from its last checkpoint if there is one."""
    start_s, checkpoint = time.perf_counter(), last_checkpoint(stage.out)
    trainer = train(stage)
    trainer.save_state()  # with the log
    del trainer
    gc.collect()  # the Trainer and its callbacks form a reference cycle
    # A session that resumed from a checkpoint has measured only its own steps.
    training_s = None if checkpoint else time.perf_counter() - start_s
    return {"training_s": training_s, "resumed_from": checkpoint and Path(checkpoint).name, "revision": code_revision()}


def _score(run: Run, corpus: Corpus) -> list[dict]:
    """The scores of the run's model on every clip of a corpus."""
    items = evaluate(MajlSystem.from_pretrained(run.model), corpus).items
    return [
        {"id": item.id, "song": item.song, "singer": item.singer, "duration_s": item.duration_s}
        | {name: value for name, value in item.scores.items() if math.isfinite(value)}
        for item in items
    ]
