"""Write audio files as a stream: 32-bit float wav, 24-bit wav, 24-bit flac."""

from dataclasses import dataclass

import numpy as np
import soundfile

from ..errors import AudioError
from ..system.files import AtomicWriter

_STEPS_24_BIT = 2.0**23  # quantisation steps from zero to full scale
_WAV_LIMIT_BYTES = 2**32 - 2**16  # sizes in a wav header have 32 bits; some room for the other chunks


@dataclass(frozen=True)
class Encoding:
    """How samples are stored: file extension, container and sample type as soundfile names them, size and kind."""

    extension: str
    container: str
    subtype: str
    bytes_per_sample: int
    is_integer: bool


ENCODINGS = {
    "wav-float": Encoding(".wav", "WAV", "FLOAT", 4, False),
    "wav-24": Encoding(".wav", "WAV", "PCM_24", 3, True),
    "flac": Encoding(".flac", "FLAC", "PCM_24", 3, True),
}


def to_24_bit_grid(block: np.ndarray) -> np.ndarray:
    """Round float32 samples to multiples of 2**-23, the steps of the integer encodings; nothing is clipped.

    Sums and differences of such samples are exact in float32 up to +-2. So if one stem is the rounded mixture minus the
    other rounded stem, the two still add up to the rounded mixture, bit for bit, after being written and read.
    """
    return np.rint(np.asarray(block, dtype=np.float32) * np.float32(_STEPS_24_BIT)) / np.float32(_STEPS_24_BIT)


class AudioWriter(AtomicWriter):
    """An audio file that is written atomically: it appears when the `with` block ends without an error.

    Args:
        path: Target; any extension.
        sampling_rate: Hz.
        num_channels: Rows of every block.
        encoding: `"wav-float"` (32-bit float, exact), `"wav-24"` or `"flac"` (24 bits: rounded to the nearest step and
            clipped at full scale; `clipped_samples` counts the clipped samples).
        overwrite: Whether an existing file may be replaced.
        expected_num_samples: Approximate number of samples, if known; if they do not fit into a wav file (4 GiB), an
            RF64 file is written.

    Raises:
        AudioError: unknown encoding, rate or channels that the format cannot store, a target that exists or cannot be
            written, a full disk, samples that are NaN or infinite, a wav file that grows beyond 4 GiB.
    """

    def __init__(
        self,
        path,
        sampling_rate: int,
        num_channels: int,
        encoding: str = "wav-float",
        overwrite: bool = False,
        expected_num_samples: int | None = None,
    ):
        if encoding not in ENCODINGS:
            raise AudioError(f"The encoding is {encoding!r}; it must be one of {', '.join(ENCODINGS)}.")
        self.encoding = ENCODINGS[encoding]
        self.sampling_rate, self.num_channels = sampling_rate, num_channels
        self.clipped_samples = self.num_samples = 0
        container = self.encoding.container
        self._limit_bytes = _WAV_LIMIT_BYTES if container == "WAV" else None
        if container == "WAV" and self._num_bytes(expected_num_samples or 0) > _WAV_LIMIT_BYTES:
            container, self._limit_bytes = "RF64", None
        super().__init__(path, overwrite)
        self._guarded = _GuardedFile(self._file)
        try:
            self._encoder = soundfile.SoundFile(
                self._guarded, "w", sampling_rate, num_channels, self.encoding.subtype, format=container
            )
            self._check_guard()
        except AudioError:
            self.discard()
            raise
        except (soundfile.LibsndfileError, ValueError, TypeError) as error:
            self.discard()
            raise AudioError(
                f"{container.lower()} cannot store {num_channels} channels at {sampling_rate} Hz ({error}); choose "
                f"another of {', '.join(ENCODINGS)}."
            ) from error

    def write(self, block: np.ndarray) -> None:
        """Append a `(num_channels, any)` block of float samples."""
        block = np.asarray(block, dtype=np.float32)
        if block.ndim != 2 or block.shape[0] != self.num_channels:
            raise AudioError(f"A block of shape {block.shape} was given; ({self.num_channels}, num_samples) is needed.")
        if not block.shape[1]:
            return
        if not np.isfinite(block).all():
            raise AudioError(f"Samples for {self.path} are NaN or infinite; finite samples are needed.")
        self.num_samples += block.shape[1]
        if self._limit_bytes is not None and self._num_bytes(self.num_samples) > self._limit_bytes:
            raise AudioError(f"{self.path} would exceed the 4 GiB of a wav file; write flac, or split the recording.")
        samples = np.ascontiguousarray(block.T)
        if self.encoding.is_integer:
            samples = self._quantised(samples)
        try:
            self._encoder.write(samples)
        except (soundfile.LibsndfileError, AssertionError) as error:  # a short write; the guard has the cause
            self._check_guard()
            raise AudioError(f"{self.path} cannot be written: {error}.") from error
        self._check_guard()

    def discard(self) -> None:
        if getattr(self, "_encoder", None) is not None and not self._encoder.closed:
            self._guarded.error = self._guarded.error or OSError("discarded")  # lets the encoder close without writing
            self._encoder.close()
        super().discard()

    def _flush(self) -> None:
        self._encoder.close()  # writes the last flac frame and the lengths in the header
        self._check_guard()

    def _quantised(self, samples: np.ndarray) -> np.ndarray:
        """24-bit steps in the upper bits of int32, which soundfile passes on unchanged."""
        steps = np.rint(samples * np.float32(_STEPS_24_BIT))
        # +1.0 is one step above the largest value; clipping it by one step needs no warning.
        self.clipped_samples += int(np.count_nonzero(np.abs(steps) > _STEPS_24_BIT))
        return np.clip(steps, -_STEPS_24_BIT, _STEPS_24_BIT - 1).astype(np.int32) << 8

    def _num_bytes(self, num_samples: int) -> int:
        return num_samples * self.num_channels * self.encoding.bytes_per_sample

    def _check_guard(self) -> None:
        error = self._guarded.error
        if isinstance(error, OSError):
            raise self._failure(error) from error
        if error is not None:
            raise error


class _GuardedFile:
    """The file object given to soundfile, which calls it from C, where an exception would be printed and lost. The
    first exception is kept here for the writer to raise, and further writes fail at once."""

    def __init__(self, file):
        self._file = file
        self.error: BaseException | None = None

    def write(self, data: bytes) -> int:
        if self.error is not None:
            return 0
        try:
            return self._file.write(data)
        except BaseException as error:
            self.error = error
            return 0

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._keep(0, self._file.seek, offset, whence)

    def tell(self) -> int:
        return self._keep(0, self._file.tell)

    def read(self, size: int = -1) -> bytes:
        return self._keep(b"", self._file.read, size)

    def _keep(self, fallback, call, *arguments):
        try:
            return call(*arguments)
        except BaseException as error:  # a buffered file writes while it seeks
            self.error = self.error or error
            return fallback
