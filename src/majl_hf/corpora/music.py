"""A folder of music without voices, as accompaniment.

Conventions
    Every audio file below the folder that is long enough is one piece; any rate, mono or stereo.

Traps
    The folders of games hold short sound effects and spoken lines beside the music: the minimum duration leaves them
    out, silently. A piece with a choir or a vocal sample teaches the separator to miss voices: exclude it.

Licence
    That of the recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import CorpusError
from .tracks import Track, find_audio, resolve_folder, track_of_file


def load_music(
    folder: str | Path,
    exclude: Sequence[str] = (),
    min_duration_s: float = 20.0,
    corpus: str = "music",
    licence: str = "",
) -> list[Track]:
    """Tracks of a folder of music, sorted by path.

    Args:
        folder: `~` and environment variables are expanded.
        exclude: globs on the file's stem or its path below the folder.
        min_duration_s: shorter files are left out.
        licence: of the recordings, as an SPDX identifier where there is one.

    Raises:
        CorpusError: no file is left, or one is not audio.
    """
    root = resolve_folder(folder, "music")
    paths = find_audio(root, exclude=exclude)
    tracks = [track_of_file(root, path, "accompaniment", corpus, licence, "Music without voices") for path in paths]
    tracks = [track for track in tracks if track.duration_s >= min_duration_s]
    if not tracks:
        raise CorpusError(
            f"No piece of at least {min_duration_s} s in {root} ({len(paths)} audio files there, "
            f"exclude {list(exclude)})."
        )
    return tracks
