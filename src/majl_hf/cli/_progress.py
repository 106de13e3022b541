"""Progress of long work, in minutes of audio."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from ._interrupt import StopSignals


@contextlib.contextmanager
def minutes_of_audio(what: str, signals: StopSignals) -> Iterator[Callable[..., None]]:
    """A bar in minutes of audio on a terminal; elsewhere a line for every tenth of the total.

    The function that it yields takes the seconds done and the total, if known. It also checks `signals` and raises
    `Stopped` after one.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=sys.stderr, highlight=False, markup=False, soft_wrap=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[done]}"),
    )
    reported = 0
    with Progress(*columns, TimeRemainingColumn(), console=console, transient=True,
                  disable=not console.is_terminal) as bar:  # fmt: skip
        task = bar.add_task(what, total=None, done="")

        def progress(done_s: float, total_s: float | None = None) -> None:
            nonlocal reported
            signals.check()
            total = f" / {total_s / 60:.1f}" if total_s else ""
            bar.update(task, completed=done_s, total=total_s, done=f"{done_s / 60:.1f}{total} min of audio")
            tenth = int(10 * done_s / total_s) if total_s else 0
            if tenth > reported and not console.is_terminal:
                reported = tenth
                console.print(f"{what}: {done_s / 60:.1f}{total} min of audio")

        yield progress


def summed(progress: Callable[[float], None]) -> Callable[[float], None]:
    """`progress` as a function of the seconds just done instead of the sum."""
    done_s = 0.0

    def add(seconds: float) -> None:
        nonlocal done_s
        done_s += seconds
        progress(done_s)

    return add
