"""`majl train`: the stages of a recipe, one after the other."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from itertools import dropwhile
from pathlib import Path
from typing import Annotated

import typer

from . import _common as c
from ._interrupt import Resumable, Stopped

NAME = "train"

File = Annotated[Path, typer.Argument(help="YAML file of a run or of its stages.", metavar="FILE")]
Stage = Annotated[str | None, typer.Option("--stage", help="Run this stage alone, in this process.", metavar="NAME")]
Fresh = Annotated[bool, typer.Option("--fresh", help="Delete what was trained and start over.")]
MaxSteps = Annotated[
    int | None, typer.Option("--max-steps", min=1, help="Try every run with so few steps, in folders OUTPUT-trial.")
]


@c.command
def run(
    file: File,
    stage: Stage = None,
    fresh: Fresh = False,
    max_steps: MaxSteps = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and list the stages, and run nothing.")] = False,
    launch: Annotated[
        str | None, typer.Option("--launch", help="Arguments for accelerate launch.", metavar="ARGUMENTS")
    ] = None,
) -> int:
    """Train a model by the stages of a file.

    All stages are checked before the first one starts: folders, corpora, models, settings. Each runs in a process of
    its own; on several GPUs, or where `accelerate config` was run, in those that `accelerate launch` starts.

    A finished stage whose settings are unchanged is skipped, one that was stopped resumes from its last checkpoint.
    What was made from a stage that has changed is made again. A folder that no stage has written is refused.

    A stage can resume with other settings of logging, saving, evaluation, workers and threads, and with more steps;
    other changes are refused and named.

    --launch "--multi_gpu --num_processes 4" trains on four GPUs. On several machines, which need a shared file system,
    run the command of each stage on each: accelerate launch ARGUMENTS -m majl_hf.cli train FILE --stage NAME
    """
    is_launched = "ACCELERATE_MIXED_PRECISION" in os.environ or "RANK" in os.environ
    if not dry_run and (is_launched or (stage is not None and launch is None)):
        return run_here(file, stage, fresh, max_steps)
    with c.extra("train", "Training"):
        from ..recipe import FINISHED, TO_DO, check, chosen, load_recipe, states

        stages = load_recipe(file, max_steps)
    names = list(stages) if stage is None else [chosen(file, stages, stage)]
    state_of = dict.fromkeys(names, TO_DO) if fresh else states(stages, names)
    check(file, {name: stages[name] for name in dropwhile(lambda name: state_of[name] == FINISHED, names)})
    if dry_run:
        for name in names:
            typer.echo(f"{name}: {_described(stages[name])}, {state_of[name]}")
        return 0
    options = ["--fresh"] * fresh + (["--max-steps", str(max_steps)] if max_steps is not None else [])
    return _run_all(file, stages, names, fresh, options, _launcher(launch))


def run_here(file: File, stage: Stage = None, fresh: Fresh = False, max_steps: MaxSteps = None) -> int:
    """Run a stage in this process, or as one of several that a launcher started."""
    with c.extra("train", "Training"):
        from ..recipe import (
            PseudoLabelConfig,
            TrainingConfig,
            check,
            check_out,
            chosen,
            discard,
            load_recipe,
            made_from,
            make_model,
        )
        from ..training import train
        from ..training.records import is_stale
        from .label import label

    stages = load_recipe(file, max_steps)
    name = chosen(file, stages, stage)
    config, is_first = stages[name], os.environ.get("RANK", "0") == "0"
    if isinstance(config, PseudoLabelConfig):
        label(config, overwrite=True, advice=_advice(fresh))
        return 0
    digests = made_from(stages, name)
    if isinstance(config, TrainingConfig):
        is_new = fresh or is_stale(config, digests)
        if is_first:
            discard(config) if is_new else check_out(config)
        with Resumable(_advice(fresh)):
            train(config, resume=not is_new, made_from=digests)
    elif is_first:
        check(file, {name: config})
        make_model(config, digests)
    return 0


def _advice(fresh: bool) -> str:
    return "run the same command again without --fresh to resume" if fresh else Resumable.ADVICE


def _launcher(launch: str | None) -> list[str]:
    """The module, with its arguments, that starts the processes of a stage; empty where one process needs none."""
    import torch
    from accelerate.commands.config.config_args import default_config_file

    if launch is None and torch.cuda.device_count() < 2 and not Path(default_config_file).is_file():
        return []
    return ["accelerate.commands.launch", *shlex.split(launch or ""), "-m"]


def _described(stage) -> str:
    """Kind, folder and steps of a stage."""
    from ..recipe import KINDS, TrainingConfig

    words = [next(kind for kind, section in KINDS.items() if isinstance(stage, section)), stage.out]
    if isinstance(stage, TrainingConfig):
        words.append(f"{stage.arguments['max_steps']} steps")
    return ", ".join(words)


def _run_all(
    file: Path, stages: dict, names: Sequence[str], fresh: bool, options: Sequence[str], launcher: Sequence[str]
) -> int:
    from ..recipe import PseudoLabelConfig, TrainingConfig, is_finished, made_from

    for name in names:
        stage = stages[name]
        if not fresh and is_finished(stage, made_from(stages, name)):
            typer.echo(f"=== stage {name} is finished: {stage.out}")
            continue
        command = ["majl_hf.cli", "train", str(file), "--stage", name, *options]
        if isinstance(stage, TrainingConfig | PseudoLabelConfig):
            command = [*launcher, *command]
        words = shlex.join(command).replace("accelerate.commands.launch", "accelerate launch")
        typer.echo(f"=== {words.replace('majl_hf.cli train', 'majl train') if command[0] == 'majl_hf.cli' else words}")
        if code := _wait_for([sys.executable, "-m", *command], _advice(fresh)):
            # Errors that are described above are the user's to correct; a launcher does not pass their exit code on.
            correct = "correct what is reported above and " if code > 0 else ""
            typer.echo(f"error: stage {name} ended with exit code {code}; {correct}{_advice(fresh)}", err=True)
            return code
    return 0


def _wait_for(command: Sequence[str], advice: str) -> int:
    """Run a command and return its exit code; a signal to stop reaches all of its processes, and once."""
    process = subprocess.Popen(command, start_new_session=True)
    try:
        with Resumable(advice):
            return process.wait()
    except Stopped:
        # A launcher only passes on SIGTERM without a traceback. There are no groups of processes on Windows.
        os.killpg(process.pid, signal.SIGTERM) if hasattr(os, "killpg") else process.terminate()
        process.wait()
        raise
