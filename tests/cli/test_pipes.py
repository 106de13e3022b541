"""The song from stdin, a result to stdout, and URLs instead of paths."""

import io
import os
import tempfile
from types import SimpleNamespace

import numpy as np
import pytest

from majl_hf.audio import AudioError, local_path, read_audio
from majl_hf.cli import _pipes, _processing
from majl_hf.cli._interrupt import StopSignals
from majl_hf.errors import MajlError


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """Where temporary files go; nothing stays there."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    assert os.listdir(folder) == []


def test_stdin_is_a_song_of_this_name(majl, song, tmp_path):
    source = song("a.flac")
    result = majl("separate", "-", "-o", tmp_path / "out", "--json", stdin=source.read_bytes())
    assert result.exit_code == 0 and result.json[0]["input"] == "stdin"
    assert set(os.listdir(tmp_path / "out")) == {"stdin.vocals.wav", "stdin.accompaniment.wav", "stdin.f0.csv"}
    assert majl("separate", source, "-o", tmp_path / "again").exit_code == 0
    assert (tmp_path / "out/stdin.f0.csv").read_bytes() == (tmp_path / "again/a.f0.csv").read_bytes()
    piped, given = (read_audio(tmp_path / name)[0] for name in ("out/stdin.vocals.wav", "again/a.vocals.wav"))
    assert np.array_equal(piped, given)


@pytest.mark.parametrize("content, message", [(b"", "stdin is empty"), (b"la la la\n" * 300, "stdin is not audio")])
def test_stdin_that_is_no_song(majl, tmp_path, content, message):
    result = majl("pitch", "-", "-o", tmp_path / "out", "--json", stdin=content)
    assert result.exit_code == 1 and result.json[0]["error"].startswith(message)
    assert os.listdir(tmp_path / "out") == [] and str(tmp_path) not in result.stderr


@pytest.mark.parametrize("stem", ["vocals", "accompaniment"])
@pytest.mark.parametrize("format", ["wav-24", "mp3"])
def test_one_stem_to_stdout(majl, song, tmp_path, stem, format):
    source = song("a.wav", 0.7, 6)
    given = majl("separate", source, "-o", tmp_path / "out", "--format", format, "--stem", stem)
    (name,) = os.listdir(tmp_path / "out")
    piped = majl("separate", "-", "-o", "-", "--format", format, "--stem", stem, stdin=source.read_bytes())
    assert given.exit_code == piped.exit_code == 0
    assert piped.stdout_bytes == (tmp_path / "out" / name).read_bytes()
    assert read_audio(piped.stdout_bytes)[0].shape[0] == 2
    assert "mixed down" in piped.stderr and "stdin: 0.7 s in" in piped.stderr and "-> stdout" in piped.stderr


def test_the_pitch_to_stdout(majl, song, tmp_path):
    source = song()
    assert majl("pitch", source, "-o", tmp_path / "out").exit_code == 0
    assert majl("pitch", source, "-o", "-").stdout_bytes == (tmp_path / "out" / "a.f0.csv").read_bytes()


def test_a_file_that_fails_gives_no_byte(majl, tmp_path):
    (tmp_path / "text.mp3").write_text("la la la\n" * 300)
    result = majl("separate", tmp_path / "text.mp3", "-o", "-", "--stem", "vocals")
    assert result.exit_code == 1 and result.stdout_bytes == b"" and "not audio" in result.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["separate", "a.wav", "-o", "-"], "--stem vocals or --stem accompaniment"),
        (["separate", "a.wav", "-o", "-", "--stem", "vocals", "--json"], "leave out one"),
        (["separate", "a.wav", "b.wav", "-o", "-", "--stem", "vocals"], "one song and 2 are given"),
        (["separate", "a.wav", "-o", "-", "--stem", "vocals", "--no-vocals"], "nothing is left to write"),
    ],
)
def test_what_does_not_fit_is_wrong_usage(majl, song, monkeypatch, arguments, message):
    monkeypatch.setattr(_processing, "load_model", lambda *arguments: pytest.fail("nothing may be loaded"))
    monkeypatch.chdir(song("a.wav").parent)
    song("b.wav")
    result = majl(*arguments)
    assert result.exit_code == 2 and message in result.stderr and result.stdout_bytes == b""


def test_a_terminal_is_neither_read_nor_written(majl, song, monkeypatch):
    for name in ("stdin", "stdout"):
        terminal = io.TextIOWrapper(io.BytesIO())
        monkeypatch.setattr(terminal, "isatty", lambda: True)
        monkeypatch.setattr(f"sys.{name}", terminal)
    with pytest.raises(MajlError, match="nothing is redirected to stdin"):
        _pipes._read_stdin("never made")
    with pytest.raises(MajlError, match="redirect it"):
        _pipes._check_stdout(SimpleNamespace(as_json=False), {"f0": ".f0.csv"})


def test_a_reader_that_stops_reading(song, monkeypatch):
    class Closed(io.BytesIO):
        def write(self, data):
            raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(Closed()))
    with pytest.raises(MajlError, match="cannot be written to stdout: Broken pipe"):
        _pipes.copy_to_stdout(song(), StopSignals())


@pytest.mark.parametrize("prefix", ["file://", "file:", "FILE://localhost"])
def test_file_urls_are_paths(majl, song, tmp_path, prefix):
    source = song("a b#1.wav")
    address = prefix + str(source).replace(" ", "%20").replace("#", "%23")
    result = majl("pitch", address, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0 and result.json[0]["input"] == str(source)
    assert np.array_equal(read_audio(address)[0], read_audio(source)[0])


@pytest.mark.parametrize("verb", ["separate", "info"])
def test_other_urls_get_advice(majl, tmp_path, verb):
    address = "https://example.org/watch?v=a*[b]"
    result = majl(verb, address, *(["-o", tmp_path / "out"] if verb == "separate" else []))
    assert result.exit_code == 1
    assert address in result.stderr and "Download it first, for example with yt-dlp" in result.stderr
    with pytest.raises(AudioError, match="yt-dlp"):
        read_audio(address)
    with pytest.raises(AudioError, match="of the computer server"):
        local_path("file://server/a.wav")


def test_names_that_only_look_like_urls(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file:").mkdir()
    (tmp_path / "file:/a.wav").touch()
    for path in ("file:/a.wav", "C:\\a.wav", "concat:a|b.mp3", "file"):
        assert local_path(path) == path
