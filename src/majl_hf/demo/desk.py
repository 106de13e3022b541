"""What the mixing desk of the page plays: voice, accompaniment and melody in blocks of interleaved samples.

One block has all three for the same two seconds, so that they start on the same sample and cannot drift apart; the
melody is rendered for the block alone, so that new notes are heard at once. The page keeps a few blocks in memory,
where three decoded stereo files of ten minutes would take half a gigabyte.
"""

import numpy as np
import soundfile

from ..errors import MajlError
from ..export.melody import Melody
from .decisions import Settings, decide_notes
from .separation import SeparatedSong

BLOCK_S = 2.0
STEMS = ("vocals", "accompaniment")
TRACKS = ("Voice", "Accompaniment", "Melody")
FULL_SCALE = 32767


def block_length(song: SeparatedSong) -> int:
    """Samples of each block but the last, which may be shorter."""
    return round(BLOCK_S * song.sampling_rate)


def desk_block(song: SeparatedSong, number: int, settings: Settings) -> bytes:
    """One block as 16-bit little-endian integers, interleaved: the channels of the vocals, those of the accompaniment,
    and the melody, which is mono.

    Raises:
        MajlError: the song has no such block.
    """
    length = block_length(song)
    first, stop = number * length, min((number + 1) * length, song.num_samples)
    if not 0 <= first < stop:
        raise MajlError(f"The song has no block {number}; it has {-(-song.num_samples // length)}.")
    stems = [
        soundfile.read(song.folder / f"{stem}.wav", stop - first, first, dtype="float32", always_2d=True)[0]
        for stem in STEMS
    ]
    melody = Melody(decide_notes(song, settings), song.frames, song.sampling_rate, song.num_samples)
    samples = np.concatenate([*stems, melody.samples(first, stop)[:, None]], axis=1)
    return np.round(FULL_SCALE * np.clip(samples, -1.0, 1.0)).astype("<i2").tobytes()
