"""Reading ahead and writing behind: file input and output beside computation."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType

_END = object()


def read_ahead(items: Iterable, count: int) -> Iterator:
    """The same items, of which up to `count` are made ahead in a thread. Close the iterator to end the thread."""
    iterator = iter(items)
    with ThreadPoolExecutor(1, "majl-read") as thread:
        coming = deque(thread.submit(next, iterator, _END) for _ in range(count))
        try:
            while (item := coming.popleft().result()) is not _END:
                coming.append(thread.submit(next, iterator, _END))
                yield item
        finally:
            for future in coming:
                future.cancel()


class WriteBehind:
    """Context in which calls of `write` run in a thread, in order, with up to `count` of them waiting.

    At the end, all of them are done; their first exception is raised by a later call or there. Where the context is
    left by an exception, those that have not begun are dropped.
    """

    def __init__(self, write: Callable, count: int):
        self._write, self._count = write, count
        self._thread = ThreadPoolExecutor(1, "majl-write")
        self._waiting: deque[Future] = deque()

    def __call__(self, *arguments) -> None:
        self._waiting.append(self._thread.submit(self._write, *arguments))
        while len(self._waiting) > self._count:
            self._waiting.popleft().result()

    def __enter__(self) -> "WriteBehind":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            while self._waiting and error is None:
                self._waiting.popleft().result()
        finally:
            self._thread.shutdown(cancel_futures=True)
