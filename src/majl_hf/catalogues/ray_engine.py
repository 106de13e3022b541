"""Songs by a Ray cluster: Ray Data reads what is in stores, and hands songs to a pool of actors, each with a worker
process as of the local engine, so that limits and results are the same.

Only this file imports Ray.
"""

from __future__ import annotations

import itertools
import logging
import pickle
import tempfile
from collections.abc import Iterator, Sequence

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy

from ..errors import MajlError
from ..songs.separating import describe
from .destination import Destination, is_remote
from .manifest import Row
from .songs import Outcome, Task, Work, fetch_bytes
from .sources import Entry, row_address
from .worker import Worker, scratch_folder

MAX_RESTARTS = 4  # of an actor, and times that a song is tried again whose actor was lost; Ray's default is without end
MAX_BLOCKS = 20_000  # of songs in one run: each costs the driver a few kB
MAX_READ_BYTES = 256 << 20  # larger songs are read by the worker itself and do not go through Ray's object store
ACTOR_BYTES = 400 << 20  # of the actor beside its worker process


def run_on_ray(
    tasks: Sequence[Task], work: Work, num_workers: int | None = None, address: str | None = None
) -> Iterator[Outcome | None]:
    """Outcomes of songs as they come. Songs that a lost node takes with it more often than `MAX_RESTARTS` times have
    none.

    Args:
        tasks: The songs.
        work: What is done; paths must be the same on every node.
        num_workers: Actors; default: as many as the cluster's CPUs, GPUs and memory allow.
        address: Of a cluster ("auto", "HOST:PORT", "ray://HOST:10001"); None uses Ray as it is in this process, or
            starts it on this machine.

    Raises:
        MajlError: there is no such cluster, or it has too little memory for one worker.
    """
    is_ours = not ray.is_initialized()
    if is_ours:
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise MajlError(f"The Ray cluster {address or 'of this machine'} cannot be used: {error}") from error
    try:
        yield from _run(tasks, work, num_workers)
    finally:
        if is_ours:
            ray.shutdown()


def _run(tasks: Sequence[Task], work: Work, num_workers: int | None) -> Iterator[Outcome]:
    resources = ray.cluster_resources()
    num_gpus = 1 if resources.get("GPU") and work.device in ("auto", "cuda") else 0
    memory = work.memory_limit_bytes + ACTOR_BYTES
    possible = int(min(
        resources.get("CPU", 0) // work.threads,
        resources.get("memory", 0) // memory,
        resources["GPU"] if num_gpus else float("inf"),
    ))  # fmt: skip
    if possible < 1:
        raise MajlError(
            f"No worker fits into the Ray cluster: one needs {work.threads} CPUs and {memory / 2**30:.1f} GiB, and "
            f"there are {resources.get('CPU', 0):.0f} CPUs and {resources.get('memory', 0) / 2**30:.1f} GiB. Use a "
            "lower --memory-limit or --threads, or a larger cluster."
        )
    num_workers = min(num_workers or possible, possible, len(tasks))
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = len(tasks)  # what is lost is left for the next run; it does not end this one
    context.actor_task_retry_on_errors = False
    context.execution_options.preserve_order = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    songs_per_block = -(-len(tasks) // MAX_BLOCKS)
    songs = (
        ray.data.from_arrow(list(_blocks(tasks, songs_per_block)))
        .map_batches(
            _read, batch_size=1, batch_format="pyarrow", num_cpus=0, compute=TaskPoolStrategy(size=num_workers)
        )
        .map_batches(
            _SongActor,
            fn_constructor_args=(work,),
            batch_size=1,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=num_workers, max_tasks_in_flight_per_actor=2),
            num_cpus=work.threads,
            num_gpus=num_gpus,
            memory=memory,
            max_restarts=MAX_RESTARTS,
            max_task_retries=MAX_RESTARTS,
        )
    )
    for row in songs.iter_rows():
        yield Outcome(Row.model_validate_json(row["row"]), row["labels"] and pickle.loads(row["labels"]))


def _blocks(tasks: Sequence[Task], size: int) -> Iterator[pa.Table]:
    iterator = iter(tasks)
    while block := list(itertools.islice(iterator, size)):
        yield pa.table(
            {
                "name": [task.entry.name for task in block],
                "address": [task.entry.address for task in block],
                "attempt": [task.attempt for task in block],
            }
        )


def _read(songs: pa.Table) -> pa.Table:
    """The CPU stage: songs of stores and datasets come as bytes, those of a file system as their paths."""
    contents = []
    for address in songs["address"].to_pylist():
        content = None
        if is_remote(address) or row_address(address) is not None:
            try:
                content = fetch_bytes(address)
            except Exception as error:  # the worker tries again and reports it
                logging.getLogger(__name__).warning("%s: %s", address, describe(error))
            if content is not None and len(content) > MAX_READ_BYTES:
                content = None
        contents.append(content)
    return songs.append_column("content", pa.array(contents, pa.large_binary()))


class _SongActor:
    """An actor with a worker process."""

    def __init__(self, work: Work):
        self._stack = scratch_folder(Destination(work.destination))
        scratch = self._stack.__enter__()
        self._worker, self._copies = Worker(work, scratch / "worker"), scratch

    def __call__(self, songs: pa.Table) -> pa.Table:
        outcomes = [self._run(song) for song in songs.to_pylist()]
        return pa.table(
            {
                "row": [outcome.row.model_dump_json() for outcome in outcomes],
                "labels": pa.array(
                    [outcome.labels and pickle.dumps(outcome.labels) for outcome in outcomes], pa.large_binary()
                ),
            }
        )

    def _run(self, song: dict) -> Outcome:
        task = Task(Entry(song["name"], song["address"]), song["attempt"])
        if song["content"] is None:
            return self._worker.run(task)
        with tempfile.NamedTemporaryFile(dir=self._copies) as copy:
            copy.write(song["content"])
            copy.flush()
            return self._worker.run(task._replace(fetched=copy.name))

    def __del__(self):
        self._worker.close()
        self._stack.__exit__(None, None, None)
