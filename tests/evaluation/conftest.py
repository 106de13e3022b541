"""Small corpora in the layouts that the runner reads."""

import numpy as np
import pytest
import soundfile
from evaluation_signals import RATE, sung_note


@pytest.fixture
def mir1k_folder(tmp_path):
    """Three clips of a second: a sung note from 0.3 to 0.7 s (label exact), and one clip without any singing."""
    folder = tmp_path / "mir1k"
    (folder / "Wavfile").mkdir(parents=True)
    (folder / "PitchLabel").mkdir()
    generator = np.random.default_rng(3)
    rows = ["clip,singer,sex,song,duration_s,my_split"]
    for clip, midi, split in (
        ("anna_1_01", 57.0, "validation"),
        ("anna_1_02", 0.0, "validation"),
        ("bob_1_01", 45, "test"),
    ):
        label_s = 0.02 * (np.arange(49) + 1)
        sung = (label_s > 0.3) & (label_s < 0.7)
        voice = np.zeros(RATE, dtype=np.float32)
        if midi:
            voice[int(0.3 * RATE) : int(0.7 * RATE)] = sung_note(440 * 2 ** ((midi - 69) / 12), int(0.4 * RATE))
        accompaniment = 0.1 * generator.standard_normal(RATE).astype(np.float32)
        soundfile.write(
            folder / "Wavfile" / f"{clip}.wav", np.stack([accompaniment, voice], axis=1), RATE, subtype="FLOAT"
        )
        (folder / "PitchLabel" / f"{clip}.pv").write_text("\n".join(str(midi if one else 0) for one in sung))
        rows.append(f"{clip},{clip.split('_')[0]},f,{clip[:-3]},1.0,{split}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def stems_folder(tmp_path):
    """Two stereo songs of half a second at 22.05 kHz, `first` and `second`."""
    generator = np.random.default_rng(5)
    for song in ("first", "second"):
        folder = tmp_path / "album" / song
        folder.mkdir(parents=True)
        for part in ("vocals", "accompaniment"):
            audio = 0.1 * generator.standard_normal((11025, 2)).astype(np.float32)
            soundfile.write(folder / f"{part}.flac", audio, 22050, subtype="PCM_24")
    return tmp_path / "album"
