"""MedleyDB: multitracks whose metadata says which stems are sung, with manually labelled f0 of the melody.

Conventions
    Anywhere below the folder (or `annotations`, because audio and annotations are published separately):
    `TRACK_METADATA.yaml`         title, artist, and for each stem its file, instrument and component
    `TRACK_STEMS/FILE.wav`        44.1 kHz stereo stems, which add up to the song
    `TRACK_MELODY1.csv`           `time_s,f0_hz` of the predominant melody, one frame every 256 / 44100 s, 0 = no melody
    `TRACK_RANKING.txt`           `FILE,RANK` of the melodic stems; rank 1 is the predominant one
    Vocals are the stems whose instruments are all voices (`VOICES`); accompaniment is the sum of the others.

Traps
    MELODY1 follows the predominant stem, which may be an instrument. It is only used as the pitch of the vocals if that
    stem is a singer: the stem of rank 1 or, without a ranking, every stem that the metadata calls a melody.
    MELODY1 is only one of possibly several voices: where it is silent in a track with other vocal stems, another singer
    may sing, so these frames have confidence 0. Speech, rap and choirs are vocals, but not melodies.
    `TRACK_MIX.wav` was mixed and mastered with other gains, so it is not the sum of the stems and is left out.
    In tracks with `has_bleed` the microphones record each other's sources; they are left out unless `bleed` is set.
    Tracks with stems that mix voices and instruments ("Main System", a list of both) are left out.

Licence
    CC BY-NC-SA 4.0.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import CorpusError
from ..system.files import walk
from .labels import PitchLabel
from .tracks import AudioPart, Part, SumPart, Track, files_below, read_recordings, resolve_folder

LICENCE = "CC-BY-NC-SA-4.0"
CITATION = """\
@inproceedings{bittner2014medleydb,
  author    = {Bittner, Rachel M. and Salamon, Justin and Tierney, Mike and Mauch, Matthias and Cannam, Chris and
               Bello, Juan Pablo},
  title     = {{MedleyDB}: A Multitrack Dataset for Annotation-Intensive {MIR} Research},
  booktitle = {15th International Society for Music Information Retrieval Conference (ISMIR)},
  year      = {2014}
}"""
HOP_S = 256 / 44100
MAX_LENGTH_DIFFERENCE = 3  # label frames
SINGERS = frozenset({"male singer", "female singer"})
VOICES = SINGERS | {
    "vocalists",
    "choir",
    "male speaker",
    "female speaker",
    "male rapper",
    "female rapper",
    "male screamer",
    "female screamer",
    "beatboxing",
}
UNKNOWN = frozenset({"main system", "unlabeled", "crowd"})  # may contain voices, or anything
_METADATA = "_METADATA.yaml"


@dataclass(frozen=True)
class Stem:
    """A stem as the metadata describes it: its number, file name, instruments in lower case, and its component
    ("melody", "bass" or empty)."""

    number: int
    filename: str
    instruments: frozenset[str]
    component: str

    @property
    def is_vocal(self) -> bool:
        return self.instruments <= VOICES

    @property
    def is_unclear(self) -> bool:
        """Whether it may contain both voices and instruments."""
        return bool(self.instruments & UNKNOWN) or (not self.is_vocal and bool(self.instruments & VOICES))


def load_medleydb(
    folder: str | Path,
    annotations: str | Path | None = None,
    bleed: bool = False,
    corpus: str = "medleydb",
) -> list[Track]:
    """Tracks of a MedleyDB folder that have vocals and accompaniment, sorted by name.

    Args:
        folder: contains the audio; `~` and environment variables are expanded.
        annotations: contains metadata and melodies if they are not below `folder`.
        bleed: include tracks whose stems bleed into each other.

    Raises:
        BadRecordings: tracks with metadata that cannot be read, a missing stem, or a melody that does not fit; the
            others are in it.
        CorpusError: no track.
    """
    root = resolve_folder(folder, "MedleyDB")
    notes_root = root if annotations is None else resolve_folder(annotations, "MedleyDB annotations")
    files = {path.name: path for base in (root, notes_root) for path in sorted(files_below(base)) if "_" in path.name}
    stem_folders = {path.name: path for path, _, _ in walk(root) if path.name.endswith("_STEMS")}
    if not stem_folders:
        raise CorpusError(f"No TRACK_STEMS folder in {root}; the MedleyDB tracks belong there.")
    names = {folder_name.removesuffix("_STEMS"): folder_name for folder_name in sorted(stem_folders)}

    def read(folder_name: str) -> Track | None:
        name = folder_name.removesuffix("_STEMS")
        return _track(name, stem_folders[folder_name], files, bleed, corpus)

    tracks = read_recordings(corpus, names, read)
    if not tracks:
        raise CorpusError(
            f"None of the {len(stem_folders)} tracks in {root} has vocals and accompaniment in clean stems."
        )
    return tracks


def read_stems(path: Path) -> tuple[dict, list[Stem]]:
    """The metadata of a track and its stems, in order of their number.

    Raises:
        CorpusError: not YAML, or without stems that have a file and an instrument.
    """
    import yaml  # the other corpora do without

    try:
        metadata = yaml.safe_load(path.read_text(encoding="utf-8"))
        stems = [
            Stem(int(key[1:]), stem["filename"], _instruments(stem["instrument"]), stem.get("component") or "")
            for key, stem in sorted(metadata["stems"].items())
        ]
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorpusError(
            f"{path} is not the metadata of a MedleyDB track ({type(error).__name__}: {error})."
        ) from error
    if not stems:
        raise CorpusError(f"{path} lists no stems.")
    return metadata, stems


def read_melody(path: Path, duration_s: float) -> PitchLabel:
    """Read a MELODY1 file that belongs to a track of `duration_s` seconds.

    Raises:
        CorpusError: not two numbers per line, another hop, NaN, negative, more than 3 frames off the track's length.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            table = np.array([[float(row[0]), float(row[1])] for row in csv.reader(file) if row])
    except (ValueError, IndexError) as error:
        raise CorpusError(f"{path} does not have two numbers per line, time_s,f0_hz ({error}).") from error
    expected = round(duration_s / HOP_S)
    if len(table) == 0 or abs(len(table) - expected) > MAX_LENGTH_DIFFERENCE:
        raise CorpusError(
            f"{path} has {len(table)} frames, but its track of {duration_s:.3f} s needs {expected} (at most "
            f"{MAX_LENGTH_DIFFERENCE} off). Melody and audio belong to different tracks, or one is cut off."
        )
    # Times are multiples of the hop, printed with varying precision.
    if not np.allclose(table[:, 0], np.arange(len(table)) * HOP_S, rtol=0, atol=HOP_S / 2):
        raise CorpusError(f"{path}: its times are not multiples of {HOP_S * 1000:.3f} ms from 0 on.")
    return PitchLabel.of_file(path, table[:, 1], HOP_S)


def melody_is_sung(stems: list[Stem], ranking: Mapping[int, int] | None) -> bool:
    """Whether MELODY1 is a singer's: the stem of rank 1, or without `ranking` (stem to rank) all melodic stems."""
    if ranking:
        melodic = [stem for stem in stems if ranking.get(stem.number) == 1]
    else:
        melodic = [stem for stem in stems if stem.component == "melody"]
    return bool(melodic) and all(stem.instruments <= SINGERS for stem in melodic)


def _track(name: str, folder: Path, files: Mapping[str, Path], bleed: bool, corpus: str) -> Track | None:
    """The track, or None if it has no vocals, no accompaniment, or stems that cannot be assigned to one of them."""
    if name + _METADATA not in files:
        raise CorpusError(f"{folder} has no {name}{_METADATA}, which says which stems are vocals. Add it.")
    metadata, stems = read_stems(files[name + _METADATA])
    sung = [stem for stem in stems if stem.is_vocal]
    others = [stem for stem in stems if not stem.is_vocal]
    if not sung or not others or any(stem.is_unclear for stem in stems):
        return None
    if not bleed and _is_yes(metadata.get("has_bleed")):
        return None
    vocals, accompaniment = _sum(folder, sung), _sum(folder, others)
    duration_s = max(vocals.duration_s, accompaniment.duration_s)
    label = None
    if name + "_MELODY1.csv" in files and melody_is_sung(stems, _read_ranking(files.get(name + "_RANKING.txt"))):
        label = read_melody(files[name + "_MELODY1.csv"], duration_s)
        if len(sung) > 1:
            label = PitchLabel(label.f0_hz, HOP_S, 0.0, np.where(label.f0_hz > 0, 1.0, 0.0))
    title, artist = str(metadata.get("title") or name), str(metadata.get("artist") or "")
    return Track.of(
        corpus,
        name,
        song=f"{artist} - {title}".removeprefix(" - "),
        singer=artist,
        vocals=vocals,
        accompaniment=accompaniment,
        label=label,
        licence=LICENCE,
        provenance=f"MedleyDB, {name}; vocals and accompaniment are sums of its stems"
        + ("." if label is None else ", pitch from MELODY1."),
    )


def _sum(folder: Path, stems: list[Stem]) -> Part:
    parts = []
    for stem in stems:
        path = folder / stem.filename
        if not path.is_file():
            raise CorpusError(f"{path} is missing, but the metadata lists it.")
        parts.append(AudioPart.open(path))
    return parts[0] if len(parts) == 1 else SumPart(tuple(parts))


def _read_ranking(path: Path | None) -> dict[int, int] | None:
    """Rank by number of stem, from lines `TRACK_STEM_07.wav,1`."""
    if path is None:
        return None
    try:
        with path.open(newline="", encoding="utf-8") as file:
            return {int(row[0].rpartition("_")[2].partition(".")[0]): int(row[1]) for row in csv.reader(file) if row}
    except (ValueError, IndexError) as error:
        raise CorpusError(f"{path} does not have a file name and a rank per line ({error}).") from error


def _instruments(value: str | list[str]) -> frozenset[str]:
    names = [value] if isinstance(value, str) else value
    instruments = frozenset(str(name).strip().lower() for name in names)
    if not instruments:
        raise ValueError("a stem without an instrument")
    return instruments


def _is_yes(value: object) -> bool:
    return value is True or str(value).lower() == "yes"
