"""Rows of a built corpus as tracks, read from its Parquet files one row at a time.

Conventions
    What choosing a row needs (kind, song, duration, weight) is read once, from the files' statistics where these say
    it; a row's audio is read when its track is asked for and forgotten when the track is.
    Nothing is converted or copied beforehand: `datasets` finds (and, from the Hub, downloads) the files, and its Arrow
    cache is left out, since writing it gathers 100 rows at a time in memory, which are gigabytes of songs.

Traps
    A row group is read as a whole. The audio of a group of one row whose column is neither compressed nor dictionary
    encoded is not: such a recording is read by seeking, straight from the file. FLAC does not get smaller in Parquet.
"""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..corpora.tracks import LABEL_KINDS, Track
from ..errors import CorpusError
from .schema import AUDIO_COLUMNS, ROW_FEATURES, SAMPLING_WEIGHT

CACHE_BYTES = 64 * 2**20
_INFO_COLUMNS = ("id", "song", "label_kind", "duration_s", "f0_hop_s", *(f"{name}.path" for name in AUDIO_COLUMNS))
_MAX_PAGE_HEADER = 512


@dataclass(frozen=True)
class RowInfo:
    """What is known of a row before its audio is read.

    `recipe` is the row's label kind, or for "pseudo" rows without both stems the kind of what they have. `weight` is
    its sampling_weight, or its duration where the corpus has none. `parts` are the audio columns that are filled,
    `num_bytes` is what they take in memory.
    """

    id: str
    song: str
    recipe: str
    duration_s: float
    weight: float
    has_labelled_vocals: bool
    parts: tuple[str, ...]
    num_bytes: int


def find_row_files(folder: str, split: str, download: bool = True) -> list[str]:
    """Parquet files of a split, sorted, of a built folder or a dataset on the Hub.

    Args:
        download: files on the Hub are downloaded and local paths are returned; otherwise their addresses.

    Raises:
        CorpusError: no such folder or dataset, or no such split; the message names those there are.
    """
    import datasets

    path = os.path.expandvars(os.path.expanduser(folder))
    try:
        builder = datasets.load_dataset_builder(path)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise CorpusError(
            f"{path} is neither a folder with a built corpus nor a dataset on the Hub ({error}). "
            "Build it with `majl data build`, or correct the configuration."
        ) from error
    data_files = builder.config.data_files or {}
    if split not in data_files:
        raise CorpusError(f"{path} has no split {split!r}; its splits are {sorted(map(str, data_files))}.")
    files = [str(file) for file in data_files[split]]
    if download and any("://" in file for file in files):
        files = datasets.DownloadManager().download(files)
    return sorted(files)


class ParquetRows(Sequence[Track]):
    """Tracks of the rows of Parquet files in the layout of `schema.ROW_FEATURES`.

    Args:
        files: paths, or addresses that fsspec opens.
        label_kinds: keep rows of these kinds; empty keeps all.
        cache_bytes: of row groups kept for the next row, in each process.

    `info` holds a `RowInfo` a row, in the same order. Two processes share nothing: each opens the files itself.

    Raises:
        CorpusError: a file that is no Parquet or is cut off, a column that is missing, no row at all; the message names
            the file.
    """

    def __init__(self, files: Sequence[str], label_kinds: Sequence[str] = (), cache_bytes: int = CACHE_BYTES) -> None:
        self.files = list(files)
        self.cache_bytes = cache_bytes
        self.info: list[RowInfo] = []
        self._places: list[tuple[int, int, int]] = []  # file, row group, row of the group
        self._forget()
        for number, file in enumerate(self.files):
            for place, info in _read_info(file):
                if not label_kinds or info.recipe in label_kinds:
                    self._places.append((number, *place))
                    self.info.append(info)
        if not self.info:
            of_kinds = f" of kind {', '.join(label_kinds)}" if label_kinds else ""
            raise CorpusError(f"No row{of_kinds} in {', '.join(self.files) or 'no file'}.")

    def __len__(self) -> int:
        return len(self.info)

    def __getitem__(self, index: int) -> Track:
        from .convert import row_to_track

        return row_to_track(self.row(index))

    def row(self, index: int) -> dict:
        """Row `index`, whose audio's "bytes" are functions that open it as a file."""
        number, group, line = self._places[index]
        file = self._file(number)
        metadata = file.metadata.row_group(group)
        openers = {}
        if metadata.num_rows == 1 and Path(self.files[number]).is_file():
            openers = _seekable_columns(self.files[number], metadata, self.info[index].parts)
        if all(name in openers for name in AUDIO_COLUMNS):
            table = file.read_row_group(group, columns=_columns(file, without_audio=True), use_threads=False)
        else:
            openers, table = {}, self._group(number, group)
        row = {}
        for name, type_ in zip(table.schema.names, table.schema.types, strict=True):
            column = table.column(name)
            value = column[line]
            if name in AUDIO_COLUMNS:
                row[name] = _audio_cell(value)
            elif name not in ("notes",) and str(type_).startswith("list"):
                row[name] = value.values.to_numpy() if value.is_valid else None
            else:
                row[name] = value.as_py()
        row.update(openers)
        return row

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name not in ("_open", "_groups", "_process")}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._open: dict[int, object] = {}
        self._groups: OrderedDict[tuple[int, int], object] = OrderedDict()

    def _file(self, number: int):
        if self._process != os.getpid():  # after a fork: files and their positions stay the parent's
            self._forget()
        if number not in self._open:
            self._open[number] = _open_parquet(self.files[number])
        return self._open[number]

    def _group(self, number: int, group: int):
        """A row group, kept while it and later ones fit into the cache."""
        key = (number, group)
        if key not in self._groups:
            file = self._file(number)
            self._groups[key] = file.read_row_group(group, columns=_columns(file), use_threads=False)
        self._groups.move_to_end(key)
        while len(self._groups) > 1 and sum(table.nbytes for table in self._groups.values()) > self.cache_bytes:
            self._groups.popitem(last=False)
        return self._groups[key]


class _Range(io.RawIOBase):
    """`length` bytes of a file from `start` on, as a file."""

    def __init__(self, path: str, start: int, length: int) -> None:
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115  (closed by close)
        self._start, self._length, self._position = start, length, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer) -> int:
        view = memoryview(buffer).cast("B")[: max(0, self._length - self._position)]
        self._file.seek(self._start + self._position)
        count = self._file.readinto(view)
        self._position += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def _open_range(path: str, start: int, length: int) -> io.BufferedReader:
    return io.BufferedReader(_Range(path, start, length), 1 << 16)


def _seekable_columns(path: str, metadata, parts: Sequence[str]) -> dict[str, dict | None]:
    """Audio columns of a group of one row that stand in the file as they are; None for those not among `parts`."""
    found: dict[str, dict | None] = {}
    with open(path, "rb") as file:
        for number in range(metadata.num_columns):
            column = metadata.column(number)
            name, _, leaf = column.path_in_schema.partition(".")
            if name not in AUDIO_COLUMNS or leaf != "bytes":
                continue
            if name not in parts and column.total_compressed_size < _MAX_PAGE_HEADER:
                found[name] = None
            elif column.compression == "UNCOMPRESSED" and column.dictionary_page_offset is None:
                start, size = column.data_page_offset, column.total_compressed_size
                file.seek(start)
                head = file.read(min(_MAX_PAGE_HEADER, size))
                position = head.find(b"fLaC")
                # A plain value is its length in 4 bytes, then itself; the last one ends where the column does.
                length = size - position
                if position >= 4 and int.from_bytes(head[position - 4 : position], "little") == length:
                    opener = partial(_open_range, path, start + position, length)
                    found[name] = {"bytes": opener, "path": f"{name}.flac"}
    return found


def _audio_cell(value) -> dict | None:
    """An audio cell of an Arrow table, without a copy of its bytes."""
    import pyarrow as pa

    if not value.is_valid or not value["bytes"].is_valid:
        return None
    return {"bytes": partial(pa.BufferReader, value["bytes"].as_buffer()), "path": value["path"].as_py()}


def _open_parquet(file: str):
    import fsspec
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(file if "://" not in file else fsspec.open(file, "rb").open(), pre_buffer=True)
    except (OSError, pa.ArrowException) as error:
        raise CorpusError(f"{file} cannot be read as Parquet ({error}). It may be cut off: build it again.") from error
    missing = [name for name in ROW_FEATURES if name not in parquet.schema_arrow.names]
    if missing:
        raise CorpusError(f"{file} has no column {', '.join(missing)}; it is not a corpus of this package's schema.")
    return parquet


def _columns(file, without_audio: bool = False) -> list[str]:
    return [name for name in file.schema_arrow.names if not (without_audio and name in AUDIO_COLUMNS)]


def _read_info(file: str):
    """`((row group, row), RowInfo)` of every row of a file."""
    parquet = _open_parquet(file)
    names = list(_INFO_COLUMNS)
    if SAMPLING_WEIGHT in parquet.schema_arrow.names:
        names.append(SAMPLING_WEIGHT)
    groups = [parquet.metadata.row_group(number) for number in range(parquet.metadata.num_row_groups)]
    columns = [{c.path_in_schema: c for c in map(g.column, range(g.num_columns))} for g in groups]
    rows = [_from_statistics(c, names) if g.num_rows == 1 else None for g, c in zip(groups, columns, strict=True)]
    if any(row is None for row in rows):
        rows = [_flat(row) for row in parquet.read(columns=names, use_threads=False).to_pylist()]
    remaining = iter(rows)
    for number, group in enumerate(groups):
        num_bytes = sum(columns[number][f"{name}.bytes"].total_uncompressed_size for name in AUDIO_COLUMNS)
        for line in range(group.num_rows):
            yield (number, line), _info(next(remaining), num_bytes // group.num_rows, file)


def _from_statistics(columns: Mapping, names: Sequence[str]) -> dict | None:
    """The values of a group of one row, whose least value is its only one; None where a statistic is missing."""
    row = {}
    for name in names:
        statistics = columns[name].statistics
        if statistics is None:
            return None
        if statistics.null_count == 1:
            row[name] = None
        elif statistics.has_min_max and statistics.min == statistics.max:
            row[name] = statistics.max
        else:
            return None
    return row


def _flat(row: Mapping) -> dict:
    paths = {f"{name}.path": (row[name] or {}).get("path") for name in AUDIO_COLUMNS}
    return {**row, **paths}


def _info(row: Mapping, num_bytes: int, file: str) -> RowInfo:
    kind = row["label_kind"]
    if kind not in LABEL_KINDS:
        raise CorpusError(f"Row {row['id']} of {file} has the label kind {kind!r}; it needs one of {LABEL_KINDS}.")
    has_vocals, has_accompaniment = row["vocals.path"] is not None, row["accompaniment.path"] is not None
    if kind == "pseudo" and not (has_vocals and has_accompaniment):
        kind = "vocals" if has_vocals else "accompaniment" if has_accompaniment else "pitch"
    weight = row.get(SAMPLING_WEIGHT)
    weight = row["duration_s"] if weight is None else weight
    if not 0 <= weight < float("inf"):
        raise CorpusError(f"Row {row['id']} of {file} has the {SAMPLING_WEIGHT} {weight}; it needs 0 or more.")
    is_labelled = has_vocals and row["f0_hop_s"] is not None and row["label_kind"] != "pseudo"
    parts = tuple(name for name in AUDIO_COLUMNS if row[f"{name}.path"] is not None)
    return RowInfo(row["id"], row["song"], kind, row["duration_s"], float(weight), is_labelled, parts, num_bytes)
