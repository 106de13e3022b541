"""Parts that compute several windows at a time."""

import threading

import numpy as np
import pytest
import torch

from majl_hf import MajlConfig, MajlModel
from majl_hf.models.parts_majl import OrderedCalls
from majl_hf.models.running_majl import TorchWorkers, evaluating
from majl_hf.models.streaming_majl import separate_array, separate_stream

RATE = 16_000


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    parts = {"separator_config": "mask-tiny", "pitch_estimator_config": "spectrum-tiny"}
    refiner = {"n_fft": 512, "hop_length": 256, "num_bins": 64, "hidden_channels": 4}
    return MajlModel(MajlConfig(**parts, refiner_config=refiner, window_s=0.5, margin_s=0.1)).eval()


@pytest.fixture
def two_threads():
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(1)


def song(seconds=8):
    return np.random.default_rng(0).standard_normal((1, seconds * RATE)).astype(np.float32) / 10


def blocks(audio, length=8_000):
    return [audio[:, start : start + length] for start in range(0, audio.shape[1], length)]


def test_windows_at_a_time_change_nothing(model, two_threads):
    side_by_side = list(separate_stream(model, blocks(song(20)), RATE, read_notes=True))
    assert torch.get_num_threads() == 2
    torch.set_num_threads(1)
    alone = separate_array(model, song(20), RATE, read_notes=True)
    np.testing.assert_array_equal(np.concatenate([c.vocals for c in side_by_side], axis=1), alone.vocals)
    np.testing.assert_array_equal(np.concatenate([c.frames.f0_hz for c in side_by_side]), alone.frames.f0_hz)
    assert [note for chunk in side_by_side for note in chunk.notes] == alone.notes
    assert sum(chunk.vocals.shape[1] > 0 for chunk in side_by_side) > 2  # it comes in pieces


def test_what_waits_is_bounded(model, two_threads):
    received, waiting = 0, []

    def counted():
        nonlocal received
        for block in blocks(song(20)):
            received += block.shape[1]
            yield block

    taken = 0
    for chunk in separate_stream(model, counted(), RATE):
        taken += chunk.vocals.shape[1]
        waiting.append(received - taken)
    assert taken == received and max(waiting) <= 12 * RATE


def test_a_failing_part_ends_the_stream_and_its_threads(model, two_threads, monkeypatch):
    def failing(*inputs):
        raise RuntimeError("no luck")

    monkeypatch.setattr(model.separator, "forward", failing)
    with pytest.raises(RuntimeError, match="no luck"):
        separate_array(model, song(), RATE)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("majl-window")]


def test_a_stream_that_is_left_ends_its_threads(model, two_threads):
    stream = separate_stream(model, blocks(song()), RATE)
    next(stream)
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("majl-window")]


def test_workers_share_the_threads(two_threads):
    with TorchWorkers(2) as workers:
        assert list(workers.map(lambda _: torch.get_num_threads(), range(4))) == [1] * 4
    assert torch.get_num_threads() == 2


def test_evaluation_mode_lasts_until_the_last_of_several_ends():
    module = torch.nn.Sequential(torch.nn.Dropout())
    first, second = evaluating(module), evaluating(module)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert not module.training and not module[0].training
    second.__exit__(None, None, None)
    assert module.training and module[0].training


def test_calls_are_taken_in_order():
    with TorchWorkers(2) as workers:
        calls = OrderedCalls(workers, 2)
        for number in range(5):
            calls.submit(lambda number=number: number)
        assert list(calls.results(last=False)) == [0, 1, 2]
        assert list(calls.results(last=True)) == [3, 4]


def test_a_single_window_is_computed_on_all_threads(model, two_threads, monkeypatch):
    seen, forward = [], model.separator.forward

    def watched(*inputs):
        seen.append(torch.get_num_threads())
        return forward(*inputs)

    monkeypatch.setattr(model.separator, "forward", watched)
    separate_array(model, song()[:, : RATE // 4], RATE)
    assert seen == [2]
    separate_array(model, song(), RATE)
    assert set(seen[1:]) == {1}


def test_half_precision_weights_are_computed_one_window_after_another(model, two_threads):
    assert model.parts().make_executor is not None
    half = MajlModel(model.config).half()
    assert half.parts().make_executor is None


def test_workers_compute_under_the_autocast_of_the_caller(model, two_threads):
    with torch.autocast("cpu", torch.bfloat16):
        half = separate_array(model, song(), RATE)
    whole = separate_array(model, song(), RATE)
    assert half.vocals.dtype == np.float32
    difference = np.abs(half.vocals - whole.vocals).max()
    assert 0 < difference < 0.1 * np.abs(whole.vocals).max()
