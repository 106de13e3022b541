"""Catalogues on a Ray cluster: results of the local engine, whatever is lost; every process ends, and every run."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from audio_files import stereo_tones, write_audio
from typer.testing import CliRunner
from without_package import WITHOUT_PACKAGE

ray = pytest.importorskip("ray", reason="Ray is not installed; it is in the extra ray")

from ray.cluster_utils import Cluster  # noqa: E402

from majl_hf.catalogues import ray_engine  # noqa: E402
from majl_hf.catalogues.destination import Destination  # noqa: E402
from majl_hf.catalogues.local_engine import run_locally  # noqa: E402
from majl_hf.catalogues.manifest import Manifest  # noqa: E402
from majl_hf.catalogues.run import find_model, find_pending, identify, run_catalogue  # noqa: E402
from majl_hf.catalogues.songs import Work  # noqa: E402
from majl_hf.catalogues.sources import Songs  # noqa: E402
from majl_hf.cli import app  # noqa: E402
from majl_hf.errors import MajlError  # noqa: E402

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="processes are found in /proc")

LIMIT_S = 60.0
GIB = 2**30
LONG = ("long 1", "long 2", "long 3")  # long enough to be found in work
BROKEN = ("cut", "text")
NODE = {"node_ip_address": "127.0.0.1", "include_dashboard": False, "object_store_memory": 80 << 20}


@pytest.fixture(scope="module")
def short_folder():
    """For Ray's sockets, whose paths have 107 characters at most."""
    folder = tempfile.mkdtemp(prefix="ray-")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # of drivers: nodes have the address 127.0.0.1
        yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def cluster(short_folder):
    """A head without cores, and three nodes of one core; only this machine can reach them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ray._private.ray_constants, "ENABLE_RAY_CLUSTER", False)
        cluster = Cluster(initialize_head=True, head_node_args={**NODE, "num_cpus": 0, "memory": GIB})
        for _ in range(3):
            cluster.add_node(**NODE, num_cpus=1, memory=4 * GIB)
        yield cluster
        ray.shutdown()
        cluster.shutdown()


@pytest.fixture(scope="module")
def songs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("songs")
    for number in range(3):
        write_audio(folder / f"{number}.flac", stereo_tones(44_100 + number))
    write_audio(folder / "mono.wav", stereo_tones(16_000)[:1], 16_000)
    for name in LONG:
        write_audio(folder / f"{name}.flac", stereo_tones(40 * 44_100)[:, : -len(name)])
    write_audio(folder / "much.flac", stereo_tones(150 * 44_100))
    (folder / "cut.flac").write_bytes((folder / "0.flac").read_bytes()[:1000])
    (folder / "text.m4a").write_text("This is not a song.")
    return folder


@pytest.fixture(scope="module")
def local(songs, tiny_model_folder, tmp_path_factory) -> dict:
    """What the local engine makes of the songs."""
    out = tmp_path_factory.mktemp("local")
    process(songs, out, tiny_model_folder, partial(run_locally, num_workers=1))
    return results(out)


def process(songs, out, model_folder, engine, memory_limit_bytes=2 * GIB, **options):
    """A run as by the command; `engine` gets the tasks and `work`."""
    model = find_model(model_folder)
    work = Work(
        destination=str(out),
        run="",
        model=model.name,
        model_title=model.title,
        device="cpu",
        memory_limit_bytes=memory_limit_bytes,
    )
    identity = identify(model, work)
    work = Work(**{**vars(work), "run": identity.digest})
    manifest = Manifest(Destination(str(out)), identity)
    return run_catalogue(
        find_pending(Songs(str(songs)), manifest).tasks, manifest, partial(engine, work=work), **options
    )


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


def parent(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])


def actor_of(worker: int) -> int:
    """The process of Ray that a worker process belongs to."""
    while b"ray::" not in command_of(worker):
        worker = parent(worker)
    return worker


def files_of(process: int) -> list[str]:
    with contextlib.suppress(OSError):
        return [os.readlink(entry) for entry in Path(f"/proc/{process}/fd").iterdir()]
    return []


def processes(command: str) -> list[int]:
    """Those whose command line contains a text."""
    numbers = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [number for number in numbers if command.encode() in command_of(number)]


def command_of(process: int) -> bytes:
    """Empty if it has ended, also if its parent has not noticed."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{process}/cmdline").read_bytes()
    return b""


def in_work(out: Path, song: Path | None = None) -> int | None:
    """A worker process that is writing results of a song."""
    for number in processes("from multiprocessing"):
        files = files_of(number)
        is_writing = any(file.startswith(f"{out}/.majl-scratch/") and file.endswith(".part") for file in files)
        if is_writing and (song is None or str(song) in files):
            return number
    return None


def until(condition, limit_s=LIMIT_S):
    """The first true result of `condition`, which is called often."""
    deadline_s = time.monotonic() + limit_s
    while time.monotonic() < deadline_s:
        if result := condition():
            return result
        time.sleep(0.05)
    raise AssertionError("it has not happened")


def have_ended(numbers) -> bool:
    return not any(map(command_of, numbers))


def test_what_is_lost_is_done_again(cluster, songs, local, tiny_model_folder, tmp_path, monkeypatch):
    """A worker process, an actor and a node are killed; a song that always takes its actor with it is a failure."""
    monkeypatch.chdir(tmp_path)
    out, lost, ended = tmp_path / "out", [], threading.Event()
    start_counter = ray_engine._start_counter

    def nearly_exhausted():
        starts = start_counter()
        for _ in range(ray_engine.MAX_STARTS - 1):
            ray.get(starts.count.remote(("start", "long 2")))
        return starts

    monkeypatch.setattr(ray_engine, "_start_counter", nearly_exhausted)

    def kill(name: str, worker: int) -> None:
        actor = actor_of(worker)
        if name == "long 1":
            os.kill(worker, signal.SIGKILL)
        elif name == "long 2":
            os.kill(actor, signal.SIGKILL)
        else:
            (node,) = (n for n in cluster.worker_nodes if n.all_processes["raylet"][0].process.pid == parent(actor))
            cluster.remove_node(node, allow_graceful=False)
        until(lambda: have_ended([worker]), 10)
        lost.append(name)

    def kill_all() -> None:
        waiting = {*LONG}
        while waiting and not ended.is_set():
            for name in sorted(waiting):
                if worker := in_work(out, songs / f"{name}.flac"):
                    kill(name, worker)
                    waiting.remove(name)
            time.sleep(0.05)

    thread = threading.Thread(target=kill_all, daemon=True)
    thread.start()
    engine = partial(ray_engine.run_on_ray, num_workers=2, address=cluster.address)
    try:
        tally = process(songs, "out", tiny_model_folder, engine)  # relative, as people type it
    finally:
        ended.set()
        thread.join()
    assert sorted(lost) == sorted(LONG)
    assert (tally.num_done, tally.num_failed, tally.num_left) == (7, 3, 0)
    ours = results(out)
    assert_same(ours, local, {*local["labels"]} - {"long 2"}, {"long 2", *BROKEN})
    assert f"actor was lost {ray_engine.MAX_STARTS} times" in ours["rows"]["long 2"]["reason"]


def test_a_killed_driver(cluster, songs, local, tiny_model_folder, tmp_path, monkeypatch):
    """The same command finishes its work, and what it has left is removed."""
    limit_gib = (local["memory"]["0"] + local["memory"]["much"]) / 2 / GIB
    out = tmp_path / "out"
    arguments = ["batch", str(songs / "[012m]*"), "-o", "out", "--engine", "ray", "--address", cluster.address]
    arguments += [
        "--model",
        tiny_model_folder,
        "--device",
        "cpu",
        "--memory-limit",
        str(limit_gib),
        "--workers",
        "1",
        "--json",
    ]
    command = [sys.executable, "-c", "from majl_hf.cli import app; app()", *arguments]
    driver = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    worker = until(lambda: in_work(out))
    left = [worker, actor_of(worker)]
    driver.kill()
    driver.wait()
    until(lambda: have_ended(left), 20)
    assert not in_work(out)
    scratch = list((out / ".majl-scratch").iterdir())
    assert scratch
    for folder in scratch:
        os.utime(folder, (0, 0))  # younger ones are left alone
    monkeypatch.chdir(tmp_path)
    second = CliRunner().invoke(app, arguments)
    assert second.exit_code == 1, second.output
    *rows, summary = map(json.loads, second.stdout.splitlines())
    assert len(rows) == summary["num_done"] + summary["num_failed"]
    assert summary["num_left"] == 0
    ours = results(out)
    assert_same(ours, local, {"0", "1", "2", "mono"}, {"much"})
    assert "GiB of memory, and the limit is" in ours["rows"]["much"]["reason"]
    assert not [path for path in out.rglob(".*")]


def test_an_interrupted_run(cluster, songs, tiny_model_folder, tmp_path):
    """It ticks while nothing comes, ends at once, and leaves no process behind."""
    out, ticks, ended_s = tmp_path / "out", [], []

    def stop_in_song(row, tally):
        ticks.append(row)
        if worker := in_work(out):
            ended_s.append(time.monotonic())
            ticks.append(worker)
            raise KeyboardInterrupt

    engine = partial(ray_engine.run_on_ray, num_workers=1, address=cluster.address)
    with pytest.raises(KeyboardInterrupt):
        process(songs / "long *.flac", out, tiny_model_folder, engine, report=stop_in_song)
    assert time.monotonic() - ended_s[0] < 5 and not ray.is_initialized()
    assert ticks[:2] == [None, None]
    until(lambda: have_ended([ticks[-1]]), 10)


def test_a_worker_that_cannot_start(short_folder, songs, tiny_model_folder, tmp_path, monkeypatch):
    """One error and no other output, of a Ray that was started for the run: nobody else can reach it, and it ends."""
    model = shutil.copytree(tiny_model_folder, tmp_path / "model")
    (model / "model.safetensors").write_bytes(b"cut")
    (tmp_path / "out").mkdir()
    servers, others = {}, listening(short_folder)
    process_songs = ray_engine._process

    def looking(*arguments):
        dataset = process_songs(*arguments)
        servers.update(set(listening(short_folder).items()) - set(others.items()))
        return dataset

    monkeypatch.setattr(ray_engine, "_process", looking)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    arguments = ["batch", str(songs), "-o", str(tmp_path / "out"), "--engine", "ray", "--workers", "1"]
    result = CliRunner().invoke(app, [*arguments, "--model", str(model), "--device", "cpu", "--json"])
    assert result.exit_code == 2 and result.stdout == ""
    first, error = result.stderr.splitlines()
    assert first.startswith("10 songs to process")
    assert error.startswith("error: A worker on the node ") and str(model) in error
    assert servers and set(servers.values()) == {"127.0.0.1"}
    until(lambda: have_ended(servers), 10)


def test_nodes_need_memory_and_the_package(cluster, songs, tiny_model_folder, tmp_path):
    engine = partial(ray_engine.run_on_ray, address=cluster.address)
    with pytest.raises(MajlError, match=r"needs 1 CPUs and 6\.2 GiB, and all nodes together have . CPUs and") as error:
        process(songs, tmp_path / "out", tiny_model_folder, engine, memory_limit_bytes=6 * GIB)
    assert "lower --memory-limit" in str(error.value)
    (tmp_path / "sitecustomize.py").write_text(WITHOUT_PACKAGE)
    node = cluster.add_node(**NODE, num_cpus=1, memory=8 * GIB, env_vars={"PYTHONPATH": str(tmp_path)})
    try:
        with pytest.raises(MajlError, match="install majl_hf"):
            process(songs, tmp_path / "out", tiny_model_folder, engine, memory_limit_bytes=6 * GIB)
    finally:
        cluster.remove_node(node)
    assert results(tmp_path / "out")["rows"] == {}


def listening(folder: str) -> dict[int, str]:
    """Addresses at which processes of Ray in `folder` listen."""
    sockets = {}
    for table, digits in (("tcp", 8), ("tcp6", 32)):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == "0A":
                address = bytes.fromhex(local.partition(":")[0][digits - 8 :])[::-1]
                is_mapped = digits == 8 or local.startswith("0" * 16 + "FFFF0000")
                sockets[f"socket:[{inode}]"] = ".".join(map(str, address)) if is_mapped else local
    numbers = set(processes(folder))
    numbers |= {number for number in processes("ray::") if parent(number) in numbers}
    return {number: sockets[file] for number in numbers for file in files_of(number) if file in sockets}
