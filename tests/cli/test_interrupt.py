"""Ctrl-C and SIGTERM: nothing is left of the file being written, finished files stay."""

import os
import signal
import subprocess
import sys
import time

import pytest

from majl_hf.models import streaming_majl

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals are sent")


@pytest.mark.parametrize("number, exit_code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_signal_between_two_pieces(majl, song, tmp_path, monkeypatch, number, exit_code, when):
    original = streaming_majl.separate_stream

    def interrupted(model, blocks, *arguments, **keywords):
        second = (tmp_path / "out" / "a.f0.csv").exists()
        if second and when == "before":
            os.kill(os.getpid(), number)
        for chunk in original(model, blocks, *arguments, **keywords):
            yield chunk
            if second and when == "after":
                os.kill(os.getpid(), number)

    monkeypatch.setattr(streaming_majl, "separate_stream", interrupted)
    handler = signal.getsignal(number)
    result = majl("separate", song("a.wav"), song("b.wav", 40), song("c.wav"), "-o", tmp_path / "out", "--json")
    assert result.exit_code == exit_code
    assert sorted(os.listdir(tmp_path / "out")) == ["a.accompaniment.wav", "a.f0.csv", "a.vocals.wav"]
    assert result.json[-1]["stopped"] is True and result.json[-1]["num_done"] == 1
    assert signal.getsignal(number) is handler


def test_ctrl_c_of_a_real_process(song, tmp_path, tiny_model_folder):
    source = song("long.wav", 1500, 1, 16000)
    out = tmp_path / "out"
    arguments = ["separate", str(source), "-o", str(out), "--model", tiny_model_folder, "--threads", "1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "majl_hf.cli", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        deadline_s = time.monotonic() + 200
        while not _bytes_in(out) and process.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.02)
        assert _bytes_in(out), process.communicate()  # it is in the middle of the file
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "stopped" in stderr and "Traceback" not in stderr
    assert os.listdir(out) == []


def _bytes_in(folder) -> int:
    try:
        return sum(os.path.getsize(folder / name) for name in os.listdir(folder))
    except FileNotFoundError:
        return 0
