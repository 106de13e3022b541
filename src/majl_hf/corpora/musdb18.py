"""MUSDB18 and MUSDB18-HQ: 150 songs with stems, as multi-stream `.stem.mp4` files or as folders of wav.

Conventions
    `train/ARTIST - TITLE.stem.mp4` and `test/...` (100 and 50 songs), 44.1 kHz stereo AAC in five audio streams:
    0 mixture, 1 drums, 2 bass, 3 other, 4 vocals. Read through PyAV by seeking; samples are placed by the time stamps.
    HQ: `train/ARTIST - TITLE/` and `test/...`, each with `mixture.wav`, `vocals.wav`, `drums.wav`, `bass.wav` and
    `other.wav`, 44.1 kHz stereo, 16 bits.
    The accompaniment is drums + bass + other. Of the training songs, 14 are the fixed validation set
    (`VALIDATION_TRACKS`).

Traps
    The mixture stream is not the sum of the stems, because each was encoded separately; that of HQ may differ in the
    last bit. It is left out, and the mixture is the sum of vocals and accompaniment. A cover picture may follow the
    audio as a video stream. 46 songs are from MedleyDB. Both forms contain the same songs, the first band-limited to
    16 kHz: use only one of them.

Licence
    For educational and non-commercial use only; each song has its own licence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..errors import CorpusError
from .tracks import AudioPart, Part, SumPart, Track, read_recordings, resolve_folder

LICENCE = "educational and non-commercial use only; each song has its own licence"
CITATION = """\
@misc{MUSDB18,
  author    = {Rafii, Zafar and Liutkus, Antoine and St{\\"o}ter, Fabian-Robert and Mimilakis, Stylianos Ioannis and
               Bittner, Rachel},
  title     = {The {MUSDB18} corpus for music separation},
  year      = {2017},
  doi       = {10.5281/zenodo.1117372},
  url       = {https://doi.org/10.5281/zenodo.1117372}
}"""
HQ_CITATION = """\
@misc{MUSDB18HQ,
  author    = {Rafii, Zafar and Liutkus, Antoine and St{\\"o}ter, Fabian-Robert and Mimilakis, Stylianos Ioannis and
               Bittner, Rachel},
  title     = {{MUSDB18-HQ}: an uncompressed version of {MUSDB18}},
  year      = {2019},
  doi       = {10.5281/zenodo.3338373},
  url       = {https://doi.org/10.5281/zenodo.3338373}
}"""
SUFFIX = ".stem.mp4"
STREAMS = ("mixture", "drums", "bass", "other", "vocals")
ACCOMPANIMENT = ("drums", "bass", "other")
VALIDATION_TRACKS = (
    "ANiMAL - Rockshow",
    "Actions - One Minute Smile",
    "Alexander Ross - Goodbye Bolero",
    "Clara Berry And Wooldog - Waltz For My Victims",
    "Fergessen - Nos Palpitants",
    "James May - On The Line",
    "Johnny Lokke - Promises & Lies",
    "Leaf - Summerghost",
    "Meaxic - Take A Step",
    "Patrick Talbot - A Reason To Leave",
    "Skelpolu - Human Mistakes",
    "Traffic Experiment - Sirens",
    "Triviul - Angelsaint",
    "Young Griffo - Pennies",
)
_PREROLL_S = 0.1  # decoded and discarded after seeking: AAC frames overlap, so the first ones are incomplete


@dataclass(frozen=True)
class StreamPart(Part):
    """One audio stream of a container, such as a stem of an mp4."""

    path: Path
    stream: int
    sampling_rate: int
    num_samples: int
    num_channels: int
    bits: int = 16

    def _read_within(self, begin: int, end: int) -> np.ndarray:
        audio = np.zeros((self.num_channels, end - begin), dtype=np.float32)
        reached = begin
        try:
            with av.open(f"file:{self.path}") as container:
                stream = container.streams[self.stream]
                start_s = begin / self.sampling_rate - _PREROLL_S
                if start_s > 0:  # otherwise from the first packet, which is before second 0
                    container.seek(int(start_s / stream.time_base), stream=stream)
                to_float = av.AudioResampler(format="fltp")
                for frame in container.decode(stream):
                    at = round(Fraction(frame.pts) * frame.time_base * self.sampling_rate)
                    samples = np.concatenate([part.to_ndarray() for part in to_float.resample(frame)], axis=1)
                    low, high = max(at, begin), min(at + samples.shape[1], end)
                    if low < high:
                        audio[:, low - begin : high - begin] = samples[:, low - at : high - at]
                        reached = high
                    if high >= end:
                        break
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise CorpusError(f"{self.path}, stream {self.stream} cannot be decoded ({error}).") from error
        if reached < end:
            raise CorpusError(
                f"{self.path}, stream {self.stream} ends after {reached / self.sampling_rate:.2f} s of the "
                f"{self.duration_s:.2f} s in its header. Copy or download it again."
            )
        if not np.isfinite(audio).all():
            raise CorpusError(f"{self.path}, stream {self.stream} contains NaN or infinite samples. Exclude it.")
        return audio


def load_musdb18(
    folder: str | Path, validation: Sequence[str] = VALIDATION_TRACKS, corpus: str = "musdb18"
) -> list[Track]:
    """Tracks of a MUSDB18 folder, sorted by name: training and validation songs first, then test.

    Args:
        folder: contains `train` and `test`, or one of them; `~` and environment variables are expanded.
        validation: names of the training songs that are kept for validation.

    Raises:
        BadRecordings: songs that do not have the five streams; the others are in it.
        CorpusError: no song.
    """
    tracks = _load(folder, "MUSDB18", corpus, validation, f"*{SUFFIX}", open_streams)
    if not tracks:
        raise CorpusError(f"No *{SUFFIX} in train or test of {folder}; the MUSDB18 songs belong there.")
    return tracks


def load_musdb18_hq(
    folder: str | Path, validation: Sequence[str] = VALIDATION_TRACKS, corpus: str = "musdb18_hq"
) -> list[Track]:
    """Tracks of a MUSDB18-HQ folder; arguments and order as for `load_musdb18`.

    Raises:
        BadRecordings: songs without one of their stems, or whose stems differ in rate, channels or length; the others
            are in it.
        CorpusError: no song.
    """
    tracks = _load(folder, "MUSDB18-HQ", corpus, validation, "*/", open_stems)
    if not tracks:
        raise CorpusError(f"No folder in train or test of {folder}; the MUSDB18-HQ songs belong there.")
    return tracks


def _load(
    folder: str | Path,
    title: str,
    corpus: str,
    validation: Sequence[str],
    pattern: str,
    open_song: Callable[[Path], Mapping[str, Part]],
) -> list[Track]:
    root = resolve_folder(folder, title)
    songs: dict[str, tuple[Path, str]] = {}
    failures: dict[str, str] = {}
    for split in ("train", "test"):
        for path in sorted((root / split).glob(pattern)):
            name = path.name.removesuffix(SUFFIX)
            if name in songs:
                failures[f"{split}/{name}"] = f"{path} is in the other split as well; keep one."
            elif not path.name.startswith("."):
                songs[name] = path, split_of(name, split, validation)

    def read(song: tuple[Path, str]) -> Track:
        path, split = song
        return make_track(open_song(path), path.name.removesuffix(SUFFIX), split, corpus, title)

    return read_recordings(corpus, songs, read, failures)


def load_stem_file(path: str | Path, corpus: str = "stem-file") -> list[Track]:
    """The track of a single `.stem.mp4`, in a list.

    Raises:
        CorpusError: there is no such file, or as for `open_streams`.
    """
    path = Path(path)
    if not path.is_file():
        state = "is a folder" if path.is_dir() else "does not exist"
        raise CorpusError(f"The stem file {path} {state}; this needs a file NAME.stem.mp4.")
    name = path.name.removesuffix(".mp4").removesuffix(".stem")
    return [make_track(open_streams(path), name, "", corpus, path.name)]


def split_of(name: str, folder: str, validation: Sequence[str]) -> str:
    """The split of a song in the folder "train" or "test"."""
    return "validation" if folder == "train" and name in validation else folder


def open_streams(path: Path) -> dict[str, StreamPart]:
    """The stems of a `.stem.mp4` by name.

    Raises:
        CorpusError: not readable, other than five audio streams, or streams that differ in rate, channels or length.
    """
    try:
        with av.open(f"file:{path}") as container:
            streams = container.streams.audio
            if len(streams) != len(STREAMS):
                raise CorpusError(
                    f"{path} has {len(streams)} audio stream(s); a stem file has {len(STREAMS)}: {', '.join(STREAMS)}."
                )
            parts = {
                name: StreamPart(path, stream.index, stream.rate, _length(path, stream), stream.channels)
                for name, stream in zip(STREAMS, streams, strict=True)
            }
    except (av.error.FFmpegError, OSError) as error:
        raise CorpusError(f"{path} cannot be read as a stem file ({error}). Copy or download it again.") from error
    check_stems_agree(parts, f"streams of {path}")
    return parts


def open_stems(path: Path) -> dict[str, AudioPart]:
    """The stems of a song's folder of MUSDB18-HQ by name.

    Raises:
        CorpusError: one is missing or not readable, or they differ in rate, channels or length.
    """
    parts = {}
    for stem in ("vocals", *ACCOMPANIMENT):
        file = path / f"{stem}.wav"
        if not file.is_file():
            raise CorpusError(f"{file} is missing; a song of MUSDB18-HQ needs vocals, {', '.join(ACCOMPANIMENT)}.")
        parts[stem] = AudioPart.open(file)
    check_stems_agree(parts, f"stems in {path}")
    return parts


def _length(path: Path, stream: av.AudioStream) -> int:
    if not stream.duration:
        raise CorpusError(f"{path}, stream {stream.index} announces no length or no samples. Download it again.")
    return round(stream.duration * stream.time_base * stream.rate)


def check_stems_agree(parts: Mapping[str, Part], what: str) -> None:
    """Refuse stems of one song, `what` in the message, that differ in rate, channels or length."""
    kinds = {(part.sampling_rate, part.num_channels, part.num_samples) for part in parts.values()}
    if len(kinds) != 1:
        raise CorpusError(f"The {what} differ in (rate, channels, samples): {sorted(kinds)}; they must agree.")


def make_track(parts: Mapping[str, Part], name: str, split: str, corpus: str, title: str) -> Track:
    """The track of a song from its stems by name; `title` names the corpus in the provenance."""
    return Track.of(
        corpus,
        name,
        singer=name.partition(" - ")[0],
        vocals=parts["vocals"],
        accompaniment=SumPart(tuple(parts[stem] for stem in ACCOMPANIMENT)),
        split=split,
        licence=LICENCE,
        provenance=f"{title}, {name}; accompaniment is the sum of its other stems.",
    )
