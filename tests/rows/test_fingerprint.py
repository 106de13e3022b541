"""Recordings that share audio are found through coding, level, cuts and voices, and others are not."""

import io

import numpy as np
import pytest
import soundfile
from built_corpora import RATE, make_track, part, tune

from majl_hf.rows.fingerprint import find_matches, fingerprint, part_to_fingerprint, track_to_fingerprint

TUNE = tune(1, 8.0)


def matches(*signals):
    return find_matches([fingerprint(signal) for signal in signals])


def only(found):
    assert len(found) == 1
    return found[0]


def test_a_recording_matches_itself():
    match = only(matches(TUNE, TUNE.copy()))
    assert (match.first, match.second) == (0, 1) and match.offset_s == pytest.approx(0, abs=0.04)
    assert match.share > 0.95


def test_different_tunes_do_not():
    assert matches(*(tune(seed, 8.0) for seed in range(6))) == []


@pytest.mark.parametrize("gain", [0.03, 1.0])
@pytest.mark.parametrize("start_s", [0.0, 1.11, 3.017])
def test_cuts_and_levels(gain, start_s):
    match = only(matches(TUNE, gain * TUNE[round(start_s * RATE) : round((start_s + 4.5) * RATE)]))
    assert match.offset_s == pytest.approx(start_s, abs=0.05)  # what is at 0 in the second is at start_s in the first


def test_lossy_coding():
    file = io.BytesIO()
    soundfile.write(file, TUNE, RATE, format="OGG", subtype="VORBIS", compression_level=1.0)
    lossy = soundfile.read(io.BytesIO(file.getvalue()), dtype="float32")[0]
    assert not np.allclose(lossy[: len(TUNE)], TUNE, atol=0.01)
    assert only(matches(TUNE, lossy)).share > 0.2


def test_voices_over_one_accompaniment():
    one, other = (TUNE + tune(seed, 8.0) for seed in (10, 11))  # at 0 dB
    assert len(matches(one, other, TUNE)) == 3


def test_rate_and_channels_do_not_matter():
    high = tune(2, 8.0, 44_100)
    stereo = part_to_fingerprint(part(np.stack([high, 0.5 * high]), 44_100))
    mono = part_to_fingerprint(part(tune(2, 8.0)))
    assert abs(stereo.num_frames - mono.num_frames) <= 1
    assert only(find_matches([stereo, mono])).offset_s == pytest.approx(0, abs=0.05)


def test_reading_in_pieces_changes_nothing(monkeypatch):
    whole = part_to_fingerprint(part(TUNE, 16_000))
    monkeypatch.setattr("majl_hf.rows.fingerprint._BLOCK_S", 0.37)
    pieces = part_to_fingerprint(part(TUNE, 16_000))
    assert len(np.intersect1d(whole.hashes, pieces.hashes)) > 0.98 * len(np.unique(whole.hashes))


def test_members_of_a_group_are_not_compared():
    prints = [fingerprint(TUNE), fingerprint(TUNE), fingerprint(0.5 * TUNE)]
    assert [(m.first, m.second) for m in find_matches(prints, ["a", "a", "b"])] == [(0, 2), (1, 2)]
    assert find_matches(prints, ["a", "a", "a"]) == []


def test_accompaniment_before_mixture_before_vocals():
    full = make_track("a/full", seed=4)
    assert len(find_matches([track_to_fingerprint(full), part_to_fingerprint(full.accompaniment)])) == 1
    assert find_matches([track_to_fingerprint(full), part_to_fingerprint(full.vocals)]) == []
    for kind in ("pitch", "vocals", "accompaniment"):
        assert len(find_matches([track_to_fingerprint(make_track("a/other", kind, seed=4)), fingerprint(tune(4))])) == 1


def test_steady_tones_and_silence_say_nothing():
    time = np.arange(8 * RATE) / RATE
    tones = [np.sin(2 * np.pi * 440 * time) + np.sin(2 * np.pi * 1000 * time) for _ in range(2)]
    assert matches(*tones) == []  # any two are alike
    silent = fingerprint(np.zeros(RATE))
    assert len(silent.hashes) == 0 and find_matches([silent, silent]) == []
    assert len(fingerprint(np.zeros(1)).hashes) == 0 and find_matches([]) == []
