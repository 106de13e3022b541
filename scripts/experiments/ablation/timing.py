"""How long a matrix will take: a few steps of each stage, measured.

Wall time is that of the machine as busy as it is; the process's own CPU time shows what a step needs where it computes
with one thread and reads its data itself.
"""

from __future__ import annotations

import shutil
import tempfile
import time

from transformers import TrainerCallback

from majl_hf.training import TrainingConfig, make_trainer

from .config import AblationConfig
from .plan import Run, corpus_folder

WARM_STEPS = 2  # which are not counted


class _StepTimes(TrainerCallback):
    """When each step ended: seconds of wall time, and of the process's CPU time."""

    def __init__(self):
        self.ends_s: list[tuple[float, float]] = []

    def on_step_end(self, args, state, control, **kwargs):
        self.ends_s.append((time.perf_counter(), time.process_time()))


def step_s(training: TrainingConfig, num_steps: int = 4) -> tuple[float, float]:
    """Seconds of a step of a stage, wall and CPU; its folder is left alone, and data loading is part of it."""
    folder = tempfile.mkdtemp(prefix="majl-steps-")
    try:
        arguments = {
            **{name: value for name, value in training.arguments.items() if not name.startswith("lr_scheduler")},
            "output_dir": folder,
            "max_steps": WARM_STEPS + num_steps,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
        }
        trainer = make_trainer(training.model_copy(update={"arguments": arguments}))
        trainer.strategy_warmup_steps = 0  # the weights that most steps have
        times = _StepTimes()
        trainer.add_callback(times)
        trainer.train()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    first, last = times.ends_s[WARM_STEPS - 1], times.ends_s[-1]
    return (last[0] - first[0]) / num_steps, (last[1] - first[1]) / num_steps


def estimate_minutes(config: AblationConfig, run: Run, num_steps: int = 4) -> tuple[float, float]:
    """Minutes of a run's optimiser steps, wall and CPU; labelling and scoring come on top.

    Nothing of the run needs to be there but the starting point and the reduced corpus: these stand in for the models
    and pseudo labels of its stages.
    """
    wall_s = cpu_s = 0.0
    for stage in run.stages:
        sources = tuple(
            source.model_copy(update={"folder": str(corpus_folder(config))})
            if stage.pseudo_labels is not None and source.folder == stage.pseudo_labels.out
            else source
            for source in stage.training.data.sources
        )
        data = stage.training.data.model_copy(update={"sources": sources})
        training = stage.training.model_copy(update={"model": run.stages[0].training.model, "data": data})
        of_step = step_s(training, num_steps)
        wall_s += stage.steps * of_step[0]
        cpu_s += stage.steps * of_step[1]
    return wall_s / 60, cpu_s / 60
