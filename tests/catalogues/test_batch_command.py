"""`majl batch`: what is written, and what a second run does."""

import csv
import errno
import json
import os
import signal
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from catalogue_results import BROKEN, GOOD, manifest_rows, results
from command import run_majl

from majl_hf.catalogues import local_engine
from majl_hf.catalogues.destination import Destination
from majl_hf.checkpoints import loading
from majl_hf.errors import AudioError

pytestmark = pytest.mark.usefixtures("in_process")


def test_the_results_are_those_of_the_other_commands(batch, catalogue, tmp_path, tiny_model_folder):
    result = batch(catalogue, tmp_path / "out")
    assert result.exit_code == 1 and result.summary["num_done"] == len(GOOD)
    assert result.summary["num_failed"] == len(BROKEN) and result.summary["num_left"] == 0
    options = ("--model", tiny_model_folder, "--device", "cpu", "--threads", "1", "--format", "flac")
    run_majl("separate", catalogue / "album/a.flac", "-o", tmp_path / "one", *options)
    for stem in ("vocals", "accompaniment"):
        there = (tmp_path / f"out/stems/album/a.{stem}.flac").read_bytes()
        assert there == (tmp_path / f"one/a.{stem}.flac").read_bytes()
    labels = {row["song"]: row for row in results(tmp_path / "out")["labels"]}
    assert sorted(labels) == sorted(GOOD)
    with open(tmp_path / "one/a.f0.csv", newline="") as file:
        frames = list(csv.DictReader(line for line in file if not line.startswith("#")))
    row = labels["album/a"]
    assert len(row["f0_hz"]) == len(frames) > 40
    voiced_hz = [hz for hz in row["f0_hz"] if hz]
    np.testing.assert_allclose(row["pitch_confidence"], [float(f["confidence"]) for f in frames], atol=1e-3)
    assert all(55 < hz < 2000 for hz in voiced_hz)
    assert row["duration_s"] == pytest.approx(40_000 / 44_100) and row["label_kind"] == "pseudo"


def test_rows_of_good_and_broken_songs(batch, catalogue, tmp_path):
    batch(catalogue, tmp_path)
    rows = manifest_rows(tmp_path)
    assert sorted(rows) == sorted(GOOD + BROKEN)
    for name, row in rows.items():
        assert (row["status"] == "done") == (name in GOOD)
        assert row["attempt"] == 1 and row["input_sha256"] and os.path.isabs(row["address"])
        if name in BROKEN:
            assert row["outputs"] == {} and name in row["reason"] and "Error:" not in row["reason"]
            assert ".majl" not in row["reason"] and "--debug" not in row["reason"]
        else:
            assert sorted(row["outputs"]) == ["accompaniment", "labels", "vocals"]
            for output in row["outputs"].values():
                assert (tmp_path / output["path"]).stat().st_size == output["size"]
    assert not [path for path in tmp_path.rglob(".*")], "nothing hidden is left"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["labels", "manifest", "run.json", "stems"]


def test_a_second_run_leaves_everything_alone(batch, catalogue, tmp_path, in_process):
    batch(catalogue, tmp_path)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in tmp_path.rglob("*") if path.is_file()}
    in_process.clear()
    result = batch(catalogue, tmp_path)
    assert in_process == [] and result.exit_code == 1 and result.rows == []
    assert (result.summary["num_done_before"], result.summary["num_failed_before"]) == (len(GOOD), len(BROKEN))
    assert before == {
        path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in tmp_path.rglob("*") if path.is_file()
    }


def test_failures_are_tried_again_when_asked_or_when_the_file_has_changed(batch, catalogue, tmp_path, in_process):
    songs = tmp_path / "songs"
    songs.mkdir()
    for name in ("c.wav", "text.m4a", "empty.mp3"):
        (songs / name).write_bytes((catalogue / name).read_bytes())
    assert batch(songs, tmp_path / "out").summary["num_failed"] == 2
    (songs / "text.m4a").write_bytes((catalogue / "d.m4a").read_bytes())
    in_process.clear()
    assert batch(songs, tmp_path / "out").summary["num_done"] == 1 and in_process == ["text"]
    in_process.clear()
    result = batch(songs, tmp_path / "out", "--retry-failed")
    assert in_process == ["empty"] and result.exit_code == 1
    rows = manifest_rows(tmp_path / "out")
    assert {name: row["attempt"] for name, row in rows.items()} == {"c": 1, "text": 2, "empty": 2}
    (songs / "empty.mp3").unlink()
    assert batch(songs, tmp_path / "out").exit_code == 0


def test_a_full_disk(batch, catalogue, tmp_path, monkeypatch, in_process):
    def no_space(self, source, path):
        raise AudioError(f"{source} cannot be written") from OSError(errno.ENOSPC, "No space left on device")

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(Destination, "move_in", no_space)
        assert batch(catalogue / "album", out).summary["num_failed"] == 2
    assert {row["reason"] for row in manifest_rows(out).values()} == {f"{out}/vocals.flac cannot be written"}
    in_process.clear()
    assert batch(catalogue / "album", out).exit_code == 0 and in_process == ["a", "b"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_a_pipe_in_the_folder(batch, catalogue, tmp_path):
    (tmp_path / "a.flac").write_bytes((catalogue / "album/a.flac").read_bytes())
    os.mkfifo(tmp_path / "b.flac")
    result = batch(tmp_path, tmp_path / "out")
    assert {row["name"]: row["status"] for row in result.rows} == {"a": "done", "b": "failed"}
    assert "b.flac is not a regular file" in result.stderr


def test_files_of_a_killed_driver_are_removed_also_if_nothing_is_left_to_do(batch, catalogue, tmp_path):
    batch(catalogue / "album", tmp_path)
    abandoned = tmp_path / ".majl-scratch/0123456789ab"
    abandoned.mkdir(parents=True)
    batch(catalogue / "album", tmp_path)
    assert abandoned.is_dir()  # its driver may be starting
    os.utime(abandoned, (0, 0))
    assert batch(catalogue / "album", tmp_path).summary["num_done_before"] == 2
    assert not abandoned.parent.exists()


def test_a_model_that_cannot_compute_in_the_type_ends_the_run(batch, catalogue, tmp_path, monkeypatch):
    monkeypatch.setattr(loading, "is_exported", lambda model: True)
    result = batch(catalogue / "album", tmp_path, "--dtype", "float16")
    assert result.exit_code == 2 and "leave out --dtype float16" in result.stderr and manifest_rows(tmp_path) == {}


def test_verify(batch, catalogue, tmp_path, in_process):
    batch(catalogue / "album", tmp_path)
    stem = tmp_path / "stems/b.vocals.flac"
    intact = stem.read_bytes()
    stem.write_bytes(intact[:-1] + bytes([intact[-1] ^ 1]))
    in_process.clear()
    assert batch(catalogue / "album", tmp_path).exit_code == 0 and in_process == []
    result = batch(catalogue / "album", tmp_path, "--verify")
    assert in_process == ["b"] and "damaged, will be processed again: b" in result.stderr
    assert stem.read_bytes() == intact and [row["song"] for row in results(tmp_path)["labels"]] == ["a", "b"]


def test_another_setting_is_another_run(batch, catalogue, tmp_path, in_process):
    batch(catalogue / "album", tmp_path)
    in_process.clear()
    result = batch(catalogue / "album", tmp_path, "--format", "wav-16")
    assert result.exit_code == 2 and in_process == []
    assert "settings.format.encoding: 'flac' there, 'wav-16' now" in result.stderr
    assert "another run" in result.stderr and "--overwrite-run" in result.stderr
    assert batch(catalogue / "album", tmp_path, "--memory-limit", "5", "--workers", "3").exit_code == 0
    assert in_process == []
    assert batch(catalogue / "album", tmp_path, "--format", "wav-16", "--overwrite-run").exit_code == 0
    assert in_process == ["a", "b"] and (tmp_path / "stems/a.vocals.wav").is_file()
    assert len(results(tmp_path)["labels"]) == 2


@pytest.mark.parametrize(
    "only, stems, columns",
    [
        ("f0", 0, {"f0_hz"}),
        ("notes,f0", 0, {"f0_hz", "notes"}),
        ("vocals", 1, None),
        (" accompaniment , notes", 1, {"notes"}),
    ],
)
def test_only_some_outputs(batch, catalogue, tmp_path, only, stems, columns):
    assert batch(catalogue / "album", tmp_path, "--only", only).exit_code == 0
    assert len([*(tmp_path / "stems").rglob("*.flac")]) == 2 * stems
    labels = results(tmp_path)["labels"]
    assert len(labels) == (0 if columns is None else 2)
    for row in labels:
        assert {name for name in ("f0_hz", "notes") if row[name] is not None} == columns


def test_shards_make_up_the_whole(batch, catalogue, tmp_path):
    batch(catalogue, tmp_path / "whole")
    for number in (1, 2, 3):
        batch(catalogue, tmp_path / "parts", "--shard", f"{number}/3")
    assert results(tmp_path / "parts") == results(tmp_path / "whole")
    assert batch(catalogue, tmp_path / "parts").summary["num_done"] == 0


def test_solo_voices_are_their_own_vocals(batch, catalogue, tmp_path):
    batch(catalogue / "album", tmp_path, "--solo", "--format", "wav-float")
    audio, _ = soundfile.read(tmp_path / "stems/a.vocals.wav")
    original, _ = soundfile.read(catalogue / "album/a.flac")
    np.testing.assert_array_equal(audio, original)
    assert not soundfile.read(tmp_path / "stems/a.accompaniment.wav")[0].any()


@pytest.mark.parametrize(
    "options, message",
    [
        (("--only", "f0,bass"), "--only is 'f0,bass'; some of vocals"),
        (("--only", ""), "--only is ''"),
        (("--shard", "3/2"), "--shard is '3/2'; I/N"),
        (("--shard", "0/2"), "I/N with I from 1 to N"),
        (("--shard", "half"), "I/N"),
        (("--address", "auto"), "give --engine ray"),
        (("--format", "flac", "--bit-rate", "128"), "bit rate"),
        (("--model", "nope"), "no model 'nope'"),
        (("--voicing-threshold", "3"), "3.0"),
        (("--memory-limit", "inf"), "--memory-limit is inf"),
        (("-o", ""), "--output is empty"),
        (("-o", "memory://bucket"), "memory of one process"),
    ],
)
def test_wrong_usage(batch, catalogue, tmp_path, options, message):
    result = batch(catalogue, tmp_path / "out", *options)
    assert result.exit_code == 2 and message in " ".join(result.stderr.replace("│", " ").split())
    assert not (tmp_path / "out/run.json").exists(), "correct settings would be another run"


def test_no_songs(batch, tmp_path):
    (tmp_path / "songs").mkdir()
    result = batch(tmp_path / "songs", tmp_path / "out")
    assert result.exit_code == 2 and "contains no songs" in result.stderr
    assert "does not exist" in batch(tmp_path / "missing", tmp_path / "out").stderr
    assert not (tmp_path / "out").exists()


def test_a_destination_that_is_a_file(batch, catalogue, tmp_path):
    (tmp_path / "out").write_text("mine")
    result = batch(catalogue, tmp_path / "out")
    assert result.exit_code == 2 and "cannot be written" in result.stderr and (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize("folder", ["labels", "manifest"])
def test_a_file_in_place_of_a_folder_of_results(batch, catalogue, tmp_path, folder):
    (tmp_path / folder).write_text("mine")
    result = batch(catalogue / "album", tmp_path)
    assert result.exit_code == 2 and f"{folder} in the destination cannot be" in result.stderr
    assert (tmp_path / folder).read_text() == "mine"


def test_stems_that_cannot_be_written_are_not_failures_of_the_songs(batch, catalogue, tmp_path, in_process):
    (tmp_path / "stems").write_text("mine")
    result = batch(catalogue / "album", tmp_path)
    assert result.summary["num_failed"] == 2 and "stems in the destination cannot be written" in result.stderr
    (tmp_path / "stems").unlink()
    in_process.clear()
    assert batch(catalogue / "album", tmp_path).exit_code == 0 and in_process == ["a", "b"]


def test_results_beside_their_songs(batch, catalogue, tmp_path, in_process):
    """A destination inside of the source: results are no songs."""
    (tmp_path / "a.flac").write_bytes((catalogue / "album/a.flac").read_bytes())
    for _ in range(2):
        assert batch(tmp_path, tmp_path / "results").exit_code == 0
    assert in_process == ["a"]


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals are sent")
@pytest.mark.parametrize("name, exit_code", [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_a_signal_keeps_what_is_done(batch, catalogue, tmp_path, monkeypatch, in_process, name, exit_code):
    original, number = local_engine.run_locally, getattr(signal, name)

    def stopped(tasks, work, num_workers):
        for count, outcome in enumerate(original(tasks, work, num_workers)):
            if count == 2:
                os.kill(os.getpid(), number)
            yield outcome

    before = signal.signal(number, signal.default_int_handler)  # nohup has SIGHUP ignored, also of the tests
    try:
        with monkeypatch.context() as patch:
            patch.setattr(local_engine, "run_locally", stopped)
            result = batch(catalogue, tmp_path)
    finally:
        signal.signal(number, before)
    assert result.exit_code == exit_code and "run the same command again to resume" in result.stderr
    assert len(manifest_rows(tmp_path)) == 2
    in_process.clear()
    batch(catalogue, tmp_path)
    assert len(in_process) == len(GOOD + BROKEN) - 2 and len(results(tmp_path)["labels"]) == len(GOOD)


def test_people_read_lines(catalogue, tmp_path, tiny_model_folder):
    result = run_majl("batch", catalogue, "-o", tmp_path, "--model", tiny_model_folder, "--device", "cpu")
    assert f"{len(GOOD)} done, {len(BROKEN)} failed; " in result.stdout
    assert "8 songs to process; 0 are done, 0 have failed" in result.stderr
    for name in BROKEN:
        assert f"failed: {name}: " in result.stderr


def test_the_run_file_names_the_model(batch, catalogue, tmp_path, tiny_model_folder):
    batch(catalogue / "album", tmp_path)
    run = json.loads((tmp_path / "run.json").read_text())
    assert len(run["model"]["weights_sha256"]) == 64 and run["settings"]["outputs"] == [
        "vocals", "accompaniment", "f0", "notes",
    ]  # fmt: skip
    schema = pq.read_schema(next((tmp_path / "labels").iterdir()))
    assert "f0_hz" in schema.names
