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

from .musdb18 import ACCOMPANIMENT, LICENCE, VALIDATION_TRACKS, split_of
from .tracks import AudioPart, CorpusError, SumPart, Track, resolve_folder

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
            tracks.append(_track(path, split_of(path.name, split, validation), corpus))
    if not tracks:
        raise CorpusError(f"No folder in {root / 'train'} or {root / 'test'}; the MUSDB18-HQ songs belong there.")
    return tracks


def _track(path: Path, split: str, corpus: str) -> Track:
    parts = {}
    for stem in STEMS:
        file = path / f"{stem}.wav"
        if not file.is_file():
            raise CorpusError(f"{file} is missing; a song of MUSDB18-HQ needs {', '.join(STEMS)}.")
        parts[stem] = AudioPart.open(file)
    kinds = {(part.sampling_rate, part.num_channels, part.num_samples) for part in parts.values()}
    if len(kinds) != 1:
        raise CorpusError(
            f"The stems in {path} differ in (rate, channels, samples): {sorted(kinds)}; they need to agree."
        )
    vocals = parts["vocals"]
    return Track(
        id=f"{corpus}/{path.name}",
        corpus=corpus,
        song=path.name,
        singer=path.name.partition(" - ")[0],
        duration_s=vocals.duration_s,
        sampling_rate=vocals.sampling_rate,
        vocals=vocals,
        accompaniment=SumPart(tuple(parts[stem] for stem in ACCOMPANIMENT)),
        split=split,
        licence=LICENCE,
        provenance=f"MUSDB18-HQ, {path.name}; accompaniment is the sum of its other stems.",
    )
