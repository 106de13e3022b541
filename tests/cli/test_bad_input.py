"""Bad input and bad disks: a clear line, the right exit code, no traceback, nothing half written."""

import errno
import io
import os
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile

from majl_hf.audio import ENCODINGS
from majl_hf.audio import writer as writer_module
from majl_hf.cli import _processing, app


def _samples(values, num_channels=1, rate=16000):
    return lambda path: soundfile.write(path, np.tile(values, (num_channels, 1)).T, rate, subtype="FLOAT")


BAD = {
    "missing.wav": (lambda path: None, "does not exist"),
    "empty.mp3": (lambda path: path.write_bytes(b""), "is empty"),
    "text.mp3": (lambda path: path.write_text("la la la\n" * 300), "not audio"),
    "zero.wav": (_samples(np.zeros(0)), "no samples"),
    "nan.wav": (_samples(np.r_[np.zeros(9000), np.nan, np.zeros(9)]), "NaN"),
    "inf.wav": (_samples(np.r_[np.zeros(9000), np.inf]), "NaN or infinite"),
    "nine channels.wav": (_samples(np.zeros(9000), num_channels=9), "9 channels; there is no standard mix"),
    "slow.wav": (_samples(np.zeros(9000), rate=1000), "1000 Hz"),
    "folder": (lambda path: path.mkdir(), "no audio file"),
}
GOOD = {
    "one sample.wav": _samples(np.full(1, 0.5)),
    "silence.wav": _samples(np.zeros(20_000)),
    "clipped 'n' \"quoted\".wav": _samples(np.sign(np.sin(np.arange(20_000))), num_channels=2),
}


def test_bad_files_fail_alone_and_the_others_are_done(majl, tmp_path):
    for name, (make, _) in BAD.items():
        make(tmp_path / name)
    for name, make in GOOD.items():
        make(tmp_path / name)
    result = majl("separate", *(tmp_path / name for name in [*BAD, *GOOD]), "-o", tmp_path / "out", "--json")
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    outcomes = {os.path.basename(entry["input"]): entry for entry in result.json[:-1]}
    for name, (_, message) in BAD.items():
        assert outcomes[name]["status"] == "failed" and message in outcomes[name]["error"], outcomes[name]
        assert "\n" not in outcomes[name]["error"]
        assert sum(name in line for line in result.stderr.splitlines()) == 1
    assert all(outcomes[name]["status"] == "done" for name in GOOD)
    assert len(os.listdir(tmp_path / "out")) == 3 * len(GOOD)


def test_existing_results_are_refused_before_computing(majl, song, tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a.f0.csv").write_text("precious")
    with monkeypatch.context() as patch:
        patch.setattr(_processing, "load_model", lambda *arguments: pytest.fail("nothing may be loaded"))
        refused = majl("separate", song(), "-o", tmp_path / "out")
    assert refused.exit_code == 1 and "exists already; use --overwrite" in refused.stderr
    assert os.listdir(tmp_path / "out") == ["a.f0.csv"]
    assert (tmp_path / "out" / "a.f0.csv").read_text() == "precious"
    assert majl("separate", song(), "-o", tmp_path / "out", "--overwrite").exit_code == 0
    assert (tmp_path / "out" / "a.f0.csv").read_text() != "precious"


@pytest.mark.parametrize("link", [os.link, os.symlink])
def test_an_output_that_is_an_input_is_refused_whatever_the_options(majl, song, tmp_path, link):
    source = song("a.wav")
    data = source.read_bytes()
    (tmp_path / "out").mkdir()
    link(source, tmp_path / "out" / "a.vocals.wav")
    result = majl("separate", source, "-o", tmp_path / "out", "--overwrite")
    assert result.exit_code == 1 and "is an input" in result.stderr
    assert source.read_bytes() == data


def test_an_output_that_is_another_input_is_refused(majl, song, tmp_path):
    first, second = song("a.wav"), song("a.vocals.wav")
    data = second.read_bytes()
    result = majl("separate", first, second, "-o", tmp_path, "--overwrite", "--json")
    assert result.exit_code == 1
    assert [entry["status"] for entry in result.json[:-1]] == ["failed", "done"]
    assert second.read_bytes() == data


def test_messages_keep_the_names_of_files(majl, song, tmp_path, monkeypatch):
    """Also where a name is the end of another one, and with spaces."""
    monkeypatch.chdir(tmp_path)
    source = song("s  s.wav")
    assert majl("separate", source.name, "-o", "o").exit_code == 0
    result = majl("separate", source.name, "-o", "o", "--json")
    assert "failed: s  s.wav: o/s  s.vocals.wav exists already" in result.stderr
    assert result.json[0]["error"].startswith("o/s  s.vocals.wav exists already")


def test_a_name_too_long_does_not_end_the_run(majl, song, tmp_path):
    long, short = song("n" * 250 + ".wav"), song("a.wav")
    result = majl("pitch", long, short, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 1 and [entry["status"] for entry in result.json[:-1]] == ["failed", "done"]
    assert "shorter name" in result.json[0]["error"] and os.listdir(tmp_path / "out") == ["a.f0.csv"]


class _Broken(io.StringIO):
    """A standard output that takes nothing."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number

    def write(self, text):
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize(
    ("number", "exit_code", "message"),
    [(errno.EPIPE, 0, ""), (errno.ENOSPC, 1, "output of this command cannot be written: No space left on device")],
)
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_an_output_that_is_not_read_is_no_failure_of_a_song(
    song, tmp_path, tiny_model_folder, monkeypatch, capsys, number, exit_code, message, options
):
    songs = [str(song("a.wav")), str(song("b.wav"))]
    monkeypatch.setattr(sys, "stdout", _Broken(number))
    arguments = ["pitch", *songs, "-o", str(tmp_path / "out"), "--model", tiny_model_folder, *options]
    assert app(arguments, standalone_mode=False) == exit_code
    errors = capsys.readouterr().err
    assert sorted(os.listdir(tmp_path / "out")) == ["a.f0.csv", "b.f0.csv"]
    assert message in errors and "failed" not in errors and (message or not errors)
    assert isinstance(sys.stdout, _Broken)  # as it was


def test_two_songs_of_one_name_do_not_overwrite_each_other(majl, song, tmp_path):
    first, second = song("one/a.wav"), song("two/a.mp3")
    result = majl("separate", first, second, "-o", tmp_path / "out", "--overwrite", "--json")
    assert result.exit_code == 1
    failed, done = result.json[:-1]
    assert (done["input"], done["status"]) == (str(first), "done")
    assert failed["input"] == str(second) and str(first) in failed["error"]


@pytest.mark.parametrize("allowed_bytes", [0, 30_000, 300_000])
@pytest.mark.parametrize("format", ["wav-float", "flac"])
def test_a_full_disk_leaves_nothing_and_the_next_file_is_done(majl, song, tmp_path, monkeypatch, allowed_bytes, format):
    state = {"left": allowed_bytes}
    write = writer_module._GuardedFile.write

    def limited(self, data):
        state["left"] -= len(data)
        if state["left"] < 0:
            self.error = self.error or OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(self, data)

    monkeypatch.setattr(writer_module._GuardedFile, "write", limited)
    result = majl("separate", song("a.wav", 4), "-o", tmp_path / "out", "--format", format)
    assert result.exit_code == 1
    assert "No space left on device" in result.stderr and "Traceback" not in result.stderr
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize(
    "options, message",
    [
        (["--voicing-threshold", "3"], "between 0 and 1"),
        (["--voicing-policy", "maybe"], "hysteresis"),
        (["--batch-size", "0"], "batch-size"),
        (["--threads", "0"], "threads"),
        (["--format", "ogg"], "wav-float"),
        (["--format", "mp3", "--bit-rate", "900"], "32 to 320"),
        (["--format", "flac", "--bit-rate", "128"], "has no bit rate"),
        (["--no-such-option"], "No such option"),
    ],
)
def test_wrong_options_are_usage_errors(majl, song, tmp_path, options, message):
    result = majl("separate", song(), "-o", tmp_path / "out", *options)
    assert result.exit_code == 2
    assert message in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "out").exists() or os.listdir(tmp_path / "out") == []


def test_a_missing_encoder_is_a_usage_error(majl, song, tmp_path, monkeypatch):
    monkeypatch.setitem(ENCODINGS, "mp3", replace(ENCODINGS["mp3"], codec="no-such-encoder"))
    monkeypatch.setattr(_processing, "load_model", lambda *arguments: pytest.fail("nothing may be loaded"))
    result = majl("separate", song(), "-o", tmp_path / "out", "--format", "mp3")
    assert result.exit_code == 2 and "no-such-encoder" in result.stderr and not (tmp_path / "out").exists()


def test_wrong_use_is_exit_code_2(majl, song, tmp_path):
    source = song()
    assert majl("separate", source).exit_code == 2  # no output folder
    assert majl("separate", "-o", tmp_path / "out").exit_code == 2  # no input
    assert majl("separate", source, "-o", source).exit_code == 2  # a file as output folder
    unknown = majl("separate", source, "-o", tmp_path / "out", "--model", "no-such-model", model=None)
    assert unknown.exit_code == 2 and "no-such-model" in unknown.stderr
    empty = majl("separate", source, "-o", tmp_path / "out", "--model", tmp_path, model=None)
    assert empty.exit_code == 2 and "cannot be loaded" in empty.stderr
    import torch

    if not torch.cuda.is_available():
        no_gpu = majl("separate", source, "-o", tmp_path / "out", "--device", "cuda", "--model", tmp_path, model=None)
        assert no_gpu.exit_code == 2 and "not available" in no_gpu.stderr


def test_an_error_of_the_program_itself_is_one_line(majl, song, tmp_path, monkeypatch):
    def broken(*arguments, **keywords):
        raise RuntimeError("a wheel\ncame off")

    monkeypatch.setattr("majl_hf.models.streaming_majl.separate_stream", broken)
    result = majl("separate", song("a.wav"), song("b.wav"), "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr.count("RuntimeError: a wheel came off") == 2 and "Traceback" not in result.stderr
    assert "Traceback" in majl("separate", song("a.wav"), "-o", tmp_path / "out", "--debug").stderr
    assert os.listdir(tmp_path / "out") == []
