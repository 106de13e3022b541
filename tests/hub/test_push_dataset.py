"""A built corpus goes to the Hub and comes back: by id, streamed, by revision; without rows that must not be shared."""

import hashlib
import json

import pytest
from built_corpora import make_track, read_rows, write_built
from hub_client import ClientError, push, refused
from local_hub import TOKEN

LOAD = """
import hashlib
from datasets import load_dataset
def facts(rows):
    return [[row["id"], hashlib.sha256(row["vocals"]["bytes"]).hexdigest(), row["f0_hz"]] for row in rows]
result = []
for streaming in (False, True):
    loaded = load_dataset(**arguments, streaming=streaming)
    result.append({split: facts(loaded[split]) for split in loaded})
"""
EVALUATE = """
from majl_hf.evaluation import build_system, evaluate
from majl_hf.mixing.config import RowsCorpus
result = evaluate(build_system("mixture"), RowsCorpus(**arguments)).on_hub
"""
FREE = {"licence": "CC0-1.0"}


def tracks():
    return [
        make_track("own/x", **FREE),
        make_track("own/y", split="test", **FREE),
        make_track("mir1k/x", licence="research only, no redistribution"),
    ]


def push_songs(client, folder, repo_id="tester/songs", **options):
    return client.push("dataset", folder, repo_id, **options)


def facts(rows, *ids):
    return [[id, hashlib.sha256(rows[id]["vocals"]["bytes"]).hexdigest(), rows[id]["f0_hz"]] for id in ids]


def test_rows_that_may_be_passed_on_arrive_with_their_card(hub, hub_client, tmp_path):
    folder = write_built(tmp_path / "built", tracks())
    report = push_songs(hub_client, folder)
    assert TOKEN not in hub_client.output
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


def test_reports_stay_here_and_the_card_says_what_they_say(hub, hub_client, tmp_path):
    """A pseudo-labelled and a combined dataset: how they were made comes from reports that are not uploaded."""
    pseudo = write_built(tmp_path / "pseudo", tracks())
    (pseudo / "pseudo_labels.json").write_text(json.dumps({"card": "Made by a teacher.", "dropped": {"mir1k/z": 0.1}}))
    (pseudo / "confidences.png").write_bytes(b"picture")
    report = push_songs(hub_client, pseudo, "tester/pseudo")
    assert sorted(report["files"])[:2] == ["README.md", "confidences.png"] and len(report["files"]) == 4
    files = hub.files("datasets", "tester/pseudo")
    card = files["README.md"].decode()
    assert "pseudo-labelled" in card and "Made by a teacher." in card
    assert "Rows that may not be passed on are left out (1 of `mir1k`)" in card
    assert files["confidences.png"] == b"picture"

    combined = write_built(tmp_path / "combined", tracks())
    facts = {"majl_hf": "0", "inputs": [{"corpora": ["own", "mir1k"]}], "dropped": [], "moved": [{"id": "mir1k/w"}]}
    (combined / "combine.json").write_text(json.dumps(facts))
    push_songs(hub_client, combined, "tester/combined")
    card = hub.files("datasets", "tester/combined")["README.md"].decode()
    assert "Combined by `majl_hf` 0" in card and "The report named here is not published" in card
    for kind, id in hub.repositories:
        assert not any(b"mir1k/" in content for content in hub.files(kind, id).values())


def test_load_by_id_stream_and_by_revision(hub, hub_client, tmp_path):
    folder = write_built(tmp_path / "built", tracks())
    first = push_songs(hub_client, folder, "tester/revised")["commit"]
    fewer = write_built(tmp_path / "fewer", [make_track("own/z", **FREE)])
    push_songs(hub_client, fewer, "tester/revised", revision="v2")
    on_branch = hub.files("datasets", "tester/revised", "v2")
    assert [path for path in on_branch if path.startswith("data/")] == ["data/train-00000-of-00001.parquet"]
    rows = read_rows(folder) | read_rows(fewer)
    of_main = {"train": facts(rows, "own/x"), "test": facts(rows, "own/y")}
    of_branch = {"train": facts(rows, "own/z")}
    assert hub_client.run(LOAD, path="tester/revised") == [of_main, of_main]
    assert hub_client.run(LOAD, path="tester/revised", revision="v2") == [of_branch, of_branch]
    # On the main branch also, shards of an earlier upload are gone, but its revision still has them.
    push_songs(hub_client, fewer, "tester/revised")
    assert hub_client.run(LOAD, path="tester/revised", revision=first) == [of_main, of_main]
    assert hub_client.run(LOAD, path="tester/revised") == [of_branch, of_branch]


def test_an_evaluation_names_what_it_read_on_the_hub(hub, hub_client, tmp_path):
    folder = write_built(tmp_path / "built", [make_track("own/x", **FREE)])
    commit = push_songs(hub_client, folder, "tester/evaluated")["commit"]
    assert hub_client.run(EVALUATE, folder="tester/evaluated") == ["tester/evaluated", commit]
    assert hub_client.run(EVALUATE, folder=str(folder)) is None


def test_a_private_repository_needs_the_token(hub, hub_client, tmp_path):
    folder = write_built(tmp_path / "built", [make_track("own/x", **FREE)])
    push_songs(hub_client, folder, "tester/private")
    with pytest.raises(ClientError, match="tester/private"):
        hub_client.run(LOAD, path="tester/private", token=False)
    push_songs(hub_client, folder, "tester/public", private=False)
    assert [list(loaded) for loaded in hub_client.run(LOAD, path="tester/public", token=False)] == [
        ["train"],
        ["train"],
    ]


def test_dry_run_touches_nothing(hub, hub_client, tmp_path):
    report = push_songs(hub_client, write_built(tmp_path / "built", tracks()), dry_run=True)
    assert report["commit"] is None and report["left_out"] == {"mir1k": 1} and len(report["files"]) == 3
    assert all(size > 0 for size in report["files"].values())
    assert hub.requests == []


def test_a_hub_that_refuses_is_reported_without_the_token(hub, hub_client, tmp_path):
    folder = write_built(tmp_path / "built", [make_track("own/x", **FREE)])
    with pytest.raises(ClientError, match=r"PushError: The upload to tester/songs failed\. The Hub answers 401"):
        push_songs(hub_client, folder, token="hf_wrong_secret")
    assert "PushError" in hub_client.output and "hf_wrong_secret" not in hub_client.output
    assert hub.repositories == {}


def test_unknown_licences_need_a_word(tmp_path):
    odd = make_track("own/x", licence="ask me")
    folder = write_built(tmp_path / "built", [odd, make_track("mir1k/x")])
    refused("dataset", folder, r"rows of \['own'\] may be redistributed is not known \(licences: \['ask me'\]\)")
    assert push("dataset", folder, "tester/songs", dry_run=True, allow=["own"])["num_rows"] == 1
    refused("dataset", folder, r"\['mir1k'\] must not be redistributed", allow=["own", "mir1k"])
    refused("dataset", folder, r"allow names \['other'\]", allow=["other"])


def test_nothing_left_is_an_error_and_renamed_corpora_keep_their_licence(tmp_path):
    folder = write_built(tmp_path / "forbidden", [make_track("mir1k/x"), make_track("ssvd/x", "vocals")])
    refused("dataset", folder, r"Nothing is left to upload: all 2 rows are from \['mir1k', 'ssvd'\]")
    renamed = make_track("mine/x", licence="research only, no redistribution")
    refused("dataset", write_built(tmp_path / "built", [renamed]), "Nothing is left")
    refused("dataset", tmp_path / "built", r"\['mine'\] must not be redistributed", allow=["mine"])


def test_command_line_says_what_is_left_out(tmp_path):
    from typer.testing import CliRunner

    from majl_hf.cli import app

    folder = write_built(tmp_path / "built", tracks())
    result = CliRunner().invoke(app, ["push", "dataset", "tester/songs", str(folder), "--dry-run"])
    assert result.exit_code == 0, result.output
    assert "left out: 1 rows of mir1k, which must not be redistributed" in result.stderr
    assert "3 files" in result.stdout and "2 rows would go to the private dataset tester/songs" in result.stdout
    folder = write_built(tmp_path / "nothing", [make_track("mir1k/x")])
    result = CliRunner().invoke(app, ["push", "dataset", "tester/songs", str(folder), "--dry-run"])
    assert result.exit_code == 2 and "error: Nothing is left to upload" in result.stderr
