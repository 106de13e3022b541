"""A corpus written as a folder that `datasets` loads: planned first, written file by file, resumed where it stopped.

    OUT/build.json                          the plan, written before anything else; combine.json of a combined corpus
    OUT/data/SPLIT-00000-of-00003.parquet   rows of `schema.ROW_FEATURES`, one row group a recording
    OUT/README.md                           dataset card, written when all files are there

Conventions
    A plan only depends on what goes in and on the target size: items keep their order, a split is cut into files of
    about equal duration. A file is written under a hidden name beside its place and renamed when complete, and its
    footer has the digest of all that its content depends on. So every existing file is complete: after a kill,
    the same command redoes only what is missing, with any number of processes, and ends with the same bytes as an
    uninterrupted one. The plan is marked as finished at the very end.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import BadRecordings, CorpusError, MajlError
from ..system.files import AtomicWriter, locked, write_json
from ..system.provenance import __version__
from .cards import write_dataset_card
from .schema import ROW_FEATURES
from .shards import shard_name

FORMAT = 2  # of plans and footers
SHARD_MINUTES = 10.0
BUILD_FILE, COMBINE_FILE, PSEUDO_FILE = "build.json", "combine.json", "pseudo_labels.json"
SPLITS_BY = ("song", "singer")
ADVICE = ". Repair or remove them and build again, or leave them out (--skip-bad)"
_FOOTER_KEY = b"majl_build"


class Made(NamedTuple):
    """What an item became: a row, as a dict or as a table of one, or else the reason why it is left out. `outcome` goes
    into the file's footer."""

    row: Mapping | pa.Table | None
    left_out: str | None = None
    outcome: Mapping | None = None


@dataclass(frozen=True)
class Shard:
    """A file of a plan, `file` relative to the folder, and what its rows are made from: items with `id` and
    `duration_s`. `digest` is of all that the rows depend on."""

    file: str
    split: str
    items: tuple[Any, ...]
    digest: str

    @property
    def duration_s(self) -> float:
        return sum(item.duration_s for item in self.items)


@dataclass(frozen=True)
class Plan:
    """What is to be written.

    Args:
        origin: what makes the corpus; one of another origin is never overwritten.
        splits_by: corpus -> what its splits keep apart, of "song" and "singer"; `check` verifies this.
        facts: what else the plan says, for JSON.
    """

    origin: str
    shards: Sequence[Shard]
    splits_by: Mapping[str, Sequence[str]]
    facts: Mapping[str, Any] = field(default_factory=dict)
    schema: pa.Schema = ROW_FEATURES.arrow_schema

    @property
    def num_items(self) -> int:
        return sum(len(shard.items) for shard in self.shards)

    def as_dict(self) -> dict:
        """The form in which it is written and read."""
        plan = {
            "format": FORMAT,
            "origin": self.origin,
            **self.facts,
            "majl_hf": __version__,
            "schema": digest(str(self.schema.remove_metadata())),
            "splits_by": {corpus: list(names) for corpus, names in sorted(self.splits_by.items())},
            "shards": [
                {"file": s.file, "split": s.split, "digest": s.digest, "ids": [item.id for item in s.items]}
                for s in self.shards
            ],
        }
        return json.loads(json.dumps(plan))


@dataclass(frozen=True)
class Team:
    """Processes that write one corpus together on one file system; `wait` returns when all have called it."""

    rank: int = 0
    size: int = 1
    wait: Callable[[], None] = lambda: None


@dataclass(frozen=True)
class Written:
    """What `write_corpus` ended with.

    Args:
        footers: what the footers of its files say: num_rows, left_out (id -> reason), outcomes.
        num_kept: files that were there already.
        unreadable: id -> reason of recordings that are not in the plan, since they could not be read.
    """

    out: Path
    plan: Plan
    footers: Sequence[Mapping]
    num_kept: int
    unreadable: Mapping[str, str] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        return sum(footer["num_rows"] for footer in self.footers)

    @property
    def left_out(self) -> dict[str, str]:
        of_files = {id: reason for footer in self.footers for id, reason in footer["left_out"].items()}
        return {**self.unreadable, **of_files}

    @property
    def duration_s(self) -> float:
        """Duration of all rows."""
        left_out = self.left_out
        return sum(item.duration_s for s in self.plan.shards for item in s.items if item.id not in left_out)

    @property
    def num_bytes(self) -> int:
        return sum((self.out / shard.file).stat().st_size for shard in self.plan.shards)


Produce = Callable[[Plan, Sequence[Any], Callable[[], None]], Iterator[Made]]
"""Yields what each of the given items of a plan becomes, in order; calls the given function while it waits, to report
progress."""


def digest(*facts) -> str:
    """Digest of facts that JSON can represent."""
    return hashlib.sha256(json.dumps([FORMAT, facts], sort_keys=True).encode()).hexdigest()[:32]


def cut_evenly(items: Sequence[Any], count: int) -> list[tuple]:
    """Cut into `count` runs of about equal duration; items keep their order, and runs without one are left out."""
    total_s = sum(item.duration_s for item in items)
    runs: list[list] = [[] for _ in range(count)]
    done_s = 0.0
    for item in items:
        middle_s = done_s + item.duration_s / 2
        runs[min(int(middle_s / total_s * count), count - 1)].append(item)
        done_s += item.duration_s
    return [tuple(run) for run in runs if run]


def plan_shards(
    by_split: Mapping[str, Sequence[Any]], shard_minutes: float, describe: Callable[[Any], Any], facts: Any = None
) -> list[Shard]:
    """Cut every split into files of about `shard_minutes` of audio; items keep their order.

    Args:
        describe: what the row of an item depends on, for JSON; `facts` is what all rows depend on.
    """
    shards = []
    for split, items in by_split.items():
        duration_s = sum(item.duration_s for item in items)
        groups = cut_evenly(items, max(1, math.ceil(duration_s / (60 * shard_minutes))))
        for number, group in enumerate(groups):
            made_from = digest(facts, [describe(item) for item in group])
            shards.append(Shard(f"data/{shard_name(split, number, len(groups))}", split, group, made_from))
    return shards


def write_corpus(
    out: Path,
    make_plan: Callable[[Mapping | None], Plan],
    produce: Produce,
    *,
    plan_file: str = BUILD_FILE,
    overwrite: bool = False,
    skip_bad: bool = True,
    wait: bool = False,
    progress: Callable[[float, float], None] | None = None,
    conclude: Callable[[Plan, Sequence[Mapping]], None] | None = None,
    team: Team | None = None,
    unreadable: Mapping[str, str] | None = None,
) -> Written:
    """Write the corpus `out`, or finish it; called alike by every process of a team.

    Args:
        make_plan: the plan, given the one that is in the folder as a dict, or None.
        produce: makes the rows; see `Produce`.
        overwrite: allow another plan in a folder that has one; files that both have in common are kept.
        skip_bad: leave out items that cannot become rows instead of failing.
        wait: for another process that is using the folder, instead of failing.
        progress: called often with the seconds of audio that are done and the total. What it raises stops the work.
        conclude: called once with the plan and the footers of its files, before the card is written.
        unreadable: id -> reason of recordings that could not be read and are not in the plan; they are reported with
            those that cannot become rows.

    Raises:
        BadRecordings: items that cannot become rows, all of them; the others are done. Or no item became one.
        MajlError: `out` has something else or another plan, cannot be written, or is being written already.
    """
    team, unreadable = team or Team(), unreadable or {}
    with alone_in(out, wait) if team.rank == 0 else contextlib.nullcontext():
        if team.rank == 0:
            plan = _settle(out, plan_file, make_plan, overwrite)
        team.wait()
        there = read_plan(out)
        if team.rank > 0:
            plan = make_plan(there)
            if not _same(there, plan.as_dict()):
                raise MajlError(f"{_difference(there, plan.as_dict())}: all processes need the same plan.")
        footers = {shard.file: _read_done(out, shard, skip_bad) for shard in plan.shards}
        todo = [shard for shard in plan.shards if footers[shard.file] is None]
        num_kept = len(plan.shards) - len(todo)
        num_items, failures = plan.num_items + len(unreadable), {} if skip_bad else dict(unreadable)
        if there["finished"] and not todo:
            if failures:
                raise BadRecordings(failures, num_items, advice=ADVICE)
            return Written(out, plan, list(footers.values()), num_kept, unreadable)
        team.wait()  # all have seen the same files before the first one is written
        if team.rank == 0:
            _begin(out, plan_file, plan)
        failures |= _write_shards(out, plan, todo[team.rank :: team.size], produce, skip_bad, progress)
        if failures:
            raise BadRecordings(failures, num_items, advice=ADVICE)
        team.wait()
        footers |= {shard.file: read_footer(out / shard.file) for shard in todo}
        if lost := [file for file, footer in footers.items() if footer is None]:
            raise CorpusError(f"{out / lost[0]} is missing or damaged; build again.")
        written = Written(out, plan, list(footers.values()), num_kept, unreadable)
        if team.rank == 0:
            if conclude is not None:
                conclude(plan, written.footers)
            if not written.num_rows:
                raise BadRecordings(written.left_out, num_items, advice=ADVICE)
            write_dataset_card(out)
            write_json(out / plan_file, {**plan.as_dict(), "left_out": written.left_out, "finished": True})
        team.wait()
        return written


def read_plan(folder: Path) -> dict | None:
    """The plan that `write_corpus` wrote into a folder, None where there is none.

    Raises:
        CorpusError: it cannot be read.
    """
    for path in (folder / BUILD_FILE, folder / COMBINE_FILE):
        try:
            plan = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(plan, dict) or not isinstance(plan.get("shards"), list):
                raise ValueError("it names no files")
            return {"finished": False, **plan}
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise CorpusError(f"{path} cannot be read ({error}); remove the folder and build again.") from error
    return None


def read_splits_by(folder: Path) -> defaultdict[str, tuple[str, ...]]:
    """Corpus -> what its splits keep apart; song and singer where the plan does not name it.

    Raises:
        CorpusError: the plan cannot be read.
    """
    stated = (read_plan(folder) or {}).get("splits_by", {})
    return defaultdict(lambda: SPLITS_BY, {corpus: tuple(names) for corpus, names in stated.items()})


@contextlib.contextmanager
def alone_in(out: Path, wait: bool = False) -> Iterator[None]:
    """Make a folder and lock it against a second build; see `system.files.locked`.

    Raises:
        MajlError: another process is building it.
    """
    with locked(out, wait) as free:
        if not free:
            raise MajlError(f"{out} is being built by another process; wait for it or choose another folder.")
        yield


def plan_in(out: Path, plan_file: str = BUILD_FILE) -> dict | None:
    """The plan of a folder that is to be written, None of a new one.

    Raises:
        MajlError: the folder contains something else.
    """
    earlier = read_plan(out)
    if earlier is None:
        strangers = sorted(path.name for path in out.glob("[!.]*") if path.name != "data")
        strangers += sorted(f"data/{path.name}" for path in (out / "data").glob("[!.]*"))
        if strangers:
            raise MajlError(
                f"{out} contains {strangers[0]} but no {plan_file}: it was not made by this version of majl_hf. "
                "Remove it or choose another folder."
            )
    return earlier


def _settle(out: Path, plan_file: str, make_plan: Callable[[Mapping | None], Plan], overwrite: bool) -> Plan:
    """The plan, which is in the folder now; what belongs to no plan is removed."""
    (out / "data").mkdir(exist_ok=True)
    earlier = plan_in(out, plan_file)
    plan = make_plan(earlier)
    facts = plan.as_dict()
    if earlier is not None and earlier.get("origin", plan.origin) != plan.origin:
        raise MajlError(f"{out} is a corpus of another origin ({earlier['origin']}). Choose another folder.")
    if earlier is not None and not overwrite and not _same(earlier, facts):
        raise MajlError(
            f"{out} was made with another plan ({_difference(earlier, facts)}). "
            "Overwrite it (--overwrite keeps what is unchanged) or choose another folder."
        )
    planned = {Path(shard.file).name for shard in plan.shards}
    for path in [*out.glob(".majl-*.part"), *(out / "data").glob(".majl-*.part"), *(out / "data").glob("*.parquet")]:
        if path.name not in planned:
            path.unlink()
    if earlier is None or not _same(earlier, facts):
        _begin(out, plan_file, plan)
    return plan


def _begin(out: Path, plan_file: str, plan: Plan) -> None:
    """Write the plan as one that is not finished."""
    write_json(out / plan_file, {**plan.as_dict(), "finished": False})
    (out / "README.md").unlink(missing_ok=True)


def _same(earlier: Mapping, plan: Mapping) -> bool:
    return all(earlier.get(key) == value for key, value in plan.items())


def _difference(earlier: Mapping, plan: Mapping) -> str:
    for key, value in plan.items():
        if key != "shards" and earlier.get(key) != value:
            return f"{key} {json.dumps(earlier.get(key))}, now {json.dumps(value)}"
    old, new = ({id: s["split"] for s in build["shards"] for id in s["ids"]} for build in (earlier, plan))
    if old.keys() != new.keys():
        return f"{len(old.keys() - new.keys())} recordings are gone, {len(new.keys() - old.keys())} are new"
    if old != new:
        return f"{sum(old[id] != new[id] for id in old)} recordings are in another split"
    if [s["ids"] for s in earlier["shards"]] != [s["ids"] for s in plan["shards"]]:
        return f"in {len(earlier['shards'])} shards, now {len(plan['shards'])}"
    changed = [n["file"] for o, n in zip(earlier["shards"], plan["shards"], strict=True) if o != n]
    return f"the source files or options behind {len(changed)} of its shards have changed, first {changed[0]}"


def _read_done(out: Path, shard: Shard, skip_bad: bool) -> dict | None:
    """The footer of a file of the plan; None where the file is still to be written."""
    footer = read_footer(out / shard.file)
    if footer is None or footer["digest"] != shard.digest or (footer["left_out"] and not skip_bad):
        return None
    return footer if footer["num_rows"] + len(footer["left_out"]) == len(shard.items) else None


def read_footer(path: Path) -> dict | None:
    """What the footer of a file says; None where there is no file, a broken one, or one of another origin."""
    try:
        with pq.ParquetFile(path) as file:
            facts = json.loads((file.metadata.metadata or {})[_FOOTER_KEY])
            return {**facts, "num_rows": file.metadata.num_rows}
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None


def _write_shards(
    out: Path,
    plan: Plan,
    todo: Sequence[Shard],
    produce: Produce,
    skip_bad: bool,
    progress: Callable[[float, float], None] | None,
) -> dict[str, str]:
    """Write files, and return the items that kept some of them from being written: id -> reason."""
    total_s = sum(shard.duration_s for shard in plan.shards)
    done_s = total_s - sum(shard.duration_s for shard in todo)

    def tick() -> None:
        if progress is not None:
            progress(done_s, total_s)

    tick()
    failures: dict[str, str] = {}
    with contextlib.closing(produce(plan, [item for shard in todo for item in shard.items], tick)) as made:
        for shard in todo:
            with ShardWriter(out / shard.file, plan.schema) as writer:
                left_out, outcomes = {}, []
                for item in shard.items:
                    row, reason, outcome = next(made)
                    if outcome is not None:
                        outcomes.append(outcome)
                    if reason is not None:
                        left_out[item.id] = reason
                    elif skip_bad or not left_out:  # else this file is given up and only checked
                        writer.write(row)
                    done_s += item.duration_s
                    tick()
                if left_out and not skip_bad:
                    writer.discard()
                    failures |= left_out
                else:
                    writer.describe({"digest": shard.digest, "left_out": left_out, "outcomes": outcomes})
    return failures


class ShardWriter(AtomicWriter):
    """A Parquet file, written atomically; every row, or table of rows, becomes a row group.

    Nothing is compressed: the audio is FLAC. Pages carry checksums, which `check_dataset` verifies.

    Raises:
        AudioError: the file cannot be written.
    """

    def __init__(self, path: Path, schema: pa.Schema):
        super().__init__(path, overwrite=True)
        self._schema = schema
        self._parquet = pq.ParquetWriter(
            self._file,
            schema,
            compression="none",
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )

    def write(self, rows: Mapping | pa.Table) -> None:
        """Append a row group."""
        table = rows if isinstance(rows, pa.Table) else pa.Table.from_pylist([rows], schema=self._schema)
        try:
            self._parquet.write_table(table)
        except OSError as error:
            raise self._failure(error) from error

    def describe(self, facts: Mapping) -> None:
        """Put `facts` into the footer."""
        self._parquet.add_key_value_metadata({_FOOTER_KEY: json.dumps(facts, sort_keys=True)})

    def discard(self) -> None:
        if not self._done:
            with contextlib.suppress(Exception):  # its destructor would try again and complain
                self._parquet.close()
        super().discard()

    def _flush(self) -> None:
        self._parquet.close()
