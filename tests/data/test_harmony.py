"""Chords that fit a melody, and accompaniments made of them."""

import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest

from majl_hf.data.harmony import Chord, find_key, harmonise, pitch_class_shares
from majl_hf.data.mir1k import load_mir1k

SCRIPT = Path(__file__).parents[2] / "scripts" / "make_accompaniments.py"


def melody(*semitones: float, frames: int = 10) -> np.ndarray:
    """f0 in Hz of MIDI notes, 0 = a rest."""
    notes = np.repeat(np.array(semitones, dtype=float), frames)
    return np.where(notes > 0, 440.0 * 2.0 ** ((notes - 69) / 12), 0.0)


def test_shares_count_voiced_frames_of_every_octave():
    shares = pitch_class_shares(melody(60, 72, 64.3, 0))
    assert shares[0] == pytest.approx(2 / 3) and shares[4] == pytest.approx(1 / 3)
    assert not pitch_class_shares(melody(0)).any()


@pytest.mark.parametrize("transposition", range(12))
def test_key_of_a_scale(transposition):
    scale = melody(*(60 + transposition + tone for tone in (0, 2, 4, 5, 7, 9, 11, 12)))
    assert find_key(scale, np.random.default_rng(0)) == transposition


def test_chords_hold_the_melody():
    stretches = [melody(60, 64, 67), melody(65, 69, 72), melody(67, 71, 74), melody(69, 72, 76)]
    chords = harmonise(stretches, np.random.default_rng(0), variation=0.0, seventh_probability=0.0)
    assert [chord.name for chord in chords] == ["C", "F", "G", "Am"]
    assert Chord(7, 4).tones == (7, 11, 2)


def test_variation_and_rests_are_drawn_and_repeatable():
    stretches = [melody(60, 64), melody(0), melody(67)] * 20
    first = harmonise(stretches, np.random.default_rng(1), variation=0.5)
    assert first == harmonise(stretches, np.random.default_rng(1), variation=0.5)
    assert first != harmonise(stretches, np.random.default_rng(2), variation=0.5)
    assert len(first) == 60 and len({chord.name for chord in first}) > 3
    assert any(chord.seventh for chord in first)
    assert harmonise([], np.random.default_rng(0)) == []


def test_notes_of_a_melody():
    notes = runpy.run_path(str(SCRIPT))["melody_notes"](melody(60, 60.3, 0, 67, frames=6), hop_s=0.02, offset_s=0.02)
    assert [(note, round(onset, 3), round(length, 3)) for note, onset, length in notes] == [
        (60, 0.02, 0.24),
        (67, 0.38, 0.12),
    ]


def test_clips_get_an_accompaniment_in_their_key(tmp_path):
    pytest.importorskip("mido")
    if not (shutil.which("mma") and shutil.which("fluidsynth")):
        pytest.skip("the programs mma and fluidsynth are not installed")
    import soundfile

    corpus, output = tmp_path / "corpus", tmp_path / "output"
    for name in ("Wavfile", "PitchLabel"):
        (corpus / name).mkdir(parents=True)
        (output / name).mkdir(parents=True)
    rate, label = 16_000, np.repeat([60.0, 64.0, 67.0, 60.0], 50)
    f0_hz = np.repeat(440 * 2 ** ((label - 69) / 12), rate // 50)
    voice = 0.2 * np.sin(2 * np.pi * np.cumsum(f0_hz) / rate)
    soundfile.write(corpus / "Wavfile" / "amy_1_01.wav", np.stack([0 * voice, voice], axis=1), rate)
    (corpus / "PitchLabel" / "amy_1_01.pv").write_text("\n".join(f"{value}" for value in label[:199]) + "\n")

    (track,) = load_mir1k(corpus)
    write_clip = runpy.run_path(str(SCRIPT))["write_clip"]
    for _ in range(2):  # the second time it is there
        write_clip(track, output, corpus / "PitchLabel" / "amy_1_01.pv", seed=1)
    (made,) = load_mir1k(output)
    accompaniment, vocals = (part.read(0, len(voice))[0] for part in (made.accompaniment, made.vocals))
    assert len(vocals) == len(voice) and np.corrcoef(vocals, voice)[0, 1] > 0.999
    assert np.sqrt(np.mean(accompaniment**2)) > 1e-3
    assert not list(output.rglob("*.unfinished"))
