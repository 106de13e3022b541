"""Rows of a built corpus, read one at a time: as a dict, as a table or as a track.

Conventions
    A row's audio is read when its track is accessed and freed with the track.
    Nothing is converted or copied beforehand: `datasets` finds (and, from the Hub, downloads) the files, and its Arrow
    cache is not used, since writing it collects 100 rows at a time in memory, which are gigabytes of songs.

Traps
    A row group is read as a whole, except audio in a group of one row whose column is neither compressed nor dictionary
    encoded: such a recording is read by seeking, directly from the file. FLAC does not get smaller in Parquet.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ..corpora.tracks import LABEL_KINDS, Track
from ..errors import CorpusError
from .convert import row_to_track
from .index import RowRef, open_parquet, scan, unreadable
from .schema import AUDIO_COLUMNS, ROW_FEATURES, SAMPLING_WEIGHT

CACHE_BYTES = 64 * 2**20
_MAX_OPEN = 128  # files; systems allow a process about 1,000
_MAX_PAGE_HEADER = 512


def find_row_files(folder: str, split: str, download: bool = True) -> list[str]:
    """Parquet files of a split, sorted, of a built folder or a dataset on the Hub.

    Args:
        download: files on the Hub are downloaded and local paths are returned; otherwise their addresses.

    Raises:
        CorpusError: no such folder or dataset, or no such split; the message lists those that exist.
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


class RowReader:
    """Reads rows by their references. Files stay open for the next row; each process opens its own.

    Args:
        cache_bytes: of row groups kept for the next row, in each process.

    Raises:
        CorpusError: from every method, with the name of a file that cannot be read.
    """

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self.cache_bytes = cache_bytes
        self._forget()

    def __enter__(self) -> RowReader:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        for parquet in self._open.values():
            parquet.close()
        self._forget()

    def table(self, ref: RowRef) -> pa.Table:
        """The row as a table of one, of `schema.ROW_FEATURES`."""
        try:
            return self._group(ref).slice(ref.line, 1).select(list(ROW_FEATURES)).cast(ROW_FEATURES.arrow_schema)
        except pa.ArrowException as error:
            raise unreadable(ref.file, error) from error

    def row(self, ref: RowRef) -> dict:
        """The row as a dict of `schema.ROW_FEATURES`, its audio as bytes."""
        return self.table(ref).to_pylist()[0]

    def track(self, ref: RowRef) -> Track:
        """The track of the row, whose parts are opened when they are read."""
        parquet = self._file(ref.file)
        metadata = parquet.metadata.row_group(ref.row_group)
        openers = {}
        if metadata.num_rows == 1 and Path(ref.file).is_file():
            openers = _seekable_columns(ref.file, metadata, ref.parts)
        if len(openers) == len(AUDIO_COLUMNS):
            columns = [name for name in parquet.schema_arrow.names if name not in AUDIO_COLUMNS]
            table = self._read(ref, columns)
        else:
            openers, table = {}, self._group(ref)
        row = {}
        for name, column in zip(table.schema.names, table.columns, strict=True):
            value = column[ref.line]
            if name in AUDIO_COLUMNS:
                row[name] = _audio_cell(value)
            elif name != "notes" and pa.types.is_list(value.type):
                row[name] = value.values.to_numpy() if value.is_valid else None
            else:
                row[name] = value.as_py()
        return row_to_track(row | openers)

    def __getstate__(self) -> dict:
        return {name: value for name, value in vars(self).items() if name not in ("_process", "_open", "_groups")}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._open: dict[str, pq.ParquetFile] = {}
        self._groups: OrderedDict[tuple[str, int], pa.Table] = OrderedDict()

    def _file(self, file: str) -> pq.ParquetFile:
        if self._process != os.getpid():  # after a fork: the open files belong to the parent
            self._forget()
        if file not in self._open:
            if len(self._open) == _MAX_OPEN:
                self._open.pop(next(iter(self._open))).close()
            self._open[file] = open_parquet(file)
        return self._open[file]

    def _read(self, ref: RowRef, columns: Sequence[str] | None = None) -> pa.Table:
        try:
            return self._file(ref.file).read_row_group(ref.row_group, columns=columns, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise unreadable(ref.file, error) from error

    def _group(self, ref: RowRef) -> pa.Table:
        """A row group, kept while it and later ones fit into the cache."""
        self._file(ref.file)  # after a fork, drops the parent's groups
        key = (ref.file, ref.row_group)
        if key not in self._groups:
            self._groups[key] = self._read(ref)
        self._groups.move_to_end(key)
        while len(self._groups) > 1 and sum(table.nbytes for table in self._groups.values()) > self.cache_bytes:
            self._groups.popitem(last=False)
        return self._groups[key]


class ParquetRows(RowReader, Sequence[Track]):
    """Tracks of the rows of Parquet files in the layout of `schema.ROW_FEATURES`.

    Args:
        files: paths, or addresses that fsspec opens.
        label_kinds: keep rows of these kinds; empty keeps all.
        cache_bytes: see `RowReader`.

    `info` has the `RowRef` of each, in the same order.

    Raises:
        CorpusError: a file that is not Parquet or is truncated, a missing column, a row of an unknown kind or with an
            impossible weight, no row at all; the message names the file.
    """

    def __init__(self, files: Sequence[str], label_kinds: Sequence[str] = (), cache_bytes: int = CACHE_BYTES) -> None:
        super().__init__(cache_bytes)
        rows = scan(files)
        for row in rows:
            where = f"Row {row.id} of {row.file}"
            if row.label_kind not in LABEL_KINDS:
                raise CorpusError(f"{where} has the label kind {row.label_kind!r}; it needs one of {LABEL_KINDS}.")
            if not 0 <= row.weight < float("inf"):
                raise CorpusError(f"{where} has the {SAMPLING_WEIGHT} {row.weight}; it needs 0 or more.")
        self.info = [row for row in rows if not label_kinds or row.recipe in label_kinds]
        if not self.info:
            of_kinds = f" of kind {', '.join(label_kinds)}" if label_kinds else ""
            raise CorpusError(f"No row{of_kinds} in {', '.join(files) or 'no file'}.")

    def __len__(self) -> int:
        return len(self.info)

    def __getitem__(self, index: int) -> Track:
        return self.track(self.info[index])


def _open_range(path: str, start: int, length: int) -> pa.BufferReader:
    """`length` bytes of a file from `start` on, as a file; only the parts that are read come into memory."""
    with pa.memory_map(path) as file:
        file.seek(start)
        return pa.BufferReader(file.read_buffer(length))


def _seekable_columns(path: str, metadata, parts: Sequence[str]) -> dict[str, dict | None]:
    """Audio columns of a group of one row that are stored without encoding; None for those not in `parts`."""
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
                # A plain value is its length in 4 bytes, then its bytes; the last one ends where the column does.
                length = size - position
                if position >= 4 and int.from_bytes(head[position - 4 : position], "little") == length:
                    opener = partial(_open_range, path, start + position, length)
                    found[name] = {"bytes": opener, "path": f"{name}.flac"}
    return found


def _audio_cell(value) -> dict | None:
    """An audio cell of an Arrow table, without a copy of its bytes."""
    if not value.is_valid or not value["bytes"].is_valid:
        return None
    return {"bytes": partial(pa.BufferReader, value["bytes"].as_buffer()), "path": value["path"].as_py()}
