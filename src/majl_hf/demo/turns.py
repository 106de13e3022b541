"""One song at a time, in order of arrival, whether it comes from the page, a program or an assistant."""

import contextlib
import threading
from collections import deque
from collections.abc import Callable, Iterator


class Turns:
    """A queue of those who want to use the model. Safe to use from several threads."""

    def __init__(self):
        self._queue: deque[object] = deque()
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def queue(self) -> Iterator[Callable[[float], bool]]:
        """Context of a place in the queue; `is_next(timeout_s)` waits until it is the first, and returns whether it
        is. The place is given up at the end."""
        place = object()

        def is_next(timeout_s: float) -> bool:
            with self._changed:
                return self._changed.wait_for(lambda: self._queue[0] is place, timeout_s)

        with self._changed:
            self._queue.append(place)
        try:
            yield is_next
        finally:
            with self._changed:
                self._queue.remove(place)
                self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._queue)
