"""Every way in which a built folder can be wrong is found, and named by its row."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from built_corpora import RATE, make_track, part

from majl_hf.corpora.labels import Note, PitchLabel
from majl_hf.corpora.tracks import AudioPart, Track
from majl_hf.errors import MajlError
from majl_hf.rows.build import build_corpus
from majl_hf.rows.check import check_dataset, check_row
from majl_hf.rows.convert import track_to_row
from majl_hf.rows.schema import ROW_FEATURES
from majl_hf.rows.writing import ShardWriter

SCHEMA = ROW_FEATURES.arrow_schema
STEMS = ("vocals", "accompaniment")


@pytest.fixture
def tracks() -> list[Track]:
    """One of each kind but pseudo, 4 s each; the last is for validation."""
    label = PitchLabel(np.full(400, 110.0), 0.01, confidence=np.full(400, 0.5))
    notes = (Note(0.1, 0.4, 60.0), Note(0.4, 0.9, 62.0))
    full = make_track("c/full", label=label, notes=notes, singer="anna")
    others = [make_track(f"c/{kind}", kind) for kind in ("separation", "pitch", "accompaniment")]
    return [full, *others, make_track("c/vocals", "vocals", singer="bea", split="validation")]


@pytest.fixture
def folder(tracks, tmp_path):
    build_corpus(tracks, tmp_path / "out", shard_minutes=8 / 60)
    return tmp_path / "out"


@pytest.fixture
def row(tracks) -> dict:
    """The full one, as it comes out of a file."""
    return pa.Table.from_pylist([track_to_row(tracks[0])], schema=SCHEMA).to_pylist()[0]


def found(folder) -> dict[str, str]:
    return {problem.where: problem.what for problem in check_dataset(folder).problems}


def rewrite(path, change) -> None:
    """Change the rows of a shard with `change(rows) -> rows`, footer lost."""
    rows = change(pq.read_table(path).to_pylist())
    with ShardWriter(path, SCHEMA) as writer:
        for row in rows:
            writer.write(row)


def test_a_good_folder_is_counted(folder):
    seen = []
    report = check_dataset(folder, progress=seen.append)
    assert report.ok and not report.problems
    assert {key: (amount.num_rows, amount.duration_s) for key, amount in report.amounts.items()} == {
        ("train", "c", "full"): (1, 4.0),
        ("train", "c", "separation"): (1, 4.0),
        ("train", "c", "pitch"): (1, 4.0),
        ("train", "c", "accompaniment"): (1, 4.0),
        ("validation", "c", "vocals"): (1, 4.0),
    }
    size = sum(path.stat().st_size for path in (folder / "data").iterdir())
    assert (report.total.num_rows, report.total.duration_s, report.total.num_bytes) == (5, 20.0, size)
    assert report.total.bytes_per_minute == pytest.approx(size * 3)
    assert json.loads(json.dumps(report.as_dict()))["amounts"][0]["minutes"] == pytest.approx(4 / 60, abs=1e-3)
    assert seen and seen[-1] > 0


def flac(samples, rate=RATE) -> dict:
    return {"bytes": part(samples, rate).data, "path": "x.flac"}


NOISE = np.random.default_rng(5).uniform(-0.5, 0.5, 4 * RATE)
CHANGES = {
    "licence is empty": {"licence": ""},
    "song is empty": {"song": None},
    "does not begin with its corpus": {"id": "d/full"},
    "needs one of full": {"label_kind": "half"},
    "'full' needs f0_hz": {"f0_hz": None},
    "'separation' has no f0_hz": {"label_kind": "separation"},
    "'pitch' needs mixture": {"label_kind": "pitch"},
    "'vocals' has no accompaniment": {"label_kind": "vocals"},
    "vocals cannot be read as audio": {"vocals": {"bytes": b"fLaC", "path": "x"}},
    "accompaniment has 16000 Hz; the row says 8000": {"accompaniment": flac(NOISE, 16_000)},
    "vocals lasts 0.5000 s; the row says 4.0": {"vocals": flac(NOISE[: RATE // 2])},
    "vocals lasts 4.0000 s; the row says 4.1": {"duration_s": 4.1},
    "mixture is not the sum": {"mixture": flac(NOISE)},
    "f0_hz is -1.0 Hz in frame 0": {"f0_hz": [-1.0] * 400},
    "f0_hz is nan Hz in frame 1": {"f0_hz": [0.0, float("nan")] * 200},
    "f0_hz is inf Hz": {"f0_hz": [float("inf")] * 400},
    "f0_hz reaches 4000 Hz": {"f0_hz": [4000.0] * 400},
    "f0_hz has no frame": {"f0_hz": [], "pitch_confidence": []},
    "the label spans 0.000 to 4.040 s": {"f0_hz": [0.0] * 405, "pitch_confidence": None},
    "the label spans 0.100 to 4.090 s": {"f0_offset_s": 0.1},
    "hop is 0.0 s": {"f0_hop_s": 0.0},
    "hop is None s": {"f0_hop_s": None},
    "f0_octave_reliable is empty": {"f0_octave_reliable": None},
    "pitch_confidence has 399 values": {"pitch_confidence": [1.0] * 399},
    "pitch_confidence has values outside": {"pitch_confidence": [1.1] * 400},
    "vocals_confidence has 2 values; 1 or 400": {"vocals_confidence": [1.0] * 2},
    "vocals_confidence has values outside": {"vocals_confidence": [float("nan")]},
    "note 1 begins at 0.1 s, before note 0": {"notes": [(0.3, 0.4, 60.0), (0.1, 0.2, 60.0)]},
    "note 0 lasts from 0.4 to 0.4 s": {"notes": [(0.4, 0.4, 60.0)]},
    "at MIDI nan": {"notes": [(0.3, 0.4, float("nan"))]},
    "after the recording has ended": {"notes": [(4.3, 4.4, 60.0)]},
    "the sampling weight is -1.0": {"sampling_weight": -1.0},
}


@pytest.mark.parametrize("message", CHANGES)
def test_what_is_wrong_with_a_row_is_said(row, message):
    assert check_row(row) == []
    change = dict(CHANGES[message])
    if "notes" in change:
        change["notes"] = [dict(zip(("onset_s", "offset_s", "midi"), note, strict=True)) for note in change["notes"]]
    problems = check_row({**row, **change})
    assert any(message in problem for problem in problems), problems


def test_what_is_allowed(row):
    sum_of_both = sum(AudioPart.from_bytes(row[name]["bytes"], name).read(0, 4 * RATE) for name in STEMS)
    for change in (
        {"mixture": flac(sum_of_both)},
        {"f0_hz": [0.0] * 404, "pitch_confidence": None},  # three frames too long
        {"vocals_confidence": [0.7]},
        {"label_kind": "pseudo"},
        {"sampling_weight": 0.5},
    ):
        assert check_row({**row, **change}) == []


def test_a_damaged_recording_is_found_by_its_row(folder):
    path = folder / "data" / "train-00000-of-00002.parquet"
    data = bytearray(path.read_bytes())
    place = data.index(b"fLaC") + 5_000
    data[place] ^= 0x10
    path.write_bytes(data)
    problems = found(folder)
    assert "data/train-00000-of-00002.parquet, row group 0" in problems  # by the page's checksum
    # The same damage, in a file whose checksums fit it: FLAC has its own.
    path.unlink()

    def damage(rows):
        data = bytearray(rows[0]["vocals"]["bytes"])
        data[len(data) // 2] ^= 0x10
        return [{**rows[0], "vocals": {"bytes": bytes(data), "path": "x"}}, *rows[1:]]

    build_folder = folder / "data" / "train-00001-of-00002.parquet"
    rewrite(build_folder, lambda rows: [row for row in rows if row["vocals"] is None])
    validation = folder / "data" / "validation-00000-of-00001.parquet"
    rewrite(validation, damage)
    assert "cannot be decoded" in found(folder)["c/vocals"]


def test_a_file_cut_in_half_or_gone_is_found(folder):
    first, second = sorted((folder / "data").glob("train*"))
    second.write_bytes(second.read_bytes()[: second.stat().st_size // 2])
    first.unlink()
    problems = found(folder)
    assert "cannot be read" in problems["data/train-00001-of-00002.parquet"]
    assert problems["data/train-00000-of-00002.parquet"] == "is missing"


def test_rows_that_are_not_those_planned_are_found(folder):
    path = folder / "data" / "validation-00000-of-00001.parquet"
    rewrite(path, lambda rows: [{**rows[0], "id": "c/full"}])
    problems = check_dataset(folder).problems
    said = "\n".join(map(str, problems))
    assert (
        "c/full: the id is in data/validation-00000-of-00001.parquet and in data/train-00000-of-00002.parquet" in said
    )
    assert "c/vocals: should be in data/validation" in said
    assert "c/full: is in data/validation-00000-of-00001.parquet, which was not planned" in said


def test_another_schema_is_found(folder):
    path = folder / "data" / "validation-00000-of-00001.parquet"
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["licence"]).append_column("extra", pa.array([1])), path)
    said = [problem.what for problem in check_dataset(folder).problems if problem.where == f"data/{path.name}"]
    assert "has no column licence" in said
    assert any("a column extra of type int64" in what for what in said)


@pytest.mark.parametrize("what", ["song", "singer"])
def test_songs_and_singers_stay_in_one_split(tracks, tmp_path, what):
    tracks[-1] = replace(tracks[-1], **{what: getattr(tracks[0], what)})
    build_corpus(tracks, tmp_path / "out")
    name = getattr(tracks[0], what)
    assert found(tmp_path / "out") == {
        "c/vocals": f"its {what} {name!r} is in the splits train (c/full) and validation"
    }
    tracks[-1] = replace(tracks[-1], split="unused")
    build_corpus(tracks, tmp_path / "unused")
    assert check_dataset(tmp_path / "unused").ok
    tracks[-1] = replace(tracks[-1], split="test")
    build_corpus(tracks, tmp_path / "exempt", splits_by=[])
    assert check_dataset(tmp_path / "exempt").ok


def test_an_unfinished_build_is_no_good(tracks, tmp_path):
    def stop(done_s, total_s):
        if done_s > 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_corpus(tracks, tmp_path / "out", shard_minutes=8 / 60, progress=stop)
    problems = found(tmp_path / "out")
    assert "not finished" in problems["build.json"] and "is missing" in problems["README.md"]
    assert any("is missing" in what for where, what in problems.items() if where.startswith("data/train"))


def test_a_folder_without_data_is_an_error(tmp_path):
    with pytest.raises(MajlError, match=r"has no \*\.parquet"):
        check_dataset(tmp_path)
