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
    found = find_inputs(*arguments, **options)
    return [(path.name, folder.as_posix()) for path, folder in found.files], found.refused


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


def test_missing_inputs_are_reported(tree):
    (tree / "empty" / "deep").mkdir(parents=True)
    found, refused = _names(["no.wav", "no*.wav", "empty", "music/b.wav"])
    assert [name for name, _ in found] == ["b.wav"]
    assert [refusal.source for refusal in refused] == ["no.wav", "no*.wav", "empty"]
    for refusal, word in zip(refused, ("does not exist", "pattern", "--recursive"), strict=True):
        assert word in refusal.reason


def test_a_folder_that_cannot_be_read_is_reported(tree, monkeypatch):
    def forbidden(path):
        raise PermissionError(13, "Permission denied", os.fspath(path))

    monkeypatch.setattr(os, "scandir", forbidden)
    found, refused = _names(["music"])
    assert found == [] and "cannot be read: Permission denied" in refused[0].reason


def test_files_that_are_left_out_are_counted_and_named(tree):
    for name in ("a.jpg", "notes.TXT", "README", "sub/clip.mov"):
        (tree / "music" / name).write_bytes(b"x")
    (sentence,) = find_inputs(["music"], skip_own_outputs=True).left_out
    assert sentence.startswith("music: left out 6 files: 2 .jpg, ") and sentence.endswith("--recursive searches: 1")
    for words in ("1 .txt", "1 without an extension", "1 hidden (name it", "1 written by this command"):
        assert words in sentence
    assert find_inputs(["music/sub"], recursive=True).left_out == []
    assert _names(["music/sub"], recursive=True)[0] == [("c.flac", "."), ("clip.mov", "."), ("d.m4a", "deep")]


def test_hidden_files_are_explained(tree):
    (tree / "secret").mkdir()
    (tree / "secret" / ".song.wav").write_bytes(b"x")
    found, refused = _names(["secret", "secret/*", ""])
    assert found == []
    assert "no audio file in this folder (left out 1 file: 1 hidden" in refused[0].reason
    assert "only hidden files match this pattern" in refused[1].reason and "name is empty" in refused[2].reason
    assert _names(["secret/.*.wav", ".hidden"])[0] == [(".song.wav", ".")]


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_links_to_albums_are_followed_without_circles(tree):
    (tree / "album").mkdir()
    (tree / "album" / "x.wav").write_bytes(b"x")
    (tree / "album" / "up").symlink_to(tree / "music")
    (tree / "music" / "a link").symlink_to(tree / "album")
    (tree / "music" / "sub" / "circle").symlink_to(tree / "music" / "sub")
    (tree / "music" / "again").symlink_to(tree / "music" / "sub")
    found, _ = _names(["music"], recursive=True)
    songs = [("[x].wav", "."), ("a.MP3", "."), ("a.vocals.wav", "."), ("b.wav", "."), ("x.wav", "a link")]
    assert found == [*songs, ("c.flac", "sub"), ("d.m4a", "sub/deep")]


@pytest.mark.parametrize("letter", ["n", "ü", "歌"])
def test_a_name_too_long_for_its_result_is_refused_alone(tmp_path, letter):
    size = len(letter.encode())
    (tmp_path / "out").mkdir()
    names = [letter * (count // size) + ".wav" for count in (251, 246)]
    for folder in (Path(), Path("sub")):  # not there yet
        found = [(Path(name), folder) for name in [*names, "short.wav"]]
        jobs, refused = plan_jobs(found, tmp_path / "out", {"f0": ".f0.csv"}, overwrite=False)
        assert [job.source.name for job in jobs] == [names[1], "short.wav"]
        assert "shorter name" in refused[0].reason and refused[0].source == names[0]


def test_outputs_keep_the_name_and_the_subfolder():
    found = [(Path("in/sub/Vol. 1.wav"), Path("sub")), (Path("Take 2.1"), Path())]
    jobs, refused = plan_jobs(found, Path("out"), {"f0": ".f0.csv"}, overwrite=False)
    assert [job.outputs["f0"].as_posix() for job in jobs] == ["out/sub/Vol. 1.f0.csv", "out/Take 2.1.f0.csv"]
    assert refused == []
