"""The window grid and the engine: an identity model comes back whole, results do not depend on how audio arrives."""

import numpy as np
import pytest
import torch

from majl_hf import MajlConfig, MajlModel
from majl_hf.models.decoding_majl import decode
from majl_hf.models.separator_majl import SeparatorOutput
from majl_hf.models.streaming_majl import separate_array, separate_stream
from majl_hf.models.tiny_pitch_estimator_majl import TinyPitchEstimator, TinyPitchEstimatorConfig
from majl_hf.models.tiny_separator_majl import TinySeparator, TinySeparatorConfig
from majl_hf.models.windows_majl import WindowCutter, WindowGrid


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return MajlModel.from_parts(
        TinySeparator(TinySeparatorConfig()),
        TinyPitchEstimator(TinyPitchEstimatorConfig()),
        window_s=0.5,
        margin_s=0.1,
    ).eval()


def noise(num_channels: int, num_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((num_channels, num_samples)).astype(np.float32) * 0.1


@pytest.mark.parametrize("length", [1, 7, 8, 9, 16, 17, 31, 100, 101])
@pytest.mark.parametrize("blocks", [1, 3, 50])
def test_cores_tile_the_stream(length, blocks):
    cutter = WindowCutter(WindowGrid(core=8, margin=3))
    stream = np.arange(length)[None]
    cores, windows = [], []
    pieces = np.split(stream, range(blocks, length, blocks), axis=1)
    for index, piece in enumerate(pieces):
        windows += cutter.push(piece, last=index == len(pieces) - 1)
    for number, window in enumerate(windows):
        cores.append(window.samples[:, window.start : window.stop])
        # the margins contain the stream's own neighbours
        first = int(window.samples[0, 0])
        assert first == max(0, number * 8 - 3)
        assert np.array_equal(window.samples[0], np.arange(first, min(length, number * 8 + 8 + 3)))
    assert np.array_equal(np.concatenate(cores, axis=1), stream)
    assert [window.is_last for window in windows] == [False] * (len(windows) - 1) + [True]


def test_context_widens_the_margin():
    part = TinySeparatorConfig(context=5_000, alignment=256)
    grid = WindowGrid.for_part(MajlConfig(separator_config=part, window_s=1.0, margin_s=0.1), part)
    assert grid.margin == 5_120 and grid.core % 256 == 0


class IdentitySeparator(TinySeparator):
    def forward(self, mixture, **kwargs):
        return SeparatorOutput(vocals=mixture)


@pytest.mark.parametrize("num_channels", [1, 2])
@pytest.mark.parametrize("length", [1, 2, 319, 320, 321, 8000, 20011])
def test_identity_model_returns_the_input(length, num_channels, model):
    identity = MajlModel.from_parts(
        IdentitySeparator(TinySeparatorConfig()), model.pitch_estimator, window_s=0.5, margin_s=0.1
    ).eval()
    audio = noise(num_channels, length)
    result = separate_array(identity, audio, 16_000, condition=False)
    assert result.vocals.shape == audio.shape
    np.testing.assert_allclose(result.vocals, audio, atol=1e-6, rtol=0)
    assert len(result.frames) == 1 + length // 320


@pytest.mark.parametrize("batch_size", [1, 2, 5])
@pytest.mark.parametrize("block", [777, 16_000, 10**9])
def test_results_do_not_depend_on_blocks_or_batch(block, batch_size, model):
    audio = noise(2, 60_013)
    whole = separate_array(model, audio, 16_000)
    pieces = [audio[:, start : start + block] for start in range(0, audio.shape[1], block)]
    chunks = list(separate_stream(model, pieces, 16_000, batch_size=batch_size))
    vocals = np.concatenate([chunk.vocals for chunk in chunks], axis=1)
    f0_hz = np.concatenate([chunk.frames.f0_hz for chunk in chunks])
    np.testing.assert_allclose(vocals, whole.vocals, atol=1e-5, rtol=0)
    assert np.abs(1200 * np.log2(f0_hz / whole.frames.f0_hz)).max() < 1.0


def test_bounded_parts_equal_one_long_window(model):
    """With margins of the declared context, cutting changes nothing at all."""
    audio = noise(1, 30_000)
    cut = separate_array(model, audio, 16_000, condition=False)
    with torch.no_grad():
        whole = model(torch.from_numpy(audio)[None])
    np.testing.assert_allclose(cut.vocals, whole.vocals[0].numpy(), atol=1e-5, rtol=0)


@pytest.mark.parametrize("num_channels", [1, 2])
def test_sources_sum_to_the_mixture(num_channels, model):
    audio = noise(num_channels, 30_011)
    result = separate_array(model, audio, 16_000)
    ulp = np.spacing(np.float32(np.abs(audio).max()))
    assert np.abs(result.vocals + result.accompaniment - audio).max() <= ulp
    assert np.array_equal(result.mixture, audio)


def test_memory_does_not_grow(model):
    """What the stream buffers is bounded by the windows, whatever the length of the song."""

    def blocks():
        for seed in range(40):
            yield noise(1, 8_000, seed)

    received = taken = 0
    worst = 0

    def counted():
        nonlocal received
        for block in blocks():
            received += block.shape[1]
            yield block

    for chunk in separate_stream(model, counted(), 16_000):
        taken += chunk.vocals.shape[1]
        worst = max(worst, received - taken)
    assert taken == received == 320_000
    assert worst <= 8 * 16_000


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ([], "no samples"),
        ([np.zeros((1, 0), dtype=np.float32)], "no samples"),
        ([np.zeros((6, 100), dtype=np.float32)], r"\(6, 100\)"),
        ([np.zeros(100, dtype=np.float32)], r"\(100,\)"),
        ([np.full((1, 100), np.nan, dtype=np.float32)], "100 samples that are NaN or infinite"),
        ([noise(1, 16_000), np.array([[0.0, np.inf]], dtype=np.float32)], "first at 1.000 s"),
        ([noise(1, 10), noise(2, 10)], "2 channels follows blocks of 1"),
    ],
)
def test_unusable_audio_is_refused(blocks, message, model):
    with pytest.raises(ValueError, match=message):
        list(separate_stream(model, blocks, 16_000))


@pytest.mark.parametrize("rate", [None, 0, 1_000, -1, 44_100.5, 10**9])
def test_implausible_rates_are_refused(rate, model):
    with pytest.raises(ValueError, match="sampling rate"):
        list(separate_stream(model, [noise(1, 100)], rate))


def test_other_rate_without_resampler_is_refused(model):
    with pytest.raises(ValueError, match="44100 Hz and the model works at 16000 Hz"):
        list(separate_stream(model, [noise(1, 100)], 44_100))


def test_solo_voice_is_not_separated(model):
    audio = noise(1, 20_000)
    result = separate_array(model, audio, 16_000, separate=False)
    assert np.array_equal(result.vocals, audio)
    assert np.array_equal(result.accompaniment, np.zeros_like(audio))


@pytest.mark.parametrize("policy", ["threshold", "hysteresis"])
@pytest.mark.parametrize("block", [777, 10**9])
def test_logits_are_those_of_a_chunks_frames(block, policy, model):
    audio = noise(1, 60_013)
    pieces = [audio[:, start : start + block] for start in range(0, audio.shape[1], block)]
    chunks = list(separate_stream(model, pieces, 16_000, policy=policy))
    num_bins = model.config.pitch_estimator_config.num_bins
    for chunk in chunks:
        assert chunk.logits.shape == (len(chunk.frames), num_bins) and chunk.logits.dtype == np.float32
    again = decode(np.concatenate([chunk.logits for chunk in chunks]), model.config, policy=policy)
    assert np.array_equal(again.f0_hz, np.concatenate([chunk.frames.f0_hz for chunk in chunks]))
    assert np.array_equal(again.voiced, np.concatenate([chunk.frames.voiced for chunk in chunks]))


def test_pitch_that_is_not_wanted_is_not_computed(model, monkeypatch):
    audio = noise(2, 30_011)
    expected = separate_array(model, audio, 16_000).vocals
    monkeypatch.setattr(model.pitch_estimator, "estimate", None)
    (*_, chunk) = separate_stream(model, [audio], 16_000, read_pitch=False)
    assert np.array_equal(chunk.vocals, expected)
    assert len(chunk.frames) == 0 and chunk.logits.shape == (0, model.config.pitch_estimator_config.num_bins)


def test_one_part_alone_does_its_half(model):
    audio = noise(1, 30_011)
    whole = separate_array(model, audio, 16_000)
    windows = {"window_s": 0.5, "margin_s": 0.1}
    separator = MajlModel.from_parts(model.separator, **windows).eval()
    assert np.array_equal(separate_array(separator, audio, 16_000, read_pitch=False).vocals, whole.vocals)
    with pytest.raises(ValueError, match=r"no pitch estimator.*read_pitch=False"):
        separate_array(separator, audio, 16_000)
    reader = MajlModel.from_parts(pitch_estimator=model.pitch_estimator, **windows).eval()
    solo = separate_array(model, audio, 16_000, separate=False)
    assert np.array_equal(separate_array(reader, audio, 16_000, separate=False).frames.f0_hz, solo.frames.f0_hz)
    with pytest.raises(ValueError, match=r"no separator.*separate=False"):
        separate_array(reader, audio, 16_000)
