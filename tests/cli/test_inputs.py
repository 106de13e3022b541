"""Which files a command reads, and where it would write."""

import os
from pathlib import Path

import pytest

from majl_hf.cli._inputs import find_inputs, plan_jobs


@pytest.fixture
def tree(tmp_path, monkeypatch):
    names = ["b.wav", "a.MP3", "cover.jpg", ".hidden.wav", "a.vocals.wav", "sub/c.flac", "sub/deep/d.m4a", "[x].wav"]
    for name in names:
        path = tmp_path / "music" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _names(*arguments, **options):
    found, refused = find_inputs(*arguments, **options)
    return [(path.name, folder.as_posix()) for path, folder in found], refused


def test_a_folder_gives_its_audio_files(tree):
    found, refused = _names(["music"])
    assert found == [(name, ".") for name in ("[x].wav", "a.MP3", "a.vocals.wav", "b.wav")]
    assert refused == []


def test_recursive_keeps_subfolders_and_own_outputs_can_be_left_out(tree):
    found, _ = _names(["music"], recursive=True, skip_own_outputs=True)
    assert found == [("[x].wav", "."), ("a.MP3", "."), ("b.wav", "."), ("c.flac", "sub"), ("d.m4a", "sub/deep")]


def test_globs_and_names_that_look_like_globs(tree):
    assert _names(["music/*.wav"])[0] == [("[x].wav", "."), ("a.vocals.wav", "."), ("b.wav", ".")]
    assert _names(["music/**/*.m4a"])[0] == [("d.m4a", ".")]
    assert _names(["music/[x].wav"])[0] == [("[x].wav", ".")]


def test_each_file_once_in_the_order_given(tree):
    found, _ = _names(["music/b.wav", "music/../music/b.wav", "music"])
    assert [name for name, _ in found] == ["b.wav", "[x].wav", "a.MP3", "a.vocals.wav"]


def test_what_is_not_there_is_told(tree):
    (tree / "empty").mkdir()
    found, refused = _names(["no.wav", "no*.wav", "empty", "music/b.wav"])
    assert [name for name, _ in found] == ["b.wav"]
    assert [refusal.source for refusal in refused] == ["no.wav", "no*.wav", "empty"]
    for refusal, word in zip(refused, ("does not exist", "pattern", "--recursive"), strict=True):
        assert word in refusal.reason


def test_a_folder_that_cannot_be_read_is_told(tree, monkeypatch):
    def forbidden(path):
        raise PermissionError(13, "Permission denied", os.fspath(path))

    monkeypatch.setattr(os, "scandir", forbidden)
    found, refused = _names(["music"])
    assert found == [] and "cannot be read: Permission denied" in refused[0].reason


def test_outputs_keep_the_name_and_the_subfolder():
    found = [(Path("in/sub/Vol. 1.wav"), Path("sub")), (Path("Take 2.1"), Path())]
    jobs, refused = plan_jobs(found, Path("out"), {"f0": ".f0.csv"}, overwrite=False)
    assert [job.outputs["f0"].as_posix() for job in jobs] == ["out/sub/Vol. 1.f0.csv", "out/Take 2.1.f0.csv"]
    assert refused == []
