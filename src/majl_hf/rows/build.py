"""A corpus built from tracks; see `writing` for the layout of the folder and for how a build is resumed.

What a recording was made from is known by the size and modification time of its files and by its labels; paths of the
machine are not recorded.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np

from ..corpora.tracks import Track
from ..errors import CorpusError, MajlError
from ..system.processes import map_in_order
from .convert import track_to_row
from .shards import SPLITS, file_facts
from .writing import SHARD_MINUTES, SPLITS_BY, Made, Plan, Shard, Written, plan_shards, write_corpus


def load_corpus(name: str, source: str | Path, **options) -> list[Track]:
    """Tracks of the corpus called `name` in `corpora.CORPORA`, from the user's folder.

    Raises:
        MajlError: no corpus of this name, or an option that it does not take.
        CorpusError: from its reader, with the name of the file.
    """
    import inspect

    from ..corpora.registry import find_corpus

    load = find_corpus(name).load
    try:
        inspect.signature(load).bind(source, **options)
    except TypeError as error:
        raise MajlError(f"The options {sorted(options)} do not fit the corpus {name!r}: {error}.") from None
    return load(source, **options)


def assign_splits(
    tracks: Iterable[Track], splits: Mapping[str, Sequence[str]], unreadable: Iterable[str] = ()
) -> list[Track]:
    """Give tracks the splits that `splits` names: split -> globs on song, singer or the name in the id.

    Tracks that no glob matches go to "train" if other tracks were sent elsewhere, else keep their own split. A glob may
    also match one of the ids `unreadable`, of recordings that have no track.

    Raises:
        CorpusError: an unknown split, a glob that matches nothing, a track that two splits claim.
    """
    tracks = list(tracks)
    if not splits:
        return tracks
    assigned: dict[str, str] = {}
    for split, globs in splits.items():
        if split not in SPLITS:
            raise CorpusError(f"There is no split {split!r}; use one of {', '.join(SPLITS)}.")
        for pattern in globs:
            matched = [track for track in tracks if _matches(track, pattern)]
            if not matched and not any(fnmatch(id.partition("/")[2], pattern) for id in unreadable):
                raise CorpusError(f"The split {split!r} names {pattern!r}, which is no song, singer or name here.")
            for track in matched:
                if assigned.setdefault(track.id, split) != split:
                    raise CorpusError(f"{track.id} is claimed by the splits {assigned[track.id]!r} and {split!r}.")
    return [dataclasses.replace(track, split=assigned.get(track.id, "train")) for track in tracks]


def _matches(track: Track, pattern: str) -> bool:
    name = track.id.partition("/")[2]
    return any(value and fnmatch(value, pattern) for value in (track.song, track.singer, name))


def plan_build(tracks: Iterable[Track], shard_minutes: float = SHARD_MINUTES) -> list[Shard]:
    """Cut every split into shards of about `shard_minutes` of audio; tracks keep their order and stay whole.

    Raises:
        CorpusError: no track, an id twice, a split that is none of `SPLITS`, a source file that is gone.
    """
    by_split: dict[str, list[Track]] = {split: [] for split in SPLITS}
    seen: set[str] = set()
    for track in tracks:
        if track.id in seen:
            raise CorpusError(f"The id {track.id} occurs twice; every recording needs one of its own.")
        seen.add(track.id)
        split = track.split or "train"
        if split not in by_split:
            raise CorpusError(f"{track.id} has the split {split!r}; it needs one of {', '.join(SPLITS)}.")
        by_split[split].append(track)
    if not seen:
        raise CorpusError("There are no recordings to build from.")
    return plan_shards(by_split, shard_minutes, _facts)


def _facts(value) -> Any:
    """What a value is, for JSON: a file by name, size and time; arrays and bytes by their content."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Path):
        return file_facts(value)
    if isinstance(value, np.ndarray):
        return [str(value.dtype), value.shape, hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()]
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    if isinstance(value, list | tuple):
        return [_facts(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _facts(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        names = {item.name for item in dataclasses.fields(value)}
        if getattr(value, "data", None) is not None:
            names.discard("path")  # only used in messages
        return [type(value).__name__, {name: _facts(getattr(value, name)) for name in sorted(names)}]
    raise TypeError(f"A track contains a {type(value).__name__}; it needs dataclasses, paths, arrays and plain values.")


def build_corpus(
    tracks: Iterable[Track],
    out: str | Path,
    *,
    num_processes: int = 1,
    shard_minutes: float = SHARD_MINUTES,
    skip_bad: bool = False,
    overwrite: bool = False,
    splits_by: Sequence[str] = SPLITS_BY,
    progress: Callable[[float, float], None] | None = None,
    unreadable: Mapping[str, str] | None = None,
) -> Written:
    """Build the folder `out`, or finish it.

    Args:
        tracks: of one or more corpora; their `split` decides where they go, "train" where it is empty.
        shard_minutes: minutes of audio per shard, approximately.
        skip_bad: leave out recordings that cannot become rows instead of failing.
        overwrite: allow another plan in a folder that has a build; shards that both have in common are kept.
        splits_by: what the splits keep apart, of "song" and "singer"; `check` verifies this.
        progress: called often with the seconds of audio that are done and the total. What it raises stops the build.
        unreadable: id -> reason of recordings that have no track, since they could not be read.

    Raises:
        BadRecordings: recordings that cannot be read or become rows, all of them; the others are done.
        CorpusError: nothing to build from, ids twice, or nothing left.
        MajlError: `out` has something else or another plan, cannot be written, or is being built already.
    """
    shards = plan_build(tracks, shard_minutes)
    plan = Plan("build", shards, {track.corpus: splits_by for shard in shards for track in shard.items})

    def produce(plan: Plan, tracks: Sequence[Track], tick: Callable[[], None]) -> Iterator[Made]:
        return map_in_order(encode, tracks, num_processes, tick)

    return write_corpus(
        Path(out),
        lambda earlier: plan,
        produce,
        overwrite=overwrite,
        skip_bad=skip_bad,
        progress=progress,
        unreadable=unreadable,
    )


def encode(track: Track) -> Made:
    """The row of a track, or why there is none; runs in the worker processes."""
    try:
        return Made(track_to_row(track))
    except MajlError as error:
        return Made(None, str(error))
    except Exception as error:  # whatever a decoder raises: one bad file must not stop the others
        return Made(None, f"{track.id} cannot be read ({type(error).__name__}: {error}).")
