"""From the threads of an engine to the iterator that it returns."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
TICK_S = 1.0


class Handover(Generic[T]):
    """Values of several threads, as an iterator that also gives None about once a second while there is none, so that
    its user can do what is due. A thread waits while `num_waiting` values have not been taken.

    Args:
        num_threads: That call `put`; each calls `end` at its end.
        num_waiting: Values that may wait.

    Attributes:
        stopped: Set when nothing more is taken; `put` then returns at once.
    """

    def __init__(self, num_threads: int, num_waiting: int):
        self.stopped = threading.Event()
        self._num_threads = num_threads
        self._waiting: queue.Queue[T | BaseException | None] = queue.Queue(num_waiting)

    def put(self, value: T | BaseException) -> None:
        """Hand a value over; an exception is raised where the values are taken."""
        self._put(value)

    def end(self) -> None:
        """This thread has no more values."""
        self._put(None)

    def __iter__(self) -> Iterator[T | None]:
        num_working = self._num_threads
        while num_working:
            try:
                value = self._waiting.get(timeout=TICK_S)
            except queue.Empty:
                yield None
                continue
            if isinstance(value, BaseException):
                raise value
            if value is None:
                num_working -= 1
            else:
                yield value

    def _put(self, value: T | BaseException | None) -> None:
        while not self.stopped.is_set():
            try:
                self._waiting.put(value, timeout=TICK_S)
                return
            except queue.Full:
                continue
