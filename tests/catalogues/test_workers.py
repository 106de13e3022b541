"""Real worker processes: limits, and whatever is killed."""

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audio_files import write_audio
from catalogue_results import BROKEN, GOOD, manifest_rows, results

from majl_hf.catalogues import worker as module
from majl_hf.catalogues.run import find_model
from majl_hf.catalogues.songs import Task, Work
from majl_hf.catalogues.sources import Entry
from majl_hf.catalogues.worker import Worker
from majl_hf.errors import MajlError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals are sent")


@pytest.fixture(scope="module")
def songs(tmp_path_factory, catalogue, load_script) -> Path:
    """A long song, a short one, and one that needs much memory."""
    folder = tmp_path_factory.mktemp("limits")
    rng = np.random.default_rng(0)
    write_audio(folder / "long.wav", rng.uniform(-0.1, 0.1, (1, 16_000 * 300)).astype(np.float32), 16_000)
    shutil.copy(catalogue / "c.wav", folder / "short.wav")
    load_script("benchmark_catalogue").write_large_cover(folder / "cover.mp3", catalogue / "album/b.mp3", 255 << 20)
    return folder


@pytest.fixture(scope="module")
def shared_worker(tmp_path_factory, tiny_model_folder):
    folder = tmp_path_factory.mktemp("out")
    model = find_model(tiny_model_folder)
    work = Work(destination=str(folder), run="r", model=model.name, model_title=model.title, device="cpu")
    with Worker(work, folder / "scratch") as worker:
        yield worker


@pytest.fixture
def worker(shared_worker):
    """One worker for all tests, as it was made."""
    work = shared_worker.work
    yield shared_worker
    shared_worker.work = work


def task_of(songs: Path, name: str) -> Task:
    return Task(Entry(name, str(next(songs.glob(f"{name}.*")))))


def kill_while_working(worker: Worker, count: int) -> threading.Thread:
    """Kill the worker's process `count` times while it writes."""

    def kill() -> None:
        for _ in range(count):
            deadline_s = time.monotonic() + 60
            while not list(worker.scratch.glob("song/.*.part")) and time.monotonic() < deadline_s:
                time.sleep(0.01)
            (process,) = multiprocessing.active_children()
            victim = process.pid
            os.kill(victim, signal.SIGKILL)
            while is_running(victim) and time.monotonic() < deadline_s:
                time.sleep(0.01)
            while list(worker.scratch.glob("song/.*.part")) and time.monotonic() < deadline_s:  # its end was seen
                time.sleep(0.001)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


@pytest.mark.parametrize("count", [1, 2])
def test_a_killed_worker(worker, songs, count):
    killer = kill_while_working(worker, count)
    outcome = worker.run(task_of(songs, "long"))
    killer.join()
    assert outcome.row.status == ("done" if count == 1 else "failed")
    if count == 2:
        assert "ended 2 times" in outcome.row.reason and "exit code -9" in outcome.row.reason
        assert outcome.labels is None and not outcome.row.outputs
    assert worker.run(task_of(songs, "short")).row.status == "done"


def test_limit_of_time(worker, songs):
    worker.work = replace(worker.work, time_limit_s=0.3)
    started_s = time.monotonic()
    row = worker.run(task_of(songs, "long")).row
    assert row.status == "failed" and "longer than 0 s, the limit" in row.reason and "--time-limit" in row.reason
    assert time.monotonic() - started_s < 30
    worker.work = replace(worker.work, time_limit_s=60)
    assert worker.run(task_of(songs, "short")).row.status == "done"


def test_limit_of_memory(worker, songs):
    usual = worker.run(task_of(songs, "short")).row.peak_memory_bytes
    assert 100 << 20 < usual < 900 << 20
    worker.work = replace(worker.work, memory_limit_bytes=usual + (400 << 20))
    row = worker.run(task_of(songs, "cover")).row
    assert row.status == "failed" and "GiB of memory, and the limit is" in row.reason and "--memory-limit" in row.reason
    assert row.peak_memory_bytes > usual + (400 << 20)
    assert worker.run(task_of(songs, "short")).row.status == "done"


def test_memory_that_a_large_song_leaves_occupied(worker, songs):
    worker.work = replace(worker.work, memory_limit_bytes=2560 << 20)
    assert worker.run(task_of(songs, "cover")).row.status == "done"
    assert worker.run(task_of(songs, "short")).row.peak_memory_bytes < 900 << 20


def test_nothing_but_results_is_left(shared_worker):
    folder = Path(shared_worker.work.destination)
    assert {path.name for path in folder.iterdir()} <= {"stems", "scratch"}
    assert not list(folder.rglob("*.part"))


def test_a_worker_that_cannot_start(tiny_model_folder, tmp_path):
    broken = tmp_path / "model"
    shutil.copytree(tiny_model_folder, broken)
    (broken / "model.safetensors").write_bytes(b"damaged")
    work = Work(destination=str(tmp_path / "out"), run="r", model=str(broken), model_title="m", device="cpu")
    before = multiprocessing.active_children()
    with Worker(work, tmp_path / "scratch") as worker, pytest.raises(MajlError, match="model"):
        worker.run(Task(Entry("a", "a.flac")))
    assert multiprocessing.active_children() == before and not (tmp_path / "scratch").exists()


def test_a_limit_that_is_too_small_for_the_model(tiny_model_folder, tmp_path):
    facts = {"destination": str(tmp_path / "out"), "run": "r", "model": str(tiny_model_folder), "model_title": "m"}
    work = Work(**facts, device="cpu", memory_limit_bytes=20 << 20)
    with Worker(work, tmp_path / "scratch") as worker, pytest.raises(MajlError, match=r"the limit is 0\.02 GiB; raise"):
        worker.run(Task(Entry("a", "a.flac")))
    assert not (tmp_path / "scratch").exists()


def test_a_worker_whose_parent_is_gone_ends_in_silence(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "end_with_parent", lambda alive: None)  # which usually is faster
    monkeypatch.setattr(module, "SongProcessor", lambda work, scratch: None)
    theirs, ours = multiprocessing.Pipe()
    with theirs, ours:
        ours.close()
        module._serve(theirs, None, None, tmp_path)


def test_any_number_of_workers_gives_the_same_results(batch, catalogue, tmp_path, monkeypatch, request):
    before = multiprocessing.active_children()
    assert batch(catalogue, tmp_path / "two", "--workers", "2").exit_code == 1
    assert multiprocessing.active_children() == before
    request.getfixturevalue("in_process")
    assert batch(catalogue, tmp_path / "one").summary["num_done"] == len(GOOD)
    assert results(tmp_path / "two") == results(tmp_path / "one")
    assert {path.name for path in (tmp_path / "two").iterdir()} == {"labels", "manifest", "run.json", "stems"}


def test_a_killed_driver(batch, catalogue, songs, tmp_path, tiny_model_folder, monkeypatch, request):
    folder, out = tmp_path / "songs", tmp_path / "out"
    shutil.copytree(catalogue, folder)
    os.link(songs / "long.wav", folder / "e.wav")  # in work when the driver is killed
    arguments = ["batch", folder, "-o", out, "--model", tiny_model_folder, "--device", "cpu", "--workers", "1"]
    driver = subprocess.Popen([sys.executable, "-m", "majl_hf.cli", *arguments], stderr=subprocess.PIPE)
    try:
        deadline_s = time.monotonic() + 120
        while not list((out / "stems").glob("d.*")) and driver.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert driver.poll() is None, driver.stderr.read().decode()
        workers = descendants_of(driver.pid)
        assert workers
    finally:
        driver.kill()
        driver.communicate()
    while any(is_running(worker) for worker in workers) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    assert not any(is_running(worker) for worker in workers), "a worker has outlived its driver"
    request.getfixturevalue("in_process")
    monkeypatch.setattr(module, "_SETTLED_S", 0)
    with module.scratch_folder(module.Destination(out)):
        pass
    batch(folder, out)
    rows = manifest_rows(out)
    assert len(rows) == len(GOOD) + len(BROKEN) + 1
    assert [name for name, row in sorted(rows.items()) if row["status"] == "failed"] == sorted(BROKEN)
    assert len(results(out)["labels"]) == len(GOOD) + 1
    assert {path.name for path in out.iterdir()} == {"labels", "manifest", "run.json", "stems"}
    assert batch(folder, out).summary["num_done"] == 0


def descendants_of(process: int) -> list[int]:
    """Processes that a process has started, also through others."""
    found = subprocess.run(["ps", "-e", "-o", "pid=,ppid="], capture_output=True, text=True).stdout.splitlines()
    parents = dict(tuple(map(int, line.split())) for line in found)
    family = [process]
    for parent in family:
        family += [child for child, its_parent in parents.items() if its_parent == parent]
    return family[1:]


def is_running(process: int) -> bool:
    status = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True).stdout
    return bool(status.strip()) and not status.startswith("Z")
