"""Which rows there are: where each one is, what its columns say without its audio, and how much audio of each kind."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import CorpusError
from .schema import AUDIO_COLUMNS, ROW_FEATURES, SAMPLING_WEIGHT
from .shards import SPLITS, file_facts, find_shards, split_of

_WORDS = ("id", "corpus", "song", "singer", "label_kind", "licence")
_NUMBERS = ("duration_s", "sampling_rate", "f0_hop_s", "f0_offset_s")
_FACTS = (*_WORDS, *_NUMBERS, *(f"{name}.path" for name in AUDIO_COLUMNS))
_AUDIO_BYTES = frozenset(f"{name}.bytes" for name in AUDIO_COLUMNS)


@dataclass(frozen=True, slots=True)
class RowRef:
    """A row of a Parquet file: row `line` of a row group, and what its columns say; missing text is empty.

    Args:
        file: path, or an address that fsspec opens.
        split: as in the file's name, even if unknown.
        f0_hop_s, f0_offset_s: None if the row has no pitch label.
        sampling_weight: None if the corpus has none.
        parts: the audio columns that are filled.
        num_bytes: size of these columns in memory.
    """

    file: str
    row_group: int
    line: int
    split: str
    id: str
    corpus: str
    song: str
    singer: str
    label_kind: str
    licence: str
    duration_s: float
    sampling_rate: int
    f0_hop_s: float | None
    f0_offset_s: float | None
    sampling_weight: float | None
    parts: tuple[str, ...]
    num_bytes: int

    @property
    def folder(self) -> Path:
        """Folder of the corpus that contains the file."""
        return Path(self.file).parents[1]

    @property
    def has_pitch(self) -> bool:
        return self.f0_hop_s is not None

    @property
    def has_labelled_vocals(self) -> bool:
        return "vocals" in self.parts and self.has_pitch and self.label_kind != "pseudo"

    @property
    def recipe(self) -> str:
        """The label kind; for "pseudo" rows without both stems, the kind that fits their columns."""
        if self.label_kind != "pseudo" or {"vocals", "accompaniment"} <= set(self.parts):
            return self.label_kind
        return next((name for name in ("vocals", "accompaniment") if name in self.parts), "pitch")

    @property
    def weight(self) -> float:
        """How often the row is drawn: its sampling weight, or its duration if the corpus has no weights."""
        return self.duration_s if self.sampling_weight is None else self.sampling_weight


def open_parquet(file: str | Path, **options) -> pq.ParquetFile:
    """Open a file whose columns are those of `schema.ROW_FEATURES`, or more; `options` are pyarrow's.

    Args:
        file: path, or an address that fsspec opens.

    Raises:
        CorpusError: the file is not Parquet, truncated, or lacks columns; the message names it.
    """
    file = str(file)
    try:
        if "://" in file:
            import fsspec

            parquet = pq.ParquetFile(fsspec.open(file, "rb").open(), pre_buffer=True, **options)
        else:
            parquet = pq.ParquetFile(file, pre_buffer=True, **options)
    except (pa.ArrowException, OSError) as error:
        raise unreadable(file, error) from error
    if missing := [name for name in ROW_FEATURES if name not in parquet.schema_arrow.names]:
        raise CorpusError(f"{file} has no column {', '.join(missing)}; it is not a corpus in this package's schema.")
    return parquet


def unreadable(file: str | Path, error: Exception) -> CorpusError:
    """The error of a file that pyarrow cannot read."""
    return CorpusError(f"{file} cannot be read as Parquet ({error}). It is damaged or cut off: build the corpus again.")


def references(file: str | Path, parquet: pq.ParquetFile, row_groups: Sequence[int]) -> list[RowRef]:
    """The rows of some groups of the open file `file`, in order."""
    names = [*_FACTS, *([SAMPLING_WEIGHT] if SAMPLING_WEIGHT in parquet.schema_arrow.names else [])]
    try:
        rows = iter(parquet.read_row_groups(row_groups, columns=names, use_threads=False).to_pylist())
    except (pa.ArrowException, OSError) as error:
        raise unreadable(file, error) from error
    found = []
    for number in row_groups:
        group = parquet.metadata.row_group(number)
        columns = map(group.column, range(group.num_columns))
        num_bytes = sum(c.total_uncompressed_size for c in columns if c.path_in_schema in _AUDIO_BYTES)
        for line in range(group.num_rows):
            row = next(rows)
            found.append(
                RowRef(
                    file=str(file),
                    row_group=number,
                    line=line,
                    split=split_of(Path(file)),
                    **{name: row[name] or "" for name in _WORDS},
                    duration_s=row["duration_s"] or 0.0,
                    sampling_rate=row["sampling_rate"] or 0,
                    f0_hop_s=row["f0_hop_s"],
                    f0_offset_s=row["f0_offset_s"],
                    sampling_weight=row.get(SAMPLING_WEIGHT),
                    parts=tuple(name for name in AUDIO_COLUMNS if row[name] and row[name]["path"] is not None),
                    num_bytes=num_bytes // group.num_rows,
                )
            )
    return found


def scan(files: Iterable[str | Path]) -> list[RowRef]:
    """All rows of files, in their order; audio and label columns are not read.

    Raises:
        CorpusError: a file that cannot be read or lacks a column, or an id that occurs twice.
    """
    rows: dict[str, RowRef] = {}
    for file in files:
        with open_parquet(file) as parquet:
            for row in references(file, parquet, range(parquet.num_row_groups)):
                if row.id in rows:
                    raise CorpusError(
                        f"The id {row.id} is in {rows[row.id].file} and in {file}; every row needs a unique id. "
                        "Give each corpus once, or build it again."
                    )
                rows[row.id] = row
    return list(rows.values())


def scan_folders(*folders: Path) -> list[RowRef]:
    """All rows of built or combined corpora.

    Raises:
        CorpusError: as for `scan`; a folder without files, no row, or a file of a split that is not in `SPLITS`.
    """
    paths = [path for folder in folders for path in find_shards(folder)]
    if strange := [path for path in paths if split_of(path) not in SPLITS]:
        raise CorpusError(f"{strange[0]} belongs to no known split; its name must begin with one of {SPLITS}.")
    rows = scan(paths)
    if not rows:
        raise CorpusError(f"There are no rows in {', '.join(map(str, folders))}. Build the corpus again.")
    return rows


def origins(rows: Iterable[RowRef]) -> dict[str, list]:
    """Id -> where a row comes from, for digests: the facts of its file and its place there."""
    rows = list(rows)
    facts = {file: file_facts(file) for file in {row.file for row in rows}}
    return {row.id: [row.id, facts[row.file], row.row_group, row.line] for row in rows}


Key = tuple[str, str, str]  # split, corpus, label kind


@dataclass
class Amount:
    """Rows, seconds of recordings (however many parts they have), and bytes of encoded audio."""

    num_rows: int = 0
    duration_s: float = 0.0
    num_bytes: int = 0

    def add(self, other: Amount | RowRef) -> None:
        self.num_rows += getattr(other, "num_rows", 1)
        self.duration_s += other.duration_s
        self.num_bytes += other.num_bytes

    def as_dict(self) -> dict:
        """For JSON."""
        return {
            "num_rows": self.num_rows,
            "minutes": round(self.minutes, 3),
            "bytes": self.num_bytes,
            "bytes_per_minute": round(self.bytes_per_minute),
        }

    @property
    def minutes(self) -> float:
        return self.duration_s / 60

    @property
    def bytes_per_minute(self) -> float:
        return self.num_bytes / self.minutes if self.duration_s else 0.0


class Amounts(dict[Key, Amount]):
    """An `Amount` for each (split, corpus, label kind) that occurs among rows."""

    def __init__(self, rows: Iterable[RowRef] = ()) -> None:
        super().__init__()
        for row in rows:
            self.add(row)

    def add(self, row: RowRef) -> None:
        self.setdefault((row.split, row.corpus, row.label_kind), Amount()).add(row)

    def in_order(self) -> Iterator[tuple[Key, Amount]]:
        """By split in the order of `SPLITS`, then by name."""
        order = {split: number for number, split in enumerate(SPLITS)}
        yield from sorted(self.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0]))

    def as_list(self) -> list[dict]:
        """For JSON."""
        names = ("split", "corpus", "label_kind")
        return [dict(zip(names, key, strict=True)) | amount.as_dict() for key, amount in self.in_order()]

    def total(self, split: str = "", corpus: str = "", label_kind: str = "") -> Amount:
        """The sum over all keys with these values; empty matches all."""
        wanted, total = (split, corpus, label_kind), Amount()
        for key, amount in self.items():
            if all(not asked or asked == value for asked, value in zip(wanted, key, strict=True)):
                total.add(amount)
        return total
