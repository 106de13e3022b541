"""Read audio files of all common formats as a stream of blocks."""

from collections.abc import Iterator

import numpy as np

from ..errors import AudioError
from .decoders import REFUSALS, AvDecoder, SoundFileDecoder
from .layouts import Mixdown
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
COMMON_FORMATS = "wav, flac, mp3, ogg, opus, m4a, mp4 and many others"


class AudioReader:
    """An audio file, decoded block by block.

    Sample n is at n / sampling_rate seconds after the start of the file, also behind a gap between time stamps and in a
    video whose sound starts late; the time between is silence.

    Args:
        source: A path, the bytes of an audio file, or a seekable binary file object (read from its start, and left
            open).
        mixdown: Of more than two channels: True mixes them down to stereo by their layout (ITU-R BS.775) and says so
            in `warnings`, False refuses the file, None keeps them.
        stream: Which sound track of a file with several: its number, from 0, or its language as the file names it
            ("ger"). Default: the file's default track; `warnings` then names the others.

    Attributes:
        sampling_rate (int): Hz.
        num_channels (int): Of the blocks.
        num_samples (int or None): None if only decoding to the end would show it (mp3, ogg, m4a).
        duration_s (float or None): From the file's header; for mp3 and raw aac it may be an estimate.
        container, codec (str): Short names for display.
        warnings (list of str): Problems of a file that could still be read, such as damaged packets, filled gaps, a
            header without a length or a truncated end; complete after the last block.

    Raises:
        AudioError: missing, a folder, empty, not readable, not audio, no samples, too damaged to read, no such sound
            track, too many channels, or channels that have no standard mix.
    """

    def __init__(self, source, *, mixdown: bool | None = None, stream: int | str | None = None):
        self._source = open_source(source)
        try:
            self._decoder = _open_decoder(self._source, stream)
        except BaseException:
            self._source.close()
            raise
        self.name = self._source.name
        self.sampling_rate: int = self._decoder.sampling_rate
        self.num_channels: int = self._decoder.num_channels
        self.num_samples: int | None = self._decoder.num_samples
        self.duration_s: float | None = self._decoder.duration_s
        self.container: str = self._decoder.container
        self.codec: str = self._decoder.codec
        self.warnings: list[str] = self._decoder.warnings
        self._started = False
        self._mixdown = None
        if mixdown is not None and self.num_channels > 2:
            self._mix_down(mixdown)

    def blocks(self, block_size: int = 65536) -> Iterator[np.ndarray]:
        """Yield `(num_channels, block_size)` float32 arrays, the last one shorter. A reader can be read once."""
        if block_size < 1:
            raise ValueError(f"block_size is {block_size}; at least 1 is needed.")
        if self._started:
            raise AudioError(f"{self.name} was read already; open another AudioReader to read it again.")
        self._started = True
        blocks = self._decoder.blocks(block_size)
        return blocks if self._mixdown is None else map(self._mixdown, blocks)

    def close(self) -> None:
        """Close the file, unless the caller opened it."""
        self._decoder.close()
        self._source.close()

    def _mix_down(self, allowed: bool) -> None:
        try:
            if not allowed:
                raise AudioError("one or two are needed. Allow the mixdown, or mix the file down to stereo first.")
            self._mixdown = Mixdown(self.num_channels, self._decoder.channels)
        except AudioError as error:
            self.close()
            raise AudioError(f"{self.name} has {self.num_channels} channels; {error}") from None
        self.warnings.append(self._mixdown.note)
        self.num_channels = 2

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def read_audio(source, **options) -> tuple[np.ndarray, int]:
    """Decode a whole file: `(num_channels, num_samples)` float32, and its sampling rate in Hz.

    Arguments and errors are those of `AudioReader`.
    """
    with AudioReader(source, **options) as reader:
        blocks = list(reader.blocks())
        if not blocks:
            raise AudioError(f"{reader.name} has 0 samples; at least one is needed. Copy or download it again.")
        return np.concatenate(blocks, axis=1), reader.sampling_rate


def _open_decoder(source: Source, stream: int | str | None) -> SoundFileDecoder | AvDecoder:
    """soundfile for the formats it reads exactly, FFmpeg for mp3, ogg, opus, m4a, mp4; what one refuses, the other."""
    decoders = [AvDecoder, SoundFileDecoder]
    if source.head.startswith(SOUNDFILE_HEADS):
        decoders.reverse()
    if stream not in (None, 0):
        decoders = [AvDecoder]
    refusals = {}
    for decoder in decoders:
        try:
            return AvDecoder(source, stream) if decoder is AvDecoder else SoundFileDecoder(source)
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
