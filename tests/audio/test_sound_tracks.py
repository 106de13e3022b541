"""Files with several sound tracks."""

import numpy as np
import pytest
from audio_files import RATE, stereo_tones, write_audio, write_film

from majl_hf.audio import AudioError, AudioReader, read_audio

TRACKS = {"ger": 0.1, "eng": 0.2, "fre": 0.3}


@pytest.fixture
def film(tmp_path):
    """`film(name, default)`: a file whose tracks are constant, by language; `default` is the marked one."""

    def make(name="film.mkv", default=None):
        tracks = {language: np.full((2, RATE // 2), level, np.float32) for language, level in TRACKS.items()}
        return write_film(tmp_path / name, tracks, default)

    return make


@pytest.mark.parametrize(
    "wanted, language", [(None, "eng"), (0, "ger"), (1, "eng"), (2, "fre"), ("fre", "fre"), ("GER", "ger")]
)
def test_the_track_that_is_wanted_is_read(film, wanted, language):
    audio, rate = read_audio(film(default="eng"), stream=wanted)
    assert rate == RATE and audio.shape == (2, RATE // 2)
    assert np.abs(audio - TRACKS[language]).max() < 1e-4


def test_without_a_mark_the_first_is_read_and_the_others_are_named(film):
    with AudioReader(film()) as reader:
        assert np.abs(next(reader.blocks()) - TRACKS["ger"]).max() < 1e-4
    (note,) = reader.warnings
    assert note.startswith("sound track 0 (ger, pcm_s16le, ")
    assert all(f"{number} ({language}, " in note for number, language in enumerate(TRACKS))
    with AudioReader(film(), stream=0) as reader:
        assert reader.warnings == []


@pytest.mark.parametrize("wanted", [3, -1, "ita", ""])
def test_a_wrong_track_lists_what_there_is(film, wanted):
    with pytest.raises(AudioError, match=f"no sound track {wanted}; choose one of 0 .ger.*1 .eng.*2 .fre"):
        AudioReader(film(), stream=wanted)


@pytest.mark.parametrize("extension", ["wav", "flac", "mp3", "m4a"])
def test_a_file_with_one_track(tmp_path, extension):
    path = write_audio(tmp_path / f"a.{extension}", stereo_tones(9000))
    assert np.array_equal(read_audio(path, stream=0)[0], read_audio(path)[0])
    with pytest.raises(AudioError, match=r"no sound track 1; choose one of 0 \("):
        AudioReader(path, stream=1)
