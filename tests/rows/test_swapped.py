"""Swapped vocals and accompaniment are found by the pitch label; correct ones are accepted."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from corpus_files import MIR1K_RATE, write_mir1k

from majl_hf.corpora.labels import PitchLabel
from majl_hf.corpora.mir1k import load_mir1k
from majl_hf.errors import BadRecordings, CorpusError
from majl_hf.rows.build import build_corpus
from majl_hf.rows.check import check_dataset, check_row
from majl_hf.rows.convert import row_to_track, track_to_row
from majl_hf.rows.swapped import find_swapped, label_fit

DURATION_S = 4.0
HOP_S = 0.02


def melody(rng: np.random.Generator, semitones: np.ndarray) -> np.ndarray:
    """A voice that sings `semitones` (num_frames,), 0 = silence; (num_samples,) at 16 kHz."""
    frame_of = np.minimum(np.arange(round(DURATION_S * MIR1K_RATE)) / (HOP_S * MIR1K_RATE), len(semitones) - 1)
    midi = semitones[frame_of.astype(int)]
    phase = 2 * np.pi * np.cumsum(440 * 2 ** ((midi - 69) / 12)) / MIR1K_RATE
    voice = sum(np.sin(k * phase + rng.uniform(0, 6)) / k for k in range(1, 9))
    return 0.1 * voice * (midi > 0)


def band(rng: np.random.Generator) -> np.ndarray:
    """Chords over a strong bass, and noise: music that does not follow the voice."""
    time_s = np.arange(round(DURATION_S * MIR1K_RATE)) / MIR1K_RATE
    pitches = rng.choice(np.arange(48, 72), 3, replace=False)
    chord = sum(np.sin(2 * np.pi * k * 440 * 2 ** ((p - 69) / 12) * time_s) / k for p in pitches for k in (1, 2, 3))
    return 0.3 * np.sin(2 * np.pi * 65 * time_s) + 0.05 * chord + 0.01 * rng.standard_normal(len(time_s))


def clip(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(accompaniment, vocals, semitones a frame of MIR-1K)."""
    rng = np.random.default_rng(seed)
    notes = 60 + rng.integers(-12, 12, 10) + rng.uniform(-0.5, 0.5, 10)
    semitones = np.repeat(np.where(rng.random(10) < 0.3, 0.0, notes), 20)[:199]
    # Line k of a label is centred at 0.02 (k + 1) s.
    return band(rng), melody(rng, np.concatenate([semitones[:1], semitones])), semitones


@pytest.fixture
def swapped_corpus(tmp_path):
    """Four clips, of which s_song_2 has its channels swapped."""
    clips, labels = {}, {}
    for number in range(4):
        accompaniment, vocals, semitones = clip(number)
        name = f"s_song_{number}"
        clips[name] = (vocals, accompaniment) if number == 2 else (accompaniment, vocals)
        labels[name] = semitones
    return write_mir1k(tmp_path / "mir1k", clips, labels)


def test_the_voice_fits_and_the_band_does_not():
    fits = []
    for seed in range(20):
        accompaniment, vocals, semitones = clip(seed)
        label = PitchLabel(np.where(semitones > 0, 440 * 2 ** ((semitones - 69) / 12), 0), HOP_S, HOP_S)
        fits.append([label_fit(part[None], MIR1K_RATE, label) for part in (vocals, accompaniment)])
        assert find_swapped(vocals[None], accompaniment[None], MIR1K_RATE, label) is None
        message = find_swapped(accompaniment[None], np.stack([0.01 * vocals] * 2), MIR1K_RATE, label)
        assert message is not None and "are swapped" in message
        # Frames that are not trusted, or may be octaves off, do not count.
        for other in (replace(label, octave_reliable=False), replace(label, confidence=np.ones(len(label)))):
            assert find_swapped(accompaniment[None], vocals[None], MIR1K_RATE, other) is None
    voices, bands = np.array(fits).T
    assert voices.min() > 0.85 and np.abs(bands).max() < 0.5


@pytest.mark.parametrize("sampling_rate", [8_000, 44_100])
@pytest.mark.parametrize("f0_hz", [80.0, 250.0, 1000.0])
def test_the_fit_of_pure_cases(sampling_rate, f0_hz):
    label = PitchLabel(np.full(100, f0_hz), 0.01)
    time_s = np.arange(sampling_rate) / sampling_rate
    fit = {k: label_fit(np.sin(2 * np.pi * k * f0_hz * time_s)[None], sampling_rate, label) for k in (1, 2, 1.5)}
    noise = label_fit(np.random.default_rng(0).standard_normal((2, sampling_rate)), sampling_rate, label)
    assert fit[1] > 0.7 and fit[2] > 0.7 and fit[1.5] < -0.7 and abs(noise) < 0.2
    assert label_fit(np.zeros((1, sampling_rate)), sampling_rate, label) == 0.0
    tone_over_bass = np.sin(2 * np.pi * 1.5 * f0_hz * time_s) + 10 * np.sin(2 * np.pi * 0.1 * f0_hz * time_s)
    assert f0_hz < 200 or label_fit(tone_over_bass[None], sampling_rate, label) < -0.7  # the bass does not count


def test_too_few_voiced_frames_are_inconclusive():
    label = PitchLabel(np.where(np.arange(100) < 15, 200.0, 0.0), 0.01, 0.1)
    assert label_fit(np.ones((1, 16_000)), 16_000, label) is None
    assert find_swapped(np.ones((1, 16_000)), np.ones((1, 16_000)), 16_000, label) is None


def test_a_build_refuses_the_clip_and_does_the_others(swapped_corpus, tmp_path):
    tracks = load_mir1k(swapped_corpus)
    with pytest.raises(BadRecordings, match=r"mir1k/s_song_2: In mir1k/s_song_2 .* are swapped") as failure:
        build_corpus(tracks, tmp_path / "out")
    assert set(failure.value.failures) == {"mir1k/s_song_2"}
    with pytest.raises(CorpusError, match="In mir1k/s_song_2 the accompaniment fits"):
        track_to_row(tracks[2])
    assert build_corpus(tracks, tmp_path / "out", skip_bad=True).num_rows == 3
    assert check_dataset(tmp_path / "out").ok


def test_a_check_names_the_row(swapped_corpus):
    row = track_to_row(load_mir1k(swapped_corpus)[0])
    row |= {"f0_hz": row["f0_hz"].tolist()}
    assert check_row(row) == []
    (problem,) = check_row({**row, "vocals": row["accompaniment"], "accompaniment": row["vocals"]})
    assert "are swapped" in problem


@pytest.mark.skipif("MAJL_MIR1K_ROWS" not in os.environ, reason="MAJL_MIR1K_ROWS is no folder with MIR-1K as rows")
def test_every_clip_of_mir1k():
    """No clip is refused unchanged, each is when swapped: the figures beside `swapped.MIN_FIT`."""
    alarms, missed, differences = [], [], []
    for path in sorted((Path(os.environ["MAJL_MIR1K_ROWS"]) / "data").glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(batch_size=1):
            track = row_to_track(batch.to_pylist()[0])
            parts = [part.read(0, part.num_samples) for part in (track.vocals, track.accompaniment)]
            fits = [label_fit(part, track.sampling_rate, track.label) for part in parts]
            differences.append(fits[0] - fits[1])
            alarms += [track.id] * (find_swapped(*parts, track.sampling_rate, track.label) is not None)
            missed += [track.id] * (find_swapped(*parts[::-1], track.sampling_rate, track.label) is None)
    print(f"{len(differences)} clips, {len(alarms)} refused, {len(missed)} missed when swapped, "
          f"difference of fits at least {min(differences):.3f}, median {np.median(differences):.3f}")  # fmt: skip
    assert alarms == missed == [] and min(differences) > 0.3
