"""Which songs a source has, and what their results are called."""

import errno
import json
import os
import sys
import unicodedata
from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from majl_hf.audio import local_path
from majl_hf.catalogues.dataset_rows import row_address
from majl_hf.catalogues.sources import Entry, Songs, _unique, safe_name, share_of
from majl_hf.errors import MajlError


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return folder


def names(source, **options) -> list[str]:
    return [entry.name for entry in Songs(str(source), **options)]


def test_a_folder(tmp_path):
    touch(tmp_path, "b.MP3", "a.flac", "sub/deep/c.m4a", "sub/a.flac", "notes.txt", ".hidden.wav", "a.vocals.flac")
    touch(tmp_path, ".cache/d.wav")
    songs = Songs(str(tmp_path))
    assert list(songs) == [
        Entry(name, str(tmp_path / file))
        for name, file in [("a", "a.flac"), ("b", "b.MP3"), ("sub/a", "sub/a.flac"), ("sub/deep/c", "sub/deep/c.m4a")]
    ]
    assert songs.left_out == {".txt": 1, "hidden (name it to read it)": 1, "written by this command": 1}
    assert list(songs) == list(songs)


def test_a_folder_that_cannot_be_read(tmp_path, monkeypatch):
    touch(tmp_path, "a.flac", "z/b.flac")

    def scandir(path, original=os.scandir):
        if Path(path).name == "z":
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(MajlError, match="z cannot be read: Permission denied"):
        names(tmp_path)


@pytest.mark.skipif(sys.platform != "linux", reason="names of files are text elsewhere")
def test_a_name_that_is_not_text(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/latin\xe9.flac")
    Path(path).write_bytes(b"")
    (entry,) = Songs(str(tmp_path))
    assert entry.name == "latin_" and entry.address.isascii() and local_path(entry.address) == path


def test_names_and_order_do_not_depend_on_the_working_folder(tmp_path, monkeypatch):
    touch(tmp_path, "songs/a.flac", "songs/b.flac")
    absolute = list(Songs(str(tmp_path / "songs")))
    monkeypatch.chdir(tmp_path)
    for source in ("songs", "./songs/", "songs/../songs"):
        assert list(Songs(source)) == absolute


def test_a_glob(tmp_path):
    touch(tmp_path, "x/a.flac", "x/y/b.flac", "z/c.mp3", "z/d.txt")
    assert names(tmp_path / "*" / "*.*") == ["x/a", "z/c"]
    assert names(tmp_path / "**" / "*.flac") == ["x/a", "x/y/b"]
    with pytest.raises(MajlError, match="contains no songs"):
        names(tmp_path / "*.wav")


def rows(tmp_path) -> list[dict]:
    touch(tmp_path, "lists/a.flac", "songs/b.flac", "c.mp3")
    return [
        {"audio_filepath": "a.flac", "duration": 1.0},
        {"audio_filepath": "../songs/b.flac"},
        {"audio_filepath": str(tmp_path / "c.mp3"), "id": "Artist/Title: 1"},
        {"audio_filepath": "s3://bucket/d.flac"},
    ]


def write_jsonl(path: Path, rows: list[dict]) -> None:
    path.write_text("\ufeff" + "\n\n".join(json.dumps(row) for row in rows))


def write_csv(path: Path, rows: list[dict]) -> None:
    separator = "\t" if path.suffix == ".tsv" else ","
    lines = [separator.join(("audio_filepath", "id"))]
    path.write_text("\r\n".join(lines + [separator.join((row["audio_filepath"], row.get("id", ""))) for row in rows]))


def write_spreadsheet(path: Path, rows: list[dict]) -> None:
    lines = ["id;audio_filepath", *(f"{row.get('id', '')};{row['audio_filepath']}" for row in rows), ";"]
    path.write_text("\ufeff" + "\r\n;\r\n".join(lines))


def write_parquet(path: Path, rows: list[dict]) -> None:
    pq.write_table(pa.Table.from_pylist(rows, pa.schema([("audio_filepath", pa.string()), ("id", pa.string())])), path)


@pytest.mark.parametrize(
    "name, write",
    [("m.jsonl", write_jsonl), ("m.json", write_jsonl), ("m.csv", write_csv), ("m.tsv", write_csv),
     ("m.csv", write_spreadsheet), ("m.parquet", write_parquet)],
)  # fmt: skip
def test_a_manifest(tmp_path, name, write):
    listed = rows(tmp_path)
    write(tmp_path / "lists" / name, listed)
    outside = str(tmp_path / "songs/b").lstrip("/\\")
    assert list(Songs(str(tmp_path / "lists" / name))) == [
        Entry("a", str(tmp_path / "lists/a.flac")),
        Entry(outside, str(tmp_path / "songs/b.flac")),
        Entry("Artist/Title_ 1", str(tmp_path / "c.mp3")),
        Entry("bucket/d", "s3://bucket/d.flac"),
    ]


@pytest.mark.parametrize(
    "line, message",
    [
        ('{"text": "la"}', "line 2 has none of audio_filepath, path"),
        ('{"audio_filepath": ""}', "line 2 has none of audio_filepath"),
        ("{", "line 2 is not JSON"),
        ("[1]", "line 2 is not a JSON object"),
        ('{"audio_filepath": "b.flac", "offset": 3.5}', "line 2 has an offset"),
        ('{"audio_filepath": "b.flac", "offset": "x"}', "line 2 has an offset"),
        ('{"audio_filepath": ["b.flac"]}', "line 2.*is not text"),
        ("\\xff", "not JSON"),
    ],
)
def test_a_manifest_with_a_bad_line(tmp_path, line, message):
    path = tmp_path / "m.jsonl"
    path.write_text('{"audio_filepath": "a.flac"}\n' + line)
    with pytest.raises(MajlError, match=message):
        names(path)


def test_a_manifest_that_is_not_text(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes(b"audio_filepath\ncaf\xe9.flac\n")
    with pytest.raises(MajlError, match=r"m\.csv.*UTF-8"):
        names(path)


def test_a_song_that_is_listed_twice_is_one_song(tmp_path):
    touch(tmp_path, "a.flac", "b.flac")
    path = tmp_path / "m.jsonl"
    write_jsonl(path, [{"audio_filepath": name} for name in ("a.flac", "./a.flac", str(tmp_path / "a.flac"), "b.flac")])
    songs = Songs(str(path))
    assert [entry.name for entry in songs] == ["a", "b"] and songs.left_out == {"listed twice": 2}


def test_songs_of_one_name_have_numbers(tmp_path):
    touch(tmp_path, "A.wav", "a.flac", "a.mp3", "a~2.flac", "caf\u00e9.wav", "cafe\u0301.mp3")
    found = names(tmp_path)
    assert found[0] == "A" and len({unicodedata.normalize("NFC", name).casefold() for name in found}) == 6


@pytest.mark.parametrize(
    "name, safe",
    [
        ("a.flac", "a"),
        ("a.b.flac", "a.b"),
        ("Mr. Big/To Be With You.mp3", "Mr. Big/To Be With You"),
        ("../../etc/passwd.wav", "etc/passwd"),
        ("/abs/./x//y.wav", "abs/x/y"),
        ("what?.wav", "what_"),
        ("con: a|b", "con_ a_b"),
        (".hidden/.x.wav", "_hidden/_x"),
        ("trailing. /a .wav", "trailing/a"),
        ("\udcff.wav", "_"),
        ("...", "_"),
        ("", "_"),
    ],
)
def test_names_as_paths(name, safe):
    assert safe_name(name) == safe


@given(st.lists(st.text(max_size=400), max_size=8))
def test_any_names_become_different_paths_inside_the_destination(texts):
    taken: set[str] = set()
    made = [_unique(safe_name(text), taken) for text in texts]
    assert len({name.casefold() for name in made}) == len(texts)
    for name in made:
        path = PurePosixPath(name)
        assert not path.is_absolute() and path.parts and not {"..", "."} & {*name.split("/")} and name == str(path)
        assert all(len(os.fsencode(part)) < 190 and not part.startswith(".") for part in path.parts)
        assert not any(unicodedata.category(letter) == "Cc" for letter in name)


def test_shards_divide_a_catalogue(tmp_path):
    touch(tmp_path, *(f"{number}.flac" for number in range(200)))
    everything = names(tmp_path)
    shares = [names(tmp_path, shard=(number, 5)) for number in range(1, 6)]
    assert sorted(name for share in shares for name in share) == sorted(everything)
    assert all(25 <= len(share) <= 55 for share in shares)
    (tmp_path / "100.flac").unlink()
    assert [names(tmp_path, shard=(number, 5)) for number in range(1, 6)] == [
        [name for name in share if name != "100"] for share in shares
    ]
    assert share_of("a", 1) == 1


@pytest.mark.parametrize("is_there", [True, False])
def test_nothing_to_do(tmp_path, is_there):
    source = touch(tmp_path, "notes.txt") if is_there else tmp_path / "no such folder"
    with pytest.raises(MajlError, match=r"contains no songs \(1 file: 1 .txt left out\)" if is_there else "not exist"):
        names(source)


def test_addresses_of_rows():
    address = row_address("s3://b/x#1/data.parquet#audio[17]")
    assert address is not None and address.row == 17 and str(address) == "s3://b/x#1/data.parquet#audio[17]"
    assert row_address("a#audio[17]") is None and row_address("/songs/x.parquet") is None
