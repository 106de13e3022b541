"""Write audio files as a stream, in every encoding of `ENCODINGS`."""

import contextlib

import av
import numpy as np
import soundfile

from ..errors import AudioError
from ..system.files import AtomicWriter
from .encoders import ENCODINGS, AvEncoder, SoundFileEncoder, check_encoding
from .quantising import Quantiser
from .resampling import StreamResampler
from .tags import Tags

_WAV_LIMIT_BYTES = 2**32 - 2**16  # sizes in a wav header have 32 bits; some room for the other chunks


class AudioWriter(AtomicWriter):
    """An audio file that is written atomically: it appears when the `with` block ends without an error.

    Args:
        path: Target; any extension.
        sampling_rate: Of the blocks, in Hz. An encoding that cannot store it gets them resampled.
        num_channels: Rows of every block.
        encoding: `"wav-float"` (32-bit float, exact), `"wav-24"` or `"flac"` (24 bits, rounded to the nearest step),
            `"wav-16"` (16 bits, with dither), `"mp3"`, `"m4a"` (AAC) or `"opus"`. All but the first are clipped at full
            scale; `clipped_samples` counts the clipped samples.
        overwrite: Whether an existing file may be replaced.
        expected_num_samples: Approximate number of samples, if known; if they do not fit into a wav file (4 GiB), an
            RF64 file is written.
        bit_rate: Of mp3, m4a and opus, in kbit/s; default: 128, 128 and 80 for each channel.
        tags: Title, artist and so on, and a cover. Of them wav stores only title, artist, album, track, date and genre.

    Attributes:
        notes (list of str): What is stored differently than requested: another sampling rate, a lower bit rate.

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
        *,
        bit_rate: int | None = None,
        tags: Tags | None = None,
    ):
        check_encoding(encoding, bit_rate)
        self.encoding = ENCODINGS[encoding]
        self.sampling_rate, self.num_channels = sampling_rate, num_channels
        self.clipped_samples = self.num_samples = 0
        self.notes: list[str] = []
        is_wav = self.encoding.container == "WAV"
        is_rf64 = is_wav and self._num_bytes(expected_num_samples or 0) > _WAV_LIMIT_BYTES
        self._limit_bytes = _WAV_LIMIT_BYTES if is_wav and not is_rf64 else None
        self._quantise = Quantiser(self.encoding.bits) if self.encoding.bits else None
        super().__init__(path, overwrite)
        self._guarded = _GuardedFile(self._file)
        try:
            rate = self.encoding.stored_rate(sampling_rate)
            self._resampler = StreamResampler(sampling_rate, rate, num_channels)
            if rate != sampling_rate:
                self.notes.append(f"{encoding} is written at {rate} Hz because it cannot store {sampling_rate} Hz")
            layout = (self._guarded, rate, num_channels, self.encoding, tags or Tags())
            if is_wav:
                self._encoder = SoundFileEncoder(*layout, is_rf64)
            else:
                self._encoder = AvEncoder(*layout, self._possible_bit_rate(bit_rate, rate))
            self._check_guard()
        except AudioError:
            self.discard()
            raise
        except (soundfile.LibsndfileError, av.error.FFmpegError, ValueError, TypeError) as error:
            self.discard()
            raise AudioError(
                f"{encoding} cannot store {num_channels} channels at {sampling_rate} Hz ({error}); choose another of "
                f"{', '.join(ENCODINGS)}."
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
        self._encode(self._resampler.push(block))

    def discard(self) -> None:
        if getattr(self, "_encoder", None) is not None and not self._encoder.closed:
            self._guarded.error = self._guarded.error or OSError("discarded")  # lets the encoder close without writing
            with contextlib.suppress(soundfile.LibsndfileError, av.error.FFmpegError):
                self._encoder.close()
        super().discard()

    def _flush(self) -> None:
        self._encode(self._resampler.push(np.zeros((self.num_channels, 0), dtype=np.float32), last=True))
        with self._explained():
            self._encoder.close()  # writes the last samples, and the lengths in the header

    def _encode(self, block: np.ndarray) -> None:
        if not block.shape[1]:
            return
        with self._explained():
            self._encoder.write(self._stored(block))

    def _stored(self, block: np.ndarray) -> np.ndarray:
        """The block as the encoder takes it: rounded and clipped, except for float samples."""
        if self._quantise is None:
            if self.encoding.bit_rates is None:
                return block
            self.clipped_samples += int(np.count_nonzero(np.abs(block) > 1))
            return np.clip(block, -1, 1)
        full_scale = self._quantise.full_scale
        steps = self._quantise(block) * full_scale
        # +1.0 is one step above the largest value; clipping it by one step needs no warning.
        self.clipped_samples += int(np.count_nonzero(np.abs(steps) > full_scale))
        steps = np.clip(steps, -full_scale, full_scale - 1).astype(np.int32)
        return steps << (32 - self.encoding.bits)

    def _possible_bit_rate(self, wanted: int | None, rate: int) -> int:
        """kbit/s: as wanted or the default, unless the rate and channels allow only less. 0 for lossless encodings."""
        most = self.encoding.max_bit_rate(rate, self.num_channels)
        if wanted is None:
            return min(self.encoding.bit_rate * self.num_channels // 2, most)
        if wanted > most:
            self.notes.append(
                f"the bit rate is {most} kbit/s, the most for {self.num_channels} channel"
                f"{'s' * (self.num_channels > 1)} at {rate} Hz"
            )
        return min(wanted, most)

    def _num_bytes(self, num_samples: int) -> int:
        return num_samples * self.num_channels * (self.encoding.bits or 32) // 8

    @contextlib.contextmanager
    def _explained(self):
        """Errors of the encoder as AudioError; the guard has the cause of a write that failed."""
        try:
            yield
        except (soundfile.LibsndfileError, av.error.FFmpegError, AssertionError) as error:
            self._check_guard()
            raise AudioError(f"{self.path} cannot be written: {error}.") from error
        self._check_guard()

    def _check_guard(self) -> None:
        error = self._guarded.error
        if isinstance(error, OSError):
            raise self._failure(error) from error
        if error is not None:
            raise error


class _GuardedFile:
    """The file object given to the encoder, which calls it from C, where an exception would be printed and lost. The
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
