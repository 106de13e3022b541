"""Items of rows, map-style and streamed in the order of the epoch: streamed, each row comes once, for any number of
workers and processes, and after resuming anywhere."""

import gc
import tracemalloc
from collections import Counter

import numpy as np
import pyarrow as pa
import pytest
import torch
from built_corpora import TONE_RATE, make_rows, write_built
from corpus_files import cents, dominant_hz, tone, write
from processes import in_two_processes
from pydantic import ValidationError
from torch.utils.data import DataLoader

from majl_hf.errors import CorpusError
from majl_hf.mixing.config import MixingConfig
from majl_hf.mixing.items import JointMixtureDataset, collate
from majl_hf.mixing.streaming import StreamingMixtureDataset, process_rank
from majl_hf.rows.reading import ParquetRows

COUNTS = {"full": 3, "separation": 3, "pitch": 3, "vocals": 3, "accompaniment": 3}
NAMES = ("mixture", "vocals", "f0_hz", "pitch_weight", "octave_reliable", "vocals_weight")


@pytest.fixture(scope="module")
def rows():
    return make_rows(COUNTS)


@pytest.fixture(scope="module")
def built(tmp_path_factory, rows):
    return write_built(tmp_path_factory.mktemp("built"), rows, num_shards=2)


def make_config(folder, source=None, **options) -> MixingConfig:
    sources = [{"kind": "rows", "folder": str(folder), **(source or {})}]
    return MixingConfig(**{"sources": sources, "sampling_rate": TONE_RATE, "segment_samples": 4000, **options})


def make_direct(folder, **options) -> JointMixtureDataset:
    return JointMixtureDataset(make_config(folder, **{"length": 24, "segment_samples": TONE_RATE, **options}))


def make(folder, batch_size=2, rank=0, world_size=1, source=None, **options):
    """Solo voices are not replaced by labelled ones unless `source` says so."""
    source = {"vocals": {"labelled_probability": 0.0}, **(source or {})}
    return StreamingMixtureDataset(make_config(folder, source, streaming=True, **options), batch_size, rank, world_size)


def primary(item) -> str:
    return item["id"].removeprefix("unknown+").removeprefix("silence+").split("@")[0]


def ids(dataset) -> list[str]:
    """Ids of the rows that are the items of the current epoch."""
    places = [dataset._place(item) for item in range(len(dataset))]
    return [dataset._info(plan.rows[plan.items[number]]).id for plan, number, _ in places]


def test_every_row_once_an_epoch_in_another_order(built):
    dataset = make(built)
    expected = sorted(f"c/{kind}{number}" for kind, count in COUNTS.items() for number in range(count))
    orders = []
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        items = list(dataset)
        assert [primary(item) for item in items] == ids(dataset)
        assert sorted(ids(dataset)) == expected and len(dataset) == len(expected)
        orders.append(ids(dataset))
    assert orders[0] != orders[1] and orders[0] != expected
    assert ids(make(built, seed=1)) != orders[0]


@pytest.mark.parametrize("plain", [True, False])  # read by seeking, or by row groups that are cached
def test_nothing_is_kept_from_one_epoch_to_the_next(rows, tmp_path, plain):
    dataset = make(write_built(tmp_path, rows, num_shards=2, plain=plain))
    kept = []
    tracemalloc.start()
    try:
        for epoch in range(4):
            dataset.set_epoch(epoch)
            for _ in dataset:
                pass
            gc.collect()
            kept.append((tracemalloc.get_traced_memory()[0], pa.total_allocated_bytes(), len(gc.get_objects())))
    finally:
        tracemalloc.stop()
    (first, *_, last), item_bytes = kept[1:], 2 * 4 * 4000  # the first epoch opens files and fills the caches
    assert last[0] - first[0] < item_bytes and last[1] - first[1] < item_bytes
    assert last[2] - first[2] < 15  # objects per item


def test_a_given_length_continues_into_the_next_pass(built):
    dataset = make(built, length=40)
    drawn = Counter(ids(dataset))
    assert len(dataset) == 40 and set(drawn.values()) == {2, 3} and len(drawn) == 15
    dataset.set_epoch(1)  # items 40 to 79 of the same sequence
    assert ids(dataset)[5:20] == ids(make(built, length=60))[45:60]


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_batches_do_not_depend_on_workers(built, num_workers, streaming):
    dataset = make(built) if streaming else make_direct(built, length=15)
    options = {"num_workers": num_workers, "persistent_workers": num_workers > 0}
    loader = DataLoader(dataset, batch_size=2, collate_fn=collate, **options)
    for epoch in (0, 1):
        dataset.set_epoch(epoch)
        expected = collate(list(dataset) if streaming else [dataset[index] for index in range(15)])
        assert expected["mixture"].shape[:2] == (15, 2) and "id" not in expected
        batches = list(loader)
        assert [len(batch["ids"]) for batch in batches] == [2] * 7 + [1]
        assert [id for batch in batches for id in batch["ids"]] == expected["ids"]
        for name in NAMES:
            assert torch.equal(torch.cat([batch[name] for batch in batches]), expected[name])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_resumed_epoch_is_the_uninterrupted_one(built, num_workers, monkeypatch):
    whole = list(DataLoader(make(built), batch_size=2, num_workers=num_workers, collate_fn=collate))
    resumed = make(built)
    resumed.seek(3 * resumed.batch_size)
    if num_workers == 0:
        read = []
        track = ParquetRows.track
        monkeypatch.setattr(ParquetRows, "track", lambda self, row: read.append(row) or track(self, row))
    rest = list(DataLoader(resumed, batch_size=2, num_workers=num_workers, collate_fn=collate))
    assert len(rest) == len(whole) - 3
    for expected, got in zip(whole[3:], rest, strict=True):
        assert got["ids"] == expected["ids"]
        assert all(torch.equal(got[name], expected[name]) for name in NAMES)
    if num_workers == 0:  # rows of skipped items are not opened, but for mixing with others
        assert 0 < len(read) < 9 * 4
    resumed.set_epoch(1)
    assert len(list(resumed)) == len(resumed)


def test_persistent_workers_follow_epoch_and_position(built):
    dataset = make(built)
    loader = DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=collate, persistent_workers=True)
    list(loader)
    dataset.set_epoch(1)
    dataset.seek(4)
    got = [id for batch in loader for id in batch["ids"]]
    again = make(built)
    again.set_epoch(1)
    assert got == [item["id"] for item in again][4:]


def test_ranks_are_disjoint_and_lose_nothing(built):
    for world_size in (2, 4):
        shares = [ids(make(built, rank=rank, world_size=world_size)) for rank in range(world_size)]
        together = [id for share in shares for id in share]
        assert len(together) == len(set(together)) == 15
        assert max(map(len, shares)) - min(map(len, shares)) <= 1


def ids_of_this_process(folder: str) -> list[str]:
    torch.distributed.init_process_group("gloo")
    dataset = make(folder, rank=None, world_size=None)
    assert (dataset.rank, dataset.world_size) == process_rank()
    loader = DataLoader(dataset, batch_size=2, num_workers=1, collate_fn=collate)
    return [primary({"id": id}) for batch in loader for id in batch["ids"]]


def test_two_processes_share_the_rows(built):
    first, second = in_two_processes(ids_of_this_process, str(built))
    assert first and second and not set(first) & set(second)
    assert sorted(first + second) == sorted(ids(make(built)))


def test_partners_come_from_the_rows_nearby(built):
    dataset = make(built, buffer_mb=1e-6)  # nothing but the row itself: the nearest of the kind that is needed
    for item in dataset:
        assert item["mixture"].any()
    whole, near = make(built), make(built, buffer_mb=0.2)
    plan = near._place(0)[0]
    assert 1 < len(plan.window(7, 0.2e6)) < 15
    plan, _, _ = whole._place(0)
    assert len(plan.window(0, 512e6)) == len(plan.window(7, 512e6)) == 15


def test_rows_of_no_weight_are_only_mixed_with(built):
    options = {"accompaniment": {"weight": 0.0}, "separation": {"weight": 0.0}}
    dataset = make(built, source=options)
    assert not any("accompaniment" in id or "separation" in id for id in ids(dataset)) and len(dataset) == 9
    voices = [item["id"] for item in dataset if item["id"].startswith("c/vocals")]
    assert len(voices) == 3 and all("+c/accompaniment" in id or "+c/separation" in id for id in voices)


def facts_of_items(dataset, count: int) -> tuple[dict[str, float], np.ndarray]:
    """Share of `count` items led by each kind of row, and mean pitch weight, vocals weight and level."""
    items = [dataset.draw(index) for index in range(count)]
    kinds = Counter(primary({"id": item.id}).removeprefix("c/").rstrip("0123456789") for item in items)
    facts = [(i.frames.pitch_weight.mean(), i.frames.vocals_weight.mean(), np.log(i.mixture.std())) for i in items]
    return {kind: kinds[kind] / count for kind in COUNTS}, np.mean(facts, axis=0)


def test_streamed_and_direct_items_agree_in_distribution(built):
    """Also where labelled voices, which are those of "full" rows, replace solo voices."""
    streamed = make(built, source={"vocals": {"labelled_probability": 0.5}}, segment_samples=1000, length=300)
    direct = JointMixtureDataset(streamed.config.model_copy(update={"streaming": False}))
    expected = {"full": 0.3, "separation": 0.2, "pitch": 0.2, "vocals": 0.1, "accompaniment": 0.2}
    (kinds, facts), (direct_kinds, direct_facts) = facts_of_items(streamed, 300), facts_of_items(direct, 300)
    assert kinds == pytest.approx(expected, abs=0.08) and direct_kinds == pytest.approx(expected, abs=0.08)
    assert kinds["vocals"] < 0.19 and facts == pytest.approx(direct_facts, abs=0.12)
    kinds, _ = facts_of_items(make(built, segment_samples=1000, length=300), 300)  # none are replaced
    assert kinds == pytest.approx({kind: 0.2 for kind in COUNTS}, abs=1e-9)


def test_weighted_visits(tmp_path, rows):
    weighted = [{**row, "sampling_weight": 5.0 if row["id"] == "c/full1" else 0.5} for row in rows]
    drawn = Counter(ids(make(write_built(tmp_path, weighted, num_shards=2), visits="weighted")))
    assert sum(drawn.values()) == 15 and drawn["c/full1"] in (6, 7)  # 15 * 5 / 12


def test_every_kind_has_its_recipe(built):
    kinds = Counter()
    dataset = make_direct(built, length=60, speed_probability=0.0, pan_probability=0.0)
    for index in range(len(dataset)):
        item, segment = dataset[index], dataset.draw(index)
        kind = primary(item).rstrip("0123456789")
        kinds[kind] += 1
        assert torch.equal(item["mixture"], item["vocals"] + torch.from_numpy(segment.accompaniment))
        assert item["vocals_weight"].unique().tolist() == [0.0 if kind == "c/pitch" else 1.0]
        labelled = kind in ("c/pitch", "c/full", "c/accompaniment")
        assert bool(item["pitch_weight"].any()) == labelled, item["id"]
        assert (item["octave_reliable"] == 0).any() == (kind == "c/pitch")
        if kind == "c/pitch":
            assert not item["vocals"].any()
            f0_hz = float(item["f0_hz"][item["f0_hz"] > 0].median())
            assert abs(cents(dominant_hz(item["mixture"][0].numpy(), TONE_RATE), f0_hz)) < 10
    assert kinds.keys() == {f"c/{kind}" for kind in COUNTS}


def test_weights_decide_how_often_rows_come(tmp_path, rows):
    weighted = [{**row, "sampling_weight": 6.0 if row["id"] == "c/pitch0" else 0.5} for row in rows]
    dataset = make_direct(
        write_built(tmp_path, weighted), length=300, segment_samples=2000, source={"vocals": {"weight": 0.0}}
    )
    drawn = Counter(primary(dataset[index]) for index in range(300))
    total = 6.0 + 0.5 * 11  # of fifteen rows, three are vocals
    assert drawn["c/pitch0"] == pytest.approx(300 * 6.0 / total, abs=30)
    assert drawn["c/pitch1"] == pytest.approx(300 * 0.5 / total, abs=13)
    assert not any(name.startswith("c/vocals") for name in drawn)


def test_pseudo_rows_count_as_far_as_they_are_trusted(tmp_path, rows):
    stems = [row for row in rows if row["label_kind"] == "separation"]
    pseudo = [{**row, "label_kind": "pseudo", "vocals_confidence": [0.25, 0.75]} for row in stems]
    item = make_direct(write_built(tmp_path, pseudo), source={"pseudo": {"vocals_weight": 0.5}})[0]
    assert item["vocals_weight"].numpy() == pytest.approx(0.25)


def test_rows_and_folders_mix(built, tmp_path):
    write(tmp_path / "music" / "a.wav", tone(900.0, 3.0, TONE_RATE), TONE_RATE)
    sources = [
        {"kind": "rows", "folder": str(built), "label_kinds": ["vocals", "full"]},
        {"kind": "music", "folder": str(tmp_path / "music"), "min_duration_s": 1.0, "weight": 0.0},
    ]
    dataset = make_direct(built, sources=sources, length=12)
    assert any("+music/a@" in dataset[index]["id"] for index in range(12))


def test_a_shard_cut_in_half_is_named(tmp_path, rows):
    folder = write_built(tmp_path, rows, num_shards=2)
    shard = sorted((folder / "data").iterdir())[1]
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(CorpusError, match=f"{shard.name} cannot be read as Parquet"):
        make(folder)


def test_refusals(built, rows, tmp_path):
    with pytest.raises(ValueError, match="The rank is 2"):
        make(built, rank=2, world_size=2)
    with pytest.raises(ValueError, match="15 rows cannot be shared by 21"):
        make(built, rank=20, world_size=21)
    with pytest.raises(ValueError, match="an epoch has 15"):
        make(built).seek(16)
    with pytest.raises(CorpusError, match=r"no split 'test'; its splits are \['train'\]"):
        make_direct(built, source={"split": "test"})
    with pytest.raises(CorpusError, match="neither a folder"):
        make_direct(tmp_path / "nothing")
    with pytest.raises(ValueError, match="no accompaniment for them"):
        make_direct(built, source={"label_kinds": ["vocals"]})
    with pytest.raises(CorpusError, match="No row of kind pseudo"):
        make_direct(built, source={"label_kinds": ["pseudo"]})
    with pytest.raises(ValidationError, match="cannot be streamed"):
        MixingConfig(sources=[{"kind": "music", "folder": "x"}], streaming=True)
    with pytest.raises(ValueError, match="number of items per epoch, is missing"):
        JointMixtureDataset(MixingConfig(sources=[{"kind": "music", "folder": "x"}]))
    with pytest.raises(ValueError, match="have weight 0"):
        make_direct(write_built(tmp_path, [{**row, "sampling_weight": 0.0} for row in rows]))
