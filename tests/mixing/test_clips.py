import numpy as np
from built_corpora import TONE_RATE, make_rows, write_built
from corpus_files import steady_clip, tone, write, write_mir1k

from majl_hf.evaluation.runner import score_clip
from majl_hf.evaluation.systems import PitchTrack, SystemOutput
from majl_hf.mixing.clips import iter_validation_clips
from majl_hf.mixing.config import FOLDERS, RowsCorpus


def test_mir1k_clips_are_whole_and_unscaled(tmp_path):
    write_mir1k(tmp_path, {"a_1_01": steady_clip(1.0), "b_1_01": steady_clip(1.234)})
    clips = list(iter_validation_clips(FOLDERS["mir1k"](folder=str(tmp_path))))
    assert [clip.id for clip in clips] == ["mir1k/a_1_01", "mir1k/b_1_01"]
    accompaniment, vocals = steady_clip(1.234)
    assert clips[1].sampling_rate == 16000 and clips[1].singer == "b"
    assert clips[1].mixture.shape == (1, 19744)
    np.testing.assert_array_equal(clips[1].vocals, vocals[None])
    np.testing.assert_array_equal(clips[1].mixture, (vocals + accompaniment)[None])
    np.testing.assert_allclose(clips[1].label.f0_hz, 220.0)


def test_stems_keep_rate_and_channels(tmp_path):
    stereo = np.stack([tone(300, 1.0, 8000), tone(400, 1.0, 8000)])
    write(tmp_path / "s.vocals.wav", stereo, 8000)
    write(tmp_path / "s.accompaniment.wav", 2 * stereo, 8000)
    (clip,) = iter_validation_clips(FOLDERS["stems"](folder=str(tmp_path)))
    assert clip.mixture.shape == (2, 8000) and clip.label is None
    np.testing.assert_array_equal(clip.mixture, stereo + 2 * stereo)


def test_of_rows_with_a_mixture_alone_the_pitch_is_judged_without_its_octave(tmp_path):
    rows = make_rows({"pitch": 1, "separation": 1}, duration_s=1.0)
    clips = list(iter_validation_clips(RowsCorpus(folder=str(write_built(tmp_path / "built", rows)))))
    by_id = {clip.id: clip for clip in clips}
    pitch, stems = by_id["c/pitch0"], by_id["c/separation0"]
    assert pitch.vocals is None and pitch.mixture.shape == (1, TONE_RATE) and not pitch.label.octave_reliable
    assert stems.vocals.shape == stems.mixture.shape == (1, TONE_RATE) and stems.label is None

    class OctaveDown:
        name = "an octave down"

        def __call__(self, mixture, sampling_rate):
            times_s = np.arange(101) * 0.01
            return SystemOutput(mixture, PitchTrack(times_s, np.full(101, 110.0), np.ones(101, dtype=bool)))

    scores = score_clip(OctaveDown(), pitch).scores
    assert scores.keys() == {"rca", "vr", "vfa"} and scores["rca"] > 0.98
    assert "sdr_db" in score_clip(OctaveDown(), stems).scores
