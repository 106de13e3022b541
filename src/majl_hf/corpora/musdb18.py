"""MUSDB18: 150 songs with stems, as multi-stream `.stem.mp4` files.

Conventions
    `train/ARTIST - TITLE.stem.mp4` and `test/...` (100 and 50 songs), 44.1 kHz stereo AAC in five audio streams:
    0 mixture, 1 drums, 2 bass, 3 other, 4 vocals. The accompaniment is drums + bass + other.
    Of the training songs, 14 are the fixed validation set (`VALIDATION_TRACKS`).
    Read through PyAV by seeking; sample n of a stream is the one that its time stamps place there.

Traps
    The mixture stream is not the sum of the stems: each was encoded by itself. It is left out, and the mixture is the
    sum of vocals and accompaniment. A cover picture may follow the audio as a video stream. 46 songs are from MedleyDB.

Licence
    For educational and non-commercial use only; the songs have licences of their own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from ..errors import CorpusError
from .tracks import Part, SumPart, Track, resolve_folder

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
SUFFIX = ".stem.mp4"
STREAMS = ("mixture", "drums", "bass", "other", "vocals")
ACCOMPANIMENT = ("drums", "bass", "other")
VALIDATION_TRACKS = frozenset(
    {
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
    }
)
_PREROLL_S = 0.1  # decoded and thrown away after seeking: AAC frames overlap, so the first ones are not whole


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
                if start_s > 0:  # else from the very first packet, which lies before second 0
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
                f"{self.duration_s:.2f} s that its header announces. Copy or download it again."
            )
        if not np.isfinite(audio).all():
            raise CorpusError(f"{self.path}, stream {self.stream} holds NaN or infinite samples. Exclude it.")
        return audio


def load_musdb18(
    folder: str | Path, validation: Collection[str] = VALIDATION_TRACKS, corpus: str = "musdb18"
) -> list[Track]:
    """Tracks of a MUSDB18 folder, sorted by name: training and validation songs first, then test.

    Args:
        folder: holds `train` and `test`, or one of them; `~` and environment variables are expanded.
        validation: names of the training songs that are kept for validation.

    Raises:
        CorpusError: no song, or one that does not have the five streams.
    """
    root = resolve_folder(folder, "MUSDB18")
    tracks = []
    for split in ("train", "test"):
        for path in sorted((root / split).glob(f"*{SUFFIX}")):
            name = path.name.removesuffix(SUFFIX)
            song_split = split_of(name, split, validation)
            tracks.append(make_track(open_streams(path), name, song_split, corpus, "MUSDB18"))
    if not tracks:
        raise CorpusError(f"No *{SUFFIX} in {root / 'train'} or {root / 'test'}; the MUSDB18 songs belong there.")
    return tracks


def load_stem_file(path: str | Path, corpus: str = "stem-file") -> list[Track]:
    """The track of a single `.stem.mp4`, in a list; errors as of `open_streams`."""
    path = Path(path)
    name = path.name.removesuffix(".mp4").removesuffix(".stem")
    return [make_track(open_streams(path), name, "", corpus, path.name)]


def split_of(name: str, folder: str, validation: Collection[str]) -> str:
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


def _length(path: Path, stream: av.AudioStream) -> int:
    if not stream.duration:
        raise CorpusError(f"{path}, stream {stream.index} announces no length or no samples. Download it again.")
    return round(stream.duration * stream.time_base * stream.rate)


def check_stems_agree(parts: Mapping[str, Part], what: str) -> None:
    """Refuse stems of one song, `what` in the message, that differ in rate, channels or length."""
    kinds = {(part.sampling_rate, part.num_channels, part.num_samples) for part in parts.values()}
    if len(kinds) != 1:
        raise CorpusError(f"The {what} differ in (rate, channels, samples): {sorted(kinds)}; they need to agree.")


def make_track(parts: Mapping[str, Part], name: str, split: str, corpus: str, title: str) -> Track:
    """The track of a song from its stems by name; `title` is what the provenance calls the corpus."""
    vocals = parts["vocals"]
    return Track(
        id=f"{corpus}/{name}",
        corpus=corpus,
        song=name,
        singer=name.partition(" - ")[0],
        duration_s=vocals.duration_s,
        sampling_rate=vocals.sampling_rate,
        vocals=vocals,
        accompaniment=SumPart(tuple(parts[stem] for stem in ACCOMPANIMENT)),
        split=split,
        licence=LICENCE,
        provenance=f"{title}, {name}; accompaniment is the sum of its other stems.",
    )
