"""Built corpora joined into one: nothing twice, no song or singer on both sides of a split, a weight a row.

    OUT/data/SPLIT-00000-of-00003.parquet   the rows as they were, plus `sampling_weight`; one row group a recording
    OUT/README.md                           dataset card
    OUT/combine.json                        what was put in, dropped and moved, and why

Duplicates
    A song that two corpora have in common is kept once. Corpora are compared by name (case, accents, punctuation,
    "feat." and the like do not count; a name without a letter, such as a number, names nothing) and by audio
    (`fingerprint`). Rows of test are kept before those of validation, these before those of train; then full labels
    before separation, pitch, single voices and accompaniments; then the corpus given first. Two singers over one
    accompaniment are no duplicates. Rows of "unused" are neither compared nor dropped.

Splits
    Every row keeps its corpus's split unless a rule says otherwise. A row of train whose song, singer or audio also
    stands in validation or test is moved to "unused"; a song or singer that stands in both validation and test is an
    error. Within one corpus only what its own splits keep apart (`splits_by` in its build.json) is held apart.

Conventions
    Rows of train are stored in an order that depends on their ids only and mixes the corpora, so that a streaming
    shuffle of limited reach mixes them, too. The result depends on the inputs and options alone. Two passes are made
    over the audio, one recording at a time; the landmarks of all recordings stay in memory, about 10 MB an hour.
    The result appears at once when everything is done. What is finished before stays in a hidden folder beside it, so
    that a run that was stopped or killed goes on where it was (`unfinished`).
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import CorpusError, MajlError
from ..system.files import write_atomically
from ..system.processes import map_in_order
from ..system.provenance import __version__
from .amounts import Amounts
from .build import COMBINE_FILE, SHARD_MINUTES, ShardWriter, read_splits_by
from .cards import write_dataset_card
from .convert import row_to_track
from .fingerprint import Fingerprint, find_matches, track_to_fingerprint
from .sampling import SamplingConfig, sampling_weights
from .schema import COMBINED_FEATURES, ROW_FEATURES
from .shards import SPLITS, cut_evenly, file_facts, find_shards, known_split_of, readable, shard_name
from .unfinished import Unfinished, digest

HELD_OUT = ("test", "validation")
# Which of two recordings of the same song is kept: by split, then by label.
_SPLIT_RANK = {"test": 0, "validation": 1, "train": 2}
_KIND_RANK = {"full": 0, "separation": 1, "pitch": 2, "pseudo": 3, "vocals": 4, "accompaniment": 5}
_FACTS = ("id", "corpus", "song", "singer", "label_kind", "duration_s")
_FORMAT = 1
_FEATURING = r"\b(?:feat|ft|featuring)\b\.?"
_GUEST = re.compile(
    rf"\(\s*{_FEATURING}[^)]*\)|\[\s*{_FEATURING}[^\]]*\]|{_FEATURING}.*?(?=\s[-–—]\s|$)", re.IGNORECASE
)
_NO_SINGER = frozenset({"", "unknown", "various", "variousartists"})


@dataclass
class CombineReport:
    """What `combine_corpora` did.

    Args:
        out: the combined folder.
        amounts: what is in it, by split, corpus and label kind.
        dropped: a dict a row that was left out: id, corpus, split, label_kind, because ("name" or "audio"), of (the id
            of a row that was kept instead).
        moved: a dict a row of train that is now unused: id, corpus, because ("song", "singer" or "audio"), of (an id in
            validation or test).
        held_out_audio: a dict a pair of songs in validation and test that share audio: validation, test (an id each).
            They are left as they are, for published splits have such pairs.
    """

    out: Path
    amounts: Amounts = field(default_factory=Amounts)
    dropped: list[dict[str, str]] = field(default_factory=list)
    moved: list[dict[str, str]] = field(default_factory=list)
    held_out_audio: list[dict[str, str]] = field(default_factory=list)

    @property
    def num_rows(self) -> int:
        return self.amounts.total().num_rows

    @property
    def duration_s(self) -> float:
        return self.amounts.total().duration_s


@dataclass
class _Row:
    """What is known of a row without its audio, and where it stands."""

    id: str
    corpus: str
    song: str
    singer: str
    label_kind: str
    duration_s: float
    split: str
    path: Path
    row_group: int
    row: int  # in its row group
    group: int = -1

    @property
    def group_key(self) -> tuple:
        """Recordings of one song by one singer: clips are compared, kept and dropped together."""
        return self.corpus, self.song, self.singer, self.split


def combine_corpora(
    folders: Sequence[str | Path],
    out: str | Path,
    *,
    splits: Mapping[str, str] | None = None,
    drop_duplicates: bool = True,
    by_audio: bool = True,
    on_conflict: str = "move",
    sampling: SamplingConfig | None = None,
    shard_minutes: float = SHARD_MINUTES,
    num_processes: int = 1,
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
) -> CombineReport:
    """Join folders that `build_corpus` (or this function) wrote into a new one; the inputs stay as they are.

    Args:
        folders: the corpora, the preferred one of two equals first.
        out: appears at once when everything is done, never half.
        splits: rules, glob on the id -> split; the first that fits a row decides. None keeps the corpora's own splits.
        drop_duplicates: keep a song that corpora have in common once.
        by_audio: compare recordings by fingerprint as well as by name.
        on_conflict: "move" rows of train that share a song, a singer or audio with validation or test to "unused", or
            raise an "error".
        sampling: shares in training; in the other splits every second has the same weight.
        shard_minutes: about how much audio a file holds.
        num_processes: of fingerprinting.
        overwrite: replace a combined corpus that is there.
        progress: called often with the seconds of audio done, which every row adds to once when it is fingerprinted
            and once when it is written, or found to be done. What it raises ends the work; the next call goes on.

    Raises:
        CorpusError: no rows, a broken file, an id twice, a rule that fits nothing, a song or singer in both validation
            and test, a conflict where on_conflict is "error".
        MajlError: an option that makes no sense, a folder that is there already or is being made by another process.
    """
    if on_conflict not in ("move", "error"):
        raise MajlError(f"on_conflict is {on_conflict!r}; it needs to be 'move' or 'error'.")
    if not shard_minutes > 0:
        raise MajlError(f"shard_minutes is {shard_minutes}; it needs to be above 0.")
    folders, out = [Path(folder) for folder in folders], Path(out)
    _check_out(out, folders, overwrite)
    progress = progress or (lambda seconds: None)
    rows, splits_by = _scan(folders)
    rules = _apply_rules(rows, splits or {})
    groups = _group(rows)
    seconds = 0.0

    def advance(duration_s: float) -> None:
        nonlocal seconds
        seconds += duration_s
        progress(seconds)

    out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Unfinished(out)
    with unfinished.alone(), _files_kept_open():
        links = _audio_links(rows, unfinished, num_processes, advance) if by_audio else {}
        report = CombineReport(out)
        kept = rows
        if drop_duplicates:
            report.dropped = _drop_duplicates(groups, links)
            gone = {row["id"] for row in report.dropped}
            kept = [row for row in rows if row.id not in gone]
        _resolve_splits(kept, links, splits_by, on_conflict, report)
        weights = _weigh(kept, sampling)
        for row in kept:
            report.amounts.add(row.split, row.corpus, row.label_kind, row.duration_s)
        _write_shards(unfinished, _plan_shards(kept, shard_minutes), weights, advance)
        facts = {
            "format": _FORMAT,
            "majl_hf": __version__,
            "inputs": _describe_inputs(folders, rows),
            "options": {
                "splits": rules,
                "drop_duplicates": drop_duplicates,
                "by_audio": by_audio,
                "on_conflict": on_conflict,
                "sampling": vars(sampling or SamplingConfig()),
                "shard_minutes": shard_minutes,
            },
            "splits_by": {corpus: list(names) for corpus, names in sorted(splits_by.items())},
            "rows": [
                {
                    "split": split,
                    "corpus": corpus,
                    "label_kind": kind,
                    "rows": amount.num_rows,
                    "duration_s": round(amount.duration_s, 3),
                }
                for (split, corpus, kind), amount in report.amounts.in_order()
            ],
            "dropped": report.dropped,
            "moved": report.moved,
            "held_out_audio": report.held_out_audio,
        }
        text = json.dumps(facts, indent=1, ensure_ascii=False, default=dict)
        write_atomically(unfinished.result / COMBINE_FILE, text + "\n")
        write_dataset_card(unfinished.result)
        unfinished.finish()
    return report


def fold_name(name: str) -> str:
    """What two spellings of one name have in common; empty where the name holds no letter.

    Case, accents, punctuation, spaces, "&" for "and" and guests ("feat. ...", "(ft. ...)") are taken away.
    """
    name = _GUEST.sub(" ", name).replace("&", " and ")
    name = unicodedata.normalize("NFKD", name).casefold()
    folded = "".join(c for c in name if c.isalnum())
    return folded if any(c.isalpha() for c in folded) else ""


def _check_out(out: Path, folders: Sequence[Path], overwrite: bool) -> None:
    if not folders:
        raise MajlError("No corpus was given to combine; give the folders that `majl data build` has made.")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise MajlError(f"One of the folders {[str(folder) for folder in folders]} is given twice.")
    if out.resolve() in {folder.resolve() for folder in folders}:
        raise MajlError(f"{out} is one of the corpora to combine; choose another folder for the result.")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        if not overwrite:
            raise MajlError(f"{out} exists already; allow overwriting, or choose another folder.")
        if not (out / COMBINE_FILE).is_file():
            raise MajlError(f"{out} is no combined corpus ({COMBINE_FILE} is missing), so it is not overwritten.")


def _scan(folders: Iterable[Path]) -> tuple[list[_Row], dict[str, tuple[str, ...]]]:
    """Facts of all rows in order of folder, file and place, and what the splits of each corpus keep apart."""
    rows: list[_Row] = []
    splits_by: dict[str, tuple[str, ...]] = {}
    seen: dict[str, Path] = {}
    for folder in folders:
        paths = find_shards(folder)
        own_splits_by = read_splits_by(folder)
        for path in paths:
            for row in _scan_shard(path, known_split_of(path)):
                if row.id in seen:
                    raise CorpusError(f"The id {row.id} is in {seen[row.id]} and in {path}; combine each corpus once.")
                seen[row.id] = path
                rows.append(row)
                splits_by[row.corpus] = own_splits_by.get(row.corpus, own_splits_by[""])
    if not rows:
        raise CorpusError("The corpora to combine hold no row. Build them again.")
    return rows, splits_by


def _scan_shard(path: Path, split: str) -> Iterator[_Row]:
    with readable(path):
        file = pq.ParquetFile(path)
        present = {column.name: column.type for column in file.schema_arrow}
        wrong = [column.name for column in ROW_FEATURES.arrow_schema if present.get(column.name) != column.type]
        if wrong:
            raise CorpusError(f"{path} lacks the columns {wrong}, or has other types in them. Build the corpus again.")
        for row_group in range(file.num_row_groups):
            facts = file.read_row_group(row_group, columns=list(_FACTS)).to_pylist()
            for row, values in enumerate(facts):
                values = {name: values[name] or "" for name in _FACTS[:-1]} | {"duration_s": values["duration_s"] or 0}
                yield _Row(**values, split=split, path=path, row_group=row_group, row=row)


def _apply_rules(rows: Iterable[_Row], splits: Mapping[str, str]) -> dict[str, str]:
    used = set()
    for pattern, split in splits.items():
        if split not in SPLITS:
            raise CorpusError(f"The rule {pattern!r} asks for the split {split!r}; use one of {', '.join(SPLITS)}.")
    for row in rows:
        pattern = next((pattern for pattern in splits if fnmatchcase(row.id, pattern)), None)
        if pattern is not None:
            used.add(pattern)
            row.split = splits[pattern]
    if unused := [pattern for pattern in splits if pattern not in used]:
        raise CorpusError(
            f"The rules {unused} decide about no row. Correct them (they are globs on ids such as "
            f"{next(iter(rows)).id!r}, and the first that fits decides), or leave them out."
        )
    return dict(splits)


def _group(rows: Iterable[_Row]) -> list[list[_Row]]:
    numbers: dict[tuple, int] = {}
    groups: list[list[_Row]] = []
    for row in rows:
        row.group = numbers.setdefault(row.group_key, len(groups))
        if row.group == len(groups):
            groups.append([])
        groups[row.group].append(row)
    return groups


def _audio_links(
    rows: Sequence[_Row], unfinished: Unfinished, num_processes: int, advance: Callable[[float], None]
) -> dict[tuple[int, int], tuple[str, str]]:
    """Pairs of groups that share audio, lower number first -> the ids of two rows that do."""
    used = [row for row in rows if row.split != "unused"]
    fingerprints = _fingerprint_rows(used, unfinished, num_processes, advance)
    links: dict[tuple[int, int], tuple[str, str]] = {}
    for match in find_matches(fingerprints, [row.group for row in used]):
        first, second = used[match.first], used[match.second]
        if first.group > second.group:
            first, second = second, first
        links.setdefault((first.group, second.group), (first.id, second.id))
    return links


def _fingerprint_rows(
    rows: Sequence[_Row], unfinished: Unfinished, num_processes: int, advance: Callable[[float], None]
) -> list[Fingerprint]:
    """One a row, kept file by file."""
    files = [list(members) for _, members in itertools.groupby(rows, key=lambda row: row.path)]
    done = [unfinished.read_fingerprints(members[0].path, [row.id for row in members]) for members in files]
    todo = [row for members, found in zip(files, done, strict=True) if found is None for row in members]
    fingerprints: list[Fingerprint] = []
    with contextlib.closing(map_in_order(_fingerprint_row, todo, num_processes, lambda: advance(0.0))) as results:
        for members, found in zip(files, done, strict=True):
            if found is None:
                found = []
                for row in members:
                    found.append(next(results))
                    advance(row.duration_s)
                unfinished.write_fingerprints(members[0].path, [row.id for row in members], found)
            else:
                advance(sum(row.duration_s for row in members))
            fingerprints += found
    return fingerprints


def _fingerprint_row(row: _Row) -> Fingerprint:
    return track_to_fingerprint(row_to_track(_read(row).to_pylist()[0]))


def _drop_duplicates(
    groups: list[list[_Row]], links: Mapping[tuple[int, int], tuple[str, str]]
) -> list[dict[str, str]]:
    """Rows to leave out. Groups are taken best first; one that equals another corpus's that was taken is dropped."""

    def rank(group: list[_Row]) -> tuple:
        return (_SPLIT_RANK[group[0].split], min(_KIND_RANK.get(row.label_kind, 9) for row in group), group[0].group)

    neighbours: dict[int, list[int]] = defaultdict(list)
    for first, second in links:
        neighbours[first].append(second)
        neighbours[second].append(first)
    taken: set[int] = set()
    by_name: dict[str, list[int]] = defaultdict(list)
    dropped = []
    for group in sorted((group for group in groups if group[0].split != "unused"), key=rank):
        number = group[0].group
        # Music without a voice carries names such as "victory", which songs have as well.
        name = "" if all(row.label_kind == "accompaniment" for row in group) else fold_name(group[0].song)
        candidates = [(other, "audio") for other in sorted(neighbours[number]) if other in taken]
        candidates += [(other, "name") for other in (by_name[name] if name else ())]
        found = next((c for c in candidates if _same_recording(group[0], groups[c[0]][0])), None)
        if found is None:
            taken.add(number)
            if name:
                by_name[name].append(number)
            continue
        other, because = found
        for row in group:
            facts = {"id": row.id, "corpus": row.corpus, "split": row.split, "label_kind": row.label_kind}
            dropped.append({**facts, "because": because, "of": groups[other][0].id})
    return sorted(dropped, key=lambda row: row["id"])


def _same_recording(one: _Row, other: _Row) -> bool:
    """Of two corpora, and not known to be of two singers."""
    singers = {_fold_singer(row.singer) or row.singer for row in (one, other)} - {""}
    return one.corpus != other.corpus and len(singers) < 2


def _fold_singer(singer: str) -> str:
    folded = fold_name(singer)
    return "" if folded in _NO_SINGER else folded


def _keys(row: _Row) -> list[tuple]:
    """What must not stand in two splits: the row's song and its singer, by name, or by number within the corpus."""
    keys = []
    if row.song and row.label_kind != "accompaniment":
        keys.append(("song", fold_name(row.song) or (row.corpus, row.song)))
    elif row.song:
        keys.append(("song", (row.corpus, row.song)))
    singer = _fold_singer(row.singer)
    if singer:
        keys.append(("singer", singer))
    elif row.singer and fold_name(row.singer) == "":
        keys.append(("singer", (row.corpus, row.singer)))
    return keys


def _resolve_splits(
    rows: Sequence[_Row],
    links: Mapping[tuple[int, int], tuple[str, str]],
    splits_by: Mapping[str, tuple[str, ...]],
    on_conflict: str,
    report: CombineReport,
) -> None:
    """Move rows of train that share something with validation or test; fills `moved` and `held_out_audio`."""
    held: dict[tuple, dict[tuple[str, str], str]] = defaultdict(dict)  # key -> (split, corpus) -> an id
    for row in rows:
        if row.split in HELD_OUT:
            for key in _keys(row):
                held[key].setdefault((row.split, row.corpus), row.id)

    def clash(key: tuple, corpus: str, splits: tuple[str, ...]) -> str | None:
        """An id in one of `splits` that must be kept apart from a row of `corpus`."""
        for (split, other), id in held.get(key, {}).items():
            if split in splits and (other != corpus or key[0] in splits_by[corpus]):
                return id
        return None

    problems = []
    for row in rows:
        if row.split == "validation":
            for key in _keys(row):
                if id := clash(key, row.corpus, ("test",)):
                    problems.append(f"{row.id} is in validation and {id} in test, but their {key[0]} is the same")
    if problems:
        raise CorpusError(
            f"{len(problems)} rows of validation share a song or singer with test. Give rules (glob on the id -> "
            "split) that put them on one side:\n" + _shorten(problems)
        )

    present = {row.group: row for row in rows}
    by_audio: dict[int, str] = {}
    for (first, second), ids in links.items():
        if first not in present or second not in present:
            continue
        for group, other, id in ((first, second, ids[1]), (second, first, ids[0])):
            splits = present[group].split, present[other].split
            if splits[0] == "train" and splits[1] in HELD_OUT:
                by_audio.setdefault(group, id)
            elif splits == ("validation", "test"):
                report.held_out_audio.append({"validation": ids[0] if id == ids[1] else ids[1], "test": id})
    for row in rows:
        if row.split != "train":
            continue
        for key in _keys(row):
            if id := clash(key, row.corpus, HELD_OUT):
                report.moved.append({"id": row.id, "corpus": row.corpus, "because": key[0], "of": id})
                break
        else:
            if id := by_audio.get(row.group):
                report.moved.append({"id": row.id, "corpus": row.corpus, "because": "audio", "of": id})
    report.moved.sort(key=lambda row: row["id"])
    report.held_out_audio.sort(key=lambda pair: tuple(pair.values()))
    if report.moved and on_conflict == "error":
        lines = [f"{row['id']}: its {row['because']} is that of {row['of']}" for row in report.moved]
        raise CorpusError(
            f"{len(lines)} rows of train share a song, a singer or audio with validation or test. Give rules that put "
            "them on one side, or let them be moved to 'unused':\n" + _shorten(lines)
        )
    moved = {row["id"] for row in report.moved}
    for row in rows:
        if row.id in moved:
            row.split = "unused"


def _shorten(lines: Sequence[str], limit: int = 20) -> str:
    more = [f"  and {len(lines) - limit} more"] if len(lines) > limit else []
    return "\n".join([*(f"  {line}" for line in lines[:limit]), *more])


def _weigh(rows: Sequence[_Row], sampling: SamplingConfig | None) -> dict[str, float]:
    weights: dict[str, float] = {}
    for split in SPLITS:
        chosen = [row for row in rows if row.split == split]
        kinds, corpora = [row.label_kind for row in chosen], [row.corpus for row in chosen]
        config = sampling if split == "train" else SamplingConfig(tempering=1.0)
        values = sampling_weights(kinds, corpora, [row.duration_s for row in chosen], config)
        weights |= zip((row.id for row in chosen), values.tolist(), strict=True)
    return weights


def _plan_shards(rows: Sequence[_Row], shard_minutes: float) -> dict[str, tuple[_Row, ...]]:
    """File of the result -> the rows in it, in their order."""
    plan: dict[str, tuple[_Row, ...]] = {}
    for split in SPLITS:
        chosen = [row for row in rows if row.split == split]
        if split == "train":
            chosen.sort(key=lambda row: hashlib.sha256(row.id.encode()).digest())
        else:
            chosen.sort(key=lambda row: row.id)
        duration_s = sum(row.duration_s for row in chosen)
        shards = cut_evenly(chosen, max(1, round(duration_s / (60 * shard_minutes))))
        plan |= {f"data/{shard_name(split, number, len(shards))}": shard for number, shard in enumerate(shards)}
    return plan


def _write_shards(
    unfinished: Unfinished,
    plan: Mapping[str, Sequence[_Row]],
    weights: Mapping[str, float],
    advance: Callable[[float], None],
) -> None:
    schema = COMBINED_FEATURES.arrow_schema
    known = {path: file_facts(path) for path in {row.path for shard in plan.values() for row in shard}}
    digests = {
        file: digest([[row.id, weights[row.id], known[row.path], row.row_group, row.row] for row in shard])
        for file, shard in plan.items()
    }
    kept = unfinished.keep(digests)
    for file, shard in plan.items():
        if file in kept:
            advance(sum(row.duration_s for row in shard))
            continue
        with ShardWriter(unfinished.result / file, schema) as writer:
            for row in shard:
                table = _read(row)
                weight = pa.array([weights[row.id]], type=pa.float32())
                writer.write(pa.Table.from_arrays([*table.columns, weight], schema=schema))
                advance(row.duration_s)


def _read(row: _Row) -> pa.Table:
    """The row as a table of one, its columns in the schema's order."""
    with readable(row.path):
        table = _open(row.path).read_row_group(row.row_group, columns=list(ROW_FEATURES))
    return table.slice(row.row, 1).select(list(ROW_FEATURES))


@contextlib.contextmanager
def _files_kept_open() -> Iterator[None]:
    try:
        yield
    finally:
        _open.cache_clear()


@lru_cache(maxsize=32)
def _open(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path)


def _describe_inputs(folders: Iterable[Path], rows: Sequence[_Row]) -> list[dict]:
    inputs = []
    for folder in folders:
        own = [row for row in rows if row.path.parent.parent == folder]
        corpora = Counter(row.corpus for row in own)
        inputs.append(
            {"corpora": dict(sorted(corpora.items())), "duration_s": round(sum(r.duration_s for r in own), 3)}
        )
    return inputs
