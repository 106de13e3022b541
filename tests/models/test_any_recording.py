"""Any recording: its level, panning, polarity, offset, rate, length, channels and type are drawn.

`MAJL_DRAWS=500 pytest tests/models/test_any_recording.py` draws more of them.
"""

import os

import numpy as np
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import majl_hf
from majl_hf import MajlModel
from majl_hf.audio import StreamResampler
from majl_hf.models.samples_majl import float_samples
from majl_hf.models.streaming_majl import separate_stream

NUM_DRAWS = int(os.environ.get("MAJL_DRAWS", "30"))
RATES = (8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 96_000)
LEVELS_DB = st.floats(-80, 40)
drawn = settings(
    max_examples=NUM_DRAWS, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True, database=None
)


@st.composite
def recordings(draw, shortest=1):
    """`(num_channels, num_samples)` float32 with an RMS of 1/10, and its rate: a harmonic voice over noise."""
    rate, num_channels = draw(st.sampled_from(RATES)), draw(st.integers(1, 2))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    times_s = np.arange(draw(st.integers(shortest, 60_000))) / rate
    f0_hz = draw(st.floats(70, 900))
    voice = sum(np.sin(2 * np.pi * number * f0_hz * times_s) / number for number in range(1, 5))
    audio = voice + draw(st.floats(0.1, 2)) * rng.standard_normal((num_channels, len(times_s)))
    if num_channels == 2:
        pan_db = draw(st.sampled_from((-np.inf, np.inf)) | st.floats(-30, 30))
        audio *= [[min(1, 10 ** (-pan_db / 20))], [draw(st.sampled_from((1, -1))) * min(1, 10 ** (pan_db / 20))]]
    audio *= 0.1 / np.sqrt(np.square(audio).mean())
    offset = draw(st.sampled_from((0.0, 0.0, 0.05, -0.3)))
    return (audio + offset).astype(np.float32), rate


def as_type(audio, dtype):
    if dtype in (torch.bfloat16, torch.float64):
        return torch.from_numpy(audio).to(dtype)
    if np.dtype(dtype).kind == "f":
        return audio.astype(dtype)
    limits = np.iinfo(dtype)
    middle = (limits.max + limits.min + 1) // 2
    return np.clip(np.rint(audio.astype(np.float64) * (limits.max - middle) + middle), limits.min, limits.max).astype(
        dtype
    )


TYPES = st.sampled_from(
    (np.float32, np.float64, np.float16, np.int16, np.int32, np.uint8, torch.bfloat16, torch.float64)
)


def test_parts_fit_and_add_up(tiny_model_folder):
    model = MajlModel.from_pretrained(tiny_model_folder)

    @drawn
    @given(recordings(), LEVELS_DB, TYPES, st.booleans())
    def check(recording, level_db, dtype, is_flat):
        audio, rate = recording
        given_audio = as_type(audio * np.float32(10 ** (level_db / 20)), dtype)
        given_audio = given_audio[0] if is_flat and len(audio) == 1 else given_audio
        mixture = float_samples(given_audio)
        result = majl_hf.separate(given_audio, rate, model=model)
        for part in (result["vocals"], result["accompaniment"]):
            assert part.dtype == np.float32 and part.shape == mixture.shape and np.isfinite(part).all()
        difference = result["vocals"] + result["accompaniment"] - mixture
        assert np.abs(difference).max() <= np.spacing(np.abs(mixture).max())
        assert np.isfinite(result["f0_hz"]).all() and ((result["voicing"] >= 0) & (result["voicing"] <= 1)).all()

    check()


def test_neither_level_nor_blocks_change_the_result(tiny_model_folder):
    model = MajlModel.from_pretrained(tiny_model_folder)

    def separated(audio, rate, sizes):
        starts = np.cumsum([0, *sizes])
        blocks = [audio[:, start:stop] for start, stop in zip(starts, [*starts[1:], audio.shape[1]], strict=True)]
        chunks = list(separate_stream(model, blocks, rate, make_resampler=StreamResampler))
        vocals = np.concatenate([chunk.vocals for chunk in chunks], axis=1)
        return vocals, np.concatenate([chunk.frames.voicing for chunk in chunks])

    @drawn
    @given(recordings(shortest=2_000), LEVELS_DB, st.lists(st.integers(1, 20_000), max_size=4))
    def check(recording, level_db, sizes):
        audio, rate = recording
        gain = np.float32(10 ** (level_db / 20))
        vocals, voicing = separated(audio, rate, [])
        for expected, found in zip((vocals, voicing), separated(audio, rate, sizes), strict=True):
            assert np.array_equal(expected, found)
        louder, voicing_louder = separated(audio * gain, rate, sizes)
        assert np.abs(louder / gain - vocals).max() <= 1e-4 * np.abs(audio).max()
        assert np.abs(voicing_louder - voicing).max() <= 1e-3

    check()
