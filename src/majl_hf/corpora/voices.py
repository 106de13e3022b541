"""A folder of solo voices without labels, to be mixed with music from elsewhere.

Conventions
    Every audio file below the folder is one recording of one voice and nothing else; any rate, mono or stereo.

Traps
    A recording with accompaniment, claps or a click track teaches the separator to call those a voice: exclude it.
    Many recordings are shorter than a training segment.

Licence
    That of the recordings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import CorpusError
from .tracks import Track, find_audio, resolve_folder, track_of_file


def load_voices(
    folder: str | Path,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    corpus: str = "voices",
    licence: str = "",
) -> list[Track]:
    """Tracks of a folder of solo voices, sorted by path.

    Args:
        folder: `~` and environment variables are expanded.
        include, exclude: globs on the file's stem or its path below the folder; an empty include keeps all.
        licence: of the recordings, as an SPDX identifier where there is one.

    Raises:
        CorpusError: no file is left, or one is not audio.
    """
    root = resolve_folder(folder, "voices")
    paths = find_audio(root, include, exclude)
    if not paths:
        raise CorpusError(f"No audio file in {root} (include {list(include)}, exclude {list(exclude)}).")
    return [track_of_file(root, path, "vocals", corpus, licence, "Solo voice") for path in paths]
