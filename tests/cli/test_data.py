"""`majl data`: arguments, exit codes, reports and stopping."""

import os
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import soundfile

from majl_hf.corpora.registry import CORPORA
from majl_hf.rows import build as build_module

RATE = 8_000


def write_voices(folder, count=4, seconds=1.0):
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        noise = np.random.default_rng(number).uniform(-0.5, 0.5, round(seconds * RATE))
        soundfile.write(folder / f"{number}.wav", noise, RATE, subtype="PCM_16")
    return folder


@pytest.fixture
def data(majl):
    """`data("build", ...)` runs `majl data build ...`."""
    return partial(majl, "data")


@pytest.fixture
def arguments(tmp_path):
    """Arguments of a build in this process, with two recordings per shard."""
    source = write_voices(tmp_path / "voices")
    options = ["--option", "licence=CC0-1.0", "--option", "corpus=mine", "--shard-minutes", 2 / 60, "--processes", 1]
    return ["build", "voices", "--source", source, "--out", tmp_path / "out", *options]


def test_list(data):
    listed = data("list")
    assert listed.exit_code == 0 and {line.split()[0] for line in listed.stdout.splitlines()} == {*CORPORA}
    described = data("list", "mir1k").stdout
    assert "reading it as 0.02 k s shifts" in described and "split_from:" in described
    assert "licence: research only" in described
    assert data("list", "mir2k").exit_code == 2


def test_build_and_check(data, arguments, tmp_path):
    result = data(*arguments, "--split", "test=3", "--json")
    assert result.exit_code == 0, result.stderr
    (facts,) = result.json
    assert (facts["corpus"], facts["status"], facts["num_rows"], facts["num_kept"]) == ("mine", "done", 4, 0)
    assert facts["minutes"] == pytest.approx(4 / 60, abs=1e-3)
    assert "min of audio" in result.stderr
    result = data("check", tmp_path / "out", "--processes", 1, "--json")
    assert result.exit_code == 0
    assert [(a["split"], a["num_rows"]) for a in result.json[0]["amounts"]] == [("train", 3), ("test", 1)]
    result = data("check", tmp_path / "out", "--processes", 1)
    assert "good" in result.stdout and "vocals" in result.stdout
    again = data(*arguments, "--split", "test=3")
    assert again.exit_code == 0 and "of them there already" in again.stdout


def test_problems_and_another_plan_are_exit_code_1(data, arguments, tmp_path):
    assert data(*arguments).exit_code == 0
    result = data(*arguments, "--split", "test=3")
    assert result.exit_code == 1 and "in another split" in result.stderr
    result = data(*arguments, "--split", "test=3", "--overwrite")
    assert result.exit_code == 0
    (tmp_path / "out" / "README.md").unlink()
    result = data("check", tmp_path / "out", "--processes", 1)
    assert result.exit_code == 1 and "README.md: is missing" in result.stdout
    result = data("check", tmp_path, "--processes", 1)
    assert result.exit_code == 1 and "has no *.parquet" in result.stderr


def test_bad_recordings(data, arguments, tmp_path):
    soundfile.write(tmp_path / "voices" / "2.wav", np.full(RATE, np.nan), RATE, subtype="FLOAT")
    result = data(*arguments)
    assert result.exit_code == 1 and "1 of 4" in result.stderr and "2.wav contains NaN" in result.stderr
    result = data(*arguments, "--skip-bad", "--json")
    assert result.exit_code == 0 and "left out: mine/2" in result.stderr
    assert list(result.json[0]["left_out"]) == ["mine/2"]


def test_several_corpora_have_folders_of_their_own(data, tmp_path):
    write_voices(tmp_path / "in" / "voices")
    write_voices(tmp_path / "in" / "music")
    command = ["build", "music", "voices", "--source", tmp_path / "in", "--out", tmp_path / "out", "--processes", 1]
    result = data(*command, "--option", "licence=CC0-1.0")
    assert result.exit_code == 1 and "failed: music" in result.stderr  # all shorter than it accepts
    assert "voices: 4 recordings" in result.stdout
    assert (tmp_path / "out" / "voices" / "README.md").is_file()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: "mir2k"}, "no corpus 'mir2k'"),
        ({3: "nowhere"}, "does not exist"),
        ({7: "licence"}, "is not NAME=VALUE"),
    ],
)
def test_wrong_usage_is_exit_code_2(data, arguments, change, message):
    for index, value in change.items():
        arguments[index] = value
    result = data(*arguments)
    assert result.exit_code == 2 and message in result.stderr


def test_what_the_reader_refuses(data, arguments):
    result = data(*arguments, "--option", "speed=2")
    assert result.exit_code == 1 and "speed" in result.stderr
    del arguments[6:8]  # the licence
    result = data(*arguments)
    assert result.exit_code == 1 and "--option licence=... of `majl data build`" in result.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals are sent")
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_nothing_half_written(data, arguments, tmp_path, monkeypatch, number, exit_code):
    original, calls = build_module.track_to_row, []

    def interrupted(track):
        calls.append(track.id)
        if len(calls) == 4:
            os.kill(os.getpid(), number)
        return original(track)

    monkeypatch.setattr(build_module, "track_to_row", interrupted)
    handler = signal.getsignal(number)
    result = data(*arguments)
    assert result.exit_code == exit_code and "stopped" in result.stderr
    assert signal.getsignal(number) is handler
    data_files = sorted(os.listdir(tmp_path / "out" / "data"))
    assert data_files == ["train-00000-of-00002.parquet"]
    assert sorted(os.listdir(tmp_path / "out")) == ["build.json", "data"]
    result = data(*arguments, "--json")
    assert result.exit_code == 0 and result.json[0]["num_kept"] == 1


def test_help_needs_no_datasets_and_its_lack_is_explained(tmp_path):
    code = (
        "import sys; sys.modules['datasets'] = None\n"
        "from majl_hf.cli import app\n"
        "try: app(['data', 'build', '--help'])\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'pyarrow' not in sys.modules and 'majl_hf.rows' not in sys.modules\n"
        f"app(['data', 'check', {str(tmp_path)!r}])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 2, result.stderr
    assert "CORPUS..." in result.stdout and "majl_hf[data]" in result.stderr
