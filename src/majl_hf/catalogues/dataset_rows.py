"""Rows of datasets, Parquet and Arrow files, by addresses of their own: `FILE#COLUMN[ROW]`."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ..audio import local_path
from ..errors import MajlError
from .retrying import without_secrets
from .stores import BLOCK_BYTES, is_remote, open_address

_ROW = re.compile(r"(?P<file>.+?\.(?:parquet|arrow))#(?P<column>.+)\[(?P<row>\d+)\]")


class RowAddress(NamedTuple):
    """A row of a dataset: a Parquet or Arrow file, its audio column, the row's number from 0."""

    file: str
    column: str
    row: int

    def __str__(self) -> str:
        return f"{self.file}#{self.column}[{self.row}]"


def row_address(address: str) -> RowAddress | None:
    """The parts of the address of a row; None for other addresses."""
    match = _ROW.fullmatch(address)
    return None if match is None else RowAddress(match["file"], match["column"], int(match["row"]))


class RowFile:
    """Context with the rows of a Parquet or Arrow file: its `schema`, `values` of some columns, and `one` row."""

    def __init__(self, address: str):
        self.address = address
        self._file = open_address(address)
        self._parquet = self._table = None
        self._reading: tuple[str, int] | None = None  # column and row group
        self._batches: Iterator[pa.RecordBatch] = iter(())
        self._next = 0  # the row with which the next of the batches starts
        try:
            if address.endswith(".arrow"):
                source = self._file if is_remote(address) else pa.memory_map(local_path(address))
                self._table = pa.ipc.open_stream(source).read_all()
                self.schema = self._table.schema
            else:
                source = self._file.raw if is_remote(address) else self._file  # pyarrow has buffers of its own
                self._parquet = pq.ParquetFile(source, buffer_size=BLOCK_BYTES)
                self.schema = self._parquet.schema_arrow
        except (pa.ArrowException, OSError) as error:
            self._file.close()
            raise MajlError(f"{without_secrets(address)} cannot be read as a dataset: {error}") from error

    def values(self, columns: list[str]) -> Iterator[dict]:
        """Rows with some columns or their fields, `COLUMN.FIELD`; nothing else is read."""
        if self._parquet is not None:
            for batch in self._parquet.iter_batches(1024, columns=columns):
                yield from batch.to_pylist()
            return
        whole = [name for name in columns if "." not in name]
        nested = [name.split(".") for name in columns if "." in name]
        for start in range(0, self._table.num_rows, 1024):
            table = self._table.slice(start, 1024).combine_chunks()
            rows = table.select(whole).to_pylist() if whole else [{} for _ in range(table.num_rows)]
            for column, field in nested:
                values = table[column].combine_chunks().field(field).to_pylist()
                for row, value in zip(rows, values, strict=True):
                    row[column] = {field: value}
            yield from rows

    def one(self, column: str, number: int) -> dict | None:
        """The value of a column in one row. Parquet has no way to a row but through those before it in its group, so
        rows should be asked for in rising order: then each group is read once."""
        if self._table is not None:
            return self._table[column][number].as_py()
        group, first = self._group_of(number)
        if self._reading != (column, group) or number < self._next:
            self._batches = self._parquet.iter_batches(1, row_groups=[group], columns=[column], use_threads=False)
            self._reading, self._next = (column, group), first
        for batch in self._batches:
            self._next += 1
            if self._next > number:
                return batch[0][0].as_py()
        raise MajlError(f"{without_secrets(self.address)} ends before row {number}; the file is damaged.")

    def _group_of(self, number: int) -> tuple[int, int]:
        """The row group with a row, and the group's first row."""
        first = 0
        for group in range(self._parquet.num_row_groups):
            count = self._parquet.metadata.row_group(group).num_rows
            if number < first + count:
                return group, first
            first += count
        raise MajlError(f"{without_secrets(self.address)} has no row {number}; the dataset has changed.")

    def close(self) -> None:
        """Close the file."""
        self._batches = iter(())
        if self._parquet is not None:
            self._parquet.close()
        self._file.close()

    def __enter__(self) -> RowFile:
        return self

    def __exit__(self, *exception) -> None:
        self.close()


class _LastFile:
    """The file whose row this process has read last stays open for the next one."""

    def __init__(self):
        self._rows: RowFile | None = None
        self._lock = threading.Lock()

    def one(self, row: RowAddress) -> dict | None:
        with self._lock:
            try:
                if self._rows is None or self._rows.address != row.file:
                    self._close()
                    self._rows = RowFile(row.file)
                return self._rows.one(row.column, row.row)
            except BaseException:
                self._close()
                raise

    def _close(self) -> None:
        rows, self._rows = self._rows, None
        if rows is not None:
            rows.close()


_last_file = _LastFile()


def read_row(row: RowAddress) -> dict | None:
    """The value at an address of a row: that of an audio column, `{"bytes", "path"}`, or None.

    Raises:
        MajlError: the file cannot be read, or has no such row.
    """
    return _last_file.one(row)
