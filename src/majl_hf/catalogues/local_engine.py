"""Songs by processes of this machine, one at a time for each, in the order of the catalogue."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from .destination import Destination
from .handover import Handover
from .songs import Outcome, Task, Work
from .worker import Cancelled, Worker, scratch_folder


def run_locally(tasks: Sequence[Task], work: Work, num_workers: int) -> Iterator[Outcome | None]:
    """Outcomes of songs as they come; None about once a second while there is none. At most one outcome a worker waits.

    The workers end when the iterator is closed.

    Raises:
        MajlError: a worker cannot be started.
    """
    num_workers = min(num_workers, len(tasks))
    outcomes: Handover[Outcome] = Handover(num_threads=num_workers, num_waiting=num_workers)
    lock, remaining = threading.Lock(), iter(tasks)

    def serve(number: int) -> None:
        try:
            with Worker(work, scratch / str(number), outcomes.stopped.is_set) as worker:
                while True:
                    with lock:
                        task = next(remaining, None)
                    if task is None:
                        break
                    outcomes.put(worker.run(task))
        except Cancelled:
            pass
        except BaseException as error:
            outcomes.put(error)
        outcomes.end()

    with scratch_folder(Destination(work.destination)) as scratch:
        threads = [threading.Thread(target=serve, args=(number,), daemon=True) for number in range(num_workers)]
        for thread in threads:
            thread.start()
        try:
            yield from outcomes
        finally:
            outcomes.stopped.set()
            for thread in threads:
                thread.join()
