import numpy as np
from corpus_files import steady_clip, tone, write, write_mir1k

from majl_hf.data import Mir1kCorpus, StemsCorpus, iter_validation_clips


def test_mir1k_clips_are_whole_and_unscaled(tmp_path):
    write_mir1k(tmp_path, {"a_1_01": steady_clip(1.0), "b_1_01": steady_clip(1.234)})
    clips = list(iter_validation_clips(Mir1kCorpus(folder=str(tmp_path))))
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
    (clip,) = iter_validation_clips(StemsCorpus(folder=str(tmp_path)))
    assert clip.mixture.shape == (2, 8000) and clip.label is None
    np.testing.assert_array_equal(clip.mixture, stereo + 2 * stereo)
