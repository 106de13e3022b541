"""What a manifest counts as done, whatever happened to the run that wrote it."""

import io
import itertools
import json
import shutil
import tracemalloc
from collections import Counter
from hashlib import sha256

import pyarrow.parquet as pq
import pytest

from majl_hf.catalogues import manifest as module
from majl_hf.catalogues.destination import Destination
from majl_hf.catalogues.labels import LabelCollector
from majl_hf.catalogues.manifest import Identity, Manifest, Output, Recorder, Row
from majl_hf.catalogues.sources import Entry
from majl_hf.errors import MajlError

RUN = Identity({"model": {"name": "a"}, "settings": {"dtype": "float32", "outputs": ["f0"]}})
OTHER = Identity({"model": {"name": "b"}, "settings": {"dtype": "float32", "outputs": ["f0"]}})
SONGS = [Entry(f"{name}", f"s3://songs/{name}.flac") for name in "abcdefgh"]


class Failing(Destination):
    """A destination that fails from its `count`-th change on, like a driver that is killed there."""

    def __init__(self, address: str, count: int):
        super().__init__(address)
        self.left = count

    def put(self, path: str, content: bytes):
        self._change()
        return super().put(path, content)

    def remove(self, path: str) -> None:
        self._change()
        super().remove(path)

    def _change(self) -> None:
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1


def process(destination: Destination, songs, identity=RUN, failing=(), part_size=3, **options) -> list[str]:
    """Do what a run does, with songs of a few bytes; returns the names of those that it processed."""
    manifest = Manifest(destination, identity, **options)
    manifest.tidy()
    pending = [song for song in songs if not manifest.is_done(song) and not manifest.has_failed(song)]
    for start in range(0, len(pending), part_size):
        recorder = Recorder(manifest)
        for song in pending[start : start + part_size]:
            recorder.add(*outcome(destination, song, identity, manifest.attempts(song) + 1, song.name in failing))
        recorder.flush()
    manifest.tidy()
    return [song.name for song in pending]


def outcome(destination, song, identity=RUN, attempt=1, is_failure=False):
    facts = {"name": song.name, "address": song.address, "run": identity.digest, "model": "m", "attempt": attempt}
    if is_failure:
        return Row(**facts, status="failed", reason="broken"), None
    content = f"vocals of {song.name} by {identity.facts['model']['name']}".encode()
    stem = destination.put(f"stems/{song.name}.vocals.flac", content)
    labels = LabelCollector(f0=True, notes=False).table(song.name, 1.0, 16000, 0.01, "test")
    return Row(**facts, status="done", outputs={"vocals": Output.of(stem)}), labels


def labelled(folder) -> Counter:
    """How often each song is in the labels."""
    parts = sorted((folder / "labels").glob("*.parquet"))
    return Counter(song for part in parts for song in pq.read_table(part)["song"].to_pylist())


def once(songs=SONGS) -> Counter:
    return Counter(song.name for song in songs)


def test_what_is_done_is_left_alone(tmp_path):
    assert process(Destination(tmp_path), SONGS) == list("abcdefgh")
    assert process(Destination(tmp_path), SONGS) == []
    assert labelled(tmp_path) == once()


def test_a_run_that_stops_at_any_change_is_completed_by_the_next(tmp_path):
    """Also where the earlier one had redone songs, so that labels had to be moved."""
    whole = tmp_path / "whole"
    process(Destination(whole), SONGS)
    (whole / "stems/b.vocals.flac").unlink()
    (whole / "stems/e.vocals.flac").write_bytes(b"short")
    (whole / "stems/f.vocals.flac").unlink()
    stops = 0
    while True:
        folder = tmp_path / str(stops)
        shutil.copytree(whole, folder)
        try:
            assert process(Failing(folder, stops), SONGS, part_size=2) == ["b", "e", "f"]
            break
        except KeyboardInterrupt:
            stops += 1
        redone = process(Destination(folder), SONGS)
        assert set(redone) <= {*"abcdefgh"} and labelled(folder) == once()
        assert process(Destination(folder), SONGS) == []
    assert stops > 8 and labelled(folder) == once()


def test_files_that_are_gone_or_have_another_size_are_made_again(tmp_path):
    process(Destination(tmp_path), SONGS)
    (tmp_path / "stems/b.vocals.flac").unlink()
    (tmp_path / "stems/d.vocals.flac").write_bytes(b"cut")
    assert process(Destination(tmp_path), SONGS) == ["b", "d"]
    next((tmp_path / "labels").glob("*.parquet")).unlink()
    assert process(Destination(tmp_path), SONGS) != []
    assert labelled(tmp_path) == once()


def test_verify_finds_files_of_the_same_size_with_other_content(tmp_path):
    process(Destination(tmp_path), SONGS)
    stem = tmp_path / "stems/c.vocals.flac"
    stem.write_bytes(stem.read_bytes()[::-1])
    manifest = Manifest(Destination(tmp_path), RUN)
    assert manifest.is_done(SONGS[2]) and manifest.verify() == ["c"] and not manifest.is_done(SONGS[2])
    assert all(manifest.is_done(song) for song in SONGS if song.name != "c")


def test_another_address_or_a_changed_file_is_another_song(tmp_path):
    song = tmp_path / "a.wav"
    song.write_bytes(b"1234")
    entry, destination = Entry("a", str(song)), Destination(tmp_path / "out")
    manifest = Manifest(destination, RUN)
    for status in ("done", "failed"):
        row, _ = outcome(destination, entry)
        manifest.add(row.model_copy(update={"input_size": 4, "status": status}))
        is_known = manifest.is_done if status == "done" else manifest.has_failed
        assert is_known(entry)
        assert not is_known(entry._replace(address=str(tmp_path / "b.wav")))
        song.write_bytes(b"12345")
        assert not is_known(entry)
        song.write_bytes(b"4321")


def test_failures_are_kept_until_they_are_tried_again(tmp_path):
    process(Destination(tmp_path), SONGS, failing="cf")
    manifest = Manifest(Destination(tmp_path), RUN)
    assert [song.name for song in SONGS if manifest.has_failed(song)] == ["c", "f"]
    recorder = Recorder(manifest)
    recorder.add(*outcome(manifest.destination, SONGS[2], attempt=manifest.attempts(SONGS[2]) + 1))
    recorder.flush()
    manifest = Manifest(Destination(tmp_path), RUN)
    assert manifest.is_done(SONGS[2]) and manifest.attempts(SONGS[2]) == 2 and manifest.has_failed(SONGS[5])


def test_a_machine_with_a_fast_clock_does_not_undo_later_attempts(tmp_path, monkeypatch):
    manifest = Manifest(Destination(tmp_path), RUN)
    for attempt, part in ((1, "9-clock-is-ahead"), (2, "5")):
        monkeypatch.setattr(module, "new_part", lambda part=part: part)
        recorder = Recorder(manifest)
        recorder.add(*outcome(manifest.destination, SONGS[0], attempt=attempt, is_failure=attempt == 1))
        recorder.flush()
    assert Manifest(Destination(tmp_path), RUN).is_done(SONGS[0])


def test_another_run_is_refused(tmp_path):
    process(Destination(tmp_path), SONGS)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    with pytest.raises(MajlError, match=r"another run \(model.name: 'a' there, 'b' now\).*--overwrite-run"):
        Manifest(Destination(tmp_path), OTHER)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_results_that_another_run_replaced_do_not_count(tmp_path):
    """Also where they have the same size, and where that run was not finished."""
    process(Destination(tmp_path), SONGS)
    assert process(Destination(tmp_path), SONGS[:3], OTHER, overwrite_run=True) == ["a", "b", "c"]
    assert labelled(tmp_path) == once(SONGS[:3])
    assert process(Destination(tmp_path), SONGS, overwrite_run=True) == list("abcdefgh")
    assert labelled(tmp_path) == once()
    assert (tmp_path / "stems/a.vocals.flac").read_bytes() == b"vocals of a by a"


@pytest.mark.parametrize("num_drivers", [2, 4])
def test_drivers_side_by_side(tmp_path, num_drivers):
    """They know nothing of each other, and all of them take stale labels away."""
    process(Destination(tmp_path), SONGS, part_size=4)
    for name in "adg":
        (tmp_path / f"stems/{name}.vocals.flac").unlink()
    manifests = [Manifest(Destination(tmp_path), RUN) for _ in range(num_drivers)]
    for number, manifest in enumerate(manifests):
        for song in SONGS[number::num_drivers]:
            if not manifest.is_done(song):
                recorder = Recorder(manifest)
                recorder.add(*outcome(manifest.destination, song, attempt=2))
                recorder.flush()
    for manifest in manifests:
        manifest.tidy()
    assert process(Destination(tmp_path), SONGS) == []
    assert labelled(tmp_path) == once()


def test_a_damaged_part_and_a_damaged_run_file(tmp_path):
    process(Destination(tmp_path), SONGS)
    part = next((tmp_path / "manifest").glob("*.jsonl"))
    part.write_bytes(part.read_bytes()[:-9])
    with pytest.raises(MajlError, match=rf"{part.name}.* is damaged \(.+\); remove it[^\n]*$"):
        Manifest(Destination(tmp_path), RUN)
    part.unlink()
    assert process(Destination(tmp_path), SONGS) != [] and labelled(tmp_path) == once()
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(MajlError, match=r"run\.json.*damaged"):
        Manifest(Destination(tmp_path), RUN)


def test_labels_of_others_stay(tmp_path):
    (tmp_path / "labels").mkdir()
    for name in ("train-00000-of-00001.parquet", "mine.txt"):
        (tmp_path / "labels" / name).write_bytes(b"not ours")
    process(Destination(tmp_path), SONGS)
    assert process(Destination(tmp_path), SONGS) == []
    kept = [path.name for path in (tmp_path / "labels").iterdir() if path.read_bytes() == b"not ours"]
    assert sorted(kept) == ["mine.txt", "train-00000-of-00001.parquet"]


def test_rows_say_what_was_written(tmp_path):
    process(Destination(tmp_path), SONGS, failing="h")
    rows = [json.loads(line) for part in (tmp_path / "manifest").iterdir() for line in part.read_text().splitlines()]
    assert sorted(row["name"] for row in rows) == list("abcdefgh")
    for row in rows:
        assert row["run"] == RUN.digest and (row["status"] == "failed") == (row["name"] == "h")
        for output in row["outputs"].values():
            content = (tmp_path / output["path"]).read_bytes()
            assert (output["size"], output["sha256"]) == (len(content), sha256(content).hexdigest())


def test_labels_are_rows_of_the_packages_schema(tmp_path):
    from majl_hf.rows.schema import ROW_FEATURES

    process(Destination(tmp_path), SONGS)
    for part in (tmp_path / "labels").iterdir():
        schema = pq.read_schema(io.BytesIO(part.read_bytes()))
        assert schema.remove_metadata() == ROW_FEATURES.arrow_schema.remove_metadata()


def test_long_runs_leave_few_parts_and_short_ones_lose_little(tmp_path, monkeypatch):
    """Three days of a song every 6 s, seen through a clock of its own."""
    now_s = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now_s)
    manifest = Manifest(Destination(tmp_path), RUN)
    written_s = []
    monkeypatch.setattr(module, "write_rows", lambda destination, rows: written_s.append(now_s))
    recorder = Recorder(manifest)
    row, _ = outcome(manifest.destination, SONGS[0], is_failure=True)
    while now_s < 3 * 86400:
        recorder.add(row, None)
        now_s += 6
    gaps = [(after - before, before) for before, after in itertools.pairwise(written_s)]
    assert len(written_s) < 1000
    assert all(gap <= max(20, 0.0102 * at) + 12 for gap, at in gaps)


def test_memory_of_a_large_manifest(tmp_path):
    count = 20_000
    destination = Destination(tmp_path)
    facts = {"address": "s3://songs/x.flac", "run": RUN.digest, "model": "m", "status": "done"}
    outputs = {what: Output(path=f"labels/{what}", size=1, sha256=sha256().hexdigest()) for what in ("v", "labels")}
    for start in range(0, count, 5000):
        rows = [Row(name=f"artist/album/{n:08d}", outputs=outputs, **facts) for n in range(start, start + 5000)]
        module.write_rows(destination, rows)
    del rows
    tracemalloc.start()
    try:
        manifest = Manifest(destination, RUN)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(manifest.known) == count
    assert kept / count < 900 and peak / count < 1800  # bytes
