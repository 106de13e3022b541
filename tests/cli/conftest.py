"""The command in this process, on a tiny model, and songs to try it on."""

import numpy as np
import pytest
import soundfile
from command import run_majl

RATE = 22050


@pytest.fixture
def song(tmp_path):
    """`song(name, seconds, num_channels, sampling_rate)` writes one below `tmp_path` and returns its path."""

    def make(name="a.wav", seconds=1.5, num_channels=2, sampling_rate=RATE):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        audio = np.random.default_rng(0).uniform(-0.5, 0.5, (round(seconds * sampling_rate), num_channels))
        container = {".mp3": "MP3", ".flac": "FLAC", ".ogg": "OGG"}.get(path.suffix, "WAV")
        soundfile.write(path, audio, sampling_rate, format=container)
        return path

    return make


@pytest.fixture
def majl(tiny_model_folder):
    """`majl(*arguments)` is `run_majl` with the tiny model where a verb needs one."""

    def run(*arguments, model=tiny_model_folder, stdin=b""):
        if arguments[0] in ("separate", "pitch", "transcribe") and model:
            arguments += ("--model", model, "--device", "cpu")
        return run_majl(*arguments, stdin=stdin)

    return run
