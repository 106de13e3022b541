"""Small corpora in the layouts that the runner reads."""

import numpy as np
import pytest
from corpus_files import MIR1K_RATE, sung_note, write, write_mir1k


@pytest.fixture
def mir1k_folder(tmp_path):
    """Three clips of a second: a sung note from 0.3 to 0.7 s (label exact), and one clip without any singing."""
    generator, label_s = np.random.default_rng(3), 0.02 * (np.arange(49) + 1)
    clips, labels = {}, {}
    for clip, midi in (("anna_1_01", 57.0), ("anna_1_02", 0.0), ("bob_1_01", 45.0)):
        voice, part = np.zeros(MIR1K_RATE, dtype=np.float32), slice(int(0.3 * MIR1K_RATE), int(0.7 * MIR1K_RATE))
        if midi:
            voice[part] = sung_note(440 * 2 ** ((midi - 69) / 12), int(0.4 * MIR1K_RATE))
        clips[clip] = (0.1 * generator.standard_normal(MIR1K_RATE).astype(np.float32), voice)
        labels[clip] = np.where((label_s > 0.3) & (label_s < 0.7), midi, 0.0)
    splits = {"anna_1_01": "validation", "anna_1_02": "validation", "bob_1_01": "test"}
    return write_mir1k(tmp_path / "mir1k", clips, labels, splits, "my_split")


@pytest.fixture
def stems_folder(tmp_path):
    """Two stereo songs of half a second at 22.05 kHz, `first` and `second`."""
    generator = np.random.default_rng(5)
    for name in ("first/vocals", "first/accompaniment", "second/vocals", "second/accompaniment"):
        write(tmp_path / "album" / f"{name}.wav", 0.1 * generator.standard_normal((2, 11025)), 22050)
    return tmp_path / "album"
