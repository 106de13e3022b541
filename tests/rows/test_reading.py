"""Rows as tracks and as training items of the map-style dataset."""

import pickle
from collections import Counter

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from corpus_files import cents, dominant_hz
from pydantic import ValidationError
from row_files import RATE, make_rows, make_track, write_built
from torch.utils.data import DataLoader

from majl_hf.errors import CorpusError
from majl_hf.mixing.config import MixingConfig
from majl_hf.mixing.items import JointMixtureDataset, collate
from majl_hf.rows import reading
from majl_hf.rows.reading import ParquetRows, find_row_files

COUNTS = {"full": 3, "separation": 2, "pitch": 2, "vocals": 3, "accompaniment": 2}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return make_rows(tmp_path_factory.mktemp("audio"), COUNTS)


@pytest.fixture(scope="module")
def built(tmp_path_factory, rows):
    return write_built(tmp_path_factory.mktemp("corpus") / "built", rows)


def make(folder, length=24, **options):
    source = {"kind": "rows", "folder": str(folder), **options.pop("source", {})}
    return JointMixtureDataset(
        MixingConfig(
            **{"sources": [source], "length": length, "sampling_rate": RATE, "segment_samples": RATE, **options}
        )
    )


def first_kind(item) -> str:
    return item["id"].removeprefix("unknown+").removeprefix("silence+").split("@")[0].rstrip("0123456789")


@pytest.mark.parametrize(("plain", "group_size"), [(True, 1), (False, 1), (True, 3), (False, 3)])
def test_rows_are_the_tracks_they_were_made_from(tmp_path, rows, plain, group_size):
    folder = write_built(tmp_path / "built", rows, plain=plain, group_size=group_size)
    read = ParquetRows(find_row_files(str(folder), "train"))
    assert sorted(info.id for info in read.info) == sorted(row["id"] for row in rows)
    for number, info in enumerate(read.info):
        track = read[number]
        kind, index = info.recipe, int(info.id[-1])
        original = make_track(tmp_path, kind, index)
        assert (track.id, track.song, track.label_kind) == (original.id, original.song, kind)
        for name in ("mixture", "vocals", "accompaniment"):
            if getattr(original, name) is not None:
                assert np.array_equal(track.part(name).read(-5, 9000), original.part(name).read(-5, 9000)), info.id
        assert (track.label is None) == (original.label is None)
        if track.label is not None:
            assert np.allclose(track.label.f0_hz, original.label.f0_hz)
            assert track.label.octave_reliable == (kind == "full")
        assert info.duration_s == 3.0 and info.weight == 3.0 and info.has_labelled_vocals == (kind == "full")
    again = pickle.loads(pickle.dumps(read))
    assert np.array_equal(again[0].part(_part(again[0])).read(0, 99), read[0].part(_part(read[0])).read(0, 99))


def _part(track) -> str:
    return next(name for name in ("vocals", "accompaniment", "mixture") if getattr(track, name) is not None)


def test_plain_rows_are_read_by_seeking(built, monkeypatch):
    """Only the asked samples' bytes: whole groups are never read with their audio."""
    read = ParquetRows(find_row_files(str(built), "train"))
    monkeypatch.setattr(ParquetRows, "_group", lambda *_: pytest.fail("The whole row group was read."))
    for number in range(len(read)):
        track = read[number]
        assert track.part(_part(track)).read(RATE, 100).any()


def test_every_kind_has_its_recipe(built):
    kinds = Counter()
    dataset = make(built, length=60, speed_probability=0.0, pan_probability=0.0)
    for index in range(len(dataset)):
        item, segment = dataset[index], dataset.draw(index)
        kind = first_kind(item)
        kinds[kind] += 1
        assert torch.equal(item["mixture"], item["vocals"] + torch.from_numpy(segment.accompaniment))
        assert item["vocals_weight"].unique().tolist() == [0.0 if kind == "c/pitch" else 1.0]
        labelled = kind in ("c/pitch", "c/full", "c/accompaniment")
        assert bool(item["pitch_weight"].any()) == labelled, item["id"]
        assert (item["octave_reliable"] == 0).any() == (kind == "c/pitch")
        if kind == "c/pitch":
            assert not item["vocals"].any()
            f0_hz = float(item["f0_hz"][item["f0_hz"] > 0].median())
            assert abs(cents(dominant_hz(item["mixture"][0].numpy(), RATE), f0_hz)) < 10
    assert kinds.keys() == {f"c/{kind}" for kind in COUNTS}


def test_weights_decide_how_often_rows_come(tmp_path, rows):
    weighted = [{**row, "sampling_weight": 6.0 if row["id"] == "c/pitch0" else 0.5} for row in rows]
    folder = write_built(tmp_path / "built", weighted)
    dataset = make(folder, length=300, segment_samples=2000, source={"vocals": {"weight": 0.0}})
    drawn = Counter(dataset[index]["id"].removeprefix("unknown+").split("@")[0] for index in range(300))
    total = 6.0 + 0.5 * 8  # of twelve rows, three are vocals
    assert drawn["c/pitch0"] == pytest.approx(300 * 6.0 / total, abs=30)
    assert drawn["c/pitch1"] == pytest.approx(300 * 0.5 / total, abs=13)
    assert not any(name.startswith("c/vocals") for name in drawn)


def test_pseudo_rows_count_as_far_as_they_are_trusted(tmp_path, rows):
    stems = [row for row in rows if row["label_kind"] == "separation"]
    pseudo = [{**row, "label_kind": "pseudo", "vocals_confidence": [0.25, 0.75]} for row in stems]
    item = make(write_built(tmp_path / "built", pseudo), source={"pseudo": {"vocals_weight": 0.5}})[0]
    assert item["vocals_weight"].numpy() == pytest.approx(0.25)


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_batches_do_not_depend_on_workers(built, num_workers):
    dataset = make(built, length=8)
    expected = collate([dataset[index] for index in range(8)])
    batches = list(DataLoader(dataset, batch_size=3, num_workers=num_workers, collate_fn=collate))
    assert [id for batch in batches for id in batch["ids"]] == expected["ids"]
    for name in ("mixture", "vocals", "f0_hz", "pitch_weight", "octave_reliable", "vocals_weight"):
        assert torch.equal(torch.cat([batch[name] for batch in batches]), expected[name])


def test_rows_and_folders_mix(built, tmp_path):
    from corpus_files import tone, write

    write(tmp_path / "music" / "a.wav", tone(900.0, 3.0, RATE), RATE)
    sources = [
        {"kind": "rows", "folder": str(built), "label_kinds": ["vocals", "full"]},
        {"kind": "music", "folder": str(tmp_path / "music"), "min_duration_s": 1.0, "weight": 0.0},
    ]
    dataset = make(built, sources=sources, length=12)
    assert any("+music/a@" in dataset[index]["id"] for index in range(12))


# Refusals


def test_refusals(built, rows, tmp_path):
    with pytest.raises(CorpusError, match=r"no split 'test'; its splits are \['train'\]"):
        make(built, source={"split": "test"})
    with pytest.raises(CorpusError, match="neither a folder"):
        make(tmp_path / "nothing")
    with pytest.raises(ValueError, match="nothing for them to stand over"):
        make(built, source={"label_kinds": ["vocals"]})
    with pytest.raises(CorpusError, match="No row of kind pseudo"):
        make(built, source={"label_kinds": ["pseudo"]})
    with pytest.raises(ValidationError, match="cannot be streamed"):
        MixingConfig(sources=[{"kind": "music", "folder": "x"}], streaming=True)
    with pytest.raises(ValueError, match="length is missing"):
        JointMixtureDataset(MixingConfig(sources=[{"kind": "music", "folder": "x"}]))
    zero = write_built(tmp_path / "zero", [{**row, "sampling_weight": 0.0} for row in rows])
    with pytest.raises(ValueError, match="have weight 0"):
        make(zero)


def test_a_damaged_file_is_named(built, tmp_path):
    source = sorted((built / "data").iterdir())[0]
    half = tmp_path / "half.parquet"
    half.write_bytes(source.read_bytes()[: source.stat().st_size // 2])
    with pytest.raises(CorpusError, match=r"half\.parquet cannot be read as Parquet"):
        ParquetRows([str(half)])
    foreign = tmp_path / "foreign.parquet"
    pq.write_table(pq.read_table(source).select(["id"]), foreign)
    with pytest.raises(CorpusError, match=r"foreign\.parquet has no column corpus"):
        ParquetRows([str(foreign)])


def test_few_files_are_open_at_a_time(built, monkeypatch):
    monkeypatch.setattr(reading, "_MAX_OPEN", 1)
    read = ParquetRows(find_row_files(str(built), "train"))
    for _ in range(2):
        assert all(track.part(_part(track)).read(RATE, 100).any() for track in read)
    assert len({row.file for row in read.info}) == 2 and len(read._open) == 1
