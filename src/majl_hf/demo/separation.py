"""Separate a file into stems on disk and pitch in memory, reporting progress. Independent of the web."""

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..audio import AudioReader, AudioWriter, StreamResampler, to_24_bit_grid
from ..errors import AudioError, MajlError
from ..export.spectrogram import DRAWING_RATE, DrawingCopy
from ..models.configuration_majl import MajlConfig
from ..models.decoding_majl import PitchFrames
from ..models.note_decoding_majl import NoteEvidence
from ..models.notes_majl import SungNote
from ..models.streaming_majl import separate_stream
from ..system.files import commit_together
from .limits import Limits

# On disk per sample and channel: two stems as 32-bit float, these and the melody as flac of at most about 24 bits.
_BYTES_PER_SAMPLE = 2 * 4 + 3 * 3
_SPARE_BYTES = 200e6


class SeparationStopped(Exception):
    """The user stopped it; no files are left."""


@dataclass(frozen=True)
class Progress:
    """`done_s` of `total_s` seconds of audio are done; the total is None if the file's length is unknown."""

    done_s: float
    total_s: float | None


@dataclass(frozen=True)
class SeparatedSong:
    """The result of one file.

    Args:
        file_name: The uploader's name of the file.
        folder: Contains `vocals` and `accompaniment` as wav (32-bit float) and flac, and the files that downloads add.
        sampling_rate (Hz), num_channels, num_samples: Of the file and of each stem.
        frames: Pitch of the whole song.
        evidence: Of its notes, seven numbers for each frame.
        config: Of the model, with its settings.
        warnings: Problems of a file that could still be read.
        decided: Notes by settings, see `decisions.py`.
    """

    file_name: str
    folder: Path
    sampling_rate: int
    num_channels: int
    num_samples: int
    frames: PitchFrames
    evidence: NoteEvidence
    config: MajlConfig
    warnings: tuple[str, ...]
    decided: dict[tuple[float, float], tuple[SungNote, ...]] = field(init=False, repr=False, default_factory=dict)

    @property
    def name(self) -> str:
        """Of the file, without its extension; for titles and downloads."""
        return Path(self.file_name).stem or "song"

    @property
    def duration_s(self) -> float:
        return self.num_samples / self.sampling_rate

    @property
    def drawing_vocals(self) -> tuple[np.ndarray, int]:
        """Mono vocals `(num_samples,)` at a sampling rate sufficient for drawing, and that rate in Hz."""
        rate = min(self.sampling_rate, DRAWING_RATE)
        return np.load(self.folder / "drawing.npy", allow_pickle=False), rate


def separate_file(
    model,
    source: Path,
    file_name: str,
    folder: Path,
    limits: Limits,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Progress | SeparatedSong]:
    """Separate one file into `folder`; yields `Progress` after every chunk and the `SeparatedSong` last.

    Memory does not grow with the song, except for a copy of the vocals at 8 kHz, the pitch and the evidence of notes.

    Args:
        model: `MajlModel` in evaluation mode.
        source: Audio file.
        file_name: The uploader's name of the file; messages use it instead of `source`, which is private.
        folder: An empty folder.
        limits: Length and computing time; the caller has checked the size.
        should_stop: Called before every block.

    Raises:
        SeparationStopped: `should_stop` returned true.
        MajlError: not audio, too long, took too long, or the disk is full. No file is left in `folder`.
    """
    with _explained(source, file_name, folder):
        yield from _separate(model, source, file_name, folder, limits, should_stop)


def song_seconds(source: Path, file_name: str, limits: Limits) -> float:
    """Length in seconds of a file that would be accepted; the longest where the file does not say it.

    Raises:
        MajlError: not audio, or too long.
    """
    with _explained(source, file_name), AudioReader(source, mixdown=True) as reader:
        _check_length(file_name, reader.duration_s or 0.0, limits, exactly=reader.num_samples is not None)
        return reader.duration_s or 60 * limits.max_minutes


@contextlib.contextmanager
def _explained(source: Path, file_name: str, folder: Path | None = None) -> Iterator[None]:
    """Raise errors of a file with the uploader's name of it, and those of `folder` as the server's."""
    try:
        yield
    except (AudioError, ValueError) as error:
        if isinstance(error.__cause__, OSError) and isinstance(error, AudioError) and str(folder) in str(error):
            raise MajlError(
                f"The result could not be stored ({error.__cause__.strerror}). This is a problem of the server: try "
                "again later, or with a shorter song."
            ) from error
        raise MajlError(str(error).replace(str(source), f"“{file_name}”")) from error


def _separate(model, source, file_name, folder, limits, should_stop) -> Iterator[Progress | SeparatedSong]:
    deadline_s = time.monotonic() + limits.max_compute_s
    with AudioReader(source, mixdown=True) as reader, contextlib.ExitStack() as stack:
        rate, num_channels, total_s = reader.sampling_rate, reader.num_channels, reader.duration_s
        _check_length(file_name, total_s or 0.0, limits, exactly=reader.num_samples is not None)
        _check_room(folder, (total_s or 60 * limits.max_minutes) * rate * num_channels)
        yield Progress(0.0, total_s)

        def blocks():
            num_samples = 0
            for block in reader.blocks():
                if should_stop():
                    raise SeparationStopped
                if time.monotonic() > deadline_s:
                    raise MajlError(
                        f"“{file_name}” takes longer than the {limits.max_compute_s:.0f} s that are allowed here; "
                        f"{num_samples / rate:.0f} s of audio are done. Try a shorter song, or run majl on your own "
                        "computer."
                    )
                num_samples += block.shape[1]
                _check_length(file_name, num_samples / rate, limits)
                yield block

        writers = {}
        for file in ("vocals.wav", "accompaniment.wav", "vocals.flac", "accompaniment.flac"):
            encoding = "flac" if file.endswith("flac") else "wav-float"
            writers[file] = AudioWriter(folder / file, rate, num_channels, encoding)
            stack.callback(writers[file].discard)  # does nothing once it is committed
        drawing, frames, evidence, num_samples = DrawingCopy(rate), [], [], 0
        chunks = separate_stream(model, blocks(), rate, make_resampler=StreamResampler, read_notes=True)
        stack.callback(chunks.close)
        for chunk in chunks:
            _write(writers, chunk)
            drawing.push(chunk.vocals)
            frames.append(chunk.frames)
            evidence.append(chunk.evidence)
            num_samples += chunk.mixture.shape[1]
            yield Progress(num_samples / rate, total_s)
        np.save(folder / "drawing.npy", drawing.finish(), allow_pickle=False)
        commit_together(list(writers.values()))
        warnings = [*reader.warnings, *_clipping_warnings(writers)]
    yield SeparatedSong(
        file_name=file_name,
        folder=folder,
        sampling_rate=rate,
        num_channels=num_channels,
        num_samples=num_samples,
        frames=PitchFrames.concatenate(frames),
        evidence=NoteEvidence.concatenate(evidence),
        config=model.config,
        warnings=tuple(warnings),
    )


def _write(writers: dict[str, AudioWriter], chunk) -> None:
    """Write one chunk of every track. The flac files have 24 bits, so the vocals are rounded here and the accompaniment
    is the rounded mixture minus them; the flac stems then add up exactly as well."""
    mixture, vocals = to_24_bit_grid(chunk.mixture), to_24_bit_grid(chunk.vocals)
    tracks = {
        "vocals.wav": chunk.vocals,
        "accompaniment.wav": chunk.accompaniment,
        "vocals.flac": vocals,
        "accompaniment.flac": mixture - vocals,
    }
    for file, track in tracks.items():
        writers[file].write(track)


def _clipping_warnings(writers: dict[str, AudioWriter]) -> list[str]:
    clipped = [file for file, writer in writers.items() if writer.clipped_samples]
    return [f"{', '.join(clipped)} had to be clipped at full scale; the wav files are exact"] if clipped else []


def _check_length(file_name: str, seconds: float, limits: Limits, exactly: bool = True) -> None:
    """The header's length is an estimate in some formats, so these get a tolerance; decoding counts exactly."""
    if seconds > 60 * limits.max_minutes * (1.0 if exactly else 1.1):
        raise MajlError(
            f"“{file_name}” is longer than {limits.max_minutes:g} minutes. Cut it, or run majl on your own computer, "
            "without a limit."
        )


def _check_room(folder: Path, num_values: float) -> None:
    if shutil.disk_usage(folder).free < num_values * _BYTES_PER_SAMPLE + _SPARE_BYTES:
        raise MajlError("The server has no room for a song of this length. Try again later, or use a shorter one.")
