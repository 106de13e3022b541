"""The two decoders behind `AudioReader`, with the same members.

`sampling_rate` (Hz), `num_channels`, `channels` (their names, none if the file does not say), `num_samples` (None if
only decoding would show it), `duration_s` (from the file's header, may be an estimate or None), `container` and `codec`
(short names), `warnings` (grows while decoding), `blocks(block_size)` and `close()`.
"""

from collections.abc import Iterator

import av
import numpy as np
import soundfile

from ..errors import AudioError
from .layouts import channels_of
from .sound_tracks import choose_track
from .sources import Source

# Containers that FFmpeg may probe. Playlists are left out, because they could make a file open other files.
_CONTAINERS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,tta,voc,w64,wav,wv"
# These do not store their length, so FFmpeg may have to estimate it from the bit rate.
_GUESSED_LENGTH = {"aac", "ac3", "eac3", "mp3", "mpegts"}
_FULL_SCALE = {"u1": 2.0**7, "i2": 2.0**15, "i4": 2.0**31, "i8": 2.0**63}  # by NumPy's name of the sample type


def open_container(source: Source) -> av.container.InputContainer:
    """A source as FFmpeg reads it."""
    # With "file:", a name is never interpreted as a protocol ("concat:...", "http:...").
    file = f"file:{source.path}" if source.path else source.stream
    return av.open(file, options={"format_whitelist": _CONTAINERS}, metadata_errors="ignore")


class SoundFileDecoder:
    """wav, flac, aiff and similar formats through libsndfile, which counts their samples exactly.

    Raises:
        soundfile.LibsndfileError: not a format that libsndfile reads.
    """

    def __init__(self, source: Source):
        self._file = soundfile.SoundFile(source.path or source.stream)
        self.sampling_rate, self.num_channels = self._file.samplerate, self._file.channels
        self.num_samples = self._file.frames
        self.duration_s = self.num_samples / self.sampling_rate
        self.container, self.codec = self._file.format.lower(), self._file.subtype.lower()
        self.warnings: list[str] = []
        self._name, self._source = source.name, source

    @property
    def channels(self) -> tuple[str, ...]:
        """From FFmpeg, because the Python package of libsndfile does not show them."""
        stream = self._source.stream
        position = stream.tell() if stream else 0
        try:
            if stream:
                stream.seek(0)
            with open_container(self._source) as container:
                return channels_of(container.streams.audio[0].codec_context.layout)
        except (av.error.FFmpegError, IndexError, ValueError):
            return ()
        finally:
            if stream:  # where libsndfile has left it
                stream.seek(position)

    def blocks(self, block_size: int) -> Iterator[np.ndarray]:
        position = 0
        while True:
            try:
                block = self._file.read(block_size, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                raise AudioError(
                    f"{self._name} is damaged or cut short after {position / self.sampling_rate:.1f} s of "
                    f"{self.duration_s:.1f} s ({error.error_string or error}); copy or download it again."
                ) from error
            if not len(block):
                break
            position += len(block)
            yield np.ascontiguousarray(block.T)
        if position < self.num_samples:
            self.warnings.append(_cut_short(position / self.sampling_rate, self.duration_s))

    def close(self) -> None:
        self._file.close()


class AvDecoder:
    """An audio stream of mp3, ogg, opus, m4a, mp4 and everything else that FFmpeg (inside PyAV) reads.

    A damaged packet is replaced by silence of its length, so that later samples keep their time, and counted in
    `warnings`. The first frame is decoded on opening: for some AAC files only it has the true sampling rate, and a file
    without a single good frame is not audio.

    Args:
        stream: Which of several sound tracks, see `choose_track`.

    Raises:
        av.error.FFmpegError, AudioError: not audio that FFmpeg decodes.
    """

    num_samples = None

    def __init__(self, source: Source, stream: int | str | None = None):
        self._container = open_container(source)
        self._name = source.name
        self.warnings: list[str] = []
        self._num_damaged = 0
        try:
            if not self._container.streams.audio:
                raise AudioError(f"{self._name} has no audio stream; a file with audio is needed.")
            self._stream, notes = choose_track(self._container.streams.audio, stream, self._name)
            self.warnings += notes
            self._frames = self._decode()
            self._first = next(self._frames, None)
            if self._first is None:
                raise AudioError(f"{self._name} contains no decodable audio; copy or download it again.")
        except BaseException:
            self.close()
            raise
        self.sampling_rate, self.num_channels = self._rate, self._first.shape[0]
        self.channels = channels_of(self._stream.codec_context.layout)
        self.container = self._container.format.name.split(",")[0]
        self.codec = self._stream.codec_context.codec.name
        self.duration_s = self._announced_duration_s()

    def blocks(self, block_size: int) -> Iterator[np.ndarray]:
        position = 0
        for block in _regroup(self._checked_frames(), block_size):
            position += block.shape[1]
            yield block
        if self._num_damaged:
            self.warnings.append(f"{self._num_damaged} damaged packets were replaced by silence or left out")
        decoded_s = position / self.sampling_rate
        if self.duration_s:
            slack_s = 0.1 * self.duration_s if self.container in _GUESSED_LENGTH else 0.2
            if decoded_s < self.duration_s - slack_s:
                self.warnings.append(_cut_short(decoded_s, self.duration_s))

    def close(self) -> None:
        self._container.close()

    def _announced_duration_s(self) -> float | None:
        if self._stream.duration:
            return float(self._stream.duration * self._stream.time_base)
        return self._container.duration / av.time_base if self._container.duration else None

    def _decode(self) -> Iterator[np.ndarray]:
        """Frames `(num_channels, num_samples)`; damaged packets between good ones as silence."""
        self._rate, missing_s = None, 0.0
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:  # the container itself is truncated
                self._num_damaged += 1
                return
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self._num_damaged += 1
                missing_s += float((packet.duration or 0) * (packet.time_base or 0))
                continue
            for frame in frames:
                if self._rate not in (None, frame.sample_rate):
                    raise AudioError(
                        f"{self._name} changes its sampling rate from {self._rate} to {frame.sample_rate} Hz; convert "
                        "it to one rate first."
                    )
                self._rate = frame.sample_rate
                samples = _to_float(frame)
                if missing_s:
                    yield np.zeros((samples.shape[0], round(missing_s * self._rate)), dtype=np.float32)
                    missing_s = 0.0
                if samples.shape[1]:
                    yield samples

    def _checked_frames(self) -> Iterator[np.ndarray]:
        yield self._first
        for frame in self._frames:
            if frame.shape[0] != self.num_channels:
                raise AudioError(
                    f"{self._name} changes from {self.num_channels} to {frame.shape[0]} channels; convert it to one "
                    "layout first."
                )
            yield frame


def _to_float(frame: av.AudioFrame) -> np.ndarray:
    """A decoded frame of any sample format as `(num_channels, num_samples)`."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(frame.samples, -1).T
    scale = _FULL_SCALE.get(samples.dtype.str[1:])
    if samples.dtype.kind == "u":
        samples = samples.astype(np.float32) - scale
    samples = samples.astype(np.float32)
    return samples if scale is None else samples / np.float32(scale)


def _regroup(frames: Iterator[np.ndarray], block_size: int) -> Iterator[np.ndarray]:
    """Frames of any length as blocks of `block_size` samples, the last one shorter."""
    waiting, length = [], 0
    for frame in frames:
        waiting.append(frame)
        length += frame.shape[1]
        if length >= block_size:
            joined = np.concatenate(waiting, axis=1)
            cut = length - length % block_size
            for start in range(0, cut, block_size):
                yield np.ascontiguousarray(joined[:, start : start + block_size])
            waiting, length = [joined[:, cut:]], length - cut
    if length:
        yield np.concatenate(waiting, axis=1)


def _cut_short(decoded_s: float, announced_s: float) -> str:
    return f"ends after {decoded_s:.1f} s although its header says {announced_s:.1f} s: it may be cut short"
