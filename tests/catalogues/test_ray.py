"""Catalogues on a Ray cluster: the results are those of the local engine, whatever is lost; every process and every run
ends. Drivers are processes, since Ray does not forget a cluster that a process was connected to."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from audio_files import stereo_tones, write_audio
from typer.testing import CliRunner
from without_package import WITHOUT_PACKAGE

ray = pytest.importorskip("ray", reason="Ray is not installed; it is in the extra ray")

from ray.cluster_utils import Cluster  # noqa: E402

from majl_hf.catalogues.ray_engine import ACTOR_BYTES, MAX_STARTS, place, run_on_ray  # noqa: E402
from majl_hf.catalogues.songs import Work  # noqa: E402
from majl_hf.cli import app  # noqa: E402
from majl_hf.errors import MajlError  # noqa: E402

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are found in /proc")

LIMIT_S = 120.0
GIB = 2**30
LONG = ("long 1", "long 2", "long 3")  # long enough to be found in work
GOOD = ("0", "1", "2", "mono", "much", *LONG)
BROKEN = ("cut", "text")
LOSSES_ARE_SEEN_SOON = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 300}  # of nodes; else after 15 s
NODE = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def ray_folder():
    """Where Ray puts its files, with a short path: those of sockets have 107 characters at most."""
    folder = tempfile.mkdtemp(prefix="ray-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # of drivers: nodes have the address 127.0.0.1
        patch.delenv("RAY_ADDRESS", raising=False)
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(ray_folder):
    """A head without cores, and two nodes with room for two workers; only this machine can reach them."""
    on_sigterm = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray._private.ray_constants, "ENABLE_RAY_CLUSTER", False)
        head = {**NODE, "num_cpus": 0, "memory": GIB, "_system_config": LOSSES_ARE_SEEN_SOON}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        for _ in range(2):
            cluster.add_node(**NODE, num_cpus=2, memory=10 * GIB)
        yield cluster
        cluster.shutdown()
    signal.signal(signal.SIGTERM, on_sigterm)


@pytest.fixture(scope="module")
def songs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("songs")
    for number in range(3):
        write_audio(folder / f"{number}.flac", stereo_tones(44_100 + number))
    write_audio(folder / "mono.wav", stereo_tones(16_000)[:1], 16_000)
    for number, name in enumerate(LONG):
        write_audio(folder / f"{name}.flac", stereo_tones(40 * 44_100 + number))
    write_audio(folder / "much.flac", stereo_tones(40 * 44_100))
    (folder / "cut.flac").write_bytes((folder / "0.flac").read_bytes()[:1000])
    (folder / "text.m4a").write_text("This is not a song.")
    return folder


@pytest.fixture(scope="module")
def arguments(tiny_model_folder):
    """`arguments(songs, out, *options)` of `majl batch` with the tiny model."""

    def make(songs, out, *options, model=tiny_model_folder) -> list[str]:
        given = ("batch", songs, "-o", out, "--model", model, "--device", "cpu", "--json", *options)
        return [str(argument) for argument in given]

    return make


@pytest.fixture
def start(arguments, tmp_path):
    """`start(songs, *options)`: a driver in a folder of its own, with results in `out` there; killed at the end."""
    started = []

    def run(songs, *options, first="", **given) -> subprocess.Popen:
        command = [sys.executable, "-c", f"{first}\nfrom majl_hf.cli import app; app()"]
        command += arguments(songs, "out", "--engine", "ray", *options, **given)
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield run
    for process in started:
        with process:
            process.kill()


@pytest.fixture(scope="module")
def local(songs, arguments, tmp_path_factory) -> dict:
    """What the local engine makes of the songs."""
    out = tmp_path_factory.mktemp("local")
    CliRunner().invoke(app, arguments(songs, out, "--workers", "1"))
    return results(out)


def results(out: Path) -> dict:
    """All that does not depend on when and where songs were processed, and the memory that each took."""
    parts = sorted((out / "manifest").glob("*.jsonl"))
    rows = {row["name"]: row for part in parts for row in map(json.loads, part.read_text().splitlines())}
    labels = [row for part in (out / "labels").glob("*.parquet") for row in pq.read_table(part).to_pylist()]
    assert len({row["song"] for row in labels}) == len(labels), "a song is there twice"
    facts = ("status", "reason", "run", "input_sha256", "duration_s", "num_channels", "warnings")
    return {
        "stems": {path.name: path.read_bytes() for path in (out / "stems").glob("*")},
        "labels": {row["song"]: row for row in labels},
        "rows": {name: {fact: row[fact] for fact in facts} for name, row in rows.items()},
        "memory": {name: row["peak_memory_bytes"] for name, row in rows.items()},
    }


def assert_same(ours: dict, local: dict, done: set[str], failed: set[str]) -> None:
    """These songs are there, and no others, and all of `done` is equal bit for bit to the local engine's."""
    assert {name: row["status"] for name, row in ours["rows"].items()} == {
        **dict.fromkeys(done, "done"),
        **dict.fromkeys(failed, "failed"),
    }
    assert ours["labels"] == {name: local["labels"][name] for name in done}
    stems = {f"{name}.{stem}.flac" for name in done for stem in ("vocals", "accompaniment")}
    assert ours["stems"] == {name: local["stems"][name] for name in stems}
    for name in done | (failed & {*BROKEN}):
        assert ours["rows"][name] == local["rows"][name]


def command_of(process: int) -> bytes:
    """Empty if it has ended, also if its parent has not noticed."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def processes(command: str) -> list[int]:
    """Those whose command line contains a text."""
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [number for number in numbers if command.encode() in command_of(number)]


def parent(process: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def files_of(process: int) -> list[str]:
    with contextlib.suppress(OSError):
        return [os.readlink(entry) for entry in Path(f"/proc/{process}/fd").iterdir()]
    return []


def in_work(out: Path, song: Path | None = None) -> int | None:
    """A worker process that is writing the results of a song."""
    for number in processes("from multiprocessing"):
        files = files_of(number)
        is_writing = any(file.startswith(f"{out}/.majl-scratch/") and file.endswith(".part") for file in files)
        if is_writing and (song is None or str(song) in files):
            return number
    return None


def actor_of(worker: int) -> int:
    """The process of Ray that a worker process belongs to."""
    while b"ray::" not in command_of(worker):
        worker = parent(worker)
    return worker


def until(condition, driver: subprocess.Popen | None = None):
    """The first true result of `condition`, which is called often while the driver runs."""
    deadline_s = time.monotonic() + LIMIT_S
    while time.monotonic() < deadline_s and (driver is None or driver.poll() is None):
        if result := condition():
            return result
        time.sleep(0.05)
    raise AssertionError(f"it has not happened; {driver and driver.communicate(timeout=5)}")


def all_end(numbers) -> None:
    until(lambda: not any(map(command_of, numbers)))


def make_scratch_old(out: Path) -> int:
    """Number of scratch folders. A later actor removes them if their own has ended; young ones it leaves alone."""
    folders = list((out / ".majl-scratch").iterdir())
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            os.utime(folder, (0, 0))
    return len(folders)


def times_of_stems(out: Path, names: str = "*") -> dict[str, int]:
    """When they were written."""
    return {path.name: path.stat().st_mtime_ns for path in (out / "stems").glob(names)}


def test_what_is_lost_is_done_again(cluster, songs, local, start, tmp_path):
    """A driver is killed. The same command finishes its work and removes what it has left, although a worker process,
    an actor and a node are killed; a song that always takes its actor with it is a failure."""
    nearly_exhausted = f"""
import ray
from majl_hf.catalogues import ray_engine
start_counter = ray_engine._start_counter
def counter():
    starts = start_counter()
    for _ in range({MAX_STARTS - 1}):
        ray.get(starts.count.remote(("start", "long 2")))
    return starts
ray_engine._start_counter = counter
"""
    out, waiting = tmp_path / "out", {*LONG}
    driver = start(songs, "--workers", 1, "--address", cluster.address)
    worker = until(lambda: in_work(out), driver)
    left = [worker, actor_of(worker)]
    driver.kill()
    all_end(left)
    assert make_scratch_old(out)

    began_ns, done = time.time_ns(), {}
    driver = start(songs, "--workers", 2, "--address", cluster.address, first=nearly_exhausted)
    while waiting:
        found = until(
            lambda: next(
                ((n, w) for n in waiting if (w := in_work(out, songs / f"{n}.flac"))), driver.poll() is not None
            )
        )
        if found is True:
            break
        name, worker = found
        actor = actor_of(worker)
        if name == "long 1":
            os.kill(worker, signal.SIGKILL)
        elif name == "long 2":
            done = {stem: time_ns for stem, time_ns in times_of_stems(out, "[012].*").items() if time_ns > began_ns}
            os.kill(actor, signal.SIGKILL)
        else:
            (node,) = (n for n in cluster.worker_nodes if n.all_processes["raylet"][0].process.pid == parent(actor))
            cluster.remove_node(node, allow_graceful=False)
        all_end([worker])
        make_scratch_old(out)
        waiting.remove(name)
    assert waiting <= {"long 2"}, "all were killed; this one perhaps with the node of another, for the last time"
    assert done or waiting
    stdout, stderr = driver.communicate(timeout=LIMIT_S)
    *rows, summary = map(json.loads, stdout.splitlines())
    assert driver.returncode == 1 and len(rows) == len(GOOD) + len(BROKEN)
    assert (summary["num_done"], summary["num_failed"], summary["num_left"]) == (7, 3, 0)
    ours = results(out)
    assert_same(ours, local, {*GOOD} - {"long 2"}, {"long 2", *BROKEN})
    assert f"actor was lost {MAX_STARTS} times" in ours["rows"]["long 2"]["reason"]
    assert done.items() <= times_of_stems(out).items(), "what an actor has done is not done again with what it loses"
    assert not [path for path in out.rglob(".*")]
    lines = stderr.splitlines()[1:]
    assert not [line for line in lines if not line.startswith("failed: ") and " s of audio in " not in line], (
        "Ray is quiet"
    )


def test_an_interrupted_run(cluster, songs, local, start, tmp_path):
    """It ticks while nothing comes, ends at once, keeps what it has, and leaves no process behind. The songs come from
    a store, and one takes more memory than it may."""
    write_audio(tmp_path / "slow.flac", stereo_tones(180 * 16_000)[:1], 16_000)  # one channel: it takes less memory
    given = [next(songs.glob(f"{name}.*")) for name in ("0", "much", "mono")] + [tmp_path / "slow.flac"]
    rows = [{"name": path.stem, "audio_filepath": f"local://{path}"} for path in given]
    (tmp_path / "songs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    limit = (local["memory"]["0"] + 2 * local["memory"]["much"]) / 3 / GIB
    tick = "import sys\nfrom majl_hf.catalogues.run import Recorder\n"
    tick += "Recorder.flush_if_due = lambda self: print('tick', file=sys.stderr)"
    options = ("--address", cluster.address, "--workers", 1, "--memory-limit", limit)
    driver = start("songs.jsonl", *options, first=tick)
    rows = [json.loads(driver.stdout.readline()) for _ in given[:-1]]
    worker = until(lambda: in_work(tmp_path / "out"), driver)
    left = [worker, actor_of(worker)]
    driver.send_signal(signal.SIGINT)
    stopped_s = time.monotonic()
    stdout, stderr = driver.communicate(timeout=LIMIT_S)
    assert time.monotonic() - stopped_s < 10
    assert driver.returncode == 130 and stdout == ""
    _, *ticks, last = (line for line in stderr.splitlines() if not line.startswith("failed: much: "))
    assert len(ticks) >= 2 and {*ticks} == {"tick"}
    assert last == "stopped: run the same command again to resume"
    all_end(left)
    assert sorted(row["name"] for row in rows) == ["0", "mono", "much"]
    ours = results(tmp_path / "out")
    assert_same(ours, local, {"0", "mono"}, {"much"})
    assert "GiB of memory, and the limit is" in ours["rows"]["much"]["reason"]


def test_a_worker_that_cannot_start(ray_folder, songs, tiny_model_folder, start, tmp_path):
    """One error and no other output, of a Ray that was started for the run: nobody else can reach it, and it ends."""
    model = shutil.copytree(tiny_model_folder, tmp_path / "model")
    (model / "model.safetensors").write_bytes(b"cut")
    driver = start(songs, "--workers", 1, model=model)
    worker = until(lambda: next(filter(None, map(worker_of(driver.pid), processes("from multiprocessing"))), 0), driver)
    servers = listening(driver.pid)
    stdout, stderr = driver.communicate(timeout=LIMIT_S)
    assert driver.returncode == 2 and stdout == ""
    first, error = stderr.splitlines()
    assert first.startswith("10 songs to process") and error.startswith("error: A worker on the node ")
    assert str(model) in error
    assert len(servers) > 3 and set(servers.values()) == {"127.0.0.1"}
    all_end([worker, *servers])


def worker_of(driver: int):
    """A function of a process, which returns it if a driver has started it."""

    def find(process: int) -> int:
        ancestor = process
        while ancestor not in (0, 1, driver):
            ancestor = parent(ancestor)
        return process if ancestor == driver else 0

    return find


def listening(driver: int) -> dict[int, str]:
    """Addresses at which a process and those that it has started listen."""
    sockets = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, address, _, state, *_, inode = line.split()[:10]
            address = address.partition(":")[0]
            is_v4 = len(address) == 8 or address.startswith("0" * 16 + "FFFF0000")
            if state == "0A":
                octets = bytes.fromhex(address[-8:])[::-1]
                sockets[f"socket:[{inode}]"] = ".".join(map(str, octets)) if is_v4 else address
    numbers = filter(None, map(worker_of(driver), processes("")))
    return {number: sockets[file] for number in numbers for file in files_of(number) if file in sockets}


GPU_NODE = {"CPU": 16, "GPU": 1, "memory": 64 * GIB}


@pytest.mark.parametrize(
    ("nodes", "asked", "device", "num_workers", "num_gpus"),
    [
        ([{"CPU": 4, "memory": 64 * GIB}], None, "auto", 4, 0),
        ([{"CPU": 4, "memory": 64 * GIB}], 9, "cuda", 4, 0),
        ([GPU_NODE], None, "auto", 1, 1),
        ([GPU_NODE], 1, "auto", 1, 1),
        ([GPU_NODE], 2, "cuda", 2, 0.5),
        ([GPU_NODE], 3, "auto", 3, 0.3333),
        ([GPU_NODE], 7, "auto", 7, 0.1428),  # of 0.1429, six would fit
        ([GPU_NODE], 99, "auto", 14, 0.0101),  # as far as memory allows
        ([GPU_NODE], None, "cpu", 14, 0),
        ([GPU_NODE, GPU_NODE], None, "auto", 2, 1),
        ([GPU_NODE, GPU_NODE], 3, "auto", 3, 0.5),
        ([GPU_NODE | {"GPU": 2}, GPU_NODE, {"CPU": 8, "memory": 64 * GIB}], 5, "auto", 5, 0.5),
    ],
)
def test_workers_share_gpus(tmp_path, nodes, asked, device, num_workers, num_gpus):
    work = Work(destination="out", run="r", model=str(tmp_path), model_title="m", device=device)
    needs = {"num_cpus": 1, "num_gpus": num_gpus, "memory": work.memory_limit_bytes + ACTOR_BYTES}
    assert place(work, nodes, asked) == (num_workers, needs)
    if num_gpus:
        per_node = [int(node.get("GPU", 0) * 10_000) // round(num_gpus * 10_000) for node in nodes]
        assert sum(per_node) >= num_workers, "Ray has room for all"


def test_no_cluster():
    with pytest.raises(MajlError, match=r"The Ray cluster 127\.0\.0\.1:1 cannot be used: .*refused"):
        next(run_on_ray([], None, address="127.0.0.1:1"))


def test_nodes_need_memory():
    work = Work(destination="out", run="r", model="m", model_title="m", memory_limit_bytes=6 * GIB)
    with pytest.raises(
        MajlError, match=r"needs 1 CPUs and 6\.3 GiB, and all nodes .* 3 CPUs and 10\.0 .*--memory-limit"
    ):
        place(work, [{"CPU": 1, "memory": 5 * GIB}, {"CPU": 2, "memory": 5 * GIB}])


def test_nodes_need_the_package(cluster, songs, start, tmp_path):
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_PACKAGE)
    node = cluster.add_node(**NODE, num_cpus=1, memory=14 * GIB, env_vars={"PYTHONPATH": str(tmp_path)})
    driver = start(songs, "--address", cluster.address, "--memory-limit", 12)  # the others are too small
    stdout, stderr = driver.communicate(timeout=LIMIT_S)
    cluster.remove_node(node)
    assert driver.returncode == 2 and stdout == ""
    assert "error: The nodes of the Ray cluster need this package: install majl_hf" in stderr
    assert results(tmp_path / "out")["rows"] == {}
