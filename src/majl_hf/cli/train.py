"""`majl train`: the stages of a recipe, one after the other."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from . import _common as c
from ._interrupt import Resumable, Stopped

NAME = "train"

File = Annotated[Path, typer.Argument(help="YAML file of a run or of its stages.", metavar="FILE")]
Stage = Annotated[str | None, typer.Option("--stage", help="Run this stage alone, in this process.", metavar="NAME")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Delete what was trained and start over.")]
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
    """Train a model by the stages of a file.

    Each runs in a process of its own; on several GPUs, or where `accelerate config` was run, in those that
    `accelerate launch` starts.

    A finished stage whose settings are unchanged is skipped, one that was stopped resumes from its last checkpoint.
    Everything made from a stage that has changed is made again.

    A stage can resume with other settings of logging, saving, evaluation, workers and threads, and with more steps;
    other changes are refused and named.

    --launch "--multi_gpu --num_processes 4" trains on four GPUs. On several machines, which need a shared file system,
    run the command of each stage on each: accelerate launch ARGUMENTS -m majl_hf.cli train FILE --stage NAME
    """
    is_launched = "ACCELERATE_MIXED_PRECISION" in os.environ or "RANK" in os.environ
    if is_launched or (stage is not None and launch is None):
        return run_here(file, stage, fresh, max_steps)
    with c.extra("train", "Training"):
        from ..recipe import load_recipe, load_stage

        stages = load_recipe(file) if stage is None else {stage: load_stage(file, stage)}
    return _run_all(file, stages, fresh, max_steps, _launcher(launch))


def run_here(file: File, stage: Stage = None, fresh: Fresh = False, max_steps: MaxSteps = None) -> int:
    """Run a stage in this process, or as one of several that a launcher started."""
    with c.extra("train", "Training"):
        from ..recipe import PseudoLabelConfig, TrainingConfig, discard, load_stage, make_model
        from ..training import train
        from .label import label

        config = load_stage(file, stage)
        if isinstance(config, PseudoLabelConfig):
            label(config, overwrite=True)
        elif isinstance(config, TrainingConfig):
            if max_steps is not None:
                config = config.with_arguments(max_steps=max_steps)
            if fresh:
                discard([config])
            with Resumable():
                train(config, resume=not fresh)
        elif os.environ.get("RANK", "0") == "0":
            make_model(config)
    return 0


def _launcher(launch: str | None) -> list[str]:
    """The module, with its arguments, that starts the processes of a stage; empty where one process needs none."""
    import torch
    from accelerate.commands.config.config_args import default_config_file

    if launch is None and torch.cuda.device_count() < 2 and not Path(default_config_file).is_file():
        return []
    return ["accelerate.commands.launch", *shlex.split(launch or ""), "-m"]


def _run_all(file: Path, stages: dict, fresh: bool, max_steps: int | None, launcher: Sequence[str]) -> int:
    from ..recipe import PseudoLabelConfig, TrainingConfig, discard
    from ..training.records import is_finished
    from ..training.run import checkpoint_to_resume

    for number, (name, stage) in enumerate(stages.items()):
        later, is_label = list(stages.values())[number + 1 :], isinstance(stage, PseudoLabelConfig)
        options = ["--fresh"] * fresh
        if isinstance(stage, TrainingConfig) and max_steps is not None:
            options += ["--max-steps", str(max_steps)]
            stage = stage.with_arguments(max_steps=max_steps)
        if is_finished(stage) and not fresh:
            typer.echo(f"=== stage {name} is finished: {stage.out}")
            continue
        if not is_label:
            if isinstance(stage, TrainingConfig) and not fresh:
                checkpoint_to_resume(stage)  # before anything is lost
            discard(later)
        before = _plan(stage)
        command = ["majl_hf.cli", "train", str(file), "--stage", name, *options]
        if is_label or isinstance(stage, TrainingConfig):
            command = [*launcher, *command]
        words = shlex.join(command).replace("accelerate.commands.launch", "accelerate launch")
        typer.echo(f"=== {words.replace('majl_hf.cli train', 'majl train') if command[0] == 'majl_hf.cli' else words}")
        if code := _wait_for([sys.executable, "-m", *command]):
            advice = "run the same command again to resume"
            typer.echo(f"error: stage {name} ended with exit code {code}; {advice}", err=True)
            return code
        if is_label and _plan(stage) != before:  # they detect changes themselves
            discard(later)
    return 0


def _plan(stage) -> bytes | None:
    path = Path(stage.out).expanduser() / "build.json"
    return path.read_bytes() if path.is_file() else None


def _wait_for(command: Sequence[str]) -> int:
    """Run a command and return its exit code; a signal to stop reaches all of its processes, and once."""
    process = subprocess.Popen(command, start_new_session=True)
    try:
        with Resumable():
            return process.wait()
    except Stopped:
        # A launcher only passes on SIGTERM without a traceback. There are no groups of processes on Windows.
        os.killpg(process.pid, signal.SIGTERM) if hasattr(os, "killpg") else process.terminate()
        process.wait()
        raise
