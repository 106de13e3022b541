"""f0 and notes of songs as Parquet, rows of `rows.schema.ROW_FEATURES` without audio."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..system.provenance import __version__

CORPUS = "catalogue"


class LabelCollector:
    """Collects pitch frames and notes of one song, and makes a table of one row of them.

    A row has no place for voicing: `f0_hz` is 0 in frames that the voicing policy calls unvoiced.

    Args:
        f0, notes: What is wanted.
    """

    def __init__(self, f0: bool, notes: bool):
        self.f0, self.notes = f0, notes
        self._f0_hz: list[np.ndarray] = []
        self._confidence: list[np.ndarray] = []
        self._notes: list[dict] = []
        self._offset_s: float | None = None

    def write(self, chunk) -> None:
        """Append a `MajlChunk`."""
        frames = chunk.frames
        if self.f0 and len(frames):
            self._offset_s = float(frames.times_s[0]) if self._offset_s is None else self._offset_s
            self._f0_hz.append(np.where(frames.voiced, frames.f0_hz, 0).astype(np.float32))
            self._confidence.append(np.asarray(frames.confidence, dtype=np.float32))
        if self.notes and chunk.notes:
            self._notes += [{"onset_s": n.onset_s, "offset_s": n.offset_s, "midi": n.midi} for n in chunk.notes]

    def table(self, name: str, duration_s: float, sampling_rate: int, hop_s: float, provenance: str) -> pa.Table:
        """The row of the schema; columns that are not filled are null."""
        from ..rows.schema import ROW_FEATURES

        row = {
            "id": f"{CORPUS}/{name}",
            "corpus": CORPUS,
            "song": name,
            "singer": "",
            "label_kind": "pseudo",
            "duration_s": duration_s,
            "sampling_rate": sampling_rate,
            "licence": "",
            "provenance": f"Pitch by majl_hf {__version__}: {provenance}",
        }
        if self.f0:
            row |= {
                "f0_hz": np.concatenate([np.zeros(0, np.float32), *self._f0_hz]),
                "pitch_confidence": np.concatenate([np.zeros(0, np.float32), *self._confidence]),
                "f0_hop_s": hop_s,
                "f0_offset_s": self._offset_s or 0.0,
                "f0_octave_reliable": True,
            }
        if self.notes:
            row["notes"] = self._notes
        schema = ROW_FEATURES.arrow_schema
        return pa.table([pa.array([row.get(field.name)], field.type) for field in schema], schema=schema)


def write_labels(tables: Sequence[pa.Table]) -> bytes:
    """A Parquet file of several tables, in the order of the songs' names."""
    return _as_file(pa.concat_tables(tables).sort_by("id"))


def only_songs(content: bytes, names: set[str]) -> bytes:
    """The same file with some of its songs only."""
    table = pq.read_table(io.BytesIO(content))
    return _as_file(table.filter(pc.is_in(table["song"], pa.array(sorted(names)))))


def _as_file(table: pa.Table) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()
