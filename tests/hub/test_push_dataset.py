"""A built corpus goes to the Hub and comes back: by id, streamed, by revision; what may not be passed on stays here."""

import json
import sys
from pathlib import Path

import pytest
from local_hub import TOKEN

sys.path.append(str(Path(__file__).parents[1] / "data"))
from built_corpora import make_track, read_rows, write_built

PUSH = """
import json, sys
from majl_hf.data.push import push_dataset
folder, repo_id, options = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
report = push_dataset(folder, repo_id, **options)
print(json.dumps(vars(report)))
"""
LOAD = """
import hashlib, json, sys
from datasets import load_dataset
repo_id, revision = sys.argv[1], json.loads(sys.argv[2])
def facts(rows):
    return [[row["id"], hashlib.sha256(row["vocals"]["bytes"]).hexdigest(), row["f0_hz"]] for row in rows]
loaded = load_dataset(repo_id, revision=revision)
streamed = load_dataset(repo_id, revision=revision, streaming=True)
for kind in (loaded, streamed):
    print(json.dumps({split: facts(kind[split]) for split in kind}))
"""
FREE = {"licence": "CC0-1.0"}


def tracks():
    return [
        make_track("own/x", **FREE),
        make_track("own/y", split="test", **FREE),
        make_track("mir1k/x", licence="research only, no redistribution"),
    ]


def push(run_client, folder, repo_id="tester/songs", **options):
    environment = {"token": options.pop("login")} if "login" in options else {}
    return run_client(PUSH, folder, repo_id, json.dumps(options), **environment)


def report_of(process):
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.splitlines()[-1])


def error_of(process):
    assert process.returncode != 0, process.stdout
    return process.stderr.strip().splitlines()[-1]


def test_push_load_stream_and_revise(hub, run_client, tmp_path):
    folder = write_built(tmp_path / "built", tracks())
    process = push(run_client, folder)
    report = report_of(process)
    assert report["left_out"] == {"mir1k": 1} and report["num_rows"] == 2
    repository = hub.repositories["datasets", "tester/songs"]
    assert repository.private and repository.branches["main"] == report["commit"]
    files = hub.files("datasets", "tester/songs")
    assert {path: len(content) for path, content in files.items() if path != ".gitattributes"} == report["files"]
    assert sorted(report["files"]) == [
        "README.md",
        "data/test-00000-of-00001.parquet",
        "data/train-00000-of-00001.parquet",
    ]
    assert not any(b"mir1k/x" in content for content in files.values())
    assert files["data/test-00000-of-00001.parquet"] == (folder / "data" / "test-00000-of-00001.parquet").read_bytes()
    assert b'load_dataset("tester/songs"' in files["README.md"]
    assert TOKEN not in process.stdout + process.stderr

    # On a branch of its own, fewer rows: shards that were there before are gone.
    fewer = write_built(tmp_path / "fewer", [make_track("own/z", **FREE)])
    report_of(push(run_client, fewer, revision="v2"))
    assert [path for path in hub.files("datasets", "tester/songs", "v2") if path.startswith("data/")] == [
        "data/train-00000-of-00001.parquet"
    ]
    assert hub.files("datasets", "tester/songs") == files

    expected = read_rows(folder) | read_rows(fewer)
    for revision, ids in ((None, {"train": "own/x", "test": "own/y"}), ("v2", {"train": "own/z"})):
        process = run_client(LOAD, "tester/songs", json.dumps(revision))
        assert process.returncode == 0, process.stderr
        for line in process.stdout.splitlines()[-2:]:
            loaded = json.loads(line)
            assert {split: [row[0] for row in rows] for split, rows in loaded.items()} == {
                split: [id] for split, id in ids.items()
            }
            assert all(row[2] == expected[row[0]]["f0_hz"] for rows in loaded.values() for row in rows)
    assert run_client(LOAD, "tester/songs", "null", token=None).returncode != 0  # it is private


def test_dry_run_touches_nothing(hub, run_client, tmp_path):
    folder = write_built(tmp_path / "built", tracks())
    report = report_of(push(run_client, folder, dry_run=True))
    assert report["commit"] is None and report["left_out"] == {"mir1k": 1} and len(report["files"]) == 3
    assert all(size > 0 for size in report["files"].values())
    assert hub.requests == []


def test_a_hub_that_refuses_is_reported_without_the_token(hub, run_client, tmp_path):
    folder = write_built(tmp_path / "built", [make_track("own/x", **FREE)])
    process = push(run_client, folder, token="hf_wrong_secret")
    assert "PushError: The Hub refused the upload to tester/songs (status 401)" in error_of(process)
    assert "hf_wrong_secret" not in process.stdout + process.stderr
    assert hub.repositories == {}


# What is refused is refused before anything is sent, so these run right here.


def refused(folder, match, **options):
    from majl_hf.data.push import PushError, push_dataset

    with pytest.raises(PushError, match=match):
        push_dataset(folder, options.pop("repo_id", "tester/songs"), dry_run=True, **options)


def test_nothing_left_is_an_error(tmp_path):
    folder = write_built(tmp_path / "built", [make_track("mir1k/x"), make_track("ssvd/x", "vocals")])
    refused(folder, r"Nothing is left to upload: all 2 rows are of \['mir1k', 'ssvd'\]")


def test_unknown_licences_need_a_word(tmp_path):
    from majl_hf.data.push import push_dataset

    odd = make_track("own/x", licence="ask me")
    folder = write_built(tmp_path / "built", [odd, make_track("mir1k/x")])
    refused(folder, r"rows of \['own'\] may be passed on is not known \(licences: \['ask me'\]\)")
    assert push_dataset(folder, "tester/songs", dry_run=True, allow=["own"]).num_rows == 1
    refused(folder, r"\['mir1k'\] may not be passed on", allow=["own", "mir1k"])
    refused(folder, r"allow names \['other'\]", allow=["other"])


def test_renamed_corpora_keep_their_licence(tmp_path):
    renamed = make_track("mine/x", licence="research only, no redistribution")
    refused(write_built(tmp_path / "built", [renamed]), "Nothing is left")
    refused(tmp_path / "built", r"\['mine'\] may not be passed on", allow=["mine"])


def test_repository_needs_owner_and_name(tmp_path):
    folder = write_built(tmp_path / "built", [make_track("own/x", **FREE)])
    refused(folder, "given as 'songs'; it needs to be OWNER/NAME", repo_id="songs")
