"""Songs by processes of this machine, one at a time for each, in the order of the catalogue."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence

from .destination import Destination
from .songs import Outcome, Task, Work
from .worker import Cancelled, Worker, scratch_folder

TICK_S = 1.0


def run_locally(tasks: Sequence[Task], work: Work, num_workers: int) -> Iterator[Outcome | None]:
    """Outcomes of songs as they come; None about once a second while there is none. At most one outcome a worker waits.

    The workers end when the iterator is closed.

    Raises:
        MajlError: a worker cannot be started.
    """
    num_workers = min(num_workers, len(tasks))
    waiting: queue.Queue = queue.Queue(num_workers)
    stop = threading.Event()
    lock, remaining = threading.Lock(), iter(tasks)

    def hand_over(value) -> None:
        while not stop.is_set():
            try:
                waiting.put(value, timeout=TICK_S)
                return
            except queue.Full:
                continue

    def serve(number: int) -> None:
        try:
            with Worker(work, scratch / str(number), stop.is_set) as worker:
                while True:
                    with lock:
                        task = next(remaining, None)
                    if task is None:
                        break
                    hand_over(worker.run(task))
        except Cancelled:
            pass
        except BaseException as error:
            hand_over(error)
        hand_over(None)

    with scratch_folder(Destination(work.destination)) as scratch:
        threads = [threading.Thread(target=serve, args=(number,), daemon=True) for number in range(num_workers)]
        for thread in threads:
            thread.start()
        try:
            num_working = num_workers
            while num_working:
                try:
                    value = waiting.get(timeout=TICK_S)
                except queue.Empty:
                    yield None
                    continue
                if isinstance(value, BaseException):
                    raise value
                if value is None:
                    num_working -= 1
                else:
                    yield value
        finally:
            stop.set()
            for thread in threads:
                thread.join()
