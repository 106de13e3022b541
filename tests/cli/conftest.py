"""The command in this process, on a tiny model, and songs to try it on."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

from majl_hf.cli import app

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
    """`majl(*arguments)` runs the command with the tiny model; JSON lines on stdout are parsed into `json`. `stdin` is
    given as bytes, and stdout is there as text and as bytes."""

    def run(*arguments, model=tiny_model_folder, stdin=b""):
        arguments = [str(argument) for argument in arguments]
        if arguments[0] in ("separate", "pitch", "transcribe") and model:
            arguments += ["--model", model, "--device", "cpu"]
        result = CliRunner().invoke(app, arguments, input=stdin)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        lines = [json.loads(line) for line in result.stdout.splitlines()] if "--json" in arguments else None
        return SimpleNamespace(
            exit_code=result.exit_code,
            stdout=result.stdout,
            stdout_bytes=result.stdout_bytes,
            stderr=result.stderr,
            json=lines,
        )

    return run
