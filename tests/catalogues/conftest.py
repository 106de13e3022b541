"""A catalogue with good and broken songs, and `majl batch` on it."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from audio_files import stereo_tones, write_audio
from command import run_majl

from majl_hf.catalogues import local_engine
from majl_hf.catalogues.songs import SongProcessor


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory) -> Path:
    """A folder with the songs that catalogue_results names."""
    folder = tmp_path_factory.mktemp("songs")
    (folder / "album").mkdir()
    audio = stereo_tones(40_000)
    write_audio(folder / "album/a.flac", audio)
    write_audio(folder / "album/b.mp3", audio[:, ::-1])
    write_audio(folder / "c.wav", audio[:1, :20_000], 16_000)
    write_audio(folder / "d.m4a", audio * np.float32(0.5))
    write_audio(folder / "cut.flac", audio)
    whole = (folder / "cut.flac").read_bytes()
    (folder / "cut.flac").write_bytes(whole[:30])
    (folder / "empty.mp3").write_bytes(b"")
    write_audio(folder / "no sound.wav", audio[:, :0])
    (folder / "text.m4a").write_text("This is not a song.")
    return folder


@pytest.fixture
def batch(tiny_model_folder):
    """`batch(source, dest, *options)`: `majl batch` with the tiny model; its JSON lines are `rows` and `summary`."""

    def run(source, dest, *options, model=tiny_model_folder):
        result = run_majl("batch", source, "-o", dest, "--model", model, "--device", "cpu", "--json", *options)
        *result.rows, result.summary = result.json or [None]
        return result

    return run


@pytest.fixture
def in_process(monkeypatch):
    """The local engine without processes, since each takes seconds to start; is the list of names it was given."""
    given = []

    def run(tasks, work, num_workers):
        with tempfile.TemporaryDirectory() as scratch:
            process = SongProcessor(work, Path(scratch))
            for task in tasks:
                given.append(task.entry.name)
                yield process(task)

    monkeypatch.setattr(local_engine, "run_locally", run)
    return given
