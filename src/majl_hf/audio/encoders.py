"""How audio is stored, and the two encoders behind `AudioWriter`, with the same members.

`write(samples)` takes `(num_channels, any)`: float32, or for integer encodings int32 with the value in the upper bits.
`close()` completes the file; `closed` says whether it was called.
"""

import base64
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import av
import numpy as np
import soundfile

from ..errors import AudioError
from .layouts import USUAL_LAYOUTS
from .tags import Tags, open_picture

_WAV_TAGS = {"title": "title", "artist": "artist", "album": "album", "track": "tracknumber", "date": "date",
             "genre": "genre"}  # fmt: skip
_FRONT_COVER = 3  # ID3's number of this kind of picture, also used by flac and ogg


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """How samples are stored.

    Args:
        extension: End of the file's name.
        container, codec: As soundfile names them for wav, and FFmpeg for everything else.
        sample_format: What FFmpeg's encoder takes, as FFmpeg names it.
        bits: Of an integer sample; None for float samples and lossy codecs.
        sampling_rates: Hz, ascending; empty if the container stores any rate.
        bit_rates: Lowest and highest kbit/s of a lossy codec.
        bit_rate: Default for stereo in kbit/s; half of it for mono.
        max_bit_rate: From sampling rate and number of channels to the most kbit/s that the codec allows there.
        options: Of FFmpeg's container; "{rate}" stands for the sampling rate.
    """

    extension: str
    container: str
    codec: str
    sample_format: str = ""
    bits: int | None = None
    sampling_rates: tuple[int, ...] = ()
    bit_rates: tuple[int, int] | None = None
    bit_rate: int = 0
    max_bit_rate: Callable[[int, int], int] = lambda rate, num_channels: 0
    options: Mapping[str, str] = field(default_factory=dict)

    def stored_rate(self, sampling_rate: int) -> int:
        """The lowest possible rate in Hz that loses nothing of `sampling_rate`, or else the highest."""
        if not self.sampling_rates:
            return sampling_rate
        return next((rate for rate in self.sampling_rates if rate >= sampling_rate), self.sampling_rates[-1])


ENCODINGS = {
    "wav-float": Encoding(extension=".wav", container="WAV", codec="FLOAT"),
    "wav-24": Encoding(extension=".wav", container="WAV", codec="PCM_24", bits=24),
    "wav-16": Encoding(extension=".wav", container="WAV", codec="PCM_16", bits=16),
    "flac": Encoding(extension=".flac", container="flac", codec="flac", sample_format="s32", bits=24),
    "mp3": Encoding(
        extension=".mp3",
        container="mp3",
        codec="libmp3lame",
        sample_format="fltp",
        sampling_rates=(8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
        bit_rates=(32, 320),
        bit_rate=256,
        max_bit_rate=lambda rate, num_channels: 320 if rate >= 32_000 else 160 if rate >= 16_000 else 64,
        options={"id3v2_version": "3"},  # the version that every player reads
    ),
    "m4a": Encoding(
        extension=".m4a",
        container="mp4",
        codec="aac",
        sample_format="fltp",
        sampling_rates=(8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000),
        bit_rates=(32, 512),
        bit_rate=256,
        max_bit_rate=lambda rate, num_channels: 6 * rate * num_channels // 1000,  # 6144 bits in 1024 samples
        options={"brand": "M4A ", "movie_timescale": "{rate}"},  # the scale in which the length is stored
    ),
    "opus": Encoding(
        extension=".opus",
        container="opus",
        codec="libopus",
        sample_format="flt",
        sampling_rates=(48000,),
        bit_rates=(16, 510),
        bit_rate=160,
        max_bit_rate=lambda rate, num_channels: 255 * num_channels,
    ),
}


def check_encoding(name: str, bit_rate: int | None = None) -> None:
    """Check that an encoding of `ENCODINGS` can be written here, and with `bit_rate` kbit/s if that is given.

    Raises:
        AudioError: it is unknown, PyAV lacks its encoder, or the bit rate does not fit it.
    """
    if name not in ENCODINGS:
        raise AudioError(f"The encoding is {name!r}; it must be one of {', '.join(ENCODINGS)}.")
    encoding = ENCODINGS[name]
    if bit_rate is not None:
        if encoding.bit_rates is None:
            lossy = [other for other, candidate in ENCODINGS.items() if candidate.bit_rates]
            raise AudioError(f"{name} has no bit rate; leave it out, or choose one of {', '.join(lossy)}.")
        least, most = encoding.bit_rates
        if not least <= bit_rate <= most:
            raise AudioError(f"The bit rate is {bit_rate} kbit/s; {name} takes {least} to {most}.")
    if encoding.container != "WAV":
        try:
            av.codec.Codec(encoding.codec, "w")
        except ValueError as error:
            raise AudioError(
                f"The encoder {encoding.codec}, which {name} needs, is missing in the installed PyAV. Install PyAV "
                "from PyPI (pip install --force-reinstall av), or choose wav."
            ) from error


class SoundFileEncoder:
    """wav through libsndfile, as RF64 on request.

    Raises:
        soundfile.LibsndfileError, ValueError, TypeError: what the format cannot store.
    """

    def __init__(self, file, sampling_rate: int, num_channels: int, encoding: Encoding, tags: Tags, is_rf64: bool):
        container = "RF64" if is_rf64 else encoding.container
        self._file = soundfile.SoundFile(file, "w", sampling_rate, num_channels, encoding.codec, format=container)
        for name, text in tags.fields.items():
            if name in _WAV_TAGS:
                setattr(self._file, _WAV_TAGS[name], text)

    @property
    def closed(self) -> bool:
        return self._file.closed

    def write(self, samples: np.ndarray) -> None:
        self._file.write(np.ascontiguousarray(samples.T))

    def close(self) -> None:
        self._file.close()


class AvEncoder:
    """flac, mp3, m4a and opus through FFmpeg inside PyAV, with tags and cover.

    Without version numbers and dates, so that equal samples give equal files. The containers record the encoder's
    delay, so decoded files begin with the first sample.

    Raises:
        av.error.FFmpegError, ValueError: what the format cannot store.
    """

    def __init__(self, file, sampling_rate: int, num_channels: int, encoding: Encoding, tags: Tags, bit_rate: int):
        if num_channels not in USUAL_LAYOUTS:
            raise ValueError(f"at most {max(USUAL_LAYOUTS)} channels have a layout")
        self.closed = False
        self._num_samples, self._sampling_rate = 0, sampling_rate
        self._is_planar = encoding.sample_format.endswith("p")
        self._layout = USUAL_LAYOUTS[num_channels]
        options = {name: text.format(rate=sampling_rate) for name, text in encoding.options.items()}
        options["fflags"] = "+bitexact"
        self._container = av.open(file, "w", format=encoding.container, options=options)
        self._container.metadata.update(tags.fields)
        self._stream = self._container.add_stream(
            encoding.codec, rate=sampling_rate, bit_rate=1000 * bit_rate, layout=self._layout,
            format=encoding.sample_format, options={"flags": "+bitexact"},
        )  # fmt: skip
        picture = open_picture(tags.cover) if tags.cover else None
        if picture is None:
            self._container.start_encoding()
            return
        with picture:
            if encoding.container == "opus":
                block = _picture_block(tags.cover, picture)
                self._container.metadata["METADATA_BLOCK_PICTURE"] = base64.b64encode(block).decode()
                self._container.start_encoding()
            else:
                self._write_picture(picture)

    def write(self, samples: np.ndarray) -> None:
        samples = np.ascontiguousarray(samples if self._is_planar else samples.T.reshape(1, -1))
        frame = av.AudioFrame.from_ndarray(samples, self._stream.codec_context.format.name, self._layout)
        frame.sample_rate, frame.pts = self._sampling_rate, self._num_samples
        self._num_samples += frame.samples
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        self.closed = True
        try:
            self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def _write_picture(self, picture) -> None:
        source = picture.streams.video[0]
        stream = self._container.add_stream_from_template(source)
        stream.disposition = av.stream.Disposition.attached_pic.value
        stream.metadata["comment"] = "Cover (front)"
        self._container.start_encoding()
        packet = next(picture.demux(source))
        packet.stream = stream
        self._container.mux(packet)


def _picture_block(content: bytes, picture) -> bytes:
    """A picture as flac stores it, and ogg within a tag."""
    stream = picture.streams.video[0]
    media_type = b"image/png" if stream.codec_context.name == "png" else b"image/jpeg"
    numbers = (stream.width, stream.height, 24, 0, len(content))  # 24 bits per pixel, no palette
    return b"".join(
        (
            struct.pack(">II", _FRONT_COVER, len(media_type)),
            media_type,
            struct.pack(">I", 0),  # no description
            struct.pack(">5I", *numbers),
            content,
        )
    )
