"""Songs as stems: one file of vocals and one of accompaniment each.

Conventions
    Two layouts, which may stand side by side in one folder; any format soundfile reads, any rate and channel count:
    `SONG/vocals.*` + `SONG/accompaniment.*`
    `NAME.vocals.*` + `NAME.accompaniment.*` (what `majl separate` writes, so a teacher's output is a corpus)
    The mixture is the sum of the two. There are no pitch labels.

Traps
    Vocals of real songs are silent for long stretches: draw segments by what is in them. Lossy stems may differ in
    length by a codec frame; the shorter one is read as if it ended in zeros.

Licence
    That of the songs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from ..errors import CorpusError
from .tracks import AudioPart, Track, find_audio, resolve_folder

MAX_LENGTH_DIFFERENCE_S = 0.1
PARTS = ("vocals", "accompaniment")


def load_stems(
    folder: str | Path,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    corpus: str = "stems",
    licence: str = "",
) -> list[Track]:
    """Tracks of a folder of stems, sorted by song.

    Args:
        folder: `~` and environment variables are expanded.
        include: song names to keep; empty keeps all. exclude: song names to leave out.
        licence: of the songs, as an SPDX identifier where there is one.

    Raises:
        CorpusError: no song, a name that is not there, a song without one of its stems, rates or lengths that differ.
    """
    root = resolve_folder(folder, "stems")
    songs = find_songs(root, PARTS)
    if not songs:
        raise CorpusError(f"No SONG/vocals.* or NAME.vocals.* in {root}; put stems there or correct the folder.")
    return [_track(song, songs[song], corpus, licence) for song in select_songs(root, songs, include, exclude)]


def find_songs(root: Path, parts: Sequence[str]) -> dict[str, dict[str, Path]]:
    """Audio files by song and part, from files called `SONG/PART.*` or `SONG.PART.*` below `root`.

    Raises:
        CorpusError: two files for one part of a song.
    """
    songs: dict[str, dict[str, Path]] = {}
    for path in find_audio(root):
        song, part = (path.parent.name, path.stem) if path.stem in parts else _split_name(path.stem)
        if part not in parts:
            continue
        if part in songs.setdefault(song, {}):
            raise CorpusError(f"{path} and {songs[song][part]} are both the {part} of {song!r}; keep one.")
        songs[song][part] = path
    return songs


def select_songs(root: Path, songs: Collection[str], include: Sequence[str], exclude: Sequence[str]) -> list[str]:
    """Names in `songs`, sorted, that are in `include` (empty: all) and not in `exclude`.

    Raises:
        CorpusError: a name that is not there, or none left.
    """
    for name in (*include, *exclude):
        if name not in songs:
            raise CorpusError(f"{root} has no song {name!r}; the songs there are {sorted(songs)}.")
    selected = [song for song in sorted(songs) if (not include or song in include) and song not in exclude]
    if not selected:
        raise CorpusError(f"include and exclude leave none of the {len(songs)} songs in {root}.")
    return selected


def check_alike(*parts: AudioPart) -> None:
    """Refuse parts of one song that differ in rate, or in length by more than a codec's frame."""
    one = parts[0]
    for other in parts[1:]:
        if one.sampling_rate != other.sampling_rate:
            raise CorpusError(
                f"{one.path} is at {one.sampling_rate} Hz and {other.path} at {other.sampling_rate} Hz; the stems of a "
                "song need one rate."
            )
        if abs(one.duration_s - other.duration_s) > MAX_LENGTH_DIFFERENCE_S:
            raise CorpusError(
                f"{one.path} lasts {one.duration_s:.3f} s and {other.path} {other.duration_s:.3f} s; the stems of a "
                f"song may differ by at most {MAX_LENGTH_DIFFERENCE_S} s."
            )


def _split_name(stem: str) -> tuple[str, str]:
    song, _, part = stem.rpartition(".")
    return song, part


def _track(song: str, paths: dict[str, Path], corpus: str, licence: str) -> Track:
    for part in PARTS:
        if part not in paths:
            raise CorpusError(f"{next(iter(paths.values()))} has no {part} beside it; a song needs both stems.")
    vocals, accompaniment = (AudioPart.open(paths[part]) for part in PARTS)
    check_alike(vocals, accompaniment)
    return Track(
        id=f"{corpus}/{song}",
        corpus=corpus,
        song=song,
        singer="",
        duration_s=max(vocals.duration_s, accompaniment.duration_s),
        sampling_rate=vocals.sampling_rate,
        vocals=vocals,
        accompaniment=accompaniment,
        licence=licence,
        provenance=f"{song}, from its stems.",
    )
