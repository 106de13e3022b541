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

from collections.abc import Sequence
from pathlib import Path

from .tracks import AudioPart, CorpusError, Track, find_audio, resolve_folder

MAX_LENGTH_DIFFERENCE_S = 0.1
PARTS = ("vocals", "accompaniment")


def load_stems(
    folder: str | Path, include: Sequence[str] = (), exclude: Sequence[str] = (), corpus: str = "stems"
) -> list[Track]:
    """Tracks of a folder of stems, sorted by song.

    Args:
        folder: `~` and environment variables are expanded.
        include: song names to keep; empty keeps all. exclude: song names to leave out.

    Raises:
        CorpusError: no song, a name that is not there, a song without one of its stems, rates or lengths that differ.
    """
    root = resolve_folder(folder, "stems")
    songs: dict[str, dict[str, Path]] = {}
    for path in find_audio(root):
        song, part = (path.parent.name, path.stem) if path.stem in PARTS else _split_name(path.stem)
        if part not in PARTS:
            continue
        if part in songs.setdefault(song, {}):
            raise CorpusError(f"{path} and {songs[song][part]} are both the {part} of {song!r}; keep one.")
        songs[song][part] = path
    if not songs:
        raise CorpusError(f"No SONG/vocals.* or NAME.vocals.* in {root}; put stems there or correct the folder.")
    for name in (*include, *exclude):
        if name not in songs:
            raise CorpusError(f"{root} has no song {name!r}; the songs there are {sorted(songs)}.")
    selected = [song for song in sorted(songs) if (not include or song in include) and song not in exclude]
    if not selected:
        raise CorpusError(f"include and exclude leave none of the {len(songs)} songs in {root}.")
    return [_track(song, songs[song], corpus) for song in selected]


def _split_name(stem: str) -> tuple[str, str]:
    song, _, part = stem.rpartition(".")
    return song, part


def _track(song: str, paths: dict[str, Path], corpus: str) -> Track:
    for part in PARTS:
        if part not in paths:
            raise CorpusError(f"{next(iter(paths.values()))} has no {part} beside it; a song needs both stems.")
    vocals, accompaniment = (AudioPart.open(paths[part]) for part in PARTS)
    if vocals.sampling_rate != accompaniment.sampling_rate:
        raise CorpusError(
            f"{vocals.path} is at {vocals.sampling_rate} Hz and {accompaniment.path} at "
            f"{accompaniment.sampling_rate} Hz; the stems of a song need one rate."
        )
    if abs(vocals.duration_s - accompaniment.duration_s) > MAX_LENGTH_DIFFERENCE_S:
        raise CorpusError(
            f"{vocals.path} lasts {vocals.duration_s:.3f} s and {accompaniment.path} {accompaniment.duration_s:.3f} s; "
            f"the stems of a song may differ by at most {MAX_LENGTH_DIFFERENCE_S} s."
        )
    return Track(
        id=f"{corpus}/{song}",
        corpus=corpus,
        song=song,
        singer="",
        duration_s=max(vocals.duration_s, accompaniment.duration_s),
        sampling_rate=vocals.sampling_rate,
        vocals=vocals,
        accompaniment=accompaniment,
    )
