"""Read audio files of all common formats as a stream of blocks."""

from collections.abc import Iterator

import av
import numpy as np
import soundfile

from ..errors import AudioError
from .decoders import AvDecoder, SoundFileDecoder
from .layouts import Mixdown
from .sources import Source, open_source

# Extensions that a folder is searched for; a file given by name may have any extension.
AUDIO_EXTENSIONS = (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus", ".m4a", ".mp4", ".aac", ".aif", ".aiff", ".webm")

# First bytes of the files that soundfile reads here: the lossless containers. It could read mp3 and ogg, but libsndfile
# estimates the length of an mp3 whose header lacks it and silently drops the samples beyond; and soundfile seeks after
# every read, which makes the samples of an opus file depend on the block size.
_SOUNDFILE_HEADS = (b"RIFF", b"RIFX", b"RF64", b"riff", b"fLaC", b"FORM", b".snd", b"caff")


class AudioReader:
    """An audio file, decoded block by block.

    Args:
        source: A path, the bytes of an audio file, or a seekable binary file object (read from its start, and left
            open).
        stream: Which sound track of a file with several: its number, from 0, or its language as the file names it
            ("ger"). Default: the file's default track; `warnings` then names the others.
        mixdown: Mix more than two channels down to stereo by their layout (ITU-R BS.775), and say so in `warnings`.

    Attributes:
        sampling_rate (int): Hz.
        num_channels (int): Of the blocks.
        num_samples (int or None): None if only decoding to the end would show it (mp3, ogg, m4a).
        duration_s (float or None): From the file's header; for mp3 and raw aac it may be an estimate.
        container, codec (str): Short names for display.
        warnings (list of str): Problems of a file that could still be read, such as damaged packets or a truncated
            end; complete after the last block.

    Raises:
        AudioError: missing, a folder, empty, not readable, not audio, no samples, too damaged to read, no such
            sound track, or channels that have no standard mix.
    """

    def __init__(self, source, *, stream: int | str | None = None, mixdown: bool = False):
        checked = open_source(source)
        self._decoder = _open_decoder(checked, stream)
        self.name = checked.name
        self.sampling_rate: int = self._decoder.sampling_rate
        self.num_channels: int = self._decoder.num_channels
        self.num_samples: int | None = self._decoder.num_samples
        self.duration_s: float | None = self._decoder.duration_s
        self.container: str = self._decoder.container
        self.codec: str = self._decoder.codec
        self.warnings: list[str] = self._decoder.warnings
        self._started = False
        self._mixdown = None
        if mixdown and self.num_channels > 2:
            self._mix_down()

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

    def _mix_down(self) -> None:
        try:
            self._mixdown = Mixdown(self.num_channels, self._decoder.channels)
        except AudioError as error:
            self.close()
            raise AudioError(f"{self.name} cannot be mixed down: {error}") from None
        self.warnings.append(self._mixdown.note)
        self.num_channels = 2

    def __enter__(self) -> "AudioReader":
        return self

    def __exit__(self, *exception) -> None:
        self.close()


def read_audio(source, **options) -> tuple[np.ndarray, int]:
    """Decode a whole file: `(num_channels, num_samples)` float32, and its sampling rate in Hz.

    `source`, options and errors are those of `AudioReader`.
    """
    with AudioReader(source, **options) as reader:
        return np.concatenate(list(reader.blocks()), axis=1), reader.sampling_rate


def _open_decoder(source: Source, stream: int | str | None) -> SoundFileDecoder | AvDecoder:
    """soundfile for the formats it reads exactly, FFmpeg for mp3, ogg, opus, m4a, mp4 and what soundfile refuses."""
    refusal = ""
    if stream in (None, 0) and source.head.startswith(_SOUNDFILE_HEADS):
        try:
            decoder = SoundFileDecoder(source)
        except soundfile.LibsndfileError as error:
            refusal = f"soundfile: {error.error_string or error}; "
            if source.stream is not None:
                source.stream.seek(0)
        else:
            if decoder.num_samples == 0:
                decoder.close()
                raise AudioError(f"{source.name} has no samples; at least one is needed. Record or export it again.")
            if not decoder.codec.startswith("mpeg"):  # mp3 in a wav container
                return decoder
            decoder.close()
    try:
        return AvDecoder(source, stream)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        if isinstance(error, AudioError):
            raise
        hint = " Its index (moov) may be missing, as when a recording or download was cut off." * (
            source.head[4:8] == b"ftyp"
        )
        raise AudioError(
            f"{source.name} is not audio that can be decoded ({refusal}FFmpeg: {getattr(error, 'strerror', error)})."
            f"{hint} wav, flac, mp3, ogg, opus, m4a, mp4 or similar is needed; export or download it again."
        ) from error
