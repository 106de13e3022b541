"""Built corpora are joined: rows unchanged, no duplicates, splits disjoint; repeatable, resumable, bad input named."""

import json
import shutil

import pyarrow.parquet as pq
import pytest
from built_corpora import contents, make_track, read_rows, write_built
from killed import forks, run_and_kill

from majl_hf.errors import CorpusError, MajlError
from majl_hf.rows import duplicates
from majl_hf.rows.combine import CombineOptions, combine_corpora
from majl_hf.rows.duplicates import fold_name


def build(tmp_path, **corpora):
    """One folder per corpus; values are lists of tracks."""
    return [write_built(tmp_path / name, tracks) for name, tracks in corpora.items()]


def test_rows_stay_as_they_were_and_get_a_weight_and_datasets_loads_them(tmp_path):
    from datasets import load_dataset

    folders = build(
        tmp_path,
        a=[make_track("a/one", singer="anna"), make_track("a/two", split="test", singer="bea")],
        b=[make_track("b/three", "pitch"), make_track("b/four", "vocals"), make_track("b/five", "accompaniment")],
    )
    seen = []
    report = combine_corpora(folders, tmp_path / "out", progress=seen.append)
    combined = read_rows(tmp_path / "out")
    for folder in folders:
        for id, row in read_rows(folder).items():
            weight = combined[id].pop("sampling_weight")
            assert combined[id] == row  # audio bytes, labels, split, everything
            assert 0 < weight <= 1
    assert (report.num_rows, report.duration_s) == (5, pytest.approx(20.0))
    assert report.dropped == report.moved == report.held_out_audio == []
    assert seen == sorted(seen) and seen[-1] == pytest.approx(2 * 20.0)

    loaded = load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert sorted(loaded["train"]["id"]) == ["a/one", "b/five", "b/four", "b/three"] and len(loaded) == 2
    streamed = list(load_dataset(str(tmp_path / "out"), split="test", streaming=True))
    assert [row["id"] for row in streamed] == loaded["test"]["id"][:] == ["a/two"]
    assert streamed[0]["vocals"]["bytes"] == combined["a/two"]["vocals"]["bytes"]


def test_weights_sum_to_one_and_follow_the_config(tmp_path):
    folders = build(
        tmp_path,
        a=[make_track("a/one"), make_track("a/two"), make_track("a/three", split="validation")],
        b=[make_track("b/four", "pitch")],
    )
    combine_corpora(folders, tmp_path / "out", CombineOptions(sampling={"kind_shares": {"full": 1, "pitch": 3}}))
    weights = {id: row["sampling_weight"] for id, row in read_rows(tmp_path / "out").items()}
    assert weights == pytest.approx({"a/one": 0.125, "a/two": 0.125, "b/four": 0.75, "a/three": 1.0})


def test_result_has_small_files_is_the_same_again_and_can_be_combined_further(tmp_path):
    folders = build(
        tmp_path,
        a=[make_track("a/one"), make_track("a/two", split="validation"), make_track("a/three")],
        b=[make_track("b/four", "pitch"), make_track("b/five", "separation")],
    )
    for out in ("first", "second"):
        combine_corpora(folders, tmp_path / out, shard_minutes=8.0 / 60)
    assert contents(tmp_path / "first") == contents(tmp_path / "second")
    combine_corpora([tmp_path / "first"], tmp_path / "third", shard_minutes=8.0 / 60)
    sizes = {}
    for path in sorted((tmp_path / "third" / "data").iterdir()):
        assert pq.read_table(path).equals(pq.read_table(tmp_path / "first" / "data" / path.name))
        file = pq.ParquetFile(path).metadata
        sizes[path.name] = [file.row_group(i).num_rows for i in range(file.num_row_groups)]
    assert sizes == {
        "train-00000-of-00002.parquet": [1, 1],
        "train-00001-of-00002.parquet": [1, 1],
        "validation-00000-of-00001.parquet": [1],
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Night Owl", "night-owl"),
        ("Beyoncé - Déjà Vu (feat. Jay-Z)", "Beyonce - Deja Vu"),
        ("Artist ft. Guest - Title", "Artist - Title"),
        ("A Classic Education - NightOwl", "AClassicEducation_NightOwl"),
        ("Simon & Garfunkel", "Simon and Garfunkel"),
        ("千里之外", "千里之外"),
    ],
)
def test_names_that_are_the_same(one, other):
    assert fold_name(one) == fold_name(other) != ""


def test_names_that_are_not():
    assert fold_name("Left") != fold_name("Leftover") and fold_name("After") == "after"
    assert fold_name("1217") == fold_name("- 3 -") == ""  # numbers match nothing


def test_better_label_wins_among_equal_names(tmp_path):
    folders = build(
        tmp_path,
        a=[make_track("a/x", "pitch", song="The Song"), make_track("a/7", "pitch", song="7")],
        b=[make_track("b/x", "full", song="the song!"), make_track("b/7", "full", song="7")],
        c=[make_track("c/x", "separation", song="THE SONG"), make_track("c/m", "accompaniment", song="The song")],
    )
    report = combine_corpora(folders, tmp_path / "out", CombineOptions(by_audio=False))
    assert {row["id"]: (row["because"], row["of"]) for row in report.dropped} == {
        "a/x": ("name", "b/x"),
        "c/x": ("name", "b/x"),
    }
    assert set(read_rows(tmp_path / "out")) == {"b/x", "a/7", "b/7", "c/m"}
    assert json.loads((tmp_path / "out" / "combine.json").read_text())["dropped"] == report.dropped


def test_same_audio_under_other_names_is_found(tmp_path):
    folders = build(
        tmp_path,
        a=[make_track("a/x", "full", song="known", seed=1), make_track("a/y", "full", song="other", seed=2)],
        b=[make_track("b/x", "pitch", song="mislabelled", seed=1), make_track("b/z", "pitch", seed=3)],
    )
    report = combine_corpora(folders, tmp_path / "out")
    assert [(row["id"], row["because"], row["of"]) for row in report.dropped] == [("b/x", "audio", "a/x")]
    kept = combine_corpora(folders, tmp_path / "all", CombineOptions(drop_duplicates=False))
    assert kept.dropped == [] and kept.num_rows == 4


def test_a_held_out_row_is_never_dropped_for_a_better_training_row(tmp_path):
    folders = build(
        tmp_path,
        a=[make_track("a/x", "full", song="shared"), make_track("a/y", "full", song="by ear", seed=5)],
        b=[
            make_track("b/x", "vocals", song="Shared", split="validation"),
            make_track("b/y", "vocals", song="another", seed=5, split="test"),
        ],
    )
    report = combine_corpora(folders, tmp_path / "out")
    assert [(row["id"], row["split"]) for row in report.dropped] == [("a/x", "train"), ("a/y", "train")]
    assert {id: row["split"] for id, row in read_rows(tmp_path / "out").items()} == {"b/x": "validation", "b/y": "test"}


def test_two_singers_over_one_accompaniment_are_kept_apart_not_dropped(tmp_path):
    folders = build(
        tmp_path,
        a=[
            make_track("a/x", song="x", singer="anna", seed=1),
            make_track("a/y", song="y", singer="bea", seed=1, split="test"),
            make_track("a/z", song="z", singer="cleo", seed=2, split="validation"),
            make_track("a/w", song="w", singer="dora", seed=2, split="test"),
        ],
        b=[make_track("b/x", song="x", singer="eva", seed=3)],  # a cover: the same name, another singer
    )
    report = combine_corpora(folders, tmp_path / "out")
    assert report.dropped == []
    assert report.moved == [{"id": "a/x", "corpus": "a", "because": "audio", "of": "a/y"}]
    assert report.held_out_audio == [{"validation": "a/z", "test": "a/w"}]
    splits = {id: row["split"] for id, row in read_rows(tmp_path / "out").items()}
    assert splits == {"a/x": "unused", "a/y": "test", "a/z": "validation", "a/w": "test", "b/x": "train"}


def test_training_rows_of_a_held_out_song_or_singer_are_moved_or_refused(tmp_path):
    folders = build(
        tmp_path,
        a=[
            make_track("a/1", song="s", singer="anna"),
            make_track("a/2", song="t", singer="Béa"),
            make_track("a/3", song="u", singer="cleo"),
        ],
        b=[
            make_track("b/1", song="v", singer="Anna", split="test"),
            make_track("b/2", song="T", singer="dora", split="validation"),
        ],
    )
    with pytest.raises(CorpusError, match=r"2 rows of train share.*\n.*a/1: same singer as b/1"):
        combine_corpora(folders, tmp_path / "out", CombineOptions(on_conflict="error"))
    assert not (tmp_path / "out").exists()
    report = combine_corpora(folders, tmp_path / "out")
    assert [(row["id"], row["because"], row["of"]) for row in report.moved] == [
        ("a/1", "singer", "b/1"),
        ("a/2", "song", "b/2"),
    ]
    splits = {id: row["split"] for id, row in read_rows(tmp_path / "out").items()}
    assert splits == {"a/1": "unused", "a/2": "unused", "a/3": "train", "b/1": "test", "b/2": "validation"}


def test_within_a_corpus_its_own_protocol_decides(tmp_path):
    tracks = [make_track("a/1", song="s", singer="anna"), make_track("a/2", song="s", singer="bea", split="test")]
    by_singer = write_built(tmp_path / "by_singer", tracks, splits_by=("singer",))
    assert combine_corpora([by_singer], tmp_path / "out").moved == []
    assert [row["id"] for row in combine_corpora([tmp_path / "out"], tmp_path / "again").moved] == []
    by_song = write_built(tmp_path / "by_song", tracks, splits_by=("song",))
    assert [row["id"] for row in combine_corpora([by_song], tmp_path / "out2").moved] == ["a/1"]


def test_validation_and_test_must_not_share(tmp_path):
    tracks = [
        make_track("a/1", singer="anna", split="validation"),
        make_track("a/2", singer="anna", split="test"),
    ]
    with pytest.raises(CorpusError, match="a/1 is in validation and a/2 in test, but their singer"):
        combine_corpora(build(tmp_path, a=tracks), tmp_path / "out")
    report = combine_corpora([tmp_path / "a"], tmp_path / "out", CombineOptions(splits={"a/1": "test"}))
    assert [key[0] for key in report.amounts] == ["test"]


def test_first_rule_that_fits_decides(tmp_path):
    folders = build(tmp_path, a=[make_track("a/1", song="x"), make_track("a/2", song="y"), make_track("a/3", song="z")])
    combine_corpora(folders, tmp_path / "out", CombineOptions(splits={"a/1": "validation", "a/[12]": "unused"}))
    splits = {id: row["split"] for id, row in read_rows(tmp_path / "out").items()}
    assert splits == {"a/1": "validation", "a/2": "unused", "a/3": "train"}
    with pytest.raises(CorpusError, match=r"\['b/\*'\] apply to no row"):
        combine_corpora(folders, tmp_path / "other", CombineOptions(splits={"b/*": "test"}))
    with pytest.raises(ValueError, match="'train', 'validation', 'test' or 'unused'"):
        CombineOptions(splits={"*": "valid"})


def test_bad_input_is_named(tmp_path):
    one = write_built(tmp_path / "one", [make_track("a/x")])
    twin = write_built(tmp_path / "twin", [make_track("a/x")])
    with pytest.raises(CorpusError, match=r"The id a/x is in .*one.* and in .*twin"):
        combine_corpora([one, twin], tmp_path / "out")
    with pytest.raises(MajlError, match="given twice"):
        combine_corpora([one, one], tmp_path / "out")
    (tmp_path / "none").mkdir()
    with pytest.raises(CorpusError, match=r"none/data has no \*.parquet"):
        combine_corpora([one, tmp_path / "none"], tmp_path / "out")
    shard = next((twin / "data").iterdir())
    shard.write_bytes(shard.read_bytes()[: shard.stat().st_size // 2])
    with pytest.raises(CorpusError, match=r"train-00000-of-00001\.parquet cannot be read"):
        combine_corpora([twin], tmp_path / "out")
    pq.write_table(pq.read_table(next((one / "data").iterdir())).drop_columns("licence"), shard)
    with pytest.raises(CorpusError, match="has no column licence"):
        combine_corpora([twin], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_result_appears_whole_or_not_at_all(tmp_path):
    folders = build(tmp_path, a=[make_track("a/x"), make_track("a/y")])
    out = tmp_path / "out"

    def interrupt(seconds):
        if seconds > 11:  # both are fingerprinted, the first is written
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        combine_corpora(folders, out, progress=interrupt)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".out.part", "a"]

    combine_corpora(folders, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "out"]
    before = contents(out)
    with pytest.raises(MajlError, match="exists already"):
        combine_corpora(folders, out)
    with pytest.raises(KeyboardInterrupt):
        combine_corpora(folders, out, overwrite=True, progress=interrupt)
    assert contents(out) == before
    assert combine_corpora(folders, out, CombineOptions(splits={"a/x": "test"}), overwrite=True).num_rows == 2
    with pytest.raises(MajlError, match="not a combined corpus"):
        combine_corpora([out], folders[0].parent / "a", overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "out"]


def three_corpora(tmp_path):
    """20 s of audio in 3 files; two of the 5 rows share a song. Combined: 4 rows, 16 s, one file each."""
    return build(
        tmp_path,
        a=[make_track("a/1", seed=1), make_track("a/2", seed=2)],
        b=[make_track("b/1", "pitch", seed=3), make_track("b/2", "pitch", seed=1)],
        c=[make_track("c/1", "accompaniment", seed=4)],
    )


def identities(folder):
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.glob("*")}


# Seconds that were reported before the end -> files fingerprinted, files written by then.
STOPS = {1: (0, 0), 7: (0, 0), 9: (1, 0), 17: (2, 0), 21: (3, 0), 29: (3, 2), 33: (3, 3)}


@forks
@pytest.mark.parametrize("seconds", STOPS)
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_killed_combination_resumes(tmp_path, monkeypatch, seconds, overwrite):
    folders, whole, out = three_corpora(tmp_path), tmp_path / "whole", tmp_path / "out"
    options = {"shard_minutes": 4 / 60}
    combine_corpora(folders, whole, **options)
    assert len(list((whole / "data").iterdir())) == 4
    if overwrite:
        combine_corpora(folders[:1], out)

    def work(halt):
        def progress(reported):
            if reported >= seconds:
                halt()

        combine_corpora(folders, out, overwrite=overwrite, progress=progress, **options)

    run_and_kill(work)
    num_fingerprinted, num_written = STOPS[seconds]
    part = tmp_path / ".out.part"
    done = {name: identity for name, identity in identities(part / "result" / "data").items() if name[0] != "."}
    assert len(done) == num_written and len(list((part / "fingerprints").glob("*.npz"))) == num_fingerprinted
    assert out.exists() == overwrite

    calls = []
    fingerprint_row = duplicates.fingerprint_row
    monkeypatch.setattr(duplicates, "fingerprint_row", lambda row: calls.append(row.id) or fingerprint_row(row))
    seen = []
    combine_corpora(folders, out, overwrite=overwrite, progress=seen.append, **options)
    assert calls == ["a/1", "a/2", "b/1", "b/2", "c/1"][[0, 2, 4, 5][num_fingerprinted] :]
    assert done.items() <= identities(out / "data").items()
    assert seen == sorted(seen) and seen[-1] == pytest.approx(36.0)
    assert contents(out) == contents(whole)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c", "out", "whole"]


def test_what_changed_since_the_stop_is_done_anew(tmp_path):
    folders, out = three_corpora(tmp_path), tmp_path / "out"

    def interrupt(seconds):
        if seconds > 33:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        combine_corpora(folders, out, shard_minutes=4 / 60, progress=interrupt)
    assert len(list((tmp_path / ".out.part" / "result" / "data").iterdir())) == 3
    shutil.rmtree(folders[0])
    build(tmp_path, a=[make_track("a/1", seed=3), make_track("a/2", seed=2)])  # now b/1 is the duplicate, not b/2
    shard = next((tmp_path / ".out.part" / "result" / "data").iterdir())
    shard.write_bytes(shard.read_bytes()[:1000])  # by a failing disk: this package never leaves such a file
    report = combine_corpora(folders, out, shard_minutes=4 / 60)
    assert [row["id"] for row in report.dropped] == ["b/1"]
    combine_corpora(folders, tmp_path / "whole", shard_minutes=4 / 60)
    assert contents(out) == contents(tmp_path / "whole")


def test_two_of_one_name_do_not_meet(tmp_path):
    folders = three_corpora(tmp_path)

    def second(seconds):
        with pytest.raises(MajlError, match="another process"):
            combine_corpora(folders, tmp_path / "out")

    combine_corpora(folders, tmp_path / "out", progress=second)
