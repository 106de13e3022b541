"""The separation on ZeroGPU, with a decorator that pickles what goes in and comes out, as another process would."""

import functools
import pickle

import pytest

from majl_hf.demo import zero_gpu
from majl_hf.demo.limits import Limits
from majl_hf.demo.separation import Progress, SeparatedSong, SeparationStopped
from majl_hf.errors import MajlError

LIMITS = Limits(max_minutes=0.1)


@pytest.fixture
def asked(monkeypatch):
    """Durations for which a GPU was asked for."""
    asked = []

    def decorate(duration):
        def decorator(task):
            @functools.wraps(task)
            def run(*arguments):
                assert len(pickle.dumps(arguments)) < 1000  # no model
                asked.append(duration(*arguments))
                for step in task(*pickle.loads(pickle.dumps(arguments))):
                    yield pickle.loads(pickle.dumps(step))

            return run

        return decorator

    monkeypatch.setattr(zero_gpu, "GPU", decorate)
    return asked


def test_the_song_comes_back(tiny_model, make_song, tmp_path, asked):
    path, mixture = make_song(tmp_path / "a.wav")
    (tmp_path / "result").mkdir()
    separate = zero_gpu.separator(tiny_model, LIMITS)
    first, *_, song = separate(path, "a.wav", tmp_path / "result", lambda: False)
    assert isinstance(first, Progress) and isinstance(song, SeparatedSong)
    assert song.num_samples == mixture.shape[1] and (song.folder / "vocals.wav").is_file()
    assert asked == [16]


def test_a_file_that_is_refused_costs_no_gpu(tiny_model, make_song, tmp_path, asked):
    path, _ = make_song(tmp_path / "long.wav", seconds=7.0)
    (tmp_path / "words.mp3").write_text("only words")
    separate = zero_gpu.separator(tiny_model, LIMITS)
    for source, match in ((path, "longer than 0.1 minutes"), (tmp_path / "words.mp3", "“words.mp3” is not audio")):
        with pytest.raises(MajlError, match=match):
            list(separate(source, source.name, tmp_path, lambda: False))
    assert asked == []


def test_errors_and_stopping_arrive(tiny_model, make_song, tmp_path, asked):
    path, _ = make_song(tmp_path / "a.wav")
    (tmp_path / "result").mkdir()
    slow = zero_gpu.separator(tiny_model, Limits(max_compute_s=1e-9))
    with pytest.raises(MajlError, match="takes longer than the 0 s"):
        list(slow(path, "a.wav", tmp_path / "result", lambda: False))
    with pytest.raises(SeparationStopped):
        list(zero_gpu.separator(tiny_model, LIMITS)(path, "a.wav", tmp_path / "result", lambda: True))
    assert not list((tmp_path / "result").iterdir())


def test_seconds_have_a_bound():
    assert [zero_gpu.gpu_seconds(seconds) for seconds in (0, 180, 600, 36_000)] == [15, 26, 51, 120]
