"""`majl batch` from and to a store that speaks S3, which fails in every way that stores fail."""

import hashlib
import json
import multiprocessing.forkserver
import os
import re
import sys
import time
from pathlib import Path

import pytest
from catalogue_results import BROKEN, GOOD, results
from command import run_majl

moto = pytest.importorskip("moto", reason="moto, the store of these tests, is not installed")
s3fs = pytest.importorskip("s3fs", reason="s3fs, which opens S3, is not installed")

from moto.s3 import models as moto_models  # noqa: E402
from s3_store import SECRET_KEY, S3Store  # noqa: E402

from majl_hf.catalogues import local_engine, retrying, stores  # noqa: E402
from majl_hf.catalogues.destination import Destination  # noqa: E402
from majl_hf.catalogues.local_engine import run_locally  # noqa: E402
from majl_hf.catalogues.songs import fetch_bytes  # noqa: E402
from majl_hf.catalogues.sources import Songs  # noqa: E402
from majl_hf.errors import MajlError  # noqa: E402

pytestmark = pytest.mark.usefixtures("in_process")

FAULTS = (500, 503, "cut", "half", "lost", "hang")
ALWAYS = 1000
_expected: dict = {}


@pytest.fixture(scope="module")
def server():
    with S3Store() as store:
        yield store


@pytest.fixture
def store(server, monkeypatch):
    """The store, with two empty buckets, "songs" and "results"; time-outs in this process are short."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "FSSPEC_"))]:
        monkeypatch.delenv(name)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stores, "CONNECT_S", 0.5)
    monkeypatch.setattr(stores, "IDLE_S", 0.5)
    monkeypatch.setattr(retrying, "FIRST_PAUSE_S", 0.01)
    s3fs.S3FileSystem.clear_instance_cache()
    server.clear()
    server.create("songs")
    server.create("results")
    yield server
    server.recover()


@pytest.fixture
def impatient(monkeypatch):
    """For failures that do not pass."""
    monkeypatch.setattr(retrying, "PATIENCE_S", 0.5)


@pytest.fixture
def small_parts(monkeypatch):
    """Uploads of more than 100 kB come in parts."""
    monkeypatch.setattr(stores, "PART_BYTES", 50_000)
    monkeypatch.setattr(moto_models, "S3_UPLOAD_PART_MIN_SIZE", 1)


@pytest.fixture
def expected(batch, catalogue, tmp_path_factory) -> dict:
    """The results of the same songs in a folder."""
    if not _expected:
        folder = tmp_path_factory.mktemp("expected")
        batch(catalogue, folder)
        _expected.update(results(folder))
    return _expected


def songs_of(catalogue: Path) -> dict[str, bytes]:
    return {path.relative_to(catalogue).as_posix(): path.read_bytes() for path in catalogue.rglob("*.*")}


def in_folder(store: S3Store, bucket: str, folder: Path) -> Path:
    """A copy of a bucket."""
    for key, content in store.files(bucket).items():
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def same_songs(results: dict, expected: dict) -> None:
    """What is said about a broken song names where it is, and that differs."""
    assert results["stems"] == expected["stems"] and results["labels"] == expected["labels"]
    assert sorted(results["rows"]) == sorted(expected["rows"])
    for name in GOOD:
        assert results["rows"][name] == expected["rows"][name]


def test_the_command_from_store_to_store(store, batch, catalogue, expected, tmp_path, monkeypatch):
    """With a worker process, which knows the store by its environment only."""
    store.put("songs", songs_of(catalogue))
    for kind, faults in {"list": (500, "half"), "head": (503,), "get": ("half", 500), "put": (500, "lost")}.items():
        store.fail(kind, *faults)
    multiprocessing.forkserver._forkserver._stop()  # one that has started earlier has another environment
    monkeypatch.setattr(local_engine, "run_locally", run_locally)
    result = batch("s3://songs", "s3://results/run 1", "--workers", "1")
    assert result.exit_code == 1 and store.planned() == []
    assert result.summary["num_done"] == len(GOOD) and result.summary["num_failed"] == len(BROKEN)
    assert sorted(row["name"] for row in result.rows) == sorted(GOOD + BROKEN)
    same_songs(results(in_folder(store, "results", tmp_path) / "run 1"), expected)
    for row in result.rows:
        assert row["address"].startswith("s3://songs/") and (row["status"] == "done" or row["address"] in row["reason"])


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_at_any_kind_of_request(
    fault, store, small_parts, in_process, batch, catalogue, expected, tmp_path, monkeypatch
):
    if fault == "hang":
        monkeypatch.setattr(stores, "CONNECT_S", 0.1)
        monkeypatch.setattr(stores, "IDLE_S", 0.2)
    store.put("songs", songs_of(catalogue))
    for kind in ("list", "head", "get", "put", "create", "part", "complete"):
        store.fail(kind, fault)
    first = batch("s3://songs", "s3://results")
    assert store.planned() == [] and first.exit_code == 1 and first.summary["num_done"] == len(GOOD)
    same_songs(results(in_folder(store, "results", tmp_path / "first")), expected)
    # A song is processed again, so that its labels are taken out of the first part, which is then deleted.
    store.delete("results", "stems/album/a.vocals.flac")
    for kind in ("list", "head", "get", "put", "delete", "complete"):
        store.fail(kind, fault)
    in_process.clear()
    second = batch("s3://songs", "s3://results")
    assert in_process == ["album/a"] and second.summary["num_done"] == 1
    assert store.planned() == []
    same_songs(results(in_folder(store, "results", tmp_path / "second")), expected)


@pytest.mark.parametrize(
    ("kind", "key", "fault"),
    [
        ("head", "results/run.json", 500),
        ("list", "results", "hang"),
        ("put", "results/stems", 503),
        ("put", "results/manifest", "hang"),
        ("put", "results/labels", "cut"),
    ],
)
def test_an_outage_of_the_destination(
    kind, key, fault, store, impatient, in_process, batch, catalogue, expected, tmp_path
):
    store.put("songs", songs_of(catalogue / "album"))
    store.fail(kind, fault, key=key, times=ALWAYS)
    started_s = time.monotonic()
    result = batch("s3://songs", "s3://results")
    assert time.monotonic() - started_s < 30
    assert "Traceback" not in result.stderr and SECRET_KEY not in result.stderr
    *_, last = result.stderr.splitlines()
    if key == "results/stems":
        assert result.exit_code == 1 and result.summary["num_failed"] == 2
        assert last.startswith("failed: b: s3://results could not be used for 0.5 s: ")
    else:
        assert result.exit_code == 2
        assert last.startswith("error: s3://results could not be used for 0.5 s: ")
    assert last.endswith("; run the same command again to resume.")
    store.recover()
    result = batch("s3://songs", "s3://results")
    assert result.exit_code == 0
    found = results(in_folder(store, "results", tmp_path))
    assert found["stems"] == {
        path.replace("album/", ""): content for path, content in expected["stems"].items() if "album/" in path
    }
    assert [row["song"] for row in found["labels"]] == ["a", "b"]
    assert batch("s3://songs", "s3://results").summary["num_done_before"] == 2


def test_an_outage_of_the_source(store, impatient, in_process, batch, catalogue):
    store.put("songs", songs_of(catalogue / "album"))
    store.fail("get", 500, key="songs/a", times=ALWAYS)
    result = batch("s3://songs", "s3://results")
    assert result.exit_code == 1
    assert "failed: a: s3://songs/a.flac could not be used for 0.5 s: This is the stand-in's error 500" in result.stderr
    store.recover()
    in_process.clear()
    assert batch("s3://songs", "s3://results").exit_code == 0, "a failure of a store needs no --retry-failed"
    assert in_process == ["a"]
    store.fail("list", 500, key="songs", times=ALWAYS)
    result = batch("s3://songs", "s3://results")
    assert result.exit_code == 2 and "error: s3://songs could not be used for 0.5 s" in result.stderr


def test_a_store_that_takes_no_more(store, tmp_path, monkeypatch):
    """It accepts a connection and the beginning of an upload, and reads no further."""
    monkeypatch.setattr(stores, "LEAST_BYTES_PER_S", 1e7)
    store.fail("put", "hang")
    (tmp_path / "stem").write_bytes(bytes(2_000_000))
    started_s = time.monotonic()
    Destination("s3://results").move_in(tmp_path / "stem", "stem")
    assert 1 < time.monotonic() - started_s < 15 and store.num_faults["put hang"] == 1
    assert store.files("results") == {"stem": bytes(2_000_000)}


def test_time_outs_are_short_and_may_be_configured(store, monkeypatch):
    import fsspec

    files, _ = stores.open_filesystem("s3://results")
    assert files.config_kwargs["read_timeout"] == 0.5 and files.config_kwargs["retries"] == {"total_max_attempts": 1}
    monkeypatch.setitem(fsspec.config.conf, "s3", {"config_kwargs": {"read_timeout": 7}, "max_concurrency": 2})
    files, _ = stores.open_filesystem("s3://results")
    assert files.config_kwargs["read_timeout"] == 7 and files.config_kwargs["connect_timeout"] == 0.5
    assert files.max_concurrency == 2
    monkeypatch.undo()
    assert stores.CONNECT_S + stores.IDLE_S + retrying.PATIENCE_S <= 60


def test_files_are_read_in_blocks(store, monkeypatch, tmp_path):
    monkeypatch.setattr(stores, "BLOCK_BYTES", 1000)
    content = os.urandom(4500)
    store.put("songs", {"file": content})
    for fault in (500, "half", 503, "hang", "cut"):
        store.fail("get", fault)
    with stores.open_remote("s3://songs/file") as file:
        assert file.read(1500) == content[:1500] and file.seek(-10, os.SEEK_END) == 4490
        assert file.read() == content[4490:] and file.read() == b"" and file.seek(0) == 0
        assert file.read() == content
    assert store.planned() == []
    store.requests.clear()
    store.fail("get", "half", 500)
    stores.download("s3://songs/file", tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == content == fetch_bytes("s3://songs/file")
    assert store.requests.count("get songs/file") == 5 + 2 + 5, "only the blocks that failed are read again"
    assert Destination("s3://songs").sha256("file") == hashlib.sha256(content).hexdigest()
    assert Destination("s3://songs").sha256("nothing") is None


@pytest.mark.parametrize("client", ["httpx", "httpx2"])
def test_the_hub_cannot_be_reached(client, monkeypatch):
    failure = type("ConnectError", (Exception,), {"__module__": client})("Name or service not known")
    tries = []

    def call():
        tries.append(client)
        raise failure

    monkeypatch.setattr(retrying, "PATIENCE_S", 0.4)
    with pytest.raises(retrying.StoreError, match=r"hf://datasets/o/n could not be used.*Name or service not known"):
        retrying.retrying(call, "hf://datasets/o/n")
    assert len(tries) > 1


def test_a_web_server(store, monkeypatch):
    """One that hangs, and one that does not know ranges."""
    monkeypatch.setattr(stores, "BLOCK_BYTES", 1000)
    content = os.urandom(4500)
    store.put("songs", {"file": content})
    address = stores.open_filesystem("s3://songs")[0].sign("songs/file", expiration=1000)
    store.fail("get", "hang", 500, "half")
    assert fetch_bytes(address) == content and store.planned() == []
    store.knows_ranges = False
    store.requests.clear()
    assert fetch_bytes(address) == content and store.requests.count("get songs/file") == 1
    with pytest.raises(MajlError, match=r"/songs/nothing\?.*Signature=\*\*\*.* does not exist"):
        fetch_bytes(address.replace("songs/file", "songs/nothing"))
    monkeypatch.setattr(retrying, "PATIENCE_S", 0.5)
    with pytest.raises(retrying.StoreError, match=r"^http://127\.0\.0\.1:9/file could not be used for 0\.5 s: Connect"):
        fetch_bytes("http://127.0.0.1:9/file")  # the port of a service that no machine has today


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("s3://songs/", {"album/a": b"a", "album/b": b"b", "c": b"c", "Ä ~#__/d": b"d"}),
        ("s3://songs/album", {"a": b"a", "b": b"b"}),
        ("s3://songs/album/a.flac", {"a": b"a"}),
        ("s3://songs/*/?.flac", {"album/a": b"a"}),
        ("s3://songs/lists/all.jsonl", {"first": b"a", "album/b": b"b", "songs/c": b"c"}),
        ("s3://songs/lists/all.csv", {"album/b": b"b", "x": b"x"}),
    ],
)
def test_sources_in_a_store(source, expected, store):
    rows = [{"audio_filepath": "../album/a.flac", "id": "first"}, {"path": "../album/b.mp3"}]
    rows += [{"path": "s3://songs/c.wav"}]
    files = {"album/a.flac": b"a", "album/b.mp3": b"b", "c.wav": b"c", "Ä ~#?*/d.m4a": b"d", "lists/x.txt": b"x"}
    lists = {
        "lists/all.jsonl": "\n".join(map(json.dumps, rows)).encode(),
        "lists/all.csv": b"path,id\n../album/b.mp3,\nx.txt,x\n",
        "c.vocals.flac": b"",
    }
    store.put("songs", files | lists)
    store.fail("list", 500)
    store.fail("head", 503)
    assert {name: fetch_bytes(address) for name, address in Songs(source)} == expected


def message(*arguments) -> str:
    """What the command says instead of working."""
    result = run_majl("batch", *arguments, "--model", "majl-base")
    assert result.exit_code == 2 and result.stdout == ""
    assert "Traceback" not in result.stderr and SECRET_KEY not in result.stderr
    (line,) = result.stderr.splitlines()
    return line.removeprefix("error: ")


def test_what_is_said_at_once(store, tmp_path, monkeypatch):
    """And not after it has been tried for some time, when the words would be others."""
    assert message("s3://nothing/songs", "-o", "s3://results") == "s3://nothing/songs does not exist."
    assert message("s3://songs/nothing", "-o", "s3://results") == "s3://songs/nothing does not exist."
    assert "s3://songs contains no songs" in message("s3://songs", "-o", "s3://results")
    assert message("s3://", "-o", "s3://results").startswith("s3:// cannot be used: ")
    assert message("hf://nothing", "-o", "s3://results").startswith("hf://nothing cannot be used: ")
    assert message("hf://datasets/owner/songs", "-o", tmp_path).startswith("hf://datasets/owner/songs cannot be used: ")
    store.put("songs", {"a.flac": b""})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAWRONG")
    s3fs.S3FileSystem.clear_instance_cache()
    line = message("s3://songs", "-o", "s3://results")
    assert line == "s3://results cannot be used: Forbidden; check the address and its keys."
    line = message("s3://songs", "-o", tmp_path)
    assert line == "s3://songs cannot be used: Forbidden; check the address and its keys."
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    s3fs.S3FileSystem.clear_instance_cache()
    line = message("s3://songs", "-o", "s3://results")
    assert line == "s3://results cannot be used: Unable to locate credentials; check the address and its keys."
    line = message("nosuch://user:password@songs?token=12345", "-o", tmp_path)
    assert (
        line == "nosuch://songs?token=*** cannot be used: Protocol not known: nosuch; check the address and its keys."
    )


def test_a_missing_bucket_for_the_results(store, batch, catalogue):
    result = batch(catalogue / "album", "s3://nothing/results")
    assert result.exit_code == 2 and "Traceback" not in result.stderr
    words = "error: The destination s3://nothing/results does not exist; create the bucket, or choose another --output."
    assert result.stderr.splitlines()[-1] == words


def test_a_missing_package(store, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "s3fs", None)
    monkeypatch.delitem(sys.modules["fsspec.registry"]._registry, "s3")
    line = message("s3://songs", "-o", "s3://results")
    assert line.startswith("s3://results needs a package that is not installed") and "majl_hf[s3]" in line
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    assert "the package of fsspec for gs://" in message("gs://songs", "-o", tmp_path)


def test_no_signature_is_written_anywhere(store, in_process, batch, catalogue, tmp_path):
    store.put("songs", songs_of(catalogue / "album"))
    files, _ = stores.open_filesystem("s3://songs")
    listed = tmp_path / "list.jsonl"

    def write_list(expiration: int) -> list[str]:
        names = ("a.flac", "b.mp3", "missing.flac")
        addresses = [files.sign(f"songs/{name}", expiration=expiration) for name in names]
        listed.write_text("\n".join(json.dumps({"path": address}) for address in addresses))
        return [re.search("Signature=([^&]+)", address)[1] for address in addresses]

    signatures = write_list(1000)
    result = batch(listed, "s3://results")
    assert result.summary["num_done"] == 2 and result.summary["num_failed"] == 1
    written = result.stdout + result.stderr + "".join(map(repr, store.files("results").items()))
    assert "songs/missing.flac?" in written and "Signature=***" in written
    assert not [secret for secret in (*signatures, SECRET_KEY) if secret in written]
    host = store.url.removeprefix("http://").replace(":", "_")
    assert f"stems/{host}/songs/a.vocals.flac" in store.files("results")
    in_process.clear()
    assert not set(write_list(2000)) & set(signatures)
    assert batch(listed, "s3://results").summary["num_done_before"] == 2 and in_process == []
