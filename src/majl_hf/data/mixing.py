"""Training items for stage 1: segments of vocals and accompaniment that meet on the fly, with labels that follow.

Conventions
    An item is a pure function of (seed, epoch, index): neither the number of workers nor the order of reading
    changes it, and a resumed run sees what an uninterrupted one would have seen.
    Frame i of the label is centred at `i * hop_s` of the item. Playing the vocals faster by r moves their f0 by r and
    reads the label at r times the distance from the segment's start.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from .config import MixingConfig, Source, background_weight
from .segments import active_rms_dbfs, fade_edges, read_segment, rms_dbfs, to_channels
from .tracks import Track

MAX_DRAWS = 4  # of a segment, until there is a voice in it
MAX_PIECES = 8  # that fill one segment
MAX_GAP_S = 0.5  # silence between two pieces of voice
MAX_BALANCE_DB = 30.0


class TrackPool:
    """Tracks drawn in proportion to their duration, so that every second of a corpus is equally likely."""

    def __init__(self, tracks: Sequence[Track]) -> None:
        self.tracks = list(tracks)
        self._ends_s = np.cumsum([track.duration_s for track in self.tracks])

    def draw(self, rng: np.random.Generator, other_than: str | None = None) -> Track:
        """Draw a track, of another song than `other_than` unless (almost) all are of that song."""
        for _ in range(MAX_DRAWS):
            track = self.tracks[int(np.searchsorted(self._ends_s[:-1], rng.random() * self._ends_s[-1], side="right"))]
            if track.song != other_than:
                break
        return track


@dataclass
class Line:
    """One part over the length of a segment.

    `audio` (num_channels, num_samples) float32; `f0_hz` and `pitch_weight` (num_frames,), weight 0 where not labelled.
    `band_rate` is the lowest sampling rate among its files; `song` the first one's song.
    """

    id: str
    audio: np.ndarray
    f0_hz: np.ndarray
    pitch_weight: np.ndarray
    song: str = ""
    band_rate: int | None = None


@dataclass
class Segment:
    """An item before it becomes tensors; `mixture` is the float32 sum of its parts."""

    id: str
    vocals: np.ndarray
    accompaniment: np.ndarray
    f0_hz: np.ndarray
    pitch_weight: np.ndarray
    vocals_weight: float = 1.0

    @property
    def mixture(self) -> np.ndarray:
        return self.vocals + self.accompaniment


class JointMixtureDataset(Dataset):
    """Map-style dataset of mixtures with their vocals and pitch.

    Args:
        config: what to draw and how.
        tracks: for each of `config.sources` its tracks; left out, the sources read their folders.

    Items are dicts: `mixture`, `vocals` (num_channels, segment_samples), `f0_hz` (num_frames,) in Hz with 0 unvoiced,
    `pitch_weight` (num_frames,) with 0 where nothing is known, `vocals_weight` (), all float32, and `id`.

    Raises:
        CorpusError: from the readers, with the name of the file.
    """

    def __init__(self, config: MixingConfig, tracks: Sequence[Sequence[Track]] | None = None) -> None:
        self.config = config
        if tracks is None:
            tracks = [source.load() for source in config.sources]
        if len(tracks) != len(config.sources) or not all(len(group) for group in tracks):
            raise ValueError(
                f"Tracks for {len(tracks)} sources of sizes {[len(group) for group in tracks]} were given; the "
                f"configuration has {len(config.sources)} sources, and each needs at least one track."
            )
        self.pools = [TrackPool(group) for group in tracks]
        self._source_weights = _normalised([source.weight for source in config.sources])
        weights = [background_weight(source) for source in config.sources]
        self._backgrounds = [pool for pool, weight in zip(self.pools, weights, strict=True) if weight > 0]
        self._background_weights = _normalised([weight for weight in weights if weight > 0])
        labelled = [
            track for group in tracks for track in group if track.label is not None and track.vocals is not None
        ]
        self._labelled = TrackPool(labelled) if labelled else None
        self._frame_times_s = np.arange(config.total_frames) * config.hop_s
        self._recipes = {"mir1k": self._mir1k, "voices": self._voices, "stems": self._stems, "music": self._music}
        # In shared memory, so that worker processes which outlive an epoch see the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return self.config.length

    @property
    def epoch(self) -> int:
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose items are drawn from now on."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | str]:
        segment = self.draw(index)
        return {
            "mixture": torch.from_numpy(segment.mixture),
            "vocals": torch.from_numpy(segment.vocals),
            "f0_hz": torch.from_numpy(segment.f0_hz.astype(np.float32)),
            "pitch_weight": torch.from_numpy(segment.pitch_weight.astype(np.float32)),
            "vocals_weight": torch.tensor(segment.vocals_weight, dtype=torch.float32),
            "id": segment.id,
        }

    def draw(self, index: int) -> Segment:
        """Draw item `index` of the current epoch, with both parts."""
        if not 0 <= index < len(self):
            raise IndexError(f"Item {index} was asked for; the dataset has {len(self)}, from 0.")
        rng = np.random.default_rng(np.random.SeedSequence([self.config.seed, self.epoch, index]))
        chosen = int(rng.choice(len(self.pools), p=self._source_weights))
        source, pool = self.config.sources[chosen], self.pools[chosen]
        vocals, accompaniment = self._recipes[source.kind](rng, source, pool)
        return self._finish(rng, vocals, accompaniment, getattr(source, "vocals_weight", 1.0))

    # Recipes, one a kind of source: each returns the line of vocals and the line of accompaniment.

    def _mir1k(self, rng: np.random.Generator, source: Source, pool: TrackPool) -> tuple[Line, Line]:
        if rng.random() < source.original_probability:
            return self._pair(rng, pool)
        vocals = self._vocals(rng, pool)
        if self._backgrounds and rng.random() < source.background_probability:
            return self._over_background(rng, vocals)
        return self._balanced(rng, vocals, self._accompaniment(rng, pool, other_than=vocals.song))

    def _voices(self, rng: np.random.Generator, source: Source, pool: TrackPool) -> tuple[Line, Line]:
        if self._labelled is not None and rng.random() < source.labelled_probability:
            pool = self._labelled
        return self._over_background(rng, self._vocals(rng, pool))

    def _stems(self, rng: np.random.Generator, source: Source, pool: TrackPool) -> tuple[Line, Line]:
        if rng.random() < source.original_probability:
            return self._pair(rng, pool)
        vocals = self._vocals(rng, pool)
        return self._balanced(rng, vocals, self._accompaniment(rng, pool, other_than=vocals.song))

    def _music(self, rng: np.random.Generator, source: Source, pool: TrackPool) -> tuple[Line, Line]:
        accompaniment = self._accompaniment(rng, pool)
        silence = self._empty_line("silence")
        silence.pitch_weight[self._frame_times_s <= self.config.segment_s] = 1.0
        return silence, accompaniment

    # Lines

    def _empty_line(self, id: str) -> Line:
        config = self.config
        audio = np.zeros((config.num_channels, config.segment_samples), dtype=np.float32)
        return Line(id, audio, np.zeros(config.total_frames), np.zeros(config.total_frames))

    def _speed(self, rng: np.random.Generator) -> float:
        if rng.random() >= self.config.speed_probability:
            return 1.0
        return 2.0 ** (rng.uniform(-self.config.speed_semitones, self.config.speed_semitones) / 12.0)

    def _pan_db(self, rng: np.random.Generator) -> float:
        if rng.random() >= self.config.pan_probability:
            return 0.0
        return rng.uniform(-self.config.pan_db, self.config.pan_db)

    def _add_label(self, line: Line, track: Track, begin: int, end: int, start_s: float, speed: float) -> None:
        """Write the label of samples `begin` to `end`, the first of which is second `start_s` of the recording."""
        if track.label is None:
            return
        begin_s, end_s = begin / self.config.sampling_rate, end / self.config.sampling_rate
        frames = (self._frame_times_s >= begin_s) & (self._frame_times_s <= end_s)
        f0_hz, weight = track.label.at(start_s + (self._frame_times_s[frames] - begin_s) * speed)
        line.f0_hz[frames], line.pitch_weight[frames] = f0_hz * speed, weight

    def _pair(self, rng: np.random.Generator, pool: TrackPool) -> tuple[Line, Line]:
        """The same stretch of both parts, as recorded; a recording shorter than the segment stands in silence."""
        config = self.config
        wants_voice = rng.random() < config.voiced_probability
        for _ in range(MAX_DRAWS):
            track, speed = pool.draw(rng), self._speed(rng)
            spare_s = track.duration_s - config.segment_s * speed
            start_s = rng.uniform(min(spare_s, 0.0), max(spare_s, 0.0))
            audio, exact_s = self._read(track, "vocals", start_s, config.segment_samples, speed)
            if not wants_voice or rms_dbfs(audio) > config.silence_dbfs:
                break
        vocals, accompaniment = self._empty_line(f"{track.id}@{exact_s:.3f}x{speed:.3f}"), self._empty_line("original")
        vocals.audio = to_channels(audio, config.num_channels, self._pan_db(rng))
        self._add_label(vocals, track, 0, config.segment_samples, exact_s, speed)
        audio, _ = self._read(track, "accompaniment", start_s, config.segment_samples, speed)
        accompaniment.audio = to_channels(audio, config.num_channels, self._pan_db(rng))
        return vocals, accompaniment

    def _vocals(self, rng: np.random.Generator, pool: TrackPool) -> Line:
        wants_voice = rng.random() < self.config.voiced_probability
        for _ in range(MAX_DRAWS):
            line = self._line(rng, pool, "vocals", speed=self._speed(rng), max_gap_s=MAX_GAP_S)
            if not wants_voice or rms_dbfs(line.audio) > self.config.silence_dbfs:
                break
        return line

    def _accompaniment(
        self, rng: np.random.Generator, pool: TrackPool, other_than: str | None = None, band_rate: int | None = None
    ) -> Line:
        for _ in range(MAX_DRAWS):  # music has rests and endings, too; an item of nothing teaches nothing
            line = self._line(rng, pool, "accompaniment", other_than=other_than, band_rate=band_rate)
            if rms_dbfs(line.audio) > self.config.silence_dbfs:
                break
        return line

    def _line(
        self,
        rng: np.random.Generator,
        pool: TrackPool,
        part: str,
        *,
        speed: float = 1.0,
        max_gap_s: float = 0.0,
        other_than: str | None = None,
        band_rate: int | None = None,
    ) -> Line:
        """Fill a segment from one recording, or from several where they are shorter than it."""
        config = self.config
        line, ids, position, pan_db = self._empty_line(""), [], 0, self._pan_db(rng)
        while position < config.segment_samples and len(ids) < MAX_PIECES:
            track = pool.draw(rng, other_than)
            left = config.segment_samples - position
            length = min(left, max(1, int(track.duration_s / speed * config.sampling_rate)))
            start_s = rng.uniform(0.0, max(0.0, track.duration_s - left * speed / config.sampling_rate))
            audio, exact_s = self._read(track, part, start_s, length, speed, band_rate)
            audio = fade_edges(audio, config.sampling_rate, start=position > 0, end=length < left)
            end = position + length
            line.audio[:, position:end] = to_channels(audio, config.num_channels, pan_db)
            if part == "vocals":
                self._add_label(line, track, position, end, exact_s, speed)
            line.song = line.song or track.song
            line.band_rate = min(line.band_rate or track.sampling_rate, track.sampling_rate)
            ids.append(f"{track.id}@{exact_s:.3f}x{speed:.3f}")
            position = end + int(rng.uniform(0.0, max_gap_s) * config.sampling_rate)
        line.id = "&".join(ids)
        return line

    def _read(
        self, track: Track, part: str, start_s: float, length: int, speed: float, band_rate: int | None = None
    ) -> tuple[np.ndarray, float]:
        return read_segment(track.part(part), start_s, length, self.config.sampling_rate, speed, band_rate)

    # Meeting

    def _over_background(self, rng: np.random.Generator, vocals: Line) -> tuple[Line, Line]:
        pool = self._backgrounds[int(rng.choice(len(self._backgrounds), p=self._background_weights))]
        band_rate = vocals.band_rate if rng.random() < self.config.band_limit_probability else None
        return self._balanced(rng, vocals, self._accompaniment(rng, pool, band_rate=band_rate))

    def _balanced(self, rng: np.random.Generator, vocals: Line, accompaniment: Line) -> tuple[Line, Line]:
        """Set the accompaniment's level for a drawn vocals-to-accompaniment ratio; next to silence nothing is set."""
        config = self.config
        ratio_db = float(np.clip(rng.normal(0.0, config.ratio_std_db), -config.ratio_limit_db, config.ratio_limit_db))
        vocals_db = active_rms_dbfs(vocals.audio, config.sampling_rate)
        accompaniment_db = active_rms_dbfs(accompaniment.audio, config.sampling_rate)
        if vocals_db > config.silence_dbfs and math.isfinite(accompaniment_db):
            gain_db = min(max(vocals_db - ratio_db - accompaniment_db, -MAX_BALANCE_DB), MAX_BALANCE_DB)
            accompaniment.audio = accompaniment.audio * 10.0 ** (gain_db / 20.0)
        return vocals, accompaniment

    def _finish(self, rng: np.random.Generator, vocals: Line, accompaniment: Line, vocals_weight: float) -> Segment:
        """What happens to the mixture as a whole: gain, channel swap, peak limit; on both parts alike."""
        config = self.config
        gain = 10.0 ** (rng.uniform(-config.gain_db, config.gain_db) / 20.0)
        peak = gain * float(np.abs(vocals.audio + accompaniment.audio).max())
        if peak > 1.0:
            gain *= (1.0 - 1e-6) / peak  # the small term keeps rounding from crossing 1 again
        parts = [(line.audio * gain).astype(np.float32, copy=False) for line in (vocals, accompaniment)]
        if config.num_channels == 2 and rng.random() < config.swap_probability:
            parts = [part[::-1] for part in parts]
        vocals_audio, accompaniment_audio = (np.ascontiguousarray(part) for part in parts)
        if rng.random() >= config.label_probability:
            vocals.pitch_weight[:] = 0.0
        return Segment(
            f"{vocals.id}+{accompaniment.id}",
            vocals_audio,
            accompaniment_audio,
            vocals.f0_hz,
            vocals.pitch_weight,
            vocals_weight,
        )


def collate(items: Sequence[dict[str, torch.Tensor | str]]) -> dict[str, torch.Tensor | list[str]]:
    """Stack items into a batch: every tensor gains a leading batch_size, and the ids become the list `ids`."""
    batch = {key: torch.stack([item[key] for item in items]) for key in items[0] if key != "id"}
    return {**batch, "ids": [item["id"] for item in items]}


def _normalised(weights: Sequence[float]) -> np.ndarray:
    weights = np.asarray(weights, dtype=np.float64)
    return weights / weights.sum() if weights.sum() > 0 else weights
