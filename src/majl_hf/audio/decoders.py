"""The two decoders behind `AudioReader`, with the same members.

`sampling_rate` (Hz), `num_channels`, `channels` (their names, none if the file does not say), `num_samples` (None if
only decoding would show it), `duration_s` (from the file's header, may be an estimate or None), `container` and `codec`
(short names), `warnings` (grows while decoding), `blocks(block_size)` and `close()`.
"""

from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from typing import BinaryIO

import av
import numpy as np
import soundfile

from ..errors import AudioError
from .headers import read_header
from .layouts import channels_of
from .sound_tracks import choose_track
from .sources import Excerpt, Source, num_bytes
from .timeline import Frame, Timeline

# Containers that FFmpeg may probe. Playlists are left out, because they could make a file open other files.
_CONTAINERS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,eac3,flac,flv,matroska,mov,mp3,mpeg,mpegts,ogg,tta,voc,w64,wav,wv"
# These do not store their length, so FFmpeg may have to estimate it from the bit rate.
_GUESSED_LENGTH = {"aac", "ac3", "eac3", "mp3", "mpegts"}
# These have time stamps. In the others, FFmpeg counts frames or bytes, which shows no gap and may be wrong.
_WITH_A_CLOCK = {"asf", "flv", "matroska", "mov", "mpeg", "mpegts", "ogg"}
# In these, the length may be the time at which the sound ends, also if its time stamps begin late.
_LENGTH_FROM_ZERO = {"asf", "flv", "matroska", "mov", "ogg"}
_FULL_SCALE = {"u1": 2.0**7, "i2": 2.0**15, "i4": 2.0**31, "i8": 2.0**63}  # by NumPy's name of the sample type
_LONGEST_OGG_PAGE = 65307
REFUSALS = (soundfile.LibsndfileError, av.error.FFmpegError, OSError, ValueError)  # AudioError is a ValueError


def open_container(source: Source) -> av.container.InputContainer:
    """A source as FFmpeg reads it."""
    source.file.seek(0)
    # Never by its path: FFmpeg would consider the extension, and could take it for a protocol ("concat:...").
    return av.open(source.file, options={"format_whitelist": _CONTAINERS}, metadata_errors="ignore")


class SoundFileDecoder:
    """wav, flac, aiff and similar formats through libsndfile, which counts their samples exactly.

    A header that states a wrong length is corrected. Where libsndfile stops, as in a flac file that is damaged or cut
    short, FFmpeg decodes the rest.

    Raises:
        soundfile.LibsndfileError, ValueError: not a format that libsndfile reads, or not one that it reads reliably.
        AudioError: no samples.
    """

    library = "soundfile"

    def __init__(self, source: Source):
        header = read_header(source.file)
        source.file.seek(0)
        if header and header.true_file:
            file = header.true_file
        elif header is None and not source.head.startswith(b"fLaC"):  # of a path, it would believe the extension
            file = Excerpt(source.file, 0)
        else:  # it reads faster from a path, but takes .raw for a file without a header
            file = source.path if source.path and not source.path.lower().endswith(".raw") else source.file
        self._file = soundfile.SoundFile(file)
        self._source = source
        self.sampling_rate, self.num_channels = self._file.samplerate, self._file.channels
        self.num_samples = self._file.frames
        self.duration_s = self.num_samples / self.sampling_rate
        self.container, self.codec = self._file.format.lower(), self._file.subtype.lower()
        self.warnings: list[str] = []
        try:
            if self.num_samples == 0:
                raise AudioError(f"{source.name} has no samples; at least one is needed. Record or export it again.")
            if self.codec.startswith("mpeg"):
                raise ValueError("mp3 is left to FFmpeg")
            if self.num_samples >= 2**62:
                raise ValueError("no length in its header")
            if self.container == "flac" and _continues(source, self.num_samples):
                raise ValueError("its header states too little; FFmpeg reads on")
        except ValueError:
            self.close()
            raise
        if header and header.true_file:
            self._note_length(header.stated, header.available)

    @property
    def channels(self) -> tuple[str, ...]:
        """From FFmpeg, because the Python package of libsndfile does not show them."""
        position = self._source.file.tell()
        try:
            with open_container(self._source) as container:
                return channels_of(container.streams.audio[0].codec_context.layout)
        except (av.error.FFmpegError, OSError, IndexError, ValueError):
            return ()
        finally:  # where libsndfile has left it
            self._source.file.seek(position)

    def blocks(self, block_size: int) -> Iterator[np.ndarray]:
        position = 0
        while True:
            try:
                block = self._file.read(block_size, dtype="float32", always_2d=True)
            except soundfile.LibsndfileError as error:
                yield from self._blocks_by_ffmpeg(block_size, position, error)
                return
            if not len(block):
                break
            position += len(block)
            yield np.ascontiguousarray(block.T)
        if position < self.num_samples:
            self.warnings.append(_cut_short(position / self.sampling_rate, self.duration_s))

    def close(self) -> None:
        self._file.close()

    def _blocks_by_ffmpeg(self, block_size: int, position: int, error: Exception) -> Iterator[np.ndarray]:
        try:
            decoder = AvDecoder(self._source)
        except REFUSALS:
            raise AudioError(
                f"{self._source.name} is damaged or cut short after {position / self.sampling_rate:.1f} s of "
                f"{self.duration_s:.1f} s ({error.error_string or error}); copy or download it again."
            ) from error
        with closing(decoder):
            yield from decoder.blocks(block_size, position)
        self.warnings += decoder.warnings

    def _note_length(self, stated: int | None, available: int) -> None:
        """Compare the stated and the available bytes of samples, in seconds."""
        if stated is None:
            self.warnings.append(
                "its header states no length, as when the program that wrote it crashed or wrote into a pipe: it was "
                "read to the end of the file"
            )
            return
        stated_s = self.duration_s * stated / available
        if stated_s >= self.duration_s + 0.1:
            self.warnings.append(_cut_short(self.duration_s, stated_s))
        elif stated_s <= self.duration_s - 0.1:
            self.warnings.append(_read_on(self.duration_s, stated_s))


class AvDecoder:
    """An audio stream of mp3, ogg, opus, m4a, mp4 and everything else that FFmpeg (inside PyAV) reads.

    Samples are placed at their time stamps, counted from the start of the file, which is that of its earliest audio or
    video stream: gaps become silence, and so do damaged packets. The first frame is decoded on opening: for some AAC
    files only it has the true sampling rate, and a file without a single good frame is not audio.

    Args:
        stream: Which of several sound tracks, see `choose_track`.

    Raises:
        av.error.FFmpegError, OSError, ValueError: not a container that FFmpeg reads.
        AudioError: no audio that FFmpeg decodes.
    """

    library = "FFmpeg"
    num_samples = None

    def __init__(self, source: Source, stream: int | str | None = None):
        self._container = open_container(source)
        self._source = source
        self.container = self._container.format.name.split(",")[0]
        self.warnings: list[str] = []
        self._num_damaged = 0
        self._padding = 0  # samples at the end of the latest frame that the container does not count
        try:
            if not self._container.streams.audio:
                raise AudioError(f"{source.name} has no audio stream; a file with audio is needed.")
            self._stream, notes = choose_track(self._container.streams.audio, stream, source.name)
            self.warnings += notes
            self._others = _other_streams(self._container, self._stream)
            self._rate, self._starts_s, self._others_end_s = None, [], 0.0
            self._frames = self._decode()
            self._first = next(self._frames, None)
            if self._first is None:
                raise AudioError(f"{source.name} contains no decodable audio; copy or download it again.")
        except BaseException:
            self.close()
            raise
        self.sampling_rate, self.num_channels = self._rate, self._first.samples.shape[0]
        self.channels = channels_of(self._stream.codec_context.layout)
        self.codec = self._stream.codec_context.codec.name
        self._start_s = self._start_of_the_file()
        self.duration_s = self._stated_duration_s()

    def blocks(self, block_size: int, first_sample: int = 0) -> Iterator[np.ndarray]:
        timeline = Timeline(round(self._start_s * self.sampling_rate), self.sampling_rate)
        arrays = timeline.lay_out(self._checked_frames())
        yield from _regroup(_from_sample(first_sample, arrays) if first_sample else arrays, block_size)
        if self._num_damaged:
            self.warnings.append(f"{self._num_damaged} damaged packets were replaced by silence or left out")
        self.warnings += timeline.notes()
        decoded_s = timeline.num_samples / self.sampling_rate
        if self.duration_s and timeline.is_plausible:
            slack_s = 0.1 * self.duration_s if self.container in _GUESSED_LENGTH else 0.2
            if max(decoded_s, self._others_end_s - self._start_s) < self.duration_s - slack_s:
                self.warnings.append(_cut_short(decoded_s, self.duration_s))
        if self.container == "flac" and self.duration_s and decoded_s >= self.duration_s + 0.1:
            self.warnings.append(_read_on(decoded_s, self.duration_s))
        if self.container == "ogg" and _lacks_the_last_page(self._source.file):
            self.warnings.append(f"ends after {decoded_s:.1f} s without an end marker: it may be cut short")
        if self.container == "voc" and _ends_within_a_block(self._source.file):
            self.warnings.append(f"ends after {decoded_s:.1f} s within a block: it may be cut short")

    def close(self) -> None:
        self._container.close()

    def _start_of_the_file(self) -> float:
        """When the earliest audio or video stream starts, in seconds of the container's clock."""
        starts_s = self._starts_s + [
            float(stream.start_time * stream.time_base) for stream in self._others if stream.start_time is not None
        ]
        return min(starts_s, default=0.0)

    def _stated_duration_s(self) -> float | None:
        """Seconds from the start of the file to the end of the sound, by the header."""
        stream, start_s = self._stream, self._start_s
        if stream.duration:
            length_s = float(stream.duration * stream.time_base)
            if stream.start_time is not None:
                start_s = max(start_s, float(stream.start_time * stream.time_base))
        elif self._container.duration:
            length_s = self._container.duration / av.time_base
        else:
            return None
        if self.container in _LENGTH_FROM_ZERO and 0 < start_s < length_s:
            length_s -= start_s
        return start_s - self._start_s + length_s

    def _decode(self) -> Iterator[Frame]:
        """All frames. Damaged packets are counted; without time stamps they become silence of their length."""
        has_clock, missing_s = self.container in _WITH_A_CLOCK, 0.0
        packets = self._container.demux([self._stream, *self._others])
        while True:
            try:
                packet = next(packets)
            except (StopIteration, IndexError):  # IndexError: PyAV, at the end, if a stream appeared on the way
                return
            except av.error.FFmpegError:  # the container itself is truncated
                self._num_damaged += 1
                return
            if packet.stream is not self._stream:
                self._others_end_s = max(self._others_end_s, _seconds(packet, packet.pts, packet.duration))
                continue
            try:
                frames = packet.decode()
            except av.error.FFmpegError:
                self._num_damaged += 1
                missing_s += _seconds(packet, packet.duration)
                if self._rate is None and packet.pts is not None:
                    self._starts_s.append(_seconds(packet, packet.pts))
                continue
            for frame in frames:
                if self._rate not in (None, frame.sample_rate):
                    raise AudioError(
                        f"{self._source.name} changes its sampling rate from {self._rate} to {frame.sample_rate} Hz; "
                        "convert it to one rate first."
                    )
                samples = _to_float(frame)
                if not samples.shape[1]:
                    continue
                if self._rate is None:
                    self._rate, samples_per_tick = frame.sample_rate, float(frame.sample_rate * frame.time_base)
                    if frame.pts is not None:
                        self._starts_s.append(_seconds(frame, frame.pts))
                if missing_s and not has_clock:
                    yield Frame(np.zeros((samples.shape[0], round(missing_s * self._rate)), dtype=np.float32), None)
                missing_s = 0.0
                # An encoder fills its last frame; mp4 and mov state the true length of that frame.
                is_counted = self.container == "mov" and frame.duration and frame.time_base == Fraction(1, self._rate)
                self._padding = max(0, frame.samples - frame.duration) if is_counted else 0
                is_timed = has_clock and frame.pts is not None
                yield Frame(samples, round(frame.pts * samples_per_tick) if is_timed else None)

    def _checked_frames(self) -> Iterator[Frame]:
        latest = self._first
        for frame in self._frames:
            yield latest
            if frame.samples.shape[0] != self.num_channels:
                raise AudioError(
                    f"{self._source.name} changes from {self.num_channels} to {frame.samples.shape[0]} channels; "
                    "convert it to one layout first."
                )
            latest = frame
        length = latest.samples.shape[1] - self._padding
        yield latest._replace(samples=latest.samples[:, :length])


def _other_streams(container: av.container.InputContainer, stream: av.AudioStream) -> list[av.stream.Stream]:
    """Audio and video streams, without cover pictures, which have no time."""
    return [
        other
        for other in (*container.streams.audio, *container.streams.video)
        if other is not stream and not other.disposition & av.stream.Disposition.attached_pic
    ]


def _seconds(timed: av.Packet | av.AudioFrame, *ticks: int | None) -> float:
    """The sum of numbers in the time base of a packet or frame."""
    return float(sum(number or 0 for number in ticks) * (timed.time_base or 0))


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


def _from_sample(first: int, arrays: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Arrays `(num_channels, any)` without their first samples."""
    for array in arrays:
        skipped = min(first, array.shape[1])
        first -= skipped
        if skipped < array.shape[1]:
            yield array[:, skipped:]


def _lacks_the_last_page(file: BinaryIO) -> bool:
    """Whether the last page of an ogg file is not marked as the last one of its stream, or not complete."""
    file.seek(max(0, num_bytes(file) - _LONGEST_OGG_PAGE))
    tail = file.read(_LONGEST_OGG_PAGE)
    page = tail[max(0, tail.rfind(b"OggS")) :]
    if len(page) < 27:
        return True
    num_segments = page[26]
    is_marked = bool(page[5] & 4)
    return not is_marked or len(page) < 27 + num_segments + sum(page[27 : 27 + num_segments])


def _ends_within_a_block(file: BinaryIO) -> bool:
    """Whether the last block of a voc file is not complete: FFmpeg takes what is there for the whole."""
    file_bytes = num_bytes(file)
    file.seek(20)
    position = int.from_bytes(file.read(2), "little")
    while position < file_bytes:
        file.seek(position)
        kind, *size = file.read(4)
        if kind == 0:  # the end, which has no size
            return False
        position += 4 + int.from_bytes(size, "little")
    return position > file_bytes


def _continues(source: Source, num_samples: int) -> bool:
    """Whether a flac file has a frame behind its first `num_samples` samples, where libsndfile stops."""
    position = source.file.tell()
    try:
        with open_container(source) as container:
            stream = container.streams.audio[0]
            second = round(1 / stream.time_base)
            container.seek(max(0, num_samples - second), stream=stream)  # behind the last frame, a seek may fail
            return any((packet.pts or 0) >= num_samples for packet in container.demux(stream))
    except (av.error.FFmpegError, OSError, IndexError):
        return False
    finally:  # where libsndfile has left it
        source.file.seek(position)


def _cut_short(decoded_s: float, announced_s: float) -> str:
    return f"ends after {decoded_s:.1f} s although its header says {announced_s:.1f} s: it may be cut short"


def _read_on(decoded_s: float, announced_s: float) -> str:
    return (
        f"its header says {announced_s:.1f} s, but the file contains {decoded_s:.1f} s: it was read to the end of the "
        "file"
    )
