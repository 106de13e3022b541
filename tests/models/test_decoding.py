"""Decoding: refinement to cents, octave-safe paths, streams, policies."""

import numpy as np
import pytest

from majl_hf import MajlConfig
from majl_hf.models.decoding_majl import PIECE, PitchDecoder, PitchFrames, decode
from majl_hf.models.fcpe_majl import FcpeConfig
from majl_hf.models.tiny_separator_majl import TinySeparatorConfig
from majl_hf.models.viterbi_majl import MAX_PENDING

GRID = FcpeConfig()


def config(**arguments) -> MajlConfig:
    return MajlConfig(separator_config=TinySeparatorConfig(), pitch_estimator_config=GRID, **arguments)


def cents(a, b):
    return 1200 * np.log2(np.asarray(a) / np.asarray(b))


def posterior_logits(f0_hz: np.ndarray, peak: float = 0.9, others: tuple = ()) -> np.ndarray:
    """Logits of Gaussian bumps of 25 cents at `f0_hz`; `others` are (ratio, peak, frames) of competing bumps."""
    bins = np.arange(GRID.num_bins)
    grid_cents = bins * GRID.bin_cents

    def bump(hz, height):
        distance = grid_cents - 1200 * np.log2(np.asarray(hz)[:, None] / GRID.first_bin_hz)
        return height * np.exp(-0.5 * (distance / 25) ** 2)

    posterior = bump(f0_hz, peak)
    for ratio, height, frames in others:
        posterior[frames] = np.maximum(posterior[frames], bump(f0_hz[frames] * ratio, height))
    posterior = np.clip(posterior, 1e-6, 1 - 1e-6)
    return np.log(posterior / (1 - posterior))


@pytest.mark.parametrize("decoder", ["viterbi", "local_mean"])
def test_glide_is_read_to_cents(decoder):
    f0_hz = 100.0 * 2 ** np.linspace(0, 3, 600)
    frames = decode(posterior_logits(f0_hz), config(pitch_decoder=decoder))
    assert np.abs(cents(frames.f0_hz, f0_hz)).max() < 3.0
    np.testing.assert_allclose(frames.times_s, np.arange(600) * 0.01)


def test_short_octave_errors_do_not_pay():
    f0_hz = np.full(300, 220.0)
    wrong = np.arange(100, 115)
    logits = posterior_logits(f0_hz, peak=0.3, others=((2.0, 0.8, wrong),))
    path = decode(logits, config())
    assert np.abs(cents(path.f0_hz, f0_hz)).max() < 50
    highest = decode(logits, config(pitch_decoder="local_mean"))
    assert np.abs(cents(highest.f0_hz[wrong], 440.0)).max() < 50  # what the path avoided


def test_true_leaps_are_followed():
    f0_hz = np.concatenate([np.full(100, 220.0), np.full(100, 440.0)])
    frames = decode(posterior_logits(f0_hz), config())
    assert np.abs(cents(frames.f0_hz, f0_hz)).max() < 10


def test_viterbi_emits_before_the_end_and_forgets():
    f0_hz = 220 * 2 ** (np.sin(np.arange(3_000) / 20) / 12)
    decoder = PitchDecoder(config())
    emitted = sum(len(decoder.push(piece)) for piece in np.array_split(posterior_logits(f0_hz), 30))
    assert emitted > 2_700
    assert decoder.path.viterbi.num_pending < 300


def test_a_long_piece_is_decoded_like_short_ones():
    logits = np.random.default_rng(0).normal(-5, 4, (2 * PIECE + 10, GRID.num_bins))
    whole, decoder = decode(logits, config()), PitchDecoder(config())
    parts = [decoder.push(piece) for piece in np.array_split(logits, 7)]
    parts = PitchFrames.concatenate([*parts, decoder.push(logits[:0], last=True)])
    assert np.array_equal(whole.f0_hz, parts.f0_hz) and np.array_equal(whole.confidence, parts.confidence)


def test_silence_is_bounded():
    decoder = PitchDecoder(config())
    flat = np.full((MAX_PENDING + 1_000, GRID.num_bins), -8.0)
    emitted = len(decoder.push(flat))
    assert emitted > 0 and decoder.path.viterbi.num_pending <= MAX_PENDING
    assert emitted + len(decoder.push(flat[:0], last=True)) == len(flat)


def test_every_frame_has_a_pitch_and_probabilities():
    logits = np.random.default_rng(0).normal(-5, 4, (500, GRID.num_bins))
    for decoder in ("viterbi", "local_mean"):
        frames = decode(logits, config(pitch_decoder=decoder))
        assert len(frames) == 500 and (frames.f0_hz > 0).all() and np.isfinite(frames.f0_hz).all()
        for values in (frames.voicing, frames.confidence):
            assert ((values >= 0) & (values <= 1)).all()


def test_confidence_separates_sure_from_unsure():
    f0_hz = np.full(50, 220.0)
    sure = decode(posterior_logits(f0_hz), config())
    unsure = decode(posterior_logits(f0_hz, others=((1.5, 0.8, np.arange(50)), (2.0, 0.8, np.arange(50)))), config())
    assert sure.confidence.min() > 0.9
    assert 0.25 < unsure.confidence.mean() < 0.5


def test_calibration_and_threshold():
    logits = posterior_logits(np.full(10, 220.0), peak=0.3)
    plain = decode(logits, config())
    assert not plain.voiced.any() and np.allclose(plain.voicing, 0.3, atol=0.02)
    assert decode(logits, config(), threshold=0.2).voiced.all()
    shifted = decode(logits, config(voicing_scale=2.0, voicing_bias=3.0))
    odds = (plain.voicing / (1 - plain.voicing)) ** 2 * np.exp(3.0)
    np.testing.assert_allclose(shifted.voicing, odds / (1 + odds), rtol=1e-6)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_hysteresis_keeps_whole_stretches(block):
    peak = np.array([0.1] * 5 + [0.45] * 4 + [0.95] * 3 + [0.45] * 4 + [0.1] * 5 + [0.45] * 6 + [0.1] * 3)
    logits = np.concatenate([posterior_logits(np.array([220.0]), peak=value) for value in peak])
    decoder = PitchDecoder(config(pitch_decoder="local_mean"), policy="hysteresis")
    pieces = np.array_split(logits, range(block, len(logits), block))
    parts = [decoder.push(piece, last=i == len(pieces) - 1) for i, piece in enumerate(pieces)]
    voiced = PitchFrames.concatenate(parts).voiced
    assert voiced.tolist() == [False] * 5 + [True] * 11 + [False] * 14


def test_policies_and_bad_arguments():
    logits = posterior_logits(np.full(3, 220.0), peak=0.01)
    assert decode(logits, config(), policy="always").voiced.all()
    with pytest.raises(ValueError, match="'loud'; it must be one of threshold"):
        PitchDecoder(config(), policy="loud")
    with pytest.raises(ValueError, match=r"1\.5; it must lie between 0 and 1"):
        PitchDecoder(config(), threshold=1.5)
    with pytest.raises(ValueError, match=r"config\.pitch_decoder is 'best'"):
        PitchDecoder(config(pitch_decoder="best"))
