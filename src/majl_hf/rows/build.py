"""A corpus built as a folder that `datasets` loads: planned first, written shard by shard, resumed where it stopped.

    OUT/build.json                          the plan, written before anything else
    OUT/data/SPLIT-00000-of-00003.parquet   rows of `schema.ROW_FEATURES`, one row group a recording
    OUT/README.md                           dataset card, written when all shards are there

Conventions
    The plan depends on the tracks and the target size only: tracks keep their order, a split is cut into shards of
    about equal duration. A shard is written under a hidden name beside its place and renamed when complete, and its
    footer names the plan it was written for. So a shard that is there is whole: a build that was killed redoes only
    what is missing, and its files equal those of an uninterrupted one byte for byte.

    What a recording was made from is known by the size and modification time of its files and by its labels; paths of
    the machine are not recorded.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..corpora.tracks import Track
from ..errors import CorpusError, MajlError
from ..system.files import AtomicWriter, write_atomically
from ..system.locks import held
from ..system.processes import map_in_order
from ..system.provenance import __version__
from .cards import write_dataset_card
from .convert import track_to_row
from .schema import ROW_FEATURES
from .shards import SPLITS, cut_evenly, shard_name

SHARD_MINUTES = 10.0
BUILD_FILE, COMBINE_FILE, PSEUDO_FILE = "build.json", "combine.json", "pseudo_labels.json"
SHARD_KEY = b"majl_build"  # in the footer of a shard
SPLITS_BY = ("song", "singer")
_FORMAT = 1


class BuildFailed(CorpusError):
    """Some recordings cannot become rows; `failures` maps their ids to reasons. Shards without them are done."""

    def __init__(self, failures: Mapping[str, str], num_tracks: int):
        self.failures = dict(failures)
        lines = "\n".join(f"  {id}: {reason}" for id, reason in self.failures.items())
        super().__init__(
            f"{len(self.failures)} of {num_tracks} recordings cannot be used. Repair or remove them and build again, "
            f"or leave them out (--skip-bad):\n{lines}"
        )


@dataclass(frozen=True)
class Shard:
    """A file of the plan, `file` relative to the folder; `fingerprint` is of all that its rows are made from."""

    file: str
    split: str
    tracks: tuple[Track, ...]
    fingerprint: str

    @property
    def duration_s(self) -> float:
        return _duration_s(self.tracks)


@dataclass
class BuildReport:
    """What a build ended with; `left_out` maps ids to reasons, `num_kept` counts shards that were there already."""

    out: Path
    num_rows: int = 0
    duration_s: float = 0.0
    num_bytes: int = 0
    num_shards: int = 0
    num_kept: int = 0
    left_out: dict[str, str] = field(default_factory=dict)


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


def assign_splits(tracks: Iterable[Track], splits: Mapping[str, Sequence[str]]) -> list[Track]:
    """Give tracks the splits that `splits` names: split -> globs on song, singer or the name in the id.

    Tracks that no glob matches go to "train" if other tracks were sent elsewhere, else keep their own split.

    Raises:
        CorpusError: an unknown split, a glob that matches nothing, a track that two splits ask for.
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
            if not matched:
                raise CorpusError(f"The split {split!r} asks for {pattern!r}, which is no song, singer or name here.")
            for track in matched:
                if assigned.setdefault(track.id, split) != split:
                    raise CorpusError(f"{track.id} is asked for by the splits {assigned[track.id]!r} and {split!r}.")
    return [dataclasses.replace(track, split=assigned.get(track.id, "train")) for track in tracks]


def _matches(track: Track, pattern: str) -> bool:
    name = track.id.partition("/")[2]
    return any(value and fnmatch(value, pattern) for value in (track.song, track.singer, name))


def plan_shards(tracks: Iterable[Track], shard_minutes: float = SHARD_MINUTES) -> list[Shard]:
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
    return [
        Shard(f"data/{shard_name(split, index, len(groups))}", split, group, _fingerprint(group))
        for split, members in by_split.items()
        for groups in [cut_evenly(members, max(1, math.ceil(_duration_s(members) / (60 * shard_minutes))))]
        for index, group in enumerate(groups)
    ]


def _duration_s(tracks: Iterable[Track]) -> float:
    return sum(track.duration_s for track in tracks)


def _fingerprint(tracks: Sequence[Track]) -> str:
    facts = json.dumps([_FORMAT, [_facts(track) for track in tracks]], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def _facts(value) -> Any:
    """What a value is, for JSON: a file by name, size and time; arrays and bytes by their content."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Path):
        try:
            status = value.stat()
        except OSError as error:
            raise CorpusError(f"{value} cannot be read ({error.strerror}); restore it.") from error
        return [value.name, status.st_size, status.st_mtime_ns]
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
            names.discard("path")  # only stands in messages
        return [type(value).__name__, {name: _facts(getattr(value, name)) for name in sorted(names)}]
    raise TypeError(f"A track holds a {type(value).__name__}; it needs dataclasses, paths, arrays and plain values.")


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
) -> BuildReport:
    """Build the folder `out`, or finish it.

    Args:
        tracks: of one or more corpora; their `split` decides where they go, "train" where it is empty.
        shard_minutes: of audio, about, a shard.
        skip_bad: leave out recordings that cannot become rows instead of failing.
        overwrite: allow another plan in a folder that holds a build; shards that both have in common are kept.
        splits_by: what the splits keep apart, of "song" and "singer"; `check` holds them to it.
        progress: called often with the seconds of audio that are done and the total. What it raises stops the build.

    Raises:
        BuildFailed: recordings that cannot become rows; the others are done.
        CorpusError: nothing to build from, ids twice, or nothing left.
        MajlError: `out` holds something else or another plan, cannot be written, or is being built already.
    """
    out = Path(out)
    shards = plan_shards(tracks, shard_minutes)
    plan = {
        "format": _FORMAT,
        "majl_hf": __version__,
        "schema": schema_digest(),
        "splits_by": list(splits_by),
        "shards": [
            {"file": s.file, "split": s.split, "fingerprint": s.fingerprint, "ids": [t.id for t in s.tracks]}
            for s in shards
        ],
    }
    with alone_in(out):
        earlier = read_build(out)
        _check_folder(out, earlier, plan, overwrite)
        remove_leftovers(out, [shard.file for shard in shards])
        kept = {shard.file for shard in shards if _is_done(out / shard.file, shard, skip_bad)}
        if len(kept) < len(shards) or earlier is None or not earlier.get("finished") or not _same(earlier, plan):
            write_json(out / BUILD_FILE, {**plan, "finished": False})
            (out / "README.md").unlink(missing_ok=True)
            _write_shards(out, [shard for shard in shards if shard.file not in kept], shards, num_processes, skip_bad,
                          progress)  # fmt: skip
            report = _report(out, shards, len(kept))
            write_dataset_card(out)
            write_json(out / BUILD_FILE, {**plan, "left_out": report.left_out, "finished": True})
        else:
            report = _report(out, shards, len(kept))
        return report


def schema_digest() -> str:
    """What tells the schema of rows from a later one."""
    return hashlib.sha256(str(ROW_FEATURES.arrow_schema.remove_metadata()).encode()).hexdigest()[:32]


def read_build(folder: Path) -> dict | None:
    """The content of `folder/build.json`, None where there is none.

    Raises:
        MajlError: it is not what `build_corpus` writes.
    """
    try:
        build = json.loads((folder / BUILD_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise MajlError(
            f"{folder / BUILD_FILE} cannot be read ({error}); remove the folder and build again."
        ) from error
    if not isinstance(build, dict) or not isinstance(build.get("shards"), list):
        raise MajlError(f"{folder / BUILD_FILE} names no shards; remove the folder and build again.")
    return build


def read_splits_by(folder: Path) -> dict[str, tuple[str, ...]]:
    """Corpus -> what its splits keep apart, in a built or combined folder; the key "" is for those that are not named.

    Raises:
        CorpusError: the file that says it cannot be read.
    """
    for name in (BUILD_FILE, COMBINE_FILE):
        path = folder / name
        if path.is_file():
            try:
                facts = json.loads(path.read_text(encoding="utf-8"))
                stated = facts.get("splits_by", SPLITS_BY)
                if isinstance(stated, Mapping):
                    return {"": SPLITS_BY, **{corpus: tuple(names) for corpus, names in stated.items()}}
                return {"": tuple(stated)}
            except (ValueError, AttributeError, TypeError) as error:
                raise CorpusError(f"{path} cannot be read ({error}). Build the corpus again.") from error
    return {"": SPLITS_BY}


@contextlib.contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Make the folder and hold it against a second build; the system lets go of it however this process ends."""
    with contextlib.ExitStack() as stack:
        try:
            (out / "data").mkdir(parents=True, exist_ok=True)
            free = stack.enter_context(held(out))
        except OSError as error:
            raise MajlError(f"{out} cannot be written: {error.strerror}. Choose another folder.") from error
        if not free:
            raise MajlError(f"{out} is being built by another process; wait for it or choose another folder.")
        yield


def _check_folder(out: Path, earlier: dict | None, plan: dict, overwrite: bool) -> None:
    if earlier is None:
        strangers = sorted(p.name for p in out.iterdir() if not p.name.startswith(".") and p.name != "data")
        strangers += sorted(f"data/{p.name}" for p in (out / "data").iterdir() if not p.name.startswith("."))
        if strangers:
            raise MajlError(f"{out} holds {strangers[0]} but no {BUILD_FILE}: it is no build. Choose another folder.")
    elif not overwrite and not _same(earlier, plan):
        raise MajlError(
            f"{out} was built otherwise ({_difference(earlier, plan)}). "
            "Overwrite it (--overwrite keeps what is unchanged) or choose another folder."
        )


def _same(earlier: dict, plan: dict) -> bool:
    return all(earlier.get(key) == value for key, value in plan.items())


def _difference(earlier: dict, plan: dict) -> str:
    for key, what in (("majl_hf", "version of majl_hf"), ("schema", "schema"), ("splits_by", "splits_by")):
        if earlier.get(key) != plan[key]:
            return f"{what} {earlier.get(key)}, now {plan[key]}"
    old, new = ({id: s["split"] for s in build["shards"] for id in s["ids"]} for build in (earlier, plan))
    if old.keys() != new.keys():
        return f"{len(old.keys() - new.keys())} recordings are gone, {len(new.keys() - old.keys())} are new"
    if old != new:
        return f"{sum(old[id] != new[id] for id in old)} recordings are in another split"
    if [s["ids"] for s in earlier["shards"]] != [s["ids"] for s in plan["shards"]]:
        return f"in {len(earlier['shards'])} shards, now {len(plan['shards'])}"
    changed = [n["file"] for o, n in zip(earlier["shards"], plan["shards"], strict=True) if o != n]
    return f"the source files or options behind {len(changed)} of its shards have changed, first {changed[0]}"


def remove_leftovers(out: Path, files: Iterable[str]) -> None:
    """Hidden files of a build that was killed, and shards that are not among the planned `files`."""
    planned = {Path(file).name for file in files}
    for path in [*out.glob(".majl-*.part"), *(out / "data").glob(".majl-*.part")]:
        path.unlink(missing_ok=True)
    for path in (out / "data").glob("*.parquet"):
        if path.name not in planned:
            path.unlink()


def _is_done(path: Path, shard: Shard, skip_bad: bool) -> bool:
    facts = shard_facts(path)
    if facts is None or facts["fingerprint"] != shard.fingerprint:
        return False
    complete = facts["num_rows"] + len(facts["left_out"]) == len(shard.tracks)
    return complete and (skip_bad or not facts["left_out"])


def shard_facts(path: Path) -> dict | None:
    """What a shard's footer says; None where there is no shard, a broken one, or one of another origin."""
    try:
        with pq.ParquetFile(path) as file:
            facts = json.loads((file.metadata.metadata or {})[SHARD_KEY])
            return {**facts, "num_rows": file.metadata.num_rows}
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None


def _write_shards(
    out: Path,
    todo: Sequence[Shard],
    shards: Sequence[Shard],
    num_processes: int,
    skip_bad: bool,
    progress: Callable[[float, float], None] | None,
) -> None:
    total_s = sum(shard.duration_s for shard in shards)
    done_s = total_s - sum(shard.duration_s for shard in todo)

    def tick() -> None:
        if progress is not None:
            progress(done_s, total_s)

    tick()
    failures: dict[str, str] = {}
    tracks = [track for shard in todo for track in shard.tracks]
    with contextlib.closing(map_in_order(encode, tracks, num_processes, tick)) as results:
        for shard in todo:
            with ShardWriter(out / shard.file, ROW_FEATURES.arrow_schema) as writer:
                left_out: dict[str, str] = {}
                for track in shard.tracks:
                    row, failure = next(results)
                    if failure is not None:
                        left_out[track.id] = failure
                    elif skip_bad or not left_out:  # else this shard is given up, and only searched for more
                        writer.write(pa.Table.from_pylist([row], schema=ROW_FEATURES.arrow_schema))
                    done_s += track.duration_s
                    tick()
                if left_out and not skip_bad:
                    writer.discard()
                    failures |= left_out
                else:
                    writer.describe({"fingerprint": shard.fingerprint, "left_out": left_out})
    if failures:
        raise BuildFailed(failures, sum(len(shard.tracks) for shard in shards))


def encode(track: Track) -> tuple[dict | None, str | None]:
    """The row of a track, or why there is none; runs in the worker processes."""
    try:
        return track_to_row(track), None
    except MajlError as error:
        return None, str(error)
    except Exception as error:  # whatever a decoder thinks of: one bad file must not stop the others
        return None, f"{track.id} cannot be read ({type(error).__name__}: {error})."


class ShardWriter(AtomicWriter):
    """A Parquet file that appears whole or not at all; every table becomes a row group.

    Nothing is compressed: the audio is FLAC. Pages carry checksums, which `check_dataset` verifies.

    Raises:
        AudioError: the file cannot be written.
    """

    def __init__(self, path: Path, schema: pa.Schema):
        super().__init__(path, overwrite=True)
        self._parquet = pq.ParquetWriter(
            self._file,
            schema,
            compression="none",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )

    def write(self, table: pa.Table) -> None:
        """Append a row group."""
        try:
            self._parquet.write_table(table)
        except OSError as error:
            raise self._failure(error) from error

    def describe(self, facts: dict) -> None:
        """Put `facts` into the footer."""
        self._parquet.add_key_value_metadata({SHARD_KEY: json.dumps(facts, sort_keys=True)})

    def discard(self) -> None:
        if not self._done:
            with contextlib.suppress(Exception):  # its destructor would try again, and complain
                self._parquet.close()
        super().discard()

    def _flush(self) -> None:
        self._parquet.close()


def write_json(path: Path, value: dict) -> None:
    write_atomically(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def _report(out: Path, shards: Sequence[Shard], num_kept: int) -> BuildReport:
    report = BuildReport(out, num_shards=len(shards), num_kept=num_kept)
    for shard in shards:
        facts = shard_facts(out / shard.file)
        report.left_out |= facts["left_out"]
        report.num_rows += facts["num_rows"]
        report.num_bytes += (out / shard.file).stat().st_size
        report.duration_s += sum(track.duration_s for track in shard.tracks if track.id not in facts["left_out"])
    if not report.num_rows:
        raise BuildFailed(report.left_out, sum(len(shard.tracks) for shard in shards))
    return report
