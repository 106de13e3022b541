"""Read audio files of all common formats as a stream of blocks."""

from collections.abc import Iterator

import numpy as np

from ..errors import AudioError
from .decoders import REFUSALS, AvDecoder, SoundFileDecoder
from .sources import SOUNDFILE_HEADS, Source, open_source

# Extensions that folders are searched for; a file given by name may have any extension.
VIDEO_EXTENSIONS = (
    ".mp4", ".m4v", ".mov", ".qt", ".webm", ".mkv", ".avi", ".flv", ".f4v", ".wmv", ".asf", ".mpg", ".mpeg", ".vob",
    ".ts", ".mts", ".m2ts", ".3gp", ".3g2", ".ogv",
)  # fmt: skip
AUDIO_EXTENSIONS = (
    ".wav", ".wave", ".rf64", ".w64", ".flac", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".voc",
    ".mp3", ".mp2", ".mpga", ".ogg", ".oga", ".opus", ".spx", ".m4a", ".m4b", ".m4r", ".aac", ".ac3", ".eac3", ".amr",
    ".wma", ".ape", ".tta", ".wv", ".mka", ".weba", *VIDEO_EXTENSIONS,
)  # fmt: skip
MAX_CHANNELS = 2  # that a model takes
COMMON_FORMATS = "wav, flac, mp3, ogg, opus, m4a, mp4 and many others"


class AudioReader:
    """An audio file, decoded block by block.

    Sample n lies n / sampling_rate seconds after the start of the file, also behind a gap between time stamps and in a
    video whose sound starts late; the time between is silence.

    Args:
        source: A path, the bytes of an audio file, or a seekable binary file object (read from its start, and left
            open).
        max_channels: Refuse files with more channels, such as with `MAX_CHANNELS`; None takes any number.

    Attributes:
        sampling_rate (int): Hz.
        num_channels (int).
        num_samples (int or None): None if only decoding to the end would show it (mp3, ogg, m4a).
        duration_s (float or None): From the file's header; for mp3 and raw aac it may be an estimate.
        container, codec (str): Short names for display.
        warnings (list of str): Problems of a file that could still be read, such as damaged packets, filled gaps, a
            header without a length or a truncated end; complete after the last block.

    Raises:
        AudioError: missing, a folder, empty, not readable, not audio, no samples, too many channels, or too damaged to
            read.
    """

    def __init__(self, source, max_channels: int | None = None):
        self._source = open_source(source)
        try:
            self._decoder = _open_decoder(self._source)
        except BaseException:
            self._source.close()
            raise
        self.name = self._source.name
        if max_channels is not None and self._decoder.num_channels > max_channels:
            self.close()
            raise AudioError(
                f"{self.name} has {self._decoder.num_channels} channels; at most {max_channels} can be used. Mix it "
                f"down to {max_channels} first."
            )
        self.sampling_rate: int = self._decoder.sampling_rate
        self.num_channels: int = self._decoder.num_channels
        self.num_samples: int | None = self._decoder.num_samples
        self.duration_s: float | None = self._decoder.duration_s
        self.container: str = self._decoder.container
        self.codec: str = self._decoder.codec
        self.warnings: list[str] = self._decoder.warnings
        self._started = False

    def blocks(self, block_size: int = 65536) -> Iterator[np.ndarray]:
        """Yield `(num_channels, block_size)` float32 arrays, the last one shorter. A reader can be read once."""
        if block_size < 1:
            raise ValueError(f"block_size is {block_size}; at least 1 is needed.")
        if self._started:
            raise AudioError(f"{self.name} was read already; open another AudioReader to read it again.")
        self._started = True
        return self._decoder.blocks(block_size)

    def close(self) -> None:
        """Close the file, unless the caller opened it."""
        self._decoder.close()
        self._source.close()

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def read_audio(source, max_channels: int | None = None) -> tuple[np.ndarray, int]:
    """Decode a whole file: `(num_channels, num_samples)` float32, and its sampling rate in Hz.

    Arguments and errors are those of `AudioReader`.
    """
    with AudioReader(source, max_channels) as reader:
        blocks = list(reader.blocks())
        if not blocks:
            raise AudioError(f"{reader.name} has 0 samples; at least one is needed. Copy or download it again.")
        return np.concatenate(blocks, axis=1), reader.sampling_rate


def _open_decoder(source: Source) -> SoundFileDecoder | AvDecoder:
    """soundfile for the formats it reads exactly, FFmpeg for mp3, ogg, opus, m4a, mp4; what one refuses, the other."""
    decoders = (
        (SoundFileDecoder, AvDecoder) if source.head.startswith(SOUNDFILE_HEADS) else (AvDecoder, SoundFileDecoder)
    )
    refusals = {}
    for decoder in decoders:
        try:
            return decoder(source)
        except REFUSALS as error:
            if isinstance(error, AudioError) and decoder is SoundFileDecoder:  # FFmpeg would take a tag for samples
                raise
            refusals[decoder.library] = error
    for error in refusals.values():
        if isinstance(error, AudioError):
            raise error
    reasons = "; ".join(f"{library}: {_reason(error)}" for library, error in refusals.items())
    hint = " Its index (moov) may be missing, as when a recording or download was cut off." * (
        source.head[4:8] == b"ftyp"
    )
    raise AudioError(
        f"{source.name} is not audio that can be decoded ({reasons}).{hint} Readable are {COMMON_FORMATS}; "
        "export or download it again."
    ) from next(iter(refusals.values()))


def _reason(error: Exception) -> str:
    text = getattr(error, "error_string", None) or getattr(error, "strerror", None) or str(error)
    return text.rstrip(".")
