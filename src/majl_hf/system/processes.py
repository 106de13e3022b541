"""Work spread over processes, with results in order; no process is left behind if either side stops or is killed."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

from ..errors import MajlError

AHEAD = 2  # items in work or done beyond one per process, so that a long one does not leave the others idle
_POLL_S = 0.2


def usable_cpus() -> int:
    """Number of cores that this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def map_in_order(
    function: Callable[[Any], Any], items: Iterable, num_processes: int = 1, tick: Callable[[], None] | None = None
) -> Iterator:
    """Yield `function(item)` for every item, in order; at most `num_processes + AHEAD` results are kept.

    Args:
        function: importable from a module by a new process; with one process it is called in this one.
        tick: called often while waiting. An exception from it ends the work: the workers have ended when it propagates.

    Raises:
        MajlError: a worker died.
    """
    tick = tick or (lambda: None)
    if num_processes <= 1:
        for item in items:
            tick()
            yield function(item)
        return
    with _executor(num_processes, function.__module__) as executor:
        pending: deque[concurrent.futures.Future] = deque()
        for item in items:
            with interrupts_blocked():  # the processes start here and inherit it
                pending.append(executor.submit(function, item))
            if len(pending) == num_processes + AHEAD:
                yield _result(pending.popleft(), tick)
        while pending:
            yield _result(pending.popleft(), tick)


@contextlib.contextmanager
def _executor(num_processes: int, module: str) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    context = fresh_context(module)
    # Workers exit at the end of this pipe, whose other end only this process has: when we close it or are killed.
    reader, writer = context.Pipe(duplex=False)
    executor = concurrent.futures.ProcessPoolExecutor(num_processes, context, end_with_parent, (reader,))
    try:
        yield executor
    except BaseException:
        writer.close()
        raise
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
        writer.close()
        reader.close()


def fresh_context(*modules: str) -> BaseContext:
    """How to start processes that inherit neither threads nor locks of this one. Where the system allows it, a server
    imports the modules once, and all processes share them; only those of the first call in this process count."""
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
    if "forkserver" in methods:
        context.set_forkserver_preload(list(modules))
    return context


def end_with_parent(reader: Connection) -> None:
    """Called by a new process: ignore Ctrl-C, and exit when the other end of a pipe, which only the parent has, is
    closed, also because the parent was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides

    def leave_with_parent() -> None:
        with contextlib.suppress(EOFError, OSError):
            reader.recv_bytes()
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()


@contextlib.contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Context in which this thread, and processes that it starts, do not receive SIGINT."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # it would be started with the first process, and unblocks signals in this thread
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def _result(future: concurrent.futures.Future, tick: Callable[[], None]):
    while True:
        tick()
        if future in concurrent.futures.wait([future], timeout=_POLL_S).done:
            break
    try:
        return future.result()
    except BrokenProcessPool:
        tick()  # a signal to the whole group ends the workers first
        raise MajlError(
            "A worker process was killed, often for lack of memory. Use fewer processes and run the same command "
            "again to resume; finished files are kept."
        ) from None
