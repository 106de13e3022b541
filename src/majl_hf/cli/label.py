"""`majl label`: pseudo labels for rows that lack pitch or vocals."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from . import _common as c
from ._interrupt import Resumable

NAME = "label"
PRINT_S = 10.0  # between two lines of progress


@c.command
def run(
    file: Annotated[Path, typer.Argument(help="YAML file with stages of kind label.", metavar="FILE")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="If the folder is of other recordings or settings, redo what differs.")
    ] = False,
) -> int:
    """Label rows that lack pitch or vocals.

    Songs with stems and solo voices get a pitch, songs with a pitch get vocals.

    FILE says which rows are labelled, by which teachers, and where to: `kind: label`, `rows: runs/data/combined`,
    `out: runs/pseudo`, `pitch_teacher: torchfcpe`, `vocals_teacher: majl-base`.

    Several processes share the work, on one file system: torchrun --nproc_per_node 4 -m majl_hf.cli label FILE
    """
    with c.extra("train,plot", "Labelling"):
        from ..pseudo_labels import PseudoLabelConfig
        from ..recipe import load_recipe

        stages = [stage for stage in load_recipe(file).values() if isinstance(stage, PseudoLabelConfig)]
    if not stages:
        raise c.MajlError(f"{file} has no stage of kind label; it needs one with at least `rows` and `out`.")
    for stage in stages:
        label(stage, overwrite)
    return 0


def label(config, overwrite: bool, advice: str = Resumable.ADVICE) -> None:
    """Label the rows of a `PseudoLabelConfig`, in one process or as one of a launcher's processes, and print a
    summary; `advice` is given where it is stopped."""
    with c.extra("train,plot", "Labelling"):
        from accelerate import PartialState

        from ..pseudo_labels import run_pseudo_labels

        with Resumable(advice):
            result = run_pseudo_labels(config, overwrite=overwrite, progress=_Progress())
    PartialState().destroy_process_group()  # else its threads delay the exit
    if os.environ.get("RANK", "0") == "0":
        for message in result.messages:
            typer.echo(message, err=True)
        for direction, summary in result.report["directions"].items():
            typer.echo(
                f"{direction}: {summary['num_kept']} of {summary['num_rows']} rows kept, "
                f"{summary['kept_duration_s'] / 60:.1f} min, mean row confidence {summary['mean_row_confidence']:.3f}"
            )
        by = "1 process" if result.num_processes == 1 else f"{result.num_processes} processes"
        typer.echo(f"{result.report['num_rows']} rows in {result.out}, by {by}")


class _Progress:
    """Prints the seconds of audio that this process has done, every few seconds."""

    def __init__(self) -> None:
        self.rank, self.printed_s = os.environ.get("RANK", "0"), 0.0

    def __call__(self, done_s: float, total_s: float) -> None:
        now_s = time.monotonic()
        if now_s - self.printed_s >= PRINT_S or done_s >= total_s:
            self.printed_s = now_s
            typer.echo(f"process {self.rank}: {done_s:,.0f} of {total_s:,.0f} s of audio", err=True)
