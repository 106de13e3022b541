"""A process with a model that its parent watches: a song that takes too much time or memory ends the process, and not
the run.

A limit of the system on memory would not do: it counts address space, of which torch reserves far more than it uses,
and a graphics card's driver still more. So the parent looks at the memory that is occupied, 20 times a second.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from ..errors import MajlError
from ..models.onnx_majl import is_onnx_folder
from ..songs.separating import describe
from ..system.files import locked
from ..system.memory import resident_bytes
from ..system.processes import end_with_parent, fresh_context, interrupts_blocked
from .destination import Destination
from .songs import Outcome, SongProcessor, Task, Work, make_row

POLL_S = 0.05
LEAST_TIME_S, TIMES_DURATION, MOST_TIME_S = 300.0, 20.0, 6 * 3600.0  # of the default limit
START_S = 600.0  # to import everything and load the model
MAX_STARTS_IN_VAIN = 3
MAX_DEATHS = 2  # of workers in one song
SCRATCH = ".majl-scratch"
_SETTLED_S = 60.0  # a younger scratch folder may not have its lock yet


class Cancelled(Exception):
    """The run is ending; the song in work is left."""


class Worker:
    """A process with a model, started when it is needed and again after it has ended.

    Args:
        work: What it does.
        scratch: A folder of its own.
        cancelled: Asked often while a song is in work.
    """

    def __init__(self, work: Work, scratch: Path, cancelled: Callable[[], bool] = lambda: False):
        self.work, self.scratch, self._cancelled = work, scratch, cancelled
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._alive: Connection | None = None

    def run(self, task: Task) -> Outcome:
        """Process a song.

        Raises:
            Cancelled: the run is ending.
            MajlError: the process cannot be started, for example because the model cannot be loaded, or takes more than
                the limit of memory.
        """
        started_s = time.monotonic()
        for _ in range(MAX_DEATHS):
            if self._process is None or not self._process.is_alive():
                self._start()
            outcome = self._watch(task, started_s)
            if outcome is not None:
                if self._process is not None and resident_bytes(self._process.pid) > self.work.memory_limit_bytes / 2:
                    self._end()  # what a large song has left occupied must not count against the next one
                return outcome
            code = self._end()
        reason = (
            f"its process ended {MAX_DEATHS} times while it was in work, the last time with exit code {code}: the "
            "decoder may have crashed, or the system has stopped it for lack of memory (then use fewer --workers)"
        )
        return self._failure(task, reason, started_s, 0)

    def close(self) -> None:
        """End the process and remove its files."""
        self._end()
        shutil.rmtree(self.scratch, ignore_errors=True)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def _watch(self, task: Task, started_s: float) -> Outcome | None:
        """What became of a song; None if the process has ended by itself."""
        limit_s = self.work.time_limit_s or LEAST_TIME_S
        peak = 0
        try:
            self._connection.send(task)
            song_s = time.monotonic()
            while True:
                if self._connection.poll(POLL_S):
                    what, value = self._connection.recv()
                    if what == "outcome":
                        peak = max(peak, resident_bytes(self._process.pid))
                        row = value.row.model_copy(update={"peak_memory_bytes": peak})
                        return value._replace(row=row)
                    if self.work.time_limit_s is None:
                        limit_s = min(max(LEAST_TIME_S, TIMES_DURATION * value), MOST_TIME_S)
                if self._cancelled():
                    raise Cancelled
                now = resident_bytes(self._process.pid)
                peak = max(peak, now)
                if now > self.work.memory_limit_bytes:
                    reason = (
                        f"took {now / 2**30:.1f} GiB of memory, and the limit is "
                        f"{self.work.memory_limit_bytes / 2**30:.1f} GiB; check the file, or raise --memory-limit"
                    )
                    break
                if time.monotonic() - song_s > limit_s:
                    reason = f"took longer than {limit_s:.0f} s, the limit; check the file, or raise --time-limit"
                    break
        except (EOFError, OSError):
            return None
        self._end()
        return self._failure(task, reason, started_s, peak)

    def _failure(self, task: Task, reason: str, started_s: float, peak: int) -> Outcome:
        elapsed_s = round(time.monotonic() - started_s, 3)
        return Outcome(
            make_row(
                self.work, task, status="failed", reason=reason, elapsed_s=elapsed_s, peak_memory_bytes=peak or None
            )
        )

    def _start(self) -> None:
        for _ in range(MAX_STARTS_IN_VAIN):
            self.scratch.mkdir(parents=True, exist_ok=True)
            context = fresh_context(*_imports(self.work.model))
            self._connection, theirs = context.Pipe()
            reader, self._alive = context.Pipe(duplex=False)
            self._process = context.Process(
                target=_serve, args=(theirs, reader, self.work, self.scratch), name="majl-worker"
            )
            with interrupts_blocked():
                self._process.start()
            theirs.close()
            reader.close()
            if self._is_ready():
                return
            code = self._end()
        raise MajlError(
            f"A worker process ended {MAX_STARTS_IN_VAIN} times while it was starting, the last time with exit code "
            f"{code}; there may be too little memory for --workers processes."
        )

    def _is_ready(self) -> bool:
        deadline_s = time.monotonic() + START_S
        try:
            while time.monotonic() < deadline_s:
                if self._cancelled():
                    raise Cancelled
                if self._connection.poll(POLL_S):
                    what, value = self._connection.recv()
                    if what == "broken":
                        self._end()
                        raise MajlError(value)
                    self._check_memory()
                    return True
        except (EOFError, OSError):
            return False
        self._end()
        return False

    def _check_memory(self) -> None:
        """Refuse a limit with which every song would fail."""
        now, limit = resident_bytes(self._process.pid), self.work.memory_limit_bytes
        if now > limit:
            self._end()
            raise MajlError(
                f"A worker takes {now / 2**30:.2f} GiB before its first song, and the limit is {limit / 2**30:.2f} "
                "GiB; raise --memory-limit."
            )

    def _end(self) -> int | None:
        """Kill the process; returns its exit code, -9 if it was alive."""
        if self._process is None:
            return None
        self._process.join(POLL_S)
        self._process.kill()
        self._process.join()
        code = self._process.exitcode
        for connection in (self._connection, self._alive):
            connection.close()
        self._process.close()
        self._process = None
        shutil.rmtree(self.scratch, ignore_errors=True)
        return code


def _imports(model: str) -> list[str]:
    """What all workers need and takes seconds to import."""
    network = ".models.onnx_majl" if is_onnx_folder(model) else ".models.modeling_majl"
    package = __package__.partition(".")[0]
    return [f"{package}{network}", f"{package}.models.streaming_majl", f"{package}.rows.schema", __name__]


def _serve(connection: Connection, alive: Connection, work: Work, scratch: Path) -> None:
    """The process: songs in, outcomes out."""
    end_with_parent(alive)
    with contextlib.suppress(EOFError, ConnectionError):  # the parent has ended
        try:
            process = SongProcessor(work, scratch / "song")
        except Exception as error:
            connection.send(("broken", describe(error)))
            return
        connection.send(("ready", None))
        while True:
            task = connection.recv()
            outcome = process(task, lambda duration_s: connection.send(("started", duration_s or 0.0)))
            connection.send(("outcome", outcome))


@contextlib.contextmanager
def scratch_folder(destination: Destination) -> Iterator[Path]:
    """A folder for files that are not complete, on the file system of the destination if that is local; removed at the
    end, together with those of drivers that were killed."""
    remove_abandoned(destination)
    own = _scratch_of(destination) / secrets.token_hex(6)
    try:
        with locked(own):
            yield own
    finally:
        shutil.rmtree(own, ignore_errors=True)
        remove_abandoned(destination)


def remove_abandoned(destination: Destination) -> None:
    """Remove the scratch folders of drivers that were killed."""
    base = _scratch_of(destination)
    with contextlib.suppress(OSError):
        for folder in base.iterdir():
            if time.time() - folder.stat().st_mtime > _SETTLED_S:
                with locked(folder) as is_free:
                    if is_free:
                        shutil.rmtree(folder, ignore_errors=True)
        base.rmdir()


def _scratch_of(destination: Destination) -> Path:
    user = os.getuid() if hasattr(os, "getuid") else ""
    return (destination.folder or Path(tempfile.gettempdir()) / f"majl-{user}") / SCRATCH
