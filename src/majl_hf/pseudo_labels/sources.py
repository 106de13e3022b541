"""Rows that could get labels: what is known of them before their audio is read, and the whole row on demand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import CorpusError
from ..rows.reading import find_row_files
from ..rows.schema import ROW_FEATURES

_FACTS = ("id", "corpus", "song", "label_kind", "duration_s", "f0_hop_s")


@dataclass(frozen=True)
class SourceRow:
    """A row and its place: `row` of `row_group` of the file `path`; `has_pitch` says whether it has an f0 label."""

    id: str
    corpus: str
    song: str
    label_kind: str
    duration_s: float
    has_pitch: bool
    path: str
    row_group: int
    row: int

    def read(self) -> dict:
        """The row with its audio as bytes, a dict of `schema.ROW_FEATURES`.

        Raises:
            CorpusError: the file cannot be read.
        """
        try:
            group = _group(self.path, self.row_group)
        except (pa.ArrowException, OSError) as error:
            raise CorpusError(f"{self.path} cannot be read ({error}); build the corpus again.") from error
        return group.slice(self.row, 1).to_pylist()[0]


@lru_cache(maxsize=1)
def _group(path: str, row_group: int) -> pa.Table:
    with pq.ParquetFile(path) as file:
        return file.read_row_group(row_group, columns=list(ROW_FEATURES))


def find_files(folder: str, split: str) -> list[str]:
    """Parquet files of a split of a folder or of a dataset on the Hub, which are downloaded; see `find_row_files`."""
    return find_row_files(folder, split)


def scan(files: Sequence[str]) -> list[SourceRow]:
    """All rows of files in the schema's layout, in their order.

    Raises:
        CorpusError: a file that cannot be read or lacks a column, or an id twice.
    """
    rows: list[SourceRow] = []
    for path in files:
        try:
            with pq.ParquetFile(path) as file:
                missing = [name for name in ROW_FEATURES if name not in file.schema_arrow.names]
                if missing:
                    raise CorpusError(f"{path} has no column {', '.join(missing)}; it is no corpus of this schema.")
                for group in range(file.num_row_groups):
                    for number, facts in enumerate(file.read_row_group(group, columns=list(_FACTS)).to_pylist()):
                        has_pitch = facts.pop("f0_hop_s") is not None
                        rows.append(SourceRow(**facts, has_pitch=has_pitch, path=path, row_group=group, row=number))
        except (pa.ArrowException, OSError) as error:
            raise CorpusError(f"{path} cannot be read ({error}). It is damaged; build the corpus again.") from error
    twice = [id for id, count in Counter(row.id for row in rows).items() if count > 1]
    if twice:
        raise CorpusError(f"The id {twice[0]} occurs twice; every row needs one of its own. Build the corpus again.")
    return rows
