"""`majl batch`: a catalogue of songs, on one machine or many, resumable."""

import math
import os
import time
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import Annotated, Self

import typer

from . import _common as c
from ._interrupt import Resumable

NAME = "batch"
USUAL_BYTES = 1800 << 20  # of a worker; with majl-base and stereo songs 1.6 GB were measured
PRINT_S = 30.0  # between two lines of progress where there is no terminal

Engine = StrEnum("Engine", ("local", "ray"))


@c.command
def run(
    source: Annotated[
        str,
        typer.Argument(
            help="Folder, glob, manifest (JSONL, CSV, Parquet), dataset, or an address such as s3://bucket/songs.",
            metavar="SOURCE",
        ),
    ],
    output: Annotated[
        str, typer.Option("--output", "-o", help="Folder or address for the results and the manifest.", metavar="DEST")
    ],
    engine: Annotated[
        Engine, typer.Option("--engine", help="Processes of this machine, or a Ray cluster.")
    ] = Engine.local,
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Processes, each with a model.", show_default="by cores and memory"),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", help="Of the Ray cluster, such as auto.", show_default="Ray on this machine"),
    ] = None,
    shard: Annotated[
        str | None, typer.Option("--shard", help="Process only share I of N, from 1/N to N/N.", metavar="I/N")
    ] = None,
    only: Annotated[
        str, typer.Option("--only", help="What is written, separated by commas.", metavar="OUTPUTS")
    ] = "vocals,accompaniment,f0,notes",
    format: c.FormatOption = c.Format.flac,
    bit_rate: c.BitRate = None,
    column: Annotated[
        str | None, typer.Option("--column", help="Audio column of a dataset.", show_default="the first")
    ] = None,
    solo: c.Solo = False,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A shipped name, a folder, or a Hub id[@REVISION].", metavar="NAME")
    ] = "majl-base",
    device: c.DeviceOption = c.Device.auto,
    dtype: Annotated[c.Dtype, typer.Option("--dtype", help="In which the networks compute.")] = c.Dtype.float32,
    voicing_policy: c.Policy = None,
    voicing_threshold: c.Threshold = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Windows computed together.")] = 1,
    threads: Annotated[
        int, typer.Option("--threads", min=1, help="CPU threads of a worker. Results depend on it in their last bits.")
    ] = 1,
    mixdown: Annotated[
        bool, typer.Option("--mixdown/--no-mixdown", help="Mix surround down to stereo, or refuse it.")
    ] = True,
    time_limit: Annotated[
        float | None,
        typer.Option(
            "--time-limit",
            min=1,
            help="Seconds that a song may take.",
            show_default="20 times its duration, 300 at least",
        ),
    ] = None,
    memory_limit: Annotated[
        float, typer.Option("--memory-limit", min=0.1, help="GiB of memory that a worker may take.")
    ] = 4.0,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Process songs that have failed again.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Read the results that are there and redo those that are damaged.")
    ] = False,
    overwrite_run: Annotated[
        bool, typer.Option("--overwrite-run", help="Replace the results of another model or other settings in DEST.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON on stdout: the row of each song, and a summary.")
    ] = False,
) -> int:
    """Process a catalogue of songs, on one machine or many.

    Writes stems/NAME.vocals.flac, stems/NAME.accompaniment.flac, f0 and
    notes as labels/*.parquet, and manifest/*.jsonl with a row for each song.

    Run the same command again to resume: what is done is left alone.
    A song that cannot be processed is a row with a reason.
    """
    share = _share(shard)
    with c.extra("data", "A catalogue"):
        from ..catalogues.destination import Destination
        from ..catalogues.local_engine import run_locally
        from ..catalogues.manifest import Manifest
        from ..catalogues.run import find_model, find_pending, identify, run_catalogue
        from ..catalogues.songs import OUTPUTS, Work
        from ..catalogues.sources import Songs
        from ..songs.writing import AudioFormat
        from ..system.files import counted
    outputs = tuple(what for what in OUTPUTS if what in {name.strip() for name in only.split(",")})
    if not outputs or len(outputs) != len(set(only.split(","))):
        raise typer.BadParameter(f"--only is {only!r}; some of {', '.join(OUTPUTS)}, separated by commas, are needed.")
    if engine is Engine.ray:
        with c.extra("ray", "--engine ray"):
            from ..catalogues.ray_engine import run_on_ray
    elif address is not None:
        raise typer.BadParameter("--address is of a Ray cluster; give --engine ray, too.")

    if not source or not output:  # of a variable that is not set
        raise typer.BadParameter("SOURCE or --output is empty; a folder or an address is needed.")
    if not math.isfinite(memory_limit):
        raise typer.BadParameter(f"--memory-limit is {memory_limit}; a number of GiB is needed.")

    found = find_model(model)
    work = Work(
        destination=output,
        run="",
        model=found.name,
        model_title=found.title,
        outputs=outputs,
        format=AudioFormat(format.value, bit_rate),
        dtype=dtype.value,
        voicing_policy=voicing_policy and voicing_policy.value,
        voicing_threshold=voicing_threshold,
        is_solo=solo,
        mixdown=mixdown,
        device=device.value,
        threads=threads,
        batch_size=batch_size,
        time_limit_s=time_limit,
        memory_limit_bytes=round(memory_limit * 2**30),
    )
    identity = identify(found, work)
    work = replace(work, run=identity.digest)
    with Resumable():
        manifest = Manifest(Destination(output), identity, overwrite_run)
        damaged = manifest.verify() if verify else []
        for name in damaged:
            typer.echo(c.shown(f"damaged, will be processed again: {name}"), err=True)
        songs = Songs(source, column, share)
        pending = find_pending(songs, manifest, retry_failed)
        if songs.left_out:
            typer.echo(f"{c.shown(source)}: left out {counted(songs.left_out.elements())}", err=True)
        typer.echo(
            f"{len(pending.tasks)} songs to process; {pending.num_done} are done, {pending.num_failed} have failed",
            err=True,
        )
        if engine is Engine.ray:
            start = partial(run_on_ray, work=work, num_workers=workers, address=address)
        else:
            start = partial(run_locally, work=work, num_workers=workers or default_workers(work))
        with _Report(as_json, len(pending.tasks)) as report:
            tally = run_catalogue(pending.tasks, manifest, start, report)
    if as_json:
        c.print_json(
            {
                "summary": NAME,
                "num_done": tally.num_done,
                "num_failed": tally.num_failed,
                "num_done_before": pending.num_done,
                "num_failed_before": pending.num_failed,
                "num_left": tally.num_left,
                "audio_s": round(tally.audio_s, 3),
                "elapsed_s": round(tally.elapsed_s, 3),
            }
        )
    else:
        typer.echo(
            f"{tally.num_done} done, {tally.num_failed} failed; {tally.audio_s:.1f} s of audio in "
            f"{tally.elapsed_s:.1f} s; before: {pending.num_done} done, {pending.num_failed} failed"
        )
    if tally.num_left:
        typer.echo(f"{tally.num_left} songs were lost with their machines; {Resumable.ADVICE}", err=True)
    return c.EXIT_FAILED if tally.num_failed + pending.num_failed + tally.num_left else 0


def default_workers(work) -> int:
    """Workers for a machine: two for a graphics card, which one alone leaves idle while it decodes and writes, else one
    for each core, as far as memory allows."""
    from ..models.onnx_majl import is_onnx_folder
    from ..system.processes import usable_cpus

    if work.device != "cpu" and not is_onnx_folder(work.model):
        import torch

        if torch.cuda.is_available() or torch.backends.mps.is_available():
            return 2
    most = usable_cpus() // work.threads
    try:
        memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not Unix
        return max(1, most)
    return max(1, min(most, int(0.8 * memory_bytes) // USUAL_BYTES))


class _Report:
    """Failures and progress on stderr: a bar on a terminal, elsewhere a line now and then. Rows as JSON on stdout."""

    def __init__(self, as_json: bool, num_songs: int):
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.as_json, self._printed_s = as_json, time.monotonic()
        console = Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
        columns = (
            MofNCompleteColumn(),
            BarColumn(bar_width=20),
            TimeRemainingColumn(),
            TextColumn("{task.description}"),
        )
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("starting", total=num_songs)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *exception) -> None:
        self._bar.stop()

    def __call__(self, row, tally) -> None:
        if row is not None and self.as_json:
            c.print_json(row.model_dump())
        if row is not None and row.status == "failed":
            self._bar.console.print(c.shown(f"failed: {row.name}: {row.reason}"))
        so_far = f"{tally.audio_s:,.0f} s of audio in {tally.elapsed_s:,.0f} s, {tally.num_failed} failed"
        ended = tally.num_done + tally.num_failed
        self._bar.update(self._task, completed=ended, description=so_far if ended else "starting")
        now_s = time.monotonic()
        if self._bar.disable and now_s - self._printed_s >= PRINT_S:
            self._printed_s = now_s
            left = "" if tally.left_s is None else f", about {tally.left_s / 60:.0f} min left"
            self._bar.console.print(f"{ended} of {tally.num_songs} songs; {so_far}{left}")


def _share(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    number, _, count = text.partition("/")
    if not (number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise typer.BadParameter(f"--shard is {text!r}; I/N with I from 1 to N is needed, such as 3/100.")
    return int(number), int(count)
