"""Decisions after the separation: settings, notes from kept evidence, and blocks for the mixing desk."""

import numpy as np
import pytest
import soundfile

from majl_hf.audio import StreamResampler
from majl_hf.demo import decisions
from majl_hf.demo.decisions import MOST_KEPT, Settings, decide_notes, transcribe
from majl_hf.demo.desk import block_length, desk_block
from majl_hf.demo.limits import Limits
from majl_hf.demo.separation import separate_file
from majl_hf.errors import MajlError
from majl_hf.export.melody import Melody
from majl_hf.models.streaming_majl import separate_array


@pytest.fixture(scope="module")
def song(tiny_model, make_song, tmp_path_factory):
    folder = tmp_path_factory.mktemp("song")
    path, _ = make_song(folder / "ein Lied.wav", seconds=5.0)
    (folder / "result").mkdir()
    *_, song = separate_file(tiny_model, path, path.name, folder / "result", Limits())
    return song


@pytest.mark.parametrize("values", [{}, {"note_threshold": 0.2}, {"min_note_s": 0.4}])
def test_notes_are_those_of_the_engine(song, tiny_model, values):
    mixture, rate = soundfile.read(song.folder.parent / "ein Lied.wav", dtype="float32", always_2d=True)
    expected = separate_array(
        tiny_model, mixture.T, rate, make_resampler=StreamResampler, read_notes=True, **values
    ).notes
    notes = decide_notes(song, Settings.of_model(song.config).changed(values))
    assert expected and notes == tuple(expected)


def test_the_latest_decisions_are_kept(song, monkeypatch):
    made = []

    class Counted(decisions.NoteDecoder):
        def __init__(self, *arguments):
            made.append(arguments)
            super().__init__(*arguments)

    monkeypatch.setattr(decisions, "NoteDecoder", Counted)
    song.decided.clear()
    every = [Settings(0.5, (number + 1) / 20, 0.1) for number in range(MOST_KEPT + 2)]
    for settings in [*every, every[-1]]:
        decide_notes(song, settings)
    assert len(made) == len(every) and len(song.decided) == MOST_KEPT
    decide_notes(song, every[0])
    assert len(made) == len(every) + 1


def test_the_transcription_names_the_downloads(song):
    transcription = transcribe(song, Settings(0.9, 0.5, 0.1))
    assert (transcription.title, transcription.audio) == ("ein Lied", "ein Lied.wav")
    assert transcription.vocals == "ein Lied.vocals.flac" and transcription.duration_s == pytest.approx(5.0)
    np.testing.assert_array_equal(transcription.frames.voiced, song.frames.voicing >= 0.9)


def test_settings_are_whole_hundredths_between_0_and_1():
    settings = Settings(0.5, 0.5, 0.06).changed({"note_threshold": "0.123", "min_note_s": 0.0, "save": "1"})
    assert settings == Settings(0.5, 0.12, 0.0)
    assert settings.changed({"voicing_threshold": 0.001}).voicing_threshold == 0.01
    assert settings.named(("min_note_s", "note_threshold")) == {"note_threshold": 0.12, "min_note_s": 0.0}
    for value in (1.5, -0.1, float("nan")):
        with pytest.raises(MajlError, match=r"min_note_s is .*; it must be between 0 and 1"):
            settings.changed({"min_note_s": value})


def test_blocks_of_the_desk_are_the_stems_and_the_melody_sample_by_sample(song):
    settings = Settings(0.5, 0.3, 0.1)
    length = block_length(song)
    assert length == 2 * song.sampling_rate
    blocks = [np.frombuffer(desk_block(song, number, settings), "<i2").reshape(-1, 5) for number in range(3)]
    assert [len(block) for block in blocks] == [length, length, song.num_samples - 2 * length]
    played = np.concatenate(blocks).T / 32767
    stems = [
        np.clip(soundfile.read(song.folder / f"{stem}.wav", always_2d=True)[0].T, -1, 1)
        for stem in ("vocals", "accompaniment")
    ]
    melody = Melody(decide_notes(song, settings), song.frames, song.sampling_rate, song.num_samples)
    expected = np.concatenate([*stems, melody.samples(0, song.num_samples)[None]])
    np.testing.assert_allclose(played, expected, atol=0.51 / 32767)
    for number in (-1, 3):
        with pytest.raises(MajlError, match=f"no block {number}; it has 3"):
            desk_block(song, number, settings)
