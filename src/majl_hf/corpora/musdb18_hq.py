"""MUSDB18-HQ: the songs of MUSDB18 as uncompressed stems.

Conventions
    `train/ARTIST - TITLE/` and `test/...` (100 and 50 songs), each with `mixture.wav`, `vocals.wav`, `drums.wav`,
    `bass.wav` and `other.wav`, 44.1 kHz stereo, 16 bits. The accompaniment is drums + bass + other.
    Of the training songs, 14 are the fixed validation set (`musdb18.VALIDATION_TRACKS`).

Traps
    The same songs as MUSDB18, without its band limit of 16 kHz: use one of the two. The mixture is left out, as it need
    not be the sum of the stems to the last bit; vocals + accompaniment is.

Licence
    That of MUSDB18.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..errors import CorpusError
from .musdb18 import ACCOMPANIMENT, LICENCE, VALIDATION_TRACKS, check_stems_agree, make_track, split_of
from .tracks import AudioPart, Track, resolve_folder

__all__ = ["CITATION", "LICENCE", "load_musdb18_hq"]

CITATION = """\
@misc{MUSDB18HQ,
  author    = {Rafii, Zafar and Liutkus, Antoine and St{\\"o}ter, Fabian-Robert and Mimilakis, Stylianos Ioannis and
               Bittner, Rachel},
  title     = {{MUSDB18-HQ}: an uncompressed version of {MUSDB18}},
  year      = {2019},
  doi       = {10.5281/zenodo.3338373},
  url       = {https://doi.org/10.5281/zenodo.3338373}
}"""
STEMS = ("vocals", *ACCOMPANIMENT)


def load_musdb18_hq(
    folder: str | Path, validation: Collection[str] = VALIDATION_TRACKS, corpus: str = "musdb18_hq"
) -> list[Track]:
    """Tracks of a MUSDB18-HQ folder, sorted by name: training and validation songs first, then test.

    Args:
        folder: holds `train` and `test`, or one of them; `~` and environment variables are expanded.
        validation: names of the training songs that are kept for validation.

    Raises:
        CorpusError: no song, one without one of its stems, or stems that differ in rate, channels or length.
    """
    root = resolve_folder(folder, "MUSDB18-HQ")
    tracks = []
    for split in ("train", "test"):
        for path in sorted(p for p in (root / split).glob("*") if p.is_dir() and not p.name.startswith(".")):
            song_split = split_of(path.name, split, validation)
            tracks.append(make_track(open_stems(path), path.name, song_split, corpus, "MUSDB18-HQ"))
    if not tracks:
        raise CorpusError(f"No folder in {root / 'train'} or {root / 'test'}; the MUSDB18-HQ songs belong there.")
    return tracks


def open_stems(path: Path) -> dict[str, AudioPart]:
    """The stems of a song's folder by name.

    Raises:
        CorpusError: one is missing or not readable, or they differ in rate, channels or length.
    """
    parts = {}
    for stem in STEMS:
        file = path / f"{stem}.wav"
        if not file.is_file():
            raise CorpusError(f"{file} is missing; a song of MUSDB18-HQ needs {', '.join(STEMS)}.")
        parts[stem] = AudioPart.open(file)
    check_stems_agree(parts, f"stems in {path}")
    return parts
