"""Notes from evidence: the best sequence, its parameters, what a note says of its pitch, blocks."""

import itertools

import numpy as np
import pytest

from majl_hf import MajlConfig
from majl_hf.models.note_decoding_majl import NoteDecoder, NoteEvidence, evidence_of_pitch, voice_level_db

HOP_S = 0.01
CONFIG = MajlConfig(separator_config="mask-tiny")


def melody(notes, num_frames, cents=None, level_db=-20.0):
    """Evidence of notes `(begin, end, midi)` in frames; `cents` of f0 around them."""
    onset, offset, active = (np.full(num_frames, 1e-3) for _ in range(3))
    midi = np.full(num_frames, 60.0)
    for begin, end, pitch in notes:
        onset[begin], active[begin:end], midi[begin:end] = 0.9, 0.95, pitch
        offset[min(end, num_frames - 1)] = 0.9
    f0_midi = midi + (0.0 if cents is None else cents / 100)
    return NoteEvidence(onset, offset, active, f0_midi, f0_midi, active, np.full(num_frames, level_db))


def decode(evidence, sizes=None, **options):
    decoder = NoteDecoder(CONFIG, **options)
    if sizes is None:
        return decoder.push(evidence, last=True)
    notes, position = [], 0
    for size in itertools.cycle(sizes):
        last = position + size >= len(evidence)
        notes += decoder.push(evidence[position : position + size], last)
        position += size
        if last:
            return notes


def test_notes_are_where_the_evidence_is():
    notes = decode(melody([(20, 60, 60.0), (60, 90, 62.3), (120, 200, 64.0)], 260))
    assert [(n.onset_s, n.offset_s, n.midi) for n in notes] == [
        (pytest.approx(0.2), pytest.approx(0.6), 60.0),
        (pytest.approx(0.6), pytest.approx(0.9), 62.3),
        (pytest.approx(1.2), pytest.approx(2.0), 64.0),
    ]
    assert all(note.kind == "sung" and note.vibrato_hz == 0 and 0.8 < note.confidence <= 1 for note in notes)


def test_silence_and_an_empty_recording_have_no_notes():
    assert decode(melody([], 500)) == [] and decode(melody([], 0)) == []


def test_a_note_may_end_with_the_recording():
    evidence = melody([(20, 100, 57.0)], 100)
    evidence.offset[-1] = 1e-3
    (note,) = decode(evidence)
    assert note.offset_s == pytest.approx(0.99)  # the centre of the last frame


@pytest.mark.parametrize("sizes", [(1,), (7, 100), (64,), (1000,)])
def test_blocks_change_nothing(sizes):
    rng = np.random.default_rng(0)
    borders = np.cumsum(rng.integers(5, 90, 120))
    notes = [
        (begin, begin + int((following - begin) * rng.uniform(0.3, 1.0)) + 1, rng.uniform(50, 70))
        for begin, following in itertools.pairwise(borders)
    ]
    evidence = melody(notes, int(borders[-1]) + 50, cents=30 * rng.standard_normal(int(borders[-1]) + 50))
    assert decode(evidence, sizes) == decode(evidence)


def test_memory_is_bounded_in_a_song_without_rests():
    notes = [(begin, begin + 40, 60.0 + begin % 3) for begin in range(0, 20_000, 40)]
    decoder, most = NoteDecoder(CONFIG), 0
    evidence, count = melody(notes, 20_000), 0
    for start in range(0, 20_000, 500):
        count += len(decoder.push(evidence[start : start + 500], last=start == 19_500))
        most = max(most, decoder.num_pending)
    assert most <= 6_000 and abs(count - len(notes)) <= 4


def test_a_higher_threshold_gives_fewer_notes():
    evidence = melody([(20, 60, 60.0), (60, 100, 60.0), (100, 140, 60.0)], 160)
    evidence.onset[60] = evidence.onset[100] = 0.4
    evidence.offset[:] = 1e-3
    evidence.offset[140] = 0.9
    assert [len(decode(evidence, threshold=value)) for value in (0.2, 0.7)] == [3, 1]


def test_the_shortest_note():
    evidence = melody([(20, 60, 60.0), (70, 74, 62.0)], 120)
    assert [len(decode(evidence, min_note_s=value)) for value in (0.02, 0.1)] == [2, 1]
    with pytest.raises(ValueError, match="min_note_s"):
        NoteDecoder(CONFIG, min_note_s=-1)
    with pytest.raises(ValueError, match="note_threshold"):
        NoteDecoder(CONFIG, threshold=1.0)


def test_short_notes_between_rests_are_left_out_and_not_made_longer():
    evidence = melody([(begin, begin + 40, 60.0) for begin in range(20, 400, 60)], 420)
    assert len(decode(evidence, min_note_s=0.3)) == 7
    assert decode(evidence, min_note_s=0.5) == []


def test_vibrato_stays_inside_a_note_and_is_described():
    times_s = HOP_S * np.arange(200)
    (note,) = decode(melody([(20, 180, 62.0)], 200, cents=80 * np.sin(2 * np.pi * 5.5 * times_s)))
    assert note.vibrato_hz == pytest.approx(5.5, abs=0.3) and note.vibrato_cents == pytest.approx(80, rel=0.15)
    assert note.midi == pytest.approx(62.0, abs=0.1)


def test_a_glide_is_part_of_its_note():
    cents = np.zeros(200)
    cents[20:40] = np.linspace(-200, 0, 20)
    (note,) = decode(melody([(20, 180, 62.0)], 200, cents=cents))
    assert note.midi == pytest.approx(62.0, abs=0.02) and note.glide_in_cents == pytest.approx(-195, abs=15)
    assert note.glide_out_cents == pytest.approx(0, abs=1)


def test_velocity_follows_the_level():
    loud, quiet = (decode(melody([(20, 60, 60.0)], 100, level_db=db))[0].velocity for db in (-15.0, -40.0))
    assert 1 <= quiet < loud <= 127


def test_a_voice_whose_pitch_stays_nowhere_is_not_sung():
    rng = np.random.default_rng(0)
    for length, kind in ((12, "rap"), (30, "speech")):
        notes = [(begin, begin + length, 55.0) for begin in range(10, 600, length + 5)]
        wild = decode(melody(notes, 640, cents=np.cumsum(rng.uniform(-70, 70, 640)) % 400))
        assert {note.kind for note in wild} == {kind}
        assert {note.kind for note in decode(melody(notes, 640))} == {"sung"}


def test_pitch_and_loudness_alone():
    """A voice that sets in, moves to another pitch, and repeats it after a dip: three notes."""
    midi, level_db, voicing = np.full(300, 60.0), np.full(300, -20.0), np.zeros(300)
    voicing[40:240] = 0.97
    midi[100:] = 63.0
    level_db[165:172] = -45.0
    evidence = evidence_of_pitch(midi, voicing, level_db, HOP_S)
    notes = decode(evidence)
    assert [round(note.midi) for note in notes] == [60, 63, 63]
    for note, onset_s in zip(notes, (0.4, 1.0, 1.72), strict=True):
        assert note.onset_s == pytest.approx(onset_s, abs=0.03)
    assert notes[-1].offset_s == pytest.approx(2.4, abs=0.03)


def test_levels_are_those_of_the_frames():
    voice = np.zeros(1_600, dtype=np.float32)
    voice[800:] = 0.1
    level_db = voice_level_db(voice, 10, 160)
    assert level_db[8] == pytest.approx(-20, abs=0.1) and level_db[1] < -100
