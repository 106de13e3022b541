"""What every corpus reader returns: tracks whose audio is read piece by piece, by seeking.

Conventions: arrays are (num_channels, num_samples) float32 at the file's own rate; times are seconds from the start
of the recording; `read` returns exactly the requested length, with zeros outside the recording.
"""

from __future__ import annotations

import io
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile

from ..audio import AUDIO_EXTENSIONS, VIDEO_EXTENSIONS, AudioError, AudioReader
from ..errors import BadRecordings, CorpusError
from ..system.files import counted, extension, is_hidden, walk
from .labels import Note, PitchLabel

LABEL_KINDS = ("full", "separation", "pitch", "vocals", "accompaniment", "pseudo")
_LOSSLESS_CODECS = ("alac", "ape", "flac", "pcm", "tta", "wavpack")  # the beginnings of FFmpeg's names
_log = logging.getLogger(__name__)


def _bits(subtype: str) -> int:
    """Effective bits per sample of a file of libsndfile's `subtype`."""
    return 24 if subtype in ("PCM_24", "PCM_32", "FLOAT", "DOUBLE") else 16


def _content(data: bytes | Callable[[], BinaryIO]) -> BinaryIO:
    return data() if callable(data) else io.BytesIO(data)


class Part:
    """One signal of a track; subclasses read the samples.

    `bits` is the effective number of bits per sample: 16 for lossy formats, 24 for floating point.
    """

    sampling_rate: int
    num_samples: int
    num_channels: int
    bits: int

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sampling_rate

    def read(self, first: int, num_samples: int) -> np.ndarray:
        """Samples `first` to `first + num_samples`, shape (num_channels, num_samples) float32.

        `first` may be negative and the end may be beyond the recording: both are filled with zeros.

        Raises:
            CorpusError: the recording cannot be decoded or has NaN or infinite samples.
        """
        audio = np.zeros((self.num_channels, num_samples), dtype=np.float32)
        begin, end = max(first, 0), min(first + num_samples, self.num_samples)
        if begin < end:
            block = self._read_within(begin, end)
            audio[:, begin - first : begin - first + block.shape[1]] = block
        return audio

    def _read_within(self, begin: int, end: int) -> np.ndarray:
        """Samples `begin` to `end`, both within the recording; fewer if it ends early."""
        raise NotImplementedError


@dataclass(frozen=True)
class AudioPart(Part):
    """One file, or one channel of it, readable from any sample on.

    `channel` selects a single channel (MIR-1K has the voice on the right); None keeps all. `data`, if given, is the
    file's content, as in a row of a dataset, or a function that opens it, and `path` is only its name.
    """

    path: Path
    sampling_rate: int
    num_samples: int
    num_channels: int
    channel: int | None = None
    data: bytes | Callable[[], BinaryIO] | None = None
    bits: int = 16

    @classmethod
    def open(cls, path: Path, channel: int | None = None) -> AudioPart:
        """Read the header of `path`.

        Raises:
            CorpusError: not readable as audio, empty, or without the requested channel.
        """
        try:
            info = soundfile.info(str(path))
        except (soundfile.LibsndfileError, OSError) as error:
            try:
                return _DecodedPart.of_file(path, channel)
            except AudioError:
                raise CorpusError(
                    f"{path} cannot be read as audio ({error}). Repair or remove it, or exclude it in the "
                    "configuration."
                ) from error
        return cls._checked(path, info.samplerate, info.frames, info.channels, channel, _bits(info.subtype))

    @classmethod
    def _checked(
        cls, path: Path, sampling_rate: int, num_samples: int, num_channels: int, channel: int | None, bits: int
    ) -> AudioPart:
        if num_samples <= 0:
            raise CorpusError(f"{path} has no samples. Remove it or exclude it in the configuration.")
        if channel is not None and channel >= num_channels:
            raise CorpusError(f"{path} has {num_channels} channel(s), but channel {channel} (from 0) is needed.")
        num_channels = num_channels if channel is None else 1
        return cls(path, sampling_rate, num_samples, num_channels, channel, bits=bits)

    @classmethod
    def from_bytes(cls, data: bytes | Callable[[], BinaryIO], name: str) -> AudioPart:
        """Read the header of a file's content; messages call it `name`.

        Raises:
            CorpusError: not readable as audio, or empty.
        """
        try:
            info = soundfile.info(_content(data))
        except soundfile.LibsndfileError as error:
            raise CorpusError(f"{name} cannot be read as audio ({error}). Build the dataset again.") from error
        if info.frames <= 0:
            raise CorpusError(f"{name} has no samples. Build the dataset again.")
        return cls(Path(name), info.samplerate, info.frames, info.channels, data=data, bits=_bits(info.subtype))

    def _read_within(self, begin: int, end: int) -> np.ndarray:
        try:
            with soundfile.SoundFile(str(self.path) if self.data is None else _content(self.data)) as file:
                file.seek(begin)
                block = file.read(end - begin, dtype="float32", always_2d=True)
        except (soundfile.LibsndfileError, OSError) as error:
            raise CorpusError(f"{self.path} cannot be decoded from sample {begin} on ({error}).") from error
        return self._selected(block.T, begin)

    def _selected(self, block: np.ndarray, begin: int) -> np.ndarray:
        """The wanted channel of samples from `begin` on, which must be finite."""
        if not np.isfinite(block).all():
            raise CorpusError(f"{self.path} contains NaN or infinite samples after {begin}. Repair or exclude it.")
        return block if self.channel is None else block[self.channel : self.channel + 1]


class _DecodedPart(AudioPart):
    """A file that only FFmpeg reads, such as m4a: decoded to its end to count its samples, and from its start for each
    read, because FFmpeg does not seek to a sample."""

    @classmethod
    def of_file(cls, path: Path, channel: int | None) -> _DecodedPart:
        """Errors are those of `AudioReader` and `AudioPart.open`."""
        with AudioReader(path) as reader:
            num_samples = sum(block.shape[1] for block in reader.blocks())
            bits = 24 if reader.codec.startswith(_LOSSLESS_CODECS) else 16
            return cls._checked(path, reader.sampling_rate, num_samples, reader.num_channels, channel, bits)

    def _read_within(self, begin: int, end: int) -> np.ndarray:
        blocks, position = [], 0
        try:
            with AudioReader(self.path) as reader:
                for block in reader.blocks():
                    blocks.append(block[:, max(begin - position, 0) : end - position])
                    position += block.shape[1]
                    if position >= end:
                        break
        except AudioError as error:
            raise CorpusError(f"{self.path} cannot be decoded from sample {begin} on ({error}).") from error
        return self._selected(np.concatenate(blocks, axis=1), begin)


@dataclass(frozen=True, eq=False)
class ArrayPart(Part):
    """Samples in memory, shape (num_channels, num_samples) float32."""

    samples: np.ndarray
    sampling_rate: int
    bits: int = 24

    @property
    def num_samples(self) -> int:
        return self.samples.shape[1]

    @property
    def num_channels(self) -> int:
        return self.samples.shape[0]

    def _read_within(self, begin: int, end: int) -> np.ndarray:
        return self.samples[:, begin:end]


@dataclass(frozen=True, eq=False)
class SumPart(Part):
    """The sum of several parts of one rate and channel count, such as stems of instruments; as long as the longest.

    Raises:
        CorpusError: no part, or parts whose rates or channels differ.
    """

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        kinds = {(part.sampling_rate, part.num_channels) for part in self.parts}
        if len(kinds) != 1:
            raise CorpusError(
                f"Stems of (rate, channels) {sorted(kinds)} cannot be added; they need one rate and channel count."
            )

    @property
    def sampling_rate(self) -> int:
        return self.parts[0].sampling_rate

    @property
    def num_channels(self) -> int:
        return self.parts[0].num_channels

    @property
    def num_samples(self) -> int:
        return max(part.num_samples for part in self.parts)

    @property
    def bits(self) -> int:
        return max(part.bits for part in self.parts)

    def _read_within(self, begin: int, end: int) -> np.ndarray:
        return sum(part.read(begin, end - begin) for part in self.parts)


@dataclass(frozen=True, eq=False)
class Track:
    """One recording of a corpus; which of its parts exist depends on the corpus.

    Args:
        id: `CORPUS/NAME`, unique.
        song, singer: the basis of splits; `singer` is empty if unknown.
        sampling_rate: Hz, of all parts.
        mixture: only if it is not the sum of the other two, or these are unknown.
        label: f0 of the vocals.
        vocals_confidence: confidence of the vocals, in [0, 1]: shape (1,), or one for each frame of the label; None if
            they are the true vocals.
        notes: the notes that the label was made from, if the corpus has notes; in order of onset.
        split: its published split, empty if there is none.
        licence: of the recording, as an SPDX identifier if there is one.
        provenance: its origin and how it was processed, in a sentence.
    """

    id: str
    corpus: str
    song: str
    singer: str
    duration_s: float
    sampling_rate: int
    vocals: Part | None = None
    accompaniment: Part | None = None
    label: PitchLabel | None = None
    mixture: Part | None = None
    vocals_confidence: np.ndarray | None = None
    notes: tuple[Note, ...] | None = None
    split: str = ""
    licence: str = ""
    provenance: str = ""

    @classmethod
    def of(cls, corpus: str, name: str, **fields) -> Track:
        """The track of the recording `name`: its rate is that of its parts, its length that of the longest; `song` is
        the name and `singer` unknown unless given."""
        parts = [fields[part] for part in ("vocals", "accompaniment", "mixture") if fields.get(part) is not None]
        return cls(
            id=f"{corpus}/{name}",
            corpus=corpus,
            duration_s=max(part.duration_s for part in parts),
            sampling_rate=parts[0].sampling_rate,
            **{"song": name, "singer": "", **fields},
        )

    @property
    def label_kind(self) -> str:
        """One of `LABEL_KINDS`, from the existing parts.

        Raises:
            CorpusError: the parts cannot be used, such as a mixture alone.
        """
        if self.vocals is not None and self.accompaniment is not None:
            return "separation" if self.label is None else "full"
        if self.vocals is not None:
            return "vocals"
        if self.accompaniment is not None:
            return "accompaniment"
        if self.mixture is not None and self.label is not None:
            return "pitch"
        raise CorpusError(f"{self.id} has neither stems nor a mixture with a pitch label; it cannot be trained on.")

    @property
    def recipe(self) -> str:
        """How training uses it; see `mixing.items`."""
        return self.label_kind

    @property
    def weight(self) -> float:
        """How often training draws it, relative to others: its duration."""
        return self.duration_s

    @property
    def has_labelled_vocals(self) -> bool:
        return self.vocals is not None and self.label is not None

    def vocals_confidence_at(self, times_s: np.ndarray) -> np.ndarray:
        """Confidence of the vocals at any times in seconds, shape (n,): that of the nearest frame."""
        confidence = self.vocals_confidence
        if confidence is None or len(confidence) == 1 or self.label is None:
            return np.full(len(times_s), 1.0 if confidence is None else float(np.mean(confidence)))
        frames = np.round((np.asarray(times_s) - self.label.offset_s) / self.label.hop_s).astype(np.int64)
        return confidence[np.clip(frames, 0, len(confidence) - 1)]

    def part(self, name: str) -> Part:
        """The part called "mixture", "vocals" or "accompaniment"; CorpusError if this track has none."""
        part = getattr(self, name)
        if part is None:
            raise CorpusError(f"{self.id} has no {name}; use a track of another corpus.")
        return part


def resolve_folder(folder: str | Path, what: str) -> Path:
    """Expand `~` and `$VARIABLES` in `folder` and check that it exists; `what` names the corpus in the error."""
    resolved = os.path.expandvars(os.path.expanduser(str(folder)))
    if "$" in resolved and not Path(resolved).exists():
        raise CorpusError(f"The {what} folder is {folder!s}, but that environment variable is not set. Set it.")
    if not Path(resolved).is_dir():
        raise CorpusError(f"The {what} folder {resolved} does not exist or is not a folder. Correct the configuration.")
    return Path(resolved)


def read_recordings(
    corpus: str,
    recordings: Mapping[str, Any],
    read: Callable[[Any], Track | None],
    failures: Mapping[str, str] | None = None,
) -> list[Track]:
    """Tracks of the recordings of a corpus.

    Args:
        recordings: name -> what `read` makes a track of; it may return None to leave a recording out.
        failures: name -> why a recording cannot be used, of those that are known before they are read.

    Raises:
        BadRecordings: recordings that cannot be read, all of them at once.
    """
    tracks, reasons = [], {f"{corpus}/{name}": reason for name, reason in (failures or {}).items()}
    for name, recording in recordings.items():
        try:
            track = read(recording)
        except CorpusError as error:
            reasons[f"{corpus}/{name}"] = str(error)
        except Exception as error:  # whatever a decoder or a parser raises
            reasons[f"{corpus}/{name}"] = f"It cannot be read ({type(error).__name__}: {error})."
        else:
            tracks += [track] * (track is not None)
    if reasons:
        raise BadRecordings(reasons, len(recordings) + len(failures or {}), tracks)
    return tracks


def files_below(folder: Path) -> Iterator[Path]:
    """Files of a folder and its subfolders, also behind links; hidden subfolders are left out."""
    for parent, folders, names in walk(folder):
        folders[:] = [name for name in folders if not is_hidden(name)]
        yield from (parent / name for name in names)


def find_audio(
    folder: Path, include: Sequence[str] = (), exclude: Sequence[str] = (), besides: Sequence[str] = ()
) -> list[Path]:
    """Audio files below a folder, sorted by path; the log counts the files that are left out.

    Videos are used where no audio file has the same name.

    Args:
        include, exclude: globs on a file's stem or its path below the folder; an empty include keeps all.
        besides: extensions of files that the caller reads itself.
    """

    def matches(path: Path, patterns: Iterable[str]) -> bool:
        relative = path.relative_to(folder).as_posix()
        return any(fnmatch(path.stem, pattern) or fnmatch(relative, pattern) for pattern in patterns)

    found, left_out = [], []
    for path in sorted(files_below(folder)):
        if path.suffix.lower() in AUDIO_EXTENSIONS:
            found.append(path)
        elif path.suffix.lower() not in besides and not is_hidden(path.name):
            left_out.append(extension(path.name))
    audio = {path.with_suffix("") for path in found if not is_video(path)}
    paths = []
    for path in found:
        if is_hidden(path.name):
            left_out.append("hidden")
        elif is_video(path) and path.with_suffix("") in audio:
            left_out.append(f"{extension(path.name)} beside audio of the same name")
        else:
            paths.append(path)
    if left_out:
        _log.warning("%s: left out %s", folder, counted(left_out))
    return [path for path in paths if (not include or matches(path, include)) and not matches(path, exclude)]


def is_video(path: Path) -> bool:
    """Whether a file's extension is that of videos."""
    return path.suffix.lower() in VIDEO_EXTENSIONS
