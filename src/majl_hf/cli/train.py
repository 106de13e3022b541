"""`majl train`: the stages of a recipe, one after the other."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from . import _common as c
from ._interrupt import Stopped, StopSignals, resumable

NAME = "train"
GRACE_S = 10.0  # that processes have to end

File = Annotated[Path, typer.Argument(help="YAML file of a run or of its stages.", metavar="FILE")]
Stage = Annotated[str | None, typer.Option("--stage", help="Run this stage alone, in this process.", metavar="NAME")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Delete what was trained and start anew.")]
MaxSteps = Annotated[int | None, typer.Option("--max-steps", min=1, help="Instead of the file's number of steps.")]


@c.command
def run(
    file: File,
    stage: Stage = None,
    fresh: Fresh = False,
    max_steps: MaxSteps = None,
    launch: Annotated[
        str | None, typer.Option("--launch", help="Arguments for accelerate launch.", metavar="ARGUMENTS")
    ] = None,
) -> int:
    """Train a model: all stages of FILE, each in processes of its own that `accelerate launch` starts.

    A stage that was run to its end with the same settings is passed over, one that was stopped resumes from its last
    checkpoint. What was made from a stage that changes is made again.

    --launch "--multi_gpu --num_processes 4" trains on four GPUs. On several machines, which need one file system, give
    each the command of each stage: accelerate launch ARGUMENTS -m majl_hf.cli train FILE --stage NAME
    """
    if stage is not None and launch is None:
        return run_here(file, stage, fresh, max_steps)
    with c.extra("train", "Training"):
        from ..recipe import load_recipe, load_stage

        stages = load_recipe(file) if stage is None else {stage: load_stage(file, stage)}
    if "ACCELERATE_MIXED_PRECISION" in os.environ or "RANK" in os.environ:  # a launcher started this process
        return run_here(file, None, fresh, max_steps)
    return _run_all(file, stages, fresh, max_steps, shlex.split(launch or ""))


def run_here(file: File, stage: Stage = None, fresh: Fresh = False, max_steps: MaxSteps = None) -> int:
    """Run a stage in this process, or as one of several that a launcher started."""
    with c.extra("train", "Training"):
        from ..pseudo_labels import PseudoLabelConfig
        from ..recipe import discard, load_stage, make_model
        from ..training import TrainingConfig, train
        from .label import label

        config = load_stage(file, stage)
        if isinstance(config, PseudoLabelConfig):
            label(config, overwrite=True)
        elif not isinstance(config, TrainingConfig):
            if os.environ.get("RANK", "0") == "0":
                make_model(config)
        else:
            config = config.with_arguments(**{} if max_steps is None else {"max_steps": max_steps})
            if fresh:
                discard(config)
            with resumable():
                train(config, resume=not fresh)
    return 0


def _run_all(file: Path, stages: dict, fresh: bool, max_steps: int | None, launch: Sequence[str]) -> int:
    from ..pseudo_labels import PseudoLabelConfig
    from ..recipe import discard
    from ..training import TrainingConfig, is_finished

    added = ["--fresh"] * fresh + ([] if max_steps is None else ["--max-steps", str(max_steps)])
    for number, (name, stage) in enumerate(stages.items()):
        later = list(stages.values())[number + 1 :]
        is_label = isinstance(stage, PseudoLabelConfig)
        if isinstance(stage, TrainingConfig) and max_steps is not None:
            stage = stage.with_arguments(max_steps=max_steps)
        if not fresh and not is_label and is_finished(stage):
            typer.echo(f"=== stage {name} is finished: {stage.out}")
            continue
        before = _plan_of(stage)
        if not is_label:
            for other in later:  # made from another result of this stage
                discard(other)
        command = ["majl_hf.cli", "train", str(file), "--stage", name, *added]
        if is_label or isinstance(stage, TrainingConfig):
            command = ["accelerate.commands.launch", *launch, "-m", *command]
        typer.echo(f"=== {shlex.join(command).replace('accelerate.commands.launch', 'accelerate launch')}")
        if code := _wait_for([sys.executable, "-m", *command]):
            typer.echo(
                f"error: stage {name} ended with exit code {code}; run the same command again to resume", err=True
            )
            return code
        if is_label and _plan_of(stage) != before:
            for other in later:
                discard(other)
    return 0


def _plan_of(stage) -> bytes | None:
    """What tells whether pseudo labels have changed."""
    try:
        return (Path(stage.out).expanduser() / "build.json").read_bytes()
    except OSError:
        return None


def _wait_for(command: Sequence[str]) -> int:
    """Run a command and return its exit code; a signal to stop reaches all of its processes once."""
    process = subprocess.Popen(command, start_new_session=True)
    with StopSignals() as signals:
        try:
            while process.poll() is None:
                signals.check()
                time.sleep(0.1)
        except Stopped as stop:
            _end(process)
            raise Stopped(stop.exit_code - 128, "run the same command again to resume") from None
    return process.returncode


def _end(process: subprocess.Popen) -> None:
    if not hasattr(os, "killpg"):  # Windows
        process.terminate()
        process.wait()
        return
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()
    end_s = time.monotonic() + GRACE_S  # of those that the launcher started
    with contextlib.suppress(ProcessLookupError):
        while time.monotonic() < end_s:
            os.killpg(process.pid, 0)
            time.sleep(0.1)
