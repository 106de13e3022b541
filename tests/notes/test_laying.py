"""Lyrics on notes: the right note, nothing lost, notes divided and continued."""

from dataclasses import replace

import numpy as np
import pytest

from majl_hf.models.notes_majl import SungNote
from majl_hf.notes.laying import lay_lyrics
from majl_hf.notes.lyrics import Line, Lyrics, Word

NUM_NOTES = 300


def song(seed=0, num_notes=NUM_NOTES, times=None):
    """Notes in lines of 4 to 9 with rests between them, one word each; the word of note i is `xi`, of one syllable.

    times: "lines" or "words", which are then 0.1 s early and inexact.
    """
    generator = np.random.default_rng(seed)
    notes, lines, onset_s = [], [], 1.0
    while len(notes) < num_notes:
        words = []
        for _ in range(generator.integers(4, 10)):
            offset_s = onset_s + generator.choice([0.2, 0.3, 0.4, 0.6])
            notes.append(SungNote(onset_s, offset_s - 0.02, 60.0 + generator.integers(0, 10)))
            early_s, late_s = 0.1 + generator.normal(0, 0.05, 2)
            time_s = (onset_s - early_s, offset_s - late_s) if times == "words" else (None, None)
            words.append(Word(f"x{len(notes) - 1}", *time_s))
            onset_s = offset_s
        start_s = notes[-len(words)].onset_s + generator.normal(0, 0.15) if times == "lines" else None
        lines.append(Line(tuple(words), start_s, ends_verse=len(lines) % 4 == 3))
        onset_s += generator.uniform(0.3, 1.5) + 3 * lines[-1].ends_verse
    return tuple(notes), Lyrics(tuple(lines))


def damaged(notes, seed=0, share=0.1):
    """The notes with that share missing, and as many too many: half of them in rests, half from divided notes."""
    generator = np.random.default_rng(seed)
    kept = []
    for note, following in zip(notes, [*notes[1:], None], strict=True):
        draw = generator.random()
        if draw < share:
            continue
        if draw > 1 - share / 2 and note.duration_s > 0.3:
            middle_s = note.onset_s + 0.6 * note.duration_s
            kept += [replace(note, offset_s=middle_s), replace(note, onset_s=middle_s, midi=note.midi + 1)]
        else:
            kept.append(note)
        if draw > 1 - share and following is not None and following.onset_s - note.offset_s > 0.5:
            kept.append(replace(note, onset_s=note.offset_s + 0.15, offset_s=note.offset_s + 0.3))
    return tuple(kept)


def laid_texts(laid):
    return [text.text for text in laid.texts]


def check(laid, lyrics):
    """What is true of any result: notes in order, words in order, and each of them laid or reported."""
    assert len(laid.notes) == len(laid.texts)
    for note, following in zip(laid.notes, laid.notes[1:], strict=False):
        assert note.offset_s <= following.onset_s + 1e-9
    assert all(note.duration_s > 0 for note in laid.notes)
    words = [word.text for line in lyrics.lines for word in line.words]
    left_out = {word.text for word in laid.left_out}
    assert [text for text in laid_texts(laid) if text] == [word for word in words if word not in left_out]
    for i, text in enumerate(laid.texts):
        if not text.text and not text.begins_word:  # continues
            assert laid.notes[i].onset_s - laid.notes[i - 1].offset_s <= 0.2
            assert laid.texts[i - 1].text or not laid.texts[i - 1].begins_word
            assert not laid.texts[i - 1].ends_word and not laid.texts[i - 1].ends_line


def share_on_their_note(laid, notes):
    """Of the words whose note is there: those whose onset is in it."""
    right = 0
    for note, text in zip(laid.notes, laid.texts, strict=True):
        if text.text:
            true = notes[int(text.text[1:])]
            right += true.onset_s - 0.05 <= note.onset_s < true.offset_s
    return right / len(notes)


@pytest.mark.parametrize("times", [None, "lines", "words"])
def test_as_many_notes_as_syllables_is_exact(times):
    notes, lyrics = song(times=times)
    laid = lay_lyrics(notes, lyrics)
    check(laid, lyrics)
    assert laid.notes == notes
    assert laid_texts(laid) == [f"x{i}" for i in range(len(notes))]
    ends = {line.words[-1].text for line in lyrics.lines}
    assert all(text.ends_line == (text.text in ends) for text in laid.texts)
    assert laid.left_out == ()


# One in ten words has lost its note, so 0.9 is the most that can be reached. Without times, which of two neighbours the
# word of a missing note goes to is a guess, and the words up to the next surplus note or rest move with it.
@pytest.mark.parametrize("times, least", [(None, 0.7), ("lines", 0.72), ("words", 0.87)])
def test_a_tenth_of_the_notes_missing_and_too_many(times, least):
    shares = []
    for seed in range(3):
        notes, lyrics = song(seed, times=times)
        laid = lay_lyrics(damaged(notes, seed), lyrics)
        check(laid, lyrics)
        assert len(laid.left_out) <= (2 if times == "words" else 0)  # those whose neighbours are missing too
        shares.append(share_on_their_note(laid, notes))
    assert np.mean(shares) >= least


@pytest.mark.parametrize("delay_s", [-0.4, 0.3, 0.8])
def test_a_constant_delay_of_the_words_does_not_matter(delay_s):
    notes, lyrics = song(times="words")
    later = tuple(replace(note, onset_s=note.onset_s + delay_s, offset_s=note.offset_s + delay_s) for note in notes)
    assert laid_texts(lay_lyrics(later, lyrics)) == [f"x{i}" for i in range(len(notes))]


def test_words_where_nobody_sings_are_left_out():
    notes, lyrics = song(num_notes=40, times="words")
    last_s = notes[-1].offset_s
    thanks = Line((Word("Thanks", last_s + 5, last_s + 5.5), Word("watching", last_s + 5.5, last_s + 6)))
    laid = lay_lyrics(notes, replace(lyrics, lines=(*lyrics.lines, thanks)))
    assert laid.left_out == thanks.words
    assert laid_texts(laid) == [f"x{i}" for i in range(len(notes))]
    assert laid.texts[-1].ends_line


def test_notes_without_words_stay_so():
    notes, lyrics = song(num_notes=60)
    last_s = notes[-1].offset_s
    hummed = tuple(SungNote(last_s + 3 + i, last_s + 3.5 + i, 60.0) for i in range(8))
    laid = lay_lyrics(notes + hummed, lyrics)
    assert laid_texts(laid) == [f"x{i}" for i in range(len(notes))] + [""] * 8
    assert all(text.begins_word for text in laid.texts[-8:])
    assert laid.texts[len(notes) - 1].ends_line


def test_a_syllable_continues_over_the_notes_that_follow_at_once():
    notes = [SungNote(0.0, 0.5, 60.0), SungNote(0.5, 0.8, 62.0), SungNote(0.8, 1.2, 64.0), SungNote(2.0, 2.4, 60.0)]
    laid = lay_lyrics(notes, Lyrics((Line((Word("you"),)), Line((Word("me"),)))), "")
    assert laid_texts(laid) == ["you", "", "", "me"]
    assert [text.continues for text in laid.texts] == [False, True, True, False]
    assert [text.begins_word for text in laid.texts] == [True, False, False, True]
    assert [text.ends_word for text in laid.texts] == [False, False, True, True]
    assert [text.ends_line for text in laid.texts] == [False, False, True, True]


def test_no_syllable_continues_after_a_rest():
    notes = [SungNote(0.0, 0.5, 60.0), SungNote(0.8, 1.2, 62.0)]
    laid = lay_lyrics(notes, Lyrics((Line((Word("you"),)),)), "")
    assert sorted(laid_texts(laid)) == ["", "you"]
    assert all(text.begins_word and text.ends_word for text in laid.texts)


def test_a_note_is_divided_at_the_times_of_words():
    note = SungNote(1.0, 2.0, 60.0, 90, 0.7, "sung", 5.5, 40.0, -100.0, 50.0)
    words = (Word("la", 1.0, 1.3), Word("da", 1.3, 1.6), Word("dum", 1.6, 2.0))
    laid = lay_lyrics([note], Lyrics((Line(words),)), "")
    assert laid_texts(laid) == ["la", "da", "dum"]
    assert [part.onset_s for part in laid.notes] == pytest.approx([1.0, 1.3, 1.6])
    assert [part.offset_s for part in laid.notes] == pytest.approx([1.3, 1.6, 2.0])
    assert [part.glide_in_cents for part in laid.notes] == [-100.0, 0.0, 0.0]
    assert [part.glide_out_cents for part in laid.notes] == [0.0, 0.0, 50.0]
    assert [(part.vibrato_hz, part.vibrato_cents) for part in laid.notes] == [(0, 0), (0, 0), (5.5, 40.0)]
    assert {(part.midi, part.velocity, part.confidence) for part in laid.notes} == {(60.0, 90, 0.7)}


def test_a_note_is_divided_equally_without_times_and_never_below_60_ms():
    words = tuple(Word(text) for text in ["a", "b", "c", "d"])
    laid = lay_lyrics([SungNote(0.0, 0.4, 60.0)], Lyrics((Line(words),)), "")
    assert [note.duration_s for note in laid.notes] == pytest.approx([0.1] * 4)
    timed = tuple(Word(text, 0.39, 0.4) for text in ["a", "b", "c", "d"])
    laid = lay_lyrics([SungNote(0.0, 0.4, 60.0)], Lyrics((Line(timed),)), "")
    assert min(note.duration_s for note in laid.notes) == pytest.approx(0.06)
    laid = lay_lyrics([SungNote(0.0, 0.2, 60.0)], Lyrics((Line(words),)), "")
    assert laid_texts(laid) == ["a", "b", "c"]
    assert laid.left_out == (Word("d"),)


def test_words_are_divided_into_syllables_of_their_language():
    pytest.importorskip("pyphen")
    notes = [SungNote(0.4 * i, 0.4 * i + 0.35, 60.0 + i % 3) for i in range(9)]
    words = tuple(Word(text) for text in ["Wonderful", "la-la", "remember"])
    laid = lay_lyrics(notes[:8], Lyrics((Line(words),), language="en"))
    assert laid_texts(laid) == ["Won", "der", "ful", "la", "la", "re", "mem", "ber"]
    assert [text.begins_word for text in laid.texts] == [True, False, False, True, True, True, False, False]
    assert [text.ends_word for text in laid.texts] == [False, False, True, True, True, False, False, True]


def test_words_that_join_are_one_word():
    notes = [SungNote(0.4 * i, 0.4 * i + 0.35, 60.0) for i in range(3)]
    words = (Word("我", 0.0, 0.3), Word("愛", 0.4, 0.7, joins=True), Word("你", 0.8, 1.1, joins=True))
    laid = lay_lyrics(notes, Lyrics((Line(words),)), "zh")
    assert laid_texts(laid) == ["我", "愛", "你"]
    assert [(text.begins_word, text.ends_word) for text in laid.texts] == [(True, False), (False, False), (False, True)]


def test_rap_and_speech_get_words_too():
    notes, lyrics = song(num_notes=30)
    rapped = tuple(replace(note, kind=("rap", "speech")[i % 2]) for i, note in enumerate(notes))
    laid = lay_lyrics(rapped, lyrics)
    assert laid.notes == rapped
    assert laid_texts(laid) == [f"x{i}" for i in range(len(notes))]


def test_without_notes_or_words():
    notes, lyrics = song(num_notes=10)
    nothing = lay_lyrics((), lyrics)
    assert nothing.notes == nothing.texts == ()
    assert [word.text for word in nothing.left_out] == [word.text for line in lyrics.lines for word in line.words]
    assert all(not text.text and text.begins_word for text in lay_lyrics(notes, Lyrics(())).texts)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("times", [None, "lines", "words"])
def test_any_lyrics_on_any_notes(seed, times):
    """Notes and lyrics of different songs, of very different length."""
    generator = np.random.default_rng(seed)
    notes, _ = song(seed, int(generator.integers(1, 60)))
    _, lyrics = song(seed + 100, int(generator.integers(1, 120)), times)
    laid = lay_lyrics(damaged(notes, seed, 0.3), lyrics)
    words = [word.text for line in lyrics.lines for word in line.words]
    assert sorted([text for text in laid_texts(laid) if text] + [word.text for word in laid.left_out]) == sorted(words)
    if times != "words" and laid.left_out:  # there was nowhere to put them
        assert all(note.duration_s < 2 * 0.06 for note in laid.notes)


def test_a_narrow_band_is_widened_until_all_syllables_are_laid(monkeypatch):
    notes, lyrics = song(num_notes=200)
    few = notes[:3] + notes[150:]  # the lyrics are far from the expected course
    wanted = lay_lyrics(few, lyrics)
    monkeypatch.setattr("majl_hf.notes.laying.BAND", 2)
    laid = lay_lyrics(few, lyrics)
    check(laid, lyrics)
    assert laid.left_out == wanted.left_out == ()
