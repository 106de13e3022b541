"""A corpus becomes a folder: planned, sharded, resumed after any end, refused where it would mix two plans."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from built_corpora import contents
from corpus_files import write
from killed import forks, run_and_kill

from majl_hf.corpora.labels import PitchLabel
from majl_hf.corpora.tracks import AudioPart, Track
from majl_hf.errors import BadRecordings, CorpusError, MajlError
from majl_hf.rows.build import assign_splits, build_corpus, plan_build
from majl_hf.rows.convert import track_to_row
from majl_hf.system.processes import map_in_order

RATE = 8_000
posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals and limits")


def make_tracks(folder: Path) -> list[Track]:
    """Six seconds of noise, a track each; the last one is for validation. Existing files are left unchanged."""
    tracks = []
    for number in range(6):
        path = folder / f"{number}.wav"
        if not path.exists():
            write(path, np.random.default_rng(number).uniform(-0.5, 0.5, RATE), RATE)
        fields = {"singer": f"s{number}", "split": "validation" if number == 5 else "train", "licence": "CC0-1.0"}
        label = PitchLabel(np.full(100, 100.0 + number), 0.01)
        tracks.append(Track.of("c", str(number), vocals=AudioPart.open(path), label=label, **fields))
    return tracks


@pytest.fixture
def tracks(tmp_path) -> list[Track]:
    return make_tracks(tmp_path / "source")


def build(tracks, out, **options):
    return build_corpus(tracks, out, **{"shard_minutes": 2 / 60, **options})


def identity(path: Path) -> tuple[int, int]:
    return path.stat().st_ino, path.stat().st_mtime_ns


def test_the_folder_loads(tracks, tmp_path):
    from datasets import load_dataset

    out = tmp_path / "out"
    report = build(tracks, out)
    assert (report.num_rows, len(report.footers), report.num_kept, report.left_out) == (6, 4, 0, {})
    assert report.duration_s == 6.0
    shards = sorted(path.name for path in (out / "data").iterdir())
    assert shards == [
        *(f"train-0000{i}-of-00003.parquet" for i in range(3)),
        "validation-00000-of-00001.parquet",
    ]
    assert report.num_bytes == sum((out / "data" / name).stat().st_size for name in shards)
    assert all(pq.ParquetFile(out / "data" / name).metadata.row_group(0).num_rows == 1 for name in shards)

    loaded = load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert {split: len(rows) for split, rows in loaded.items()} == {"train": 5, "validation": 1}
    streamed = load_dataset(str(out), split="train", streaming=True)
    assert streamed.num_shards == 3
    for rows in (loaded["train"], streamed):
        for row, track in zip(rows, tracks[:5], strict=True):
            expected = track_to_row(track)
            assert row["vocals"] == expected["vocals"] and row["id"] == track.id
            assert np.array_equal(np.float32(row["f0_hz"]), expected["f0_hz"])


@pytest.mark.parametrize("shard_minutes", [0.001, 0.02, 0.05, 0.07, 100])
def test_the_plan_contains_every_track_once_in_order(tracks, shard_minutes):
    tracks = [replace(t, duration_s=d) for t, d in zip(tracks, [1, 9, 0.1, 0.1, 3, 2], strict=True)]
    shards = plan_build(tracks, shard_minutes)
    assert [track for shard in shards for track in shard.items] == tracks
    assert all(shard.items for shard in shards)
    assert all(track.split == shard.split for shard in shards for track in shard.items)
    assert len({shard.file for shard in shards}) == len(shards)
    again = plan_build(tracks, shard_minutes)
    assert [(s.file, s.digest) for s in again] == [(s.file, s.digest) for s in shards]


def test_what_changes_a_row_changes_the_digest(tracks):
    def digest(track):
        return plan_build([track])[0].digest

    track, original = tracks[0], digest(tracks[0])
    louder = replace(track.label, f0_hz=track.label.f0_hz + 1)
    for changed in (replace(track, label=louder), replace(track, licence="x"), replace(track, vocals=tracks[1].vocals)):
        assert digest(changed) != original
    os.utime(track.vocals.path, ns=(0, 0))
    assert digest(track) != original


# Seconds of audio that are done when the build ends -> files that are there.
ENDS = {0: 0, 1: 0, 2: 0, 3: 1, 4: 2, 5: 2, 5.5: 3}


@pytest.mark.parametrize("killed", [False, pytest.param(True, marks=forks)])
@pytest.mark.parametrize("seconds", ENDS)
def test_a_build_that_was_stopped_or_killed_resumes(tracks, tmp_path, seconds, killed):
    whole, out = tmp_path / "whole", tmp_path / "out"
    build(tracks, whole)

    def until(end):
        def progress(done_s, total_s):
            assert total_s == 6.0
            if done_s >= seconds:
                end()

        build(tracks, out, progress=progress)

    if killed:
        run_and_kill(until)
    else:
        with pytest.raises(KeyboardInterrupt):
            until(_interrupt)
    done = {path: identity(path) for path in (out / "data").glob("*.parquet")}
    # Killed within a file, its hidden one is left over.
    parts = list((out / "data").glob(".majl-*.part"))
    assert len(parts) == (killed and seconds > 0) and not (out / "README.md").exists()
    assert json.loads((out / "build.json").read_text())["finished"] is False
    seen = []
    report = build(tracks, out, progress=lambda done_s, total_s: seen.append(done_s))
    assert report.num_kept == len(done) == ENDS[seconds]
    assert {path: identity(path) for path in done} == done
    assert contents(out) == contents(whole)
    assert seen[-1] == 6.0 and (not done or seen[0] > 0)
    before = {path: identity(path) for path in out.rglob("*") if path.is_file()}
    assert build(tracks, out).num_kept == 4
    assert {path: identity(path) for path in out.rglob("*") if path.is_file()} == before


def _interrupt(*_):
    raise KeyboardInterrupt


WORKERS = """
import time
from pathlib import Path
from test_build import build, make_tracks

def progress(done_s, total_s):
    print(done_s, flush=True)
    if done_s >= 4:
        time.sleep(7200)

if __name__ == "__main__":
    build(make_tracks(Path({source!r})), Path({out!r}), num_processes=2, progress=progress)
"""


@posix
@pytest.mark.timeout(3600)  # two processes import everything: seconds, but many minutes beside work of higher priority
def test_a_killed_build_leaves_no_process(tracks, tmp_path):
    whole, out, script = tmp_path / "whole", tmp_path / "out", tmp_path / "workers.py"
    build(tracks, whole)
    source = str(tmp_path / "source")
    script.write_text(WORKERS.format(source=source, out=str(out)))
    errors = tmp_path / "errors.txt"
    with errors.open("w") as stderr:
        command = [sys.executable, str(script)]
        options = {"text": True, "start_new_session": True, "env": {**os.environ, "PYTHONPATH": ":".join(sys.path)}}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, **options)
    try:
        reached = any(float(line) >= 4 for line in process.stdout)
        assert reached, errors.read_text()
        process.kill()
        process.wait()
        assert _group_ends(process.pid), "a worker outlived the killed build"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert build(tracks, out).num_kept == 2
    assert contents(out) == contents(whole)  # one process or two, interrupted or not


def _group_ends(group: int) -> bool:
    deadline_s = time.monotonic() + 1200
    while time.monotonic() < deadline_s:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.timeout(1800)  # as above
def test_a_dead_worker_is_an_error():
    with pytest.raises(MajlError, match="was killed"):
        list(map_in_order(os._exit, [3, 3], num_processes=2))


def test_a_broken_shard_is_redone_and_the_others_stay(tracks, tmp_path):
    out = tmp_path / "out"
    build(tracks, out)
    good = contents(out)
    names = sorted((out / "data").iterdir())
    kept = {path: identity(path) for path in names[1:]}
    names[0].write_bytes(names[0].read_bytes()[: names[0].stat().st_size // 2])
    assert build(tracks, out).num_kept == 3
    assert contents(out) == good
    assert {path: identity(path) for path in names[1:]} == kept
    (out / "README.md").unlink()  # killed after the last shard
    plan = json.loads((out / "build.json").read_text())
    (out / "build.json").write_text(json.dumps({**plan, "finished": False}))
    assert build(tracks, out).num_kept == 4 and contents(out) == good


def test_another_plan_is_refused(tracks, tmp_path):
    out = tmp_path / "out"
    build(tracks, out)
    good = contents(out)
    os.utime(tracks[0].vocals.path, ns=(0, 0))
    changes = {
        "behind 1 of its shards have changed": tracks,
        "1 recordings are gone, 0 are new": tracks[:-1],
        "in another split": [replace(track, split="train") for track in tracks],
    }
    for message, changed in changes.items():
        with pytest.raises(MajlError, match=message):
            build(changed, out)
    with pytest.raises(MajlError, match="in 4 shards, now 2"):
        build(tracks, out, shard_minutes=1)
    assert contents(out) == good
    assert build(tracks, out, overwrite=True).num_kept == 3
    report = build(tracks[:-1], out, overwrite=True)
    assert report.num_kept == 3 and report.num_rows == 5
    assert len(list((out / "data").iterdir())) == 3


def test_a_folder_of_something_else_is_refused(tracks, tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(MajlError, match="no build"):
        build(tracks, tmp_path, overwrite=True)


def test_a_build_of_another_format_or_origin_is_refused(tracks, tmp_path):
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        build(tracks, out, progress=_interrupt)
    unfinished = json.loads((out / "build.json").read_text())
    (out / "build.json").write_text(json.dumps({**unfinished, "format": 1}))
    with pytest.raises(MajlError, match=r"was made with another plan \(format 1, now 2\)"):
        build(tracks, out)
    (out / "build.json").write_text(json.dumps({**unfinished, "origin": "pseudo_labels"}))
    with pytest.raises(MajlError, match=r"of another origin \(pseudo_labels\)"):
        build(tracks, out, overwrite=True)


def test_two_builds_of_one_folder_do_not_meet(tracks, tmp_path):
    out = tmp_path / "out"

    def second(done_s, total_s):
        with pytest.raises(MajlError, match="another process"):
            build(tracks, out)

    build(tracks, out, progress=second)


def test_bad_recordings_are_listed_or_left_out(tracks, tmp_path):
    out = tmp_path / "out"
    soundfile.write(tracks[0].vocals.path, np.full(RATE, np.nan), RATE, subtype="FLOAT")
    tracks[3].vocals.path.write_bytes(b"")
    with pytest.raises(BadRecordings) as failure:
        build(tracks, out)
    assert set(failure.value.failures) == {"c/0", "c/3"}
    assert str(tracks[0].vocals.path) in str(failure.value) and str(tracks[3].vocals.path) in str(failure.value)
    assert sorted(path.name for path in (out / "data").iterdir()) == [
        "train-00001-of-00003.parquet",
        "validation-00000-of-00001.parquet",
    ]
    report = build(tracks, out, skip_bad=True)
    assert report.num_kept == 2 and report.num_rows == 4 and set(report.left_out) == {"c/0", "c/3"}
    assert report.duration_s == 4.0
    assert set(json.loads((out / "build.json").read_text())["left_out"]) == {"c/0", "c/3"}
    with pytest.raises(BadRecordings):  # not allowed any more
        build(tracks, out)


def test_nothing_left_is_an_error(tracks, tmp_path):
    for track in tracks:
        track.vocals.path.write_bytes(b"")
    with pytest.raises(BadRecordings, match="6 of 6"):
        build(tracks, tmp_path / "out", skip_bad=True)


@posix
def test_a_full_disk_leaves_no_half_file(tracks, tmp_path):
    import resource

    out = tmp_path / "out"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # a shard has more
    try:
        with pytest.raises(MajlError, match=r"train-00000-of-00003\.parquet cannot be written"):
            build(tracks, out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(contents(out)) == ["build.json"]
    assert build(tracks, out).num_rows == 6


def test_what_cannot_be_planned_is_refused(tracks):
    with pytest.raises(CorpusError, match="no recordings"):
        plan_build([])
    with pytest.raises(CorpusError, match="c/0 occurs twice"):
        plan_build([tracks[0], tracks[0]])
    with pytest.raises(CorpusError, match="the split 'dev'"):
        plan_build([replace(tracks[0], split="dev")])
    tracks[0].vocals.path.unlink()
    with pytest.raises(CorpusError, match=r"0\.wav cannot be read"):
        plan_build(tracks)


def test_splits_can_be_assigned(tracks):
    assert assign_splits(tracks, {}) == tracks
    splits = assign_splits(tracks, {"test": ["s[01]"], "unused": ["3"]})
    assert [track.split for track in splits] == ["test", "test", "train", "unused", "train", "train"]
    with pytest.raises(CorpusError, match="'nobody', which is no song"):
        assign_splits(tracks, {"test": ["nobody"]})
    with pytest.raises(CorpusError, match="c/1 is claimed by the splits 'test' and 'validation'"):
        assign_splits(tracks, {"test": ["1"], "validation": ["s1"]})
    with pytest.raises(CorpusError, match="no split 'dev'"):
        assign_splits(tracks, {"dev": ["1"]})
