"""Check that a built folder is complete and valid: every row is read, decoded and compared with the schema.

Conventions
    A problem names its row, or its file where the row is not known. FLAC frames carry checksums, and so does every page
    of shards written here, so that damage anywhere is found. One row is in memory at a time.

    Songs and singers are compared within a corpus, by their names; the split "unused" may share them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..corpora.tracks import LABEL_KINDS, AudioPart
from ..errors import CorpusError
from ..system.processes import map_in_order
from .convert import MAX_MIXTURE_ERROR_DB, mixture_error_db, row_to_track
from .index import Amount, Amounts, RowRef, references
from .schema import AUDIO_COLUMNS, ROW_FEATURES, SAMPLING_WEIGHT
from .shards import SHARD_NAME, find_shards, shard_name
from .swapped import find_swapped
from .writing import BUILD_FILE, COMBINE_FILE, SPLITS_BY, read_plan, read_splits_by

MAX_LABEL_EXCESS = 3  # frames that a label may reach beyond the audio
# For each label kind, the columns that a row needs and those that it must not have.
_KIND_COLUMNS = {
    "full": ({"vocals", "accompaniment", "f0_hz"}, set()),
    "separation": ({"vocals", "accompaniment"}, {"f0_hz"}),
    "pitch": ({"mixture", "f0_hz"}, {"vocals", "accompaniment"}),
    "vocals": ({"vocals"}, {"accompaniment"}),
    "accompaniment": ({"accompaniment"}, {"vocals", "f0_hz"}),
    "pseudo": ({"vocals", "f0_hz"}, set()),
}


@dataclass(frozen=True)
class Problem:
    """`where` is the id of a row, or a file where the row is not known."""

    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass
class CheckReport:
    """What `check_dataset` found; `amounts` by (split, corpus, label kind), `total` with the bytes of the files."""

    folder: Path
    problems: list[Problem] = field(default_factory=list)
    amounts: Amounts = field(default_factory=Amounts)
    total: Amount = field(default_factory=Amount)

    @property
    def ok(self) -> bool:
        return not self.problems

    def as_dict(self) -> dict:
        """For JSON."""
        return {
            "folder": str(self.folder),
            "ok": self.ok,
            **self.total.as_dict(),
            "amounts": self.amounts.as_list(),
            "problems": [{"where": problem.where, "what": problem.what} for problem in self.problems],
        }


def check_dataset(
    folder: str | Path, num_processes: int = 1, progress: Callable[[float], None] | None = None
) -> CheckReport:
    """Check a folder that `build_corpus` or `combine_corpora` wrote.

    Args:
        progress: called often with the seconds of audio just checked. An exception that it raises ends the check.

    Raises:
        MajlError: no such folder, or no shard in it.
    """
    folder = Path(folder)
    paths = find_shards(folder)
    report = CheckReport(folder)
    report.problems += _check_files(folder, paths)
    splits_by, planned = _read_plan(folder, report.problems)
    splits_of: dict[tuple[str, str, str], dict[str, str]] = {}
    seen: dict[str, str] = {}
    tick = None if progress is None else lambda: progress(report.total.duration_s)
    for path, (rows, problems) in zip(paths, map_in_order(check_shard, paths, num_processes, tick), strict=True):
        name = f"data/{path.name}"
        report.problems += problems
        for row in rows:
            if row.id in seen:
                report.problems.append(Problem(row.id, f"the id is in {name} and in {seen[row.id]}"))
            seen.setdefault(row.id, name)
            report.amounts.add(row)
            report.total.add(row)
            if row.split != "unused":
                for what in splits_by[row.corpus]:
                    if value := getattr(row, what):
                        report.problems += _claim(splits_of, (what, row.corpus, value), row.split, row.id)
        if name in planned:
            report.problems += _compare_ids(name, planned[name], {row.id for row in rows})
    report.total.num_bytes = sum(path.stat().st_size for path in paths)
    return report


def _claim(splits_of: dict, key: tuple[str, str, str], split: str, id: str) -> Iterator[Problem]:
    """One problem for every further split in which a song or singer occurs."""
    splits = splits_of.setdefault(key, {})
    if split not in splits:
        splits[split] = id
        if len(splits) > 1:
            other = next(iter(splits))
            yield Problem(id, f"its {key[0]} {key[2]!r} is in the splits {other} ({splits[other]}) and {split}")


def _check_files(folder: Path, paths: list[Path]) -> Iterator[Problem]:
    if not (folder / "README.md").is_file():
        yield Problem("README.md", "is missing; it is written last, so build again")
    numbers: dict[tuple[str, int], set[int]] = defaultdict(set)
    for path in paths:
        match = SHARD_NAME.fullmatch(path.name)
        if match is None:
            yield Problem(f"data/{path.name}", "the name is not SPLIT-00000-of-00001.parquet")
            continue
        numbers[match[1], int(match[3])].add(int(match[2]))
    for (split, count), present in numbers.items():
        for number in sorted(set(range(count)) - present):
            yield Problem(f"data/{shard_name(split, number, count)}", "is missing")


def _read_plan(folder: Path, problems: list[Problem]) -> tuple[Mapping[str, tuple[str, ...]], dict[str, set[str]]]:
    """What the splits of each corpus keep apart, and the ids that each file should contain."""
    try:
        splits_by, plan = read_splits_by(folder), read_plan(folder) or {"finished": True, "shards": []}
    except CorpusError as error:
        problems.append(Problem(f"{BUILD_FILE} or {COMBINE_FILE}", str(error)))
        return defaultdict(lambda: SPLITS_BY), {}
    if not plan["finished"]:
        problems.append(Problem(BUILD_FILE, "the build is not finished; run its command again to resume"))
    left_out = plan.get("left_out", {})
    return splits_by, {shard["file"]: set(shard["ids"]) - set(left_out) for shard in plan["shards"]}


def _compare_ids(name: str, planned: set[str], present: set[str]) -> Iterator[Problem]:
    for id in sorted(planned - present):
        yield Problem(id, f"should be in {name} and is not")
    for id in sorted(present - planned):
        yield Problem(id, f"is in {name}, which was not planned to contain it")


def check_shard(path: Path) -> tuple[list[RowRef], list[Problem]]:
    """Check the rows of one file by themselves; runs in the worker processes."""
    name = f"data/{path.name}"
    rows: list[RowRef] = []
    problems: list[Problem] = []
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            problems += (Problem(name, what) for what in _check_schema(file.schema_arrow))
            if problems:
                return rows, problems
            for group in range(file.num_row_groups):
                try:
                    for batch in file.iter_batches(batch_size=1, row_groups=[group]):
                        for row in batch.to_pylist():
                            problems += (Problem(row["id"] or name, what) for what in check_row(row))
                    rows += references(path, file, [group])
                except (OSError, pa.ArrowException, CorpusError) as error:
                    problems.append(Problem(f"{name}, row group {group}", f"cannot be read ({error})"))
    except (OSError, pa.ArrowException) as error:
        problems.append(Problem(name, f"cannot be read ({error}); remove it and build again"))
    return rows, problems


def _check_schema(schema: pa.Schema) -> Iterator[str]:
    expected = {column.name: column.type for column in ROW_FEATURES.arrow_schema}
    present = {column.name: column.type for column in schema}
    if present.get(SAMPLING_WEIGHT) == pa.float32():
        del present[SAMPLING_WEIGHT]
    for column in expected.keys() - present.keys():
        yield f"has no column {column}"
    for column in present.keys() - expected.keys():
        yield f"has a column {column} of type {present[column]}, which is not in the schema"
    for column in expected.keys() & present.keys():
        if expected[column] != present[column]:
            yield f"has {present[column]} in the column {column}; the schema has {expected[column]}"


def check_row(row: Mapping) -> list[str]:
    """Problems of one row by itself, in words."""
    problems = [f"{name} is empty" for name in ("id", "corpus", "song", "licence") if not row[name]]
    if row["id"] and not row["id"].startswith(f"{row['corpus']}/"):
        problems.append(f"the id does not begin with its corpus, {row['corpus']!r}")
    problems += _check_kind(row)
    audio: dict[str, np.ndarray] = {}
    problems += _check_audio(row, audio)
    problems += _check_label(row)
    problems += _check_notes(row)
    weight = row.get(SAMPLING_WEIGHT, 1.0)
    if weight is None or not np.isfinite(weight) or weight < 0:
        problems.append(f"the sampling weight is {weight}; it needs a finite number of at least 0")
    if not problems:
        problems += _check_swapped(row, audio)
    return problems


def _check_kind(row: Mapping) -> Iterator[str]:
    kind = row["label_kind"]
    if kind not in LABEL_KINDS:
        yield f"the label kind is {kind!r}; it needs one of {', '.join(LABEL_KINDS)}"
        return
    needed, barred = _KIND_COLUMNS[kind]
    for column in sorted(needed):
        if row[column] is None:
            yield f"the label kind {kind!r} needs {column}, which is empty"
    for column in sorted(barred):
        if row[column] is not None:
            yield f"the label kind {kind!r} has no {column}, but it is filled"


def _check_audio(row: Mapping, audio: dict[str, np.ndarray]) -> Iterator[str]:
    """Also fills `audio` with the parts that match the row, (num_channels, num_samples) each."""
    for column in AUDIO_COLUMNS:
        if row[column] is None:
            continue
        try:
            part = AudioPart.from_bytes(row[column]["bytes"] or b"", column)
            samples = part.read(0, part.num_samples)
        except CorpusError as error:
            yield str(error)
            continue
        if part.sampling_rate != row["sampling_rate"]:
            yield f"{column} has {part.sampling_rate} Hz; the row says {row['sampling_rate']} Hz"
        elif row["duration_s"] is None or abs(part.num_samples - row["duration_s"] * part.sampling_rate) > 0.5:
            yield f"{column} lasts {part.duration_s:.4f} s; the row says {row['duration_s']} s"
        else:
            audio[column] = samples
    if len(audio) == len(AUDIO_COLUMNS):
        error_db = mixture_error_db(**audio)
        if error_db > MAX_MIXTURE_ERROR_DB:
            yield (
                f"the mixture is not the sum of vocals and accompaniment: they differ by {error_db:.1f} dB relative to "
                f"it, at most {MAX_MIXTURE_ERROR_DB:.0f} dB is accepted"
            )


def _check_swapped(row: Mapping, audio: Mapping[str, np.ndarray]) -> Iterator[str]:
    """For a row that has no other problem."""
    label = row_to_track(row).label
    if label is None or not {"vocals", "accompaniment"} <= audio.keys():
        return
    if problem := find_swapped(audio["vocals"], audio["accompaniment"], row["sampling_rate"], label):
        yield problem


def _check_label(row: Mapping) -> Iterator[str]:
    if row["f0_hz"] is None:
        for name in ("f0_hop_s", "f0_offset_s", "pitch_confidence"):
            if row[name] is not None:
                yield f"{name} is filled, but there is no f0_hz"
        yield from _check_confidence(row, "vocals_confidence", {1})
        return
    f0_hz = np.array(row["f0_hz"], dtype=np.float64)  # a null becomes NaN
    hop_s, offset_s = row["f0_hop_s"], row["f0_offset_s"]
    bad = np.flatnonzero(~np.isfinite(f0_hz) | (f0_hz < 0))
    if len(bad):
        yield f"f0_hz is {f0_hz[bad[0]]} Hz in frame {bad[0]}; it needs a finite value, 0 for unvoiced"
    elif len(f0_hz) and f0_hz.max() >= row["sampling_rate"] / 2:
        yield f"f0_hz reaches {f0_hz.max():.0f} Hz, above half the sampling rate of {row['sampling_rate']} Hz"
    if hop_s is None or offset_s is None or not hop_s > 0 or not np.isfinite(offset_s):
        yield f"the label's hop is {hop_s} s and its offset {offset_s} s; it needs a hop above 0 and a finite offset"
    elif not len(f0_hz):
        yield "f0_hz has no frames"
    else:
        last_s = offset_s + (len(f0_hz) - 1) * hop_s
        if offset_s < -MAX_LABEL_EXCESS * hop_s or last_s > (row["duration_s"] or 0.0) + MAX_LABEL_EXCESS * hop_s:
            yield f"the label spans {offset_s:.3f} to {last_s:.3f} s of a recording of {row['duration_s']} s"
    if row["f0_octave_reliable"] is None:
        yield "f0_octave_reliable is empty although f0_hz is filled"
    yield from _check_confidence(row, "pitch_confidence", {len(f0_hz)})
    yield from _check_confidence(row, "vocals_confidence", {1, len(f0_hz)})


def _check_confidence(row: Mapping, name: str, lengths: set[int]) -> Iterator[str]:
    if row[name] is None:
        return
    values = np.array(row[name], dtype=np.float64)
    if len(values) not in lengths:
        yield f"{name} has {len(values)} values; {' or '.join(map(str, sorted(lengths)))} are needed"
    if not ((values >= 0) & (values <= 1)).all():
        yield f"{name} has values outside 0 to 1"


def _check_notes(row: Mapping) -> Iterator[str]:
    previous_s = 0.0
    for number, note in enumerate(row["notes"] or ()):
        onset_s, offset_s, midi = (
            np.nan if v is None else v for v in (note["onset_s"], note["offset_s"], note["midi"])
        )
        if not (0 <= onset_s < offset_s < np.inf and 0 <= midi < 128):
            yield f"note {number} lasts from {onset_s} to {offset_s} s at MIDI {midi}; that is not a valid note"
            return
        if onset_s < previous_s:
            yield f"note {number} begins at {onset_s} s, before note {number - 1} at {previous_s} s"
            return
        if row["duration_s"] is not None and onset_s > row["duration_s"]:
            yield f"note {number} begins at {onset_s} s, after the recording has ended ({row['duration_s']} s)"
            return
        previous_s = onset_s
