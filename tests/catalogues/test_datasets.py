"""`majl batch` from a dataset of the Hugging Face libraries to labels that they read."""

import json
import os
import re
from pathlib import Path

import fsspec
import huggingface_hub.constants
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from audio_files import write_audio
from command import run_majl
from datasets import Audio, Dataset, DatasetDict, Features, Image, Value, load_dataset
from listening import listening_model, melody
from local_hub import LocalHub, Repository

from majl_hf.catalogues import dataset_rows
from majl_hf.catalogues.dataset_rows import RowAddress, read_row, row_address
from majl_hf.catalogues.songs import fetch_bytes
from majl_hf.catalogues.sources import Songs
from majl_hf.errors import MajlError
from majl_hf.rows.schema import ROW_FEATURES

pytestmark = pytest.mark.usefixtures("in_process")

MELODIES = {"one": [60, 62], "two": [64.3, 57], "three": [71], "four": [50, 55]}


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("listening-model")
    listening_model().save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def songs(tmp_path_factory) -> Path:
    """A folder with a melody for each name."""
    folder = tmp_path_factory.mktemp("melodies")
    for name, pitches in MELODIES.items():
        write_audio(folder / f"{name}.flac", melody(pitches, note_s=0.2, rest_s=0.1), 16_000)
    return folder


@pytest.fixture(scope="module")
def expected(songs, model, tmp_path_factory) -> dict[str, dict]:
    """What the commands for single songs make of them: the arrays of `majl transcribe`, and the stems."""
    folder = tmp_path_factory.mktemp("expected")
    options = ("-o", folder, "--model", model, "--device", "cpu", "--threads", "1", "--format", "flac")
    assert run_majl("transcribe", songs, *options, "--export", "npz", "--stems").exit_code == 0
    return {
        name: {
            **np.load(next(folder.glob(f"{name}*.npz"))),
            **{stem: (folder / f"{name}.{stem}.flac").read_bytes() for stem in ("vocals", "accompaniment")},
        }
        for name in MELODIES
    }


def dataset(songs: Path, names=MELODIES) -> Dataset:
    """With a picture before the audio."""
    picture = {"bytes": b"a picture", "path": "cover.png"}
    rows = [
        {"cover": picture, "audio": {"bytes": (songs / f"{name}.flac").read_bytes(), "path": f"{name}.flac"}}
        for name in names
    ]
    struct = {"bytes": Value("binary"), "path": Value("string")}
    plain = Dataset.from_list(rows, features=Features({"cover": struct, "audio": struct}))
    return plain.cast_column("cover", Image(decode=False)).cast_column("audio", Audio(decode=False))


def saved(songs: Path, folder: Path) -> str:
    dataset(songs).save_to_disk(folder / "saved", num_shards=2)
    return str(folder / "saved")


def saved_splits(songs: Path, folder: Path) -> str:
    splits = {"train": dataset(songs, ("one", "two")), "test": dataset(songs, ("three", "four"))}
    DatasetDict(splits).save_to_disk(folder / "splits")
    return str(folder / "splits")


def parquet(songs: Path, folder: Path) -> str:
    dataset(songs, ("one", "two", "three")).to_parquet(folder / "rows/train-00000-of-00002.parquet", batch_size=2)
    dataset(songs, ("four",)).to_parquet(folder / "rows/train-00001-of-00002.parquet")
    return str(folder / "rows")


def parquet_file(songs: Path, folder: Path) -> str:
    dataset(songs).to_parquet(folder / "rows.parquet", batch_size=3)
    return str(folder / "rows.parquet")


def in_store(path: str) -> str:
    """A copy in fsspec's store in memory."""
    files = fsspec.filesystem("memory")
    files.rm("/bucket", recursive=True) if files.exists("/bucket") else None
    files.put(path, "/bucket/data" + os.path.splitext(path)[1], recursive=True)
    return "memory://bucket/data" + os.path.splitext(path)[1]


SOURCES = {
    "save_to_disk": saved,
    "DatasetDict": saved_splits,
    "Parquet": parquet,
    "one Parquet file": parquet_file,
    "save_to_disk in a store": lambda *given: in_store(saved(*given)),
    "DatasetDict in a store": lambda *given: in_store(saved_splits(*given)),
    "Parquet in a store": lambda *given: in_store(parquet(*given)),
}


def check(dest: Path, expected: dict[str, dict], cache: Path) -> None:
    """Every song is there once, with the results of the other commands."""
    labels = load_dataset("parquet", data_files=str(dest / "labels/*.parquet"), split="train", cache_dir=str(cache))
    assert labels.features == ROW_FEATURES
    rows = {re.sub("^(train|test)/", "", row["song"]): row for row in labels}
    assert len(labels) == len(rows) and sorted(rows) == sorted(expected)
    for name, row in rows.items():
        there = expected[name]
        f0_hz = np.where(there["voiced"], there["f0_hz"], 0).astype(np.float32)
        assert f0_hz.any() and np.array_equal(np.float32(row["f0_hz"]), f0_hz)
        assert np.array_equal(np.float32(row["pitch_confidence"]), np.float32(there["confidence"]))
        times_s = row["f0_offset_s"] + row["f0_hop_s"] * np.arange(len(f0_hz))
        np.testing.assert_allclose(times_s, there["times_s"], atol=1e-6)
        notes = [[np.float32(note[key]) for note in row["notes"]] for key in ("onset_s", "offset_s", "midi")]
        assert len(notes[0]) == len(MELODIES[name])
        assert np.array_equal(notes, np.float32([there[f"note_{key}"] for key in ("onset_s", "offset_s", "midi")]))
        assert row["duration_s"] == there["duration_s"] and row["id"] == f"catalogue/{row['song']}"
        for stem in ("vocals", "accompaniment"):
            assert (dest / f"stems/{row['song']}.{stem}.flac").read_bytes() == there[stem]


@pytest.mark.parametrize("kind", SOURCES)
def test_a_dataset(kind, songs, expected, batch, model, in_process, tmp_path):
    source = SOURCES[kind](songs, tmp_path)
    result = batch(source, tmp_path / "out", model=model)
    assert result.exit_code == 0 and result.summary["num_done"] == len(MELODIES)
    check(tmp_path / "out", expected, tmp_path / "cache")
    in_process.clear()
    assert batch(source, tmp_path / "out", model=model).summary["num_done_before"] == len(MELODIES)
    assert in_process == []


@pytest.fixture
def hub(monkeypatch):
    """A local Hub for fsspec in this process."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    with LocalHub() as hub:
        monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": hub.url, "token": False})
        yield hub


def test_a_dataset_on_the_hub(hub, songs, expected, batch, model, tmp_path):
    folder = Path(parquet(songs, tmp_path))
    repository = hub.repositories["datasets", "singer/melodies"] = Repository("datasets", "singer/melodies")
    files = {f"data/{path.name}": path.read_bytes() for path in folder.iterdir()}
    repository.add_commit("main", "melodies", files | {"README.md": b"---\n---\n"})
    result = batch("singer/melodies", tmp_path / "out", model=model)
    assert result.exit_code == 0 and {row["address"].partition("#")[0] for row in result.rows} == {
        f"hf://datasets/singer/melodies/{file}" for file in files
    }
    check(tmp_path / "out", expected, tmp_path / "cache")
    names = [entry.name for entry in Songs("hf://datasets/singer/melodies/data/train-00001-of-00002.parquet")]
    assert names == ["four"]
    with pytest.raises(MajlError, match="hf://datasets/singer/nothing does not exist"):
        list(Songs("hf://datasets/singer/nothing"))


def test_a_folder_of_songs_on_the_hub(hub, songs):
    repository = hub.repositories["datasets", "singer/files"] = Repository("datasets", "singer/files")
    files = {f"train/{path.name}": path.read_bytes() for path in songs.iterdir()}
    repository.add_commit("main", "melodies", files | {"metadata.csv": b"file_name\ntrain/one.flac\n"})
    found = {name: fetch_bytes(address) for name, address in Songs("hf://datasets/singer/files")}
    assert found == {f"train/{path.stem}": path.read_bytes() for path in songs.iterdir()}


def numbered(path: Path, num_rows: int, row_bytes: int, group: int) -> list[bytes]:
    """Write a Parquet file and return its contents."""
    contents = [np.random.default_rng(number).bytes(row_bytes) for number in range(num_rows)]
    column = pa.array([{"bytes": content, "path": None} for content in contents])
    pq.write_table(pa.table({"my audio": column}), path, row_group_size=group)
    return contents


class CountingFile:
    """A file that counts what is read."""

    num_bytes = num_opened = 0

    def __init__(self, file):
        self._file = file
        CountingFile.num_opened += 1

    def read(self, *size):
        content = self._file.read(*size)
        CountingFile.num_bytes += len(content)
        return content

    def __getattr__(self, name):
        return getattr(self._file, name)


@pytest.fixture
def counting(monkeypatch):
    opened = dataset_rows.open_address
    monkeypatch.setattr(dataset_rows, "open_address", lambda address: CountingFile(opened(address)))
    CountingFile.num_bytes = CountingFile.num_opened = 0
    return CountingFile


def test_rows_in_rising_order_are_read_once(counting, tmp_path):
    path = tmp_path / "rows.parquet"
    contents = numbered(path, 60, 20_000, group=25)
    addresses = [RowAddress(str(path), "my audio", number) for number in range(60)]
    assert [row_address(str(address)) for address in addresses] == addresses
    assert [read_row(address)["bytes"] for address in addresses] == contents
    assert counting.num_opened == 1 and counting.num_bytes < 1.2 * path.stat().st_size
    counting.num_bytes = 0
    assert [read_row(address)["bytes"] for address in addresses[1::3]] == contents[1::3], "as one of three workers"
    assert counting.num_bytes < 1.2 * path.stat().st_size


def test_rows_in_any_order_and_of_other_files(tmp_path):
    first = numbered(tmp_path / "first.parquet", 9, 1000, group=4)
    second = numbered(tmp_path / "second.parquet", 3, 500, group=3)
    for number in (3, 3, 8, 0, 7, 2, 4):
        assert read_row(RowAddress(str(tmp_path / "first.parquet"), "my audio", number))["bytes"] == first[number]
    assert read_row(RowAddress(str(tmp_path / "second.parquet"), "my audio", 2))["bytes"] == second[2]
    assert read_row(RowAddress(str(tmp_path / "first.parquet"), "my audio", 5))["bytes"] == first[5]
    with pytest.raises(MajlError, match="has no row 9; the dataset has changed"):
        read_row(RowAddress(str(tmp_path / "first.parquet"), "my audio", 9))
    with pytest.raises(MajlError, match=r"nothing\.parquet cannot be read"):
        read_row(RowAddress(str(tmp_path / "nothing.parquet"), "my audio", 0))
    assert read_row(RowAddress(str(tmp_path / "first.parquet"), "my audio", 1))["bytes"] == first[1]


def test_rows_without_bytes(songs, tmp_path, batch, model):
    """Audio beside the dataset, and none at all."""
    rows = [{"bytes": None, "path": str(songs / "one.flac")}, {"bytes": None, "path": None}, None]
    pq.write_table(pa.table({"id": ["a", "b", "c"], "audio": rows}), tmp_path / "rows.parquet")
    result = batch(tmp_path / "rows.parquet", tmp_path / "out", model=model)
    assert {row["name"]: row["status"] for row in result.rows} == {"a": "done", "b": "failed", "c": "failed"}
    assert "rows.parquet#audio[2] is empty: the row has no audio in this column." in result.stderr


def test_columns(songs, tmp_path):
    path = parquet_file(songs, tmp_path)
    assert json.loads(pq.read_schema(path).metadata[b"huggingface"])["info"]["features"]["cover"]["_type"] == "Image"
    assert {row_address(address).column for _, address in Songs(path)} == {"audio"}
    assert {row_address(address).column for _, address in Songs(path, column="cover")} == {"cover"}
    with pytest.raises(MajlError, match="has no audio column 'sound'; its columns are cover, audio"):
        list(Songs(path, column="sound"))
