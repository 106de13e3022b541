"""Songs by a Ray cluster: Ray Data reads what is in stores, and hands songs to a pool of actors, each with a worker
process as of the local engine, so that limits and results are the same.

If an actor or a task is lost with its process or node, Ray starts it again, without end. The bound is here: it is
counted how often each song has been started. Any other error ends the run.

Only this file imports Ray.
"""

from __future__ import annotations

import collections
import contextlib
import logging
import math
import os
import signal
import socket
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, DataContext, TaskPoolStrategy
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ..errors import MajlError
from ..models.onnx_majl import is_onnx_folder
from ..songs.separating import describe
from ..system.provenance import __version__
from .dataset_rows import row_address
from .destination import Destination
from .handover import Handover
from .manifest import Row
from .retrying import without_secrets
from .songs import Outcome, Task, Work, fetch_bytes, make_row
from .sources import Entry
from .stores import is_remote, open_filesystem
from .worker import Worker, scratch_folder

MAX_STARTS = 5  # of a song whose actor is lost each time
MAX_READS = 2  # of a song whose reading task is lost each time
SONGS_PER_BLOCK = 100  # at most, where Ray reads them; each song is a block of its own afterwards
MAX_BLOCKS = 1000  # that the driver makes itself if no song is read by Ray; each takes it 1 ms and 5 kB
MAX_READ_BYTES = 256 << 20  # larger songs are read by the worker itself and do not go through Ray's object store
ACTOR_BYTES = 300 << 20  # of the actor and its server of processes, beside the worker process: 235 MB were measured
_ROW_SCHEMA = pa.schema({"row": pa.string(), "labels": pa.large_binary(), "error": pa.string()})
_CONNECT_S, _JOIN_S = 10.0, 10.0
_RAY_UNITS = 10_000  # of a resource, which Ray counts in such parts


def run_on_ray(
    tasks: Sequence[Task], work: Work, num_workers: int | None = None, address: str | None = None
) -> Iterator[Outcome | None]:
    """Outcomes of songs as they come; None about once a second while there is none. The actors end when the iterator is
    closed, and so does Ray if it was started here.

    Args:
        tasks: The songs.
        work: What is done; paths must be the same on every node.
        num_workers: Actors; default and most: as many as fit into the cluster's nodes. More than there are GPUs share
            these.
        address: Of a cluster ("auto", "HOST:PORT"); default: the variable RAY_ADDRESS, or a Ray of its own on this
            machine that others cannot reach.

    Raises:
        MajlError: there is no such cluster, it has too little memory for one worker, or a worker cannot be started.
    """
    outcomes: Handover[Outcome] = Handover(num_threads=1, num_waiting=1)

    def read() -> None:
        try:
            songs = _process(tasks, work, num_workers)
            for block in songs.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
                for row in block.to_pylist():
                    outcomes.put(_from_row(row))
        except BaseException as error:
            outcomes.put(_explained(error))
        outcomes.end()

    _connect(address or os.environ.get("RAY_ADDRESS") or "local")
    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    try:
        yield from outcomes
    finally:
        outcomes.stopped.set()
        ray.shutdown()
        thread.join(_JOIN_S)


def _connect(address: str) -> None:
    """Connect to a cluster, or start Ray. Ray writes nothing, sends no statistics, and leaves signals alone."""
    options = {"include_dashboard": False} if address == "local" else {}
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_BACKEND_LOG_LEVEL": "fatal"}
    ray._private.worker._worker_logs_enabled = False  # reports of lost processes, which would be written to stdout
    # Threads of Ray Data, which still wait for songs when a run is stopped, would start Ray again.
    ray._private.auto_init_hook.enable_auto_connect = False
    constants, is_main = ray._private.ray_constants, threading.current_thread() is threading.main_thread()
    is_cluster, on_sigterm = constants.ENABLE_RAY_CLUSTER, signal.getsignal(signal.SIGTERM)
    try:
        _check(address)
        if address == "local":
            constants.ENABLE_RAY_CLUSTER = False  # then its servers listen on the loopback device only
        with _without_stderr():
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL, **options)
    except (OSError, ValueError, RuntimeError) as error:
        which = "of this machine" if address == "local" else address
        raise MajlError(f"The Ray cluster {which} cannot be used: {error}") from error
    finally:
        constants.ENABLE_RAY_CLUSTER = is_cluster
        if is_main:
            signal.signal(signal.SIGTERM, on_sigterm)  # Ray sets its own, which exits at once
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)


def _check(address: str) -> None:
    """Raises an OSError if nothing listens at HOST:PORT, for which Ray would wait for minutes."""
    host, _, port = address.rpartition("/")[2].rpartition(":")
    if port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Context in which nothing appears on stderr, also not from code in C++."""
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def _process(tasks: Sequence[Task], work: Work, num_workers: int | None) -> ray.data.Dataset:
    """The dataset whose rows are outcomes."""
    num_workers, needs = place(work, [node["Resources"] for node in ray.nodes() if node["Alive"]], num_workers)
    num_workers = min(num_workers, len(tasks))
    folder = Destination(work.destination).folder
    if folder is not None:
        work = replace(work, destination=str(folder))  # actors work in a folder of their own
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.target_max_block_size = 1  # a block for each song: none waits for another one, and no more is lost with it
    context.max_errored_blocks = 0
    context.actor_task_retry_on_errors = False
    context.execution_options.preserve_order = False
    starts = _start_counter()
    if len(tasks) <= MAX_BLOCKS and not any(_is_read(task.entry.address) for task in tasks):
        songs = ray.data.from_blocks(list(_blocks(tasks, 1)))
    else:
        songs_per_block = max(1, min(SONGS_PER_BLOCK, len(tasks) // num_workers))
        songs = ray.data.from_blocks(list(_blocks(tasks, songs_per_block))).map_batches(
            _read,
            fn_args=(starts,),
            batch_size=None,
            batch_format="pyarrow",
            num_cpus=0,
            compute=TaskPoolStrategy(size=num_workers),
        )
    return songs.map_batches(
        _SongActor,
        fn_constructor_args=(work, __version__, starts),
        batch_size=1,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=num_workers, max_tasks_in_flight_per_actor=2),
        **needs,
    )


def place(
    work: Work, nodes: Sequence[dict[str, float]], num_workers: int | None = None
) -> tuple[int, dict[str, float]]:
    """How many workers there are, and what each takes, in the words of Ray: `num_cpus`, `num_gpus` and `memory`.

    Each worker has a GPU if the cluster has any and the work can use it; more workers than GPUs, if asked for, share
    them.

    Args:
        work: What is done.
        nodes: The resources of each node: "CPU", "GPU", and "memory" in bytes.
        num_workers: At most; default: as many as fit.

    Raises:
        MajlError: none fits into a node.
    """
    cpus, gpus, memory = (sum(node.get(what, 0) for node in nodes) for what in ("CPU", "GPU", "memory"))
    needed = work.memory_limit_bytes + ACTOR_BYTES
    with_gpu = gpus >= 1 and work.device in ("auto", "cuda") and not is_onnx_folder(work.model)
    sharing = max(1, math.ceil((num_workers or 1) / gpus)) if with_gpu else 1  # workers on a GPU
    possible = sum(
        int(min(
            node.get("CPU", 0) // work.threads,
            node.get("memory", 0) // needed,
            node.get("GPU", 0) * sharing if with_gpu else float("inf"),
        ))
        for node in nodes
    )  # fmt: skip
    if possible < 1:
        raise MajlError(
            f"No worker fits into a node of the Ray cluster: one needs {work.threads} CPUs and "
            f"{needed / 2**30:.1f} GiB, and all nodes together have {cpus:.0f} CPUs and {memory / 2**30:.1f} GiB. Use "
            "a lower --memory-limit or --threads, or larger nodes."
        )
    share = _RAY_UNITS // sharing / _RAY_UNITS if with_gpu else 0  # rounded down, so that all fit
    return min(num_workers or possible, possible), {"num_cpus": work.threads, "num_gpus": share, "memory": needed}


def _start_counter() -> ray.actor.ActorHandle:
    """A small actor beside the driver: `count(key)` is how often it has been called with `key`."""

    class Starts:  # a class of a function is sent as it is, so that its process does not import this package
        def __init__(self):
            self.counts = collections.Counter()

        def count(self, key: tuple[str, str]) -> int:
            self.counts[key] += 1
            return self.counts[key]

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options = {"num_cpus": 0, "scheduling_strategy": here, "max_restarts": -1, "max_task_retries": -1}
    return ray.remote(**options)(Starts).remote()


def _blocks(tasks: Sequence[Task], size: int) -> Iterator[pa.Table]:
    for start in range(0, len(tasks), size):
        block = tasks[start : start + size]
        yield pa.table(
            {
                "name": [task.entry.name for task in block],
                "address": [task.entry.address for task in block],
                "attempt": [task.attempt for task in block],
                "content": pa.nulls(len(block), pa.large_binary()),
            }
        )


def _is_read(address: str) -> bool:
    """Whether a song is in a store or a dataset."""
    return is_remote(address) or row_address(address) is not None


def _read(songs: pa.Table, starts: ray.actor.ActorHandle) -> Iterator[pa.Table]:
    """The CPU stage: songs of stores and datasets come as bytes, those of a file system as their paths."""
    for position, song in enumerate(songs.to_pylist()):
        address, content = song["address"], None
        if _is_read(address):
            try:
                if ray.get(starts.count.remote(("read", song["name"]))) <= MAX_READS and not _is_large(address):
                    content = fetch_bytes(address)
            except Exception as error:  # the worker tries again and reports it
                logging.getLogger(__name__).warning("%s: %s", without_secrets(address), describe(error))
            if content is not None and len(content) > MAX_READ_BYTES:
                content = None
        one = songs.slice(position, 1).drop_columns("content")
        yield one.append_column("content", pa.array([content], pa.large_binary()))


def _is_large(address: str) -> bool:
    if row_address(address) is not None:
        return False
    files, path = open_filesystem(address)
    return (files.size(path) or 0) > MAX_READ_BYTES


class _SongActor:
    """An actor with a worker process; its rows are outcomes, or an error that ends the run.

    Its constructor does nothing that can fail: Ray does not replace an actor whose constructor fails when it is started
    again.

    Args:
        work: What is done.
        version: Of the driver's package.
        starts: As of `_start_counter`.
    """

    def __init__(self, work: Work, version: str, starts: ray.actor.ActorHandle):
        self._work, self._version, self._starts = work, version, starts
        self._stack = contextlib.ExitStack()
        self._worker: Worker | None = None

    def __call__(self, songs: pa.Table) -> pa.Table:
        rows = [_as_row(self._outcome(song)) for song in songs.to_batches(max_chunksize=1)]
        return pa.Table.from_pylist(rows, _ROW_SCHEMA)

    def __del__(self):
        self._stack.close()

    def _outcome(self, song: pa.RecordBatch) -> Outcome | MajlError:
        name, address, attempt, content = (song[column][0] for column in ("name", "address", "attempt", "content"))
        task = Task(Entry(name.as_py(), address.as_py()), attempt.as_py())
        try:
            if ray.get(self._starts.count.remote(("start", task.entry.name))) > MAX_STARTS:
                reason = (
                    f"the process or the node of its Ray actor was lost {MAX_STARTS} times while it was in work; the "
                    "nodes may have too little memory: use a lower --memory-limit"
                )
                return Outcome(make_row(self._work, task, status="failed", reason=reason))
            if self._worker is None:
                self._start()
            if not content.is_valid:
                return self._worker.run(task)
            with tempfile.NamedTemporaryFile(dir=self._copies) as copy:
                copy.write(content.as_buffer())
                copy.flush()
                return self._worker.run(task._replace(fetched=copy.name))
        except Exception as error:
            return MajlError(f"A worker on the node {socket.gethostname()} cannot work: {describe(error)}")

    def _start(self) -> None:
        if self._version != __version__:
            raise MajlError(f"majl_hf is {__version__} there, and {self._version} here; install the same one.")
        self._copies = self._stack.enter_context(scratch_folder(Destination(self._work.destination)))
        self._worker = self._stack.enter_context(Worker(self._work, self._copies / "worker"))


def _as_row(outcome: Outcome | MajlError) -> dict:
    """What an actor returns, as it goes through Ray."""
    if isinstance(outcome, MajlError):
        return {"error": str(outcome)}
    labels = None
    if outcome.labels is not None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, outcome.labels.schema) as writer:
            writer.write_table(outcome.labels)
        labels = sink.getvalue().to_pybytes()
    return {"row": outcome.row.model_dump_json(), "labels": labels}


def _from_row(row: dict) -> Outcome | MajlError:
    if row["error"] is not None:
        return MajlError(row["error"])
    labels = None if row["labels"] is None else pa.ipc.open_stream(row["labels"]).read_all()
    return Outcome(Row.model_validate_json(row["row"]), labels)


def _explained(error: BaseException) -> BaseException:
    """An error of Ray's as one for users."""
    if isinstance(error, MajlError):
        return error
    if "No module named 'majl_hf" in str(error):
        return MajlError(
            f"The nodes of the Ray cluster need this package: install majl_hf[data,ray]=={__version__} on each, in the "
            "environment in which Ray was started there."
        )
    if isinstance(error, ray.exceptions.RayError):
        last = str(error).strip().splitlines()[-1].strip()  # above it is a trace of the other process
        return MajlError(f"Ray has ended the run ({type(error).__name__}: {last}); run the same command to resume.")
    return error
