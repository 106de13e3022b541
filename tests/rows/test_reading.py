"""Rows of a built corpus, read as the tracks that they were made from."""

import pickle

import numpy as np
import pyarrow.parquet as pq
import pytest
from built_corpora import TONE_RATE, make_rows, make_tone, write_built

from majl_hf.errors import CorpusError
from majl_hf.rows import reading
from majl_hf.rows.reading import ParquetRows, find_row_files

COUNTS = {"full": 3, "separation": 2, "pitch": 2, "vocals": 3, "accompaniment": 2}


@pytest.fixture(scope="module")
def rows():
    return make_rows(COUNTS)


@pytest.fixture(scope="module")
def built(tmp_path_factory, rows):
    return write_built(tmp_path_factory.mktemp("built"), rows, num_shards=2)


def read(folder) -> ParquetRows:
    return ParquetRows(find_row_files(str(folder), "train"))


@pytest.mark.parametrize(("plain", "group_size"), [(True, 1), (False, 1), (True, 3), (False, 3)])
def test_rows_are_the_tracks_they_were_made_from(tmp_path, rows, plain, group_size):
    tracks = read(write_built(tmp_path, rows, num_shards=2, plain=plain, group_size=group_size))
    assert sorted(info.id for info in tracks.info) == sorted(row["id"] for row in rows)
    for info, track in zip(tracks.info, tracks, strict=True):
        kind, index = info.recipe, int(info.id[-1])
        original = make_tone(kind, index)
        assert (track.id, track.song, track.label_kind) == (original.id, original.song, kind)
        for name in ("mixture", "vocals", "accompaniment"):
            if getattr(original, name) is not None:
                assert np.array_equal(track.part(name).read(-5, 9000), original.part(name).read(-5, 9000)), info.id
        assert (track.label is None) == (original.label is None)
        if track.label is not None:
            assert np.allclose(track.label.f0_hz, original.label.f0_hz)
            assert track.label.octave_reliable == (kind == "full")
        assert info.duration_s == 3.0 and info.weight == 3.0 and info.has_labelled_vocals == (kind == "full")
    again = pickle.loads(pickle.dumps(tracks))
    assert np.array_equal(a_part(again[0]).read(0, 99), a_part(tracks[0]).read(0, 99))


def a_part(track):
    return track.vocals or track.accompaniment or track.mixture


def test_plain_rows_are_read_by_seeking(built, monkeypatch):
    """Only the bytes of the requested samples are read, never whole groups with their audio."""
    monkeypatch.setattr(ParquetRows, "_group", lambda *_: pytest.fail("The whole row group was read."))
    assert all(a_part(track).read(TONE_RATE, 100).any() for track in read(built))


def test_a_file_of_something_else_is_named(built, tmp_path):
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pq.read_table(next((built / "data").iterdir())).select(["id"]), foreign)
    with pytest.raises(CorpusError, match=r"foreign\.parquet has no column corpus"):
        ParquetRows([str(foreign)])


def test_few_files_are_open_at_a_time(built, monkeypatch):
    monkeypatch.setattr(reading, "_MAX_OPEN", 1)
    tracks = read(built)
    for _ in range(2):
        assert all(a_part(track).read(TONE_RATE, 100).any() for track in tracks)
    assert len({row.file for row in tracks.info}) == 2 and len(tracks._open) == 1
