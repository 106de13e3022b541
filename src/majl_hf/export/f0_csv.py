"""The pitch curve as CSV: a header and one row per frame.

    time_s,f0_hz,voicing,confidence
    0.000,220.000,0.9800,0.9125

Conventions: `time_s` is the centre of the frame in seconds (in microseconds, written with at least three decimals);
`f0_hz` is positive in every row (three decimals: better than 0.05 cents from 30 Hz on), sung or not; `voicing` is the
probability that the frame is sung and `confidence` the share of the posterior around `f0_hz`, both in [0, 1].
"""

import csv
from typing import TYPE_CHECKING

import numpy as np

from ..errors import MajlError
from ..system.files import AtomicWriter

if TYPE_CHECKING:
    from ..models.decoding_majl import PitchFrames

COLUMNS = ("time_s", "f0_hz", "voicing", "confidence")


class F0CsvWriter(AtomicWriter):
    """A pitch CSV that is written as a stream and appears when the `with` block ends without an error.

    Args:
        path: Target.
        overwrite: Whether an existing file may be replaced.
        unvoiced_as_zero: Write 0.000 Hz in frames that are unvoiced by the voicing policy, as some programs expect. The
            pitch of those frames is lost.

    Raises:
        AudioError: the target exists or cannot be written, a full disk.
    """

    def __init__(self, path, overwrite: bool = False, unvoiced_as_zero: bool = False):
        super().__init__(path, overwrite)
        self.unvoiced_as_zero = unvoiced_as_zero
        self.num_frames = 0
        self._write_text(",".join(COLUMNS) + "\n")

    def write(self, frames: "PitchFrames") -> None:
        """Append consecutive frames, maybe none."""
        f0_hz = np.asarray(frames.f0_hz)
        if self.unvoiced_as_zero:
            f0_hz = np.where(frames.voiced, f0_hz, 0.0)
        rows = zip(frames.times_s, f0_hz, frames.voicing, frames.confidence, strict=True)
        self._write_text("".join(f"{_seconds(t)},{f:.3f},{v:.4f},{c:.4f}\n" for t, f, v, c in rows))
        self.num_frames += len(f0_hz)

    def _write_text(self, text: str) -> None:
        try:
            self._file.write(text.encode("ascii"))
        except OSError as error:
            self.discard()
            raise self._failure(error) from error


def read_f0_csv(path) -> dict[str, np.ndarray]:
    """Read a pitch CSV: float64 arrays `time_s`, `f0_hz`, `voicing`, `confidence`, each of shape `(num_frames,)`.

    Raises:
        MajlError: wrong header, or a row that is not four numbers.
    """
    rows = []
    with open(path, newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        header = tuple(next(reader, ()))
        if header != COLUMNS:
            raise MajlError(f"{path} starts with {','.join(header)!r}; the header {','.join(COLUMNS)!r} is needed.")
        for row in reader:
            try:
                time_s, f0_hz, voicing, confidence = map(float, row)
            except ValueError:
                raise MajlError(
                    f"{path}, line {reader.line_num}: {','.join(row)!r} is not four numbers; the file is damaged."
                ) from None
            rows.append((time_s, f0_hz, voicing, confidence))
    columns = np.array(rows, dtype=np.float64).reshape(-1, len(COLUMNS)).T
    return dict(zip(COLUMNS, columns, strict=True))


def _seconds(time_s: float) -> str:
    """Six decimals, or three where that is exact."""
    text = f"{time_s:.6f}"
    return text.removesuffix("000")
