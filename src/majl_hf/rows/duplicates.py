"""Songs that corpora have in common, found by name and by audio.

Conventions
    Names are compared without case, accents, punctuation, "feat." and the like; a name without a letter, such as a
    number, matches nothing. Audio is compared by `fingerprint`. Two singers over one accompaniment are not duplicates.
    Of a song that two corpora have, recordings of test are preferred to those of validation, these to those of train;
    then full labels to separation, pitch, single voices and accompaniments; then the corpus given first.
    Recordings of "unused" are neither compared nor dropped.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import re
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..system.files import write_atomically
from ..system.processes import map_in_order
from ..system.provenance import __version__
from .fingerprint import Fingerprint, find_matches, track_to_fingerprint
from .index import RowRef
from .reading import RowReader
from .shards import file_facts
from .writing import digest

# Which of two recordings of the same song is kept: by split, then by label.
_SPLIT_RANK = {"test": 0, "validation": 1, "train": 2}
_KIND_RANK = {"full": 0, "separation": 1, "pitch": 2, "pseudo": 3, "vocals": 4, "accompaniment": 5}
_FEATURING = r"\b(?:feat|ft|featuring)\b\.?"
_GUEST = re.compile(
    rf"\(\s*{_FEATURING}[^)]*\)|\[\s*{_FEATURING}[^\]]*\]|{_FEATURING}.*?(?=\s[-–—]\s|$)", re.IGNORECASE
)
_NO_SINGER = frozenset({"", "unknown", "various", "variousartists"})

Song = list[RowRef]
"""Recordings of one song by one singer in one split of a corpus: they are compared, kept and dropped together."""
Links = Mapping[tuple[int, int], tuple[str, str]]
"""Numbers of two songs that share audio, lower number first -> the ids of two recordings that do."""


def group_songs(rows: Iterable[RowRef]) -> list[Song]:
    """The songs in order of their first recording."""
    songs: dict[tuple, Song] = {}
    for row in rows:
        songs.setdefault((row.corpus, row.song, row.singer, row.split), []).append(row)
    return list(songs.values())


def fold_name(name: str) -> str:
    """The normalised form of a name, equal for its spellings; empty if the name has no letter.

    Case, accents, punctuation, spaces and guests ("feat. ...", "(ft. ...)") are removed, and "&" becomes "and".
    """
    name = _GUEST.sub(" ", name).replace("&", " and ")
    name = unicodedata.normalize("NFKD", name).casefold()
    folded = "".join(c for c in name if c.isalnum())
    return folded if any(c.isalpha() for c in folded) else ""


def fold_singer(singer: str) -> str:
    """As `fold_name`; empty for names that identify no singer, such as "unknown"."""
    folded = fold_name(singer)
    return "" if folded in _NO_SINGER else folded


def find_duplicates(songs: Sequence[Song], links: Links) -> list[dict[str, str]]:
    """The recordings to leave out, sorted, each a dict as in `combine.CombineReport.dropped`.

    Songs are visited best first; one that equals a kept song of another corpus is dropped.
    """

    def rank(number: int) -> tuple:
        song = songs[number]
        return _SPLIT_RANK[song[0].split], min(_KIND_RANK.get(row.label_kind, 9) for row in song), number

    neighbours: dict[int, set[int]] = defaultdict(set)
    for first, second in links:
        neighbours[first].add(second)
        neighbours[second].add(first)
    taken: set[int] = set()
    by_name: dict[str, list[int]] = defaultdict(list)
    dropped = []
    for number in sorted((n for n, song in enumerate(songs) if song[0].split != "unused"), key=rank):
        song = songs[number]
        # Music without a voice has names such as "victory", which songs also have.
        name = "" if all(row.label_kind == "accompaniment" for row in song) else fold_name(song[0].song)
        candidates = [(other, "audio") for other in sorted(neighbours[number] & taken)]
        candidates += [(other, "name") for other in (by_name[name] if name else ())]
        found = next((c for c in candidates if _may_be_equal(song[0], songs[c[0]][0])), None)
        if found is None:
            taken.add(number)
            by_name[name].append(number)
            continue
        other, because = found
        for row in song:
            facts = {"id": row.id, "corpus": row.corpus, "split": row.split, "label_kind": row.label_kind}
            dropped.append({**facts, "because": because, "of": songs[other][0].id})
    return sorted(dropped, key=lambda row: row["id"])


def _may_be_equal(one: RowRef, other: RowRef) -> bool:
    """Whether two songs are of different corpora and not known to be of different singers."""
    singers = {fold_singer(row.singer) or row.singer for row in (one, other)} - {""}
    return one.corpus != other.corpus and len(singers) < 2


def link_by_audio(
    rows: Sequence[RowRef], songs: Sequence[Song], cache: Path, num_processes: int, advance: Callable[[float], None]
) -> dict[tuple[int, int], tuple[str, str]]:
    """Songs that share audio; see `Links`.

    Args:
        rows: those of `songs`, in order of their files.
        cache: folder in which the landmarks of each input file are kept, so that an interrupted run can resume.
        advance: called with the seconds of audio of each step, with 0 while it waits.
    """
    cache.mkdir(parents=True, exist_ok=True)
    for path in cache.glob(".majl-*.part"):
        path.unlink(missing_ok=True)
    number_of = {row.id: number for number, song in enumerate(songs) for row in song}
    used = [row for row in rows if row.split != "unused"]
    fingerprints = _fingerprint_rows(used, cache, num_processes, advance)
    links: dict[tuple[int, int], tuple[str, str]] = {}
    for match in find_matches(fingerprints, [number_of[row.id] for row in used]):
        first, second = sorted((used[match.first].id, used[match.second].id), key=number_of.__getitem__)
        links.setdefault((number_of[first], number_of[second]), (first, second))
    return links


def _fingerprint_rows(
    rows: Sequence[RowRef], cache: Path, num_processes: int, advance: Callable[[float], None]
) -> list[Fingerprint]:
    """Fingerprints of the rows, cached by file and reused only for the same rows of the same file, which is identified
    by name, size and modification time."""
    files = [list(members) for _, members in itertools.groupby(rows, key=lambda row: row.file)]
    kept = [
        cache / f"{digest(__version__, file_facts(members[0].file), [row.id for row in members])}.npz"
        for members in files
    ]
    found = [_read_fingerprints(path) for path in kept]
    todo = [row for members, known in zip(files, found, strict=True) if known is None for row in members]
    fingerprints: list[Fingerprint] = []
    with contextlib.closing(map_in_order(fingerprint_row, todo, num_processes, lambda: advance(0.0))) as results:
        for members, path, known in zip(files, kept, found, strict=True):
            if known is None:
                known = []
                for row in members:
                    known.append(next(results))
                    advance(row.duration_s)
                _write_fingerprints(path, known)
            else:
                advance(sum(row.duration_s for row in members))
            fingerprints += known
    return fingerprints


def fingerprint_row(row: RowRef) -> Fingerprint:
    """Runs in the worker processes."""
    with RowReader() as reader:
        return track_to_fingerprint(reader.track(row))


def _read_fingerprints(path: Path) -> list[Fingerprint] | None:
    try:
        with np.load(path) as file:
            ends = np.cumsum(file["counts"])[:-1]
            hashes, frames = np.split(file["hashes"], ends), np.split(file["frames"], ends)
            return [Fingerprint(*values) for values in zip(hashes, frames, file["lengths"].tolist(), strict=True)]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _write_fingerprints(path: Path, fingerprints: Sequence[Fingerprint]) -> None:
    content = io.BytesIO()
    np.savez(
        content,
        hashes=np.concatenate([f.hashes for f in fingerprints]),
        frames=np.concatenate([f.frames for f in fingerprints]),
        counts=np.array([len(f.hashes) for f in fingerprints]),
        lengths=np.array([f.num_frames for f in fingerprints]),
    )
    write_atomically(path, content.getvalue())
