"""Training items: segments of vocals and accompaniment, mixed on the fly together with their labels.

Conventions
    An item is a pure function of (seed, epoch, index) and its recordings: neither the number of workers nor the order
    of reading changes it, and a resumed run sees what an uninterrupted one would have seen.
    Frame i of the label is centred at `i * hop_s` of the item. Playing the vocals faster by r multiplies their f0 by r
    and reads the label at r times the distance from the segment's start.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import Dataset

from ..corpora.tracks import Track
from ..errors import ConfigError
from .config import MixingConfig, Options, Source, background_weight
from .segments import fade_edges, read_segment, rms_dbfs, to_channels
from .transforms import (
    DoubleMelody,
    FrameLabels,
    KeepLabel,
    MoveFormants,
    RandomEqualizer,
    RandomGain,
    RandomRatio,
    Segment,
    SwapChannels,
)

MAX_DRAWS = 4  # of a segment, until it contains a voice
MAX_PIECES = 8  # that fill one segment
MAX_GAP_S = 0.5  # silence between two pieces of voice


class Pool(Protocol):
    """Recordings to draw from."""

    def draw(self, rng: np.random.Generator, other_than: str | None = None, first: bool = True) -> Track:
        """Draw a recording, if possible of another song than `other_than`; `first` is False for a further recording
        of the same line."""


@dataclass(frozen=True)
class TrackPool:
    """Recordings drawn in proportion to their weights.

    Args:
        open: returns a recording by its number.
        numbers, songs: of the recordings, each of shape (num_recordings,).
        ends: running sums of their weights.
    """

    open: Callable[[int], Track]
    numbers: np.ndarray
    songs: np.ndarray
    ends: np.ndarray

    def draw(self, rng: np.random.Generator, other_than: str | None = None, first: bool = True) -> Track:
        """Draw a recording, of another song than `other_than` unless (almost) all are of that song."""
        for _ in range(MAX_DRAWS):
            index = int(np.searchsorted(self.ends[:-1], rng.random() * self.ends[-1], side="right"))
            if self.songs[index] != other_than:
                break
        return self.open(self.numbers[index])


@dataclass
class Line:
    """One part over the length of a segment.

    `audio` (num_channels, num_samples) float32. `band_rate` is the lowest sampling rate among its files; `song` the
    first one's song.
    """

    id: str
    audio: np.ndarray
    frames: FrameLabels
    song: str = ""
    band_rate: int | None = None


@dataclass(frozen=True)
class Pools:
    """What an item is drawn from: its own recording (`lead`), others of its kind, and pools that all kinds share.

    `lead` and `others` are one pool unless the recording is given. `backgrounds` are accompaniments for voices, drawn
    by `background_weights`; `labelled` are vocals with a pitch label.
    """

    lead: Pool
    others: Pool
    backgrounds: Sequence[Pool]
    background_weights: np.ndarray
    labelled: Pool | None


class Mixer:
    """Makes segments from pools: a recipe for each label kind, then the transforms of the whole mixture.

    Args:
        config: how segments are read and mixed; its sources are not used.
    """

    def __init__(self, config: MixingConfig) -> None:
        self.config = config
        self._frame_times_s = np.arange(config.total_frames) * config.hop_s
        self._balance = RandomRatio(
            config.ratio_std_db, config.ratio_limit_db, config.silence_dbfs, config.sampling_rate
        )
        self._transforms = (
            DoubleMelody(
                config.doubling_probability,
                config.doubling_min_db,
                config.doubling_max_db,
                config.hop_s,
                config.sampling_rate,
            ),
            MoveFormants(config.formant_probability, config.formant_semitones, config.sampling_rate),
            RandomEqualizer(config.equalizer_probability, config.equalizer_db, config.sampling_rate),
            RandomGain(config.gain_db),
            SwapChannels(config.swap_probability),
            KeepLabel(config.label_probability),
        )
        self._recipes = {
            "full": self._full,
            "vocals": self._vocals_over_background,
            "separation": self._stems,
            "pseudo": self._stems,
            "accompaniment": self._no_voice,
            "pitch": self._labelled_mixture,
        }

    def __call__(self, rng: np.random.Generator, recipe: str, options: Options, pools: Pools) -> Segment:
        """Draw a segment by a recipe, one of `tracks.LABEL_KINDS`."""
        segment = self._recipes[recipe](rng, options, pools)
        segment.frames.vocals_weight *= getattr(options, "vocals_weight", 1.0)
        for transform in self._transforms:
            segment = transform(segment, rng)
        return segment

    # Recipes

    def _full(self, rng: np.random.Generator, options: Options, pools: Pools) -> Segment:
        if rng.random() < options.original_probability:
            return self._pair(rng, pools.lead)
        vocals = self._vocals(rng, pools.lead)
        if pools.backgrounds and rng.random() < options.background_probability:
            return self._over_background(rng, vocals, pools)
        return self._balanced(rng, vocals, self._accompaniment(rng, pools.others, other_than=vocals.song))

    def _vocals_over_background(self, rng: np.random.Generator, options: Options, pools: Pools) -> Segment:
        lead = pools.lead
        if pools.labelled is not None and rng.random() < options.labelled_probability:
            lead = pools.labelled
        return self._over_background(rng, self._vocals(rng, lead), pools)

    def _stems(self, rng: np.random.Generator, options: Options, pools: Pools) -> Segment:
        if rng.random() < options.original_probability:
            return self._pair(rng, pools.lead)
        vocals = self._vocals(rng, pools.lead)
        return self._balanced(rng, vocals, self._accompaniment(rng, pools.others, other_than=vocals.song))

    def _no_voice(self, rng: np.random.Generator, options: Options, pools: Pools) -> Segment:
        accompaniment = self._accompaniment(rng, pools.lead)
        silence = self._empty_line("silence")
        silence.frames.pitch_weight[self._frame_times_s <= self.config.segment_s] = 1.0
        return _meet(silence, accompaniment)

    def _labelled_mixture(self, rng: np.random.Generator, options: Options, pools: Pools) -> Segment:
        """A mixture whose vocals are unknown: they stay in the accompaniment, and their weight is 0."""
        config = self.config
        wants_voice = rng.random() < config.voiced_probability
        for _ in range(MAX_DRAWS):
            track, speed = pools.lead.draw(rng), self._speed(rng)
            start_s = self._start_s(rng, track, speed)
            label = self._empty_line("unknown")
            self._add_frames(label, track, 0, config.segment_samples, start_s, speed)
            if not wants_voice or label.frames.f0_hz.any():
                break
        audio, exact_s = self._read(track, "mixture", start_s, config.segment_samples, speed)
        label = self._empty_line("unknown")
        self._add_frames(label, track, 0, config.segment_samples, exact_s, speed)
        label.frames.vocals_weight[:] = 0.0
        mixture = self._empty_line(f"{track.id}@{exact_s:.3f}x{speed:.3f}")
        mixture.audio = to_channels(audio, config.num_channels, self._pan_db(rng))
        return _meet(label, mixture)

    # Lines

    def _empty_line(self, id: str) -> Line:
        config = self.config
        audio = np.zeros((config.num_channels, config.segment_samples), dtype=np.float32)
        return Line(id, audio, FrameLabels.unknown(config.total_frames))

    def _speed(self, rng: np.random.Generator) -> float:
        if rng.random() >= self.config.speed_probability:
            return 1.0
        return 2.0 ** (rng.uniform(-self.config.speed_semitones, self.config.speed_semitones) / 12.0)

    def _pan_db(self, rng: np.random.Generator) -> float:
        if rng.random() >= self.config.pan_probability:
            return 0.0
        return rng.uniform(-self.config.pan_db, self.config.pan_db)

    def _add_frames(self, line: Line, track: Track, begin: int, end: int, start_s: float, speed: float) -> None:
        """Write the labels of samples `begin` to `end`, the first of which is second `start_s` of the recording."""
        begin_s, end_s = begin / self.config.sampling_rate, end / self.config.sampling_rate
        inside = (self._frame_times_s >= begin_s) & (self._frame_times_s <= end_s)
        times_s = start_s + (self._frame_times_s[inside] - begin_s) * speed
        line.frames.write(inside, track, times_s, speed)

    def _start_s(self, rng: np.random.Generator, track: Track, speed: float) -> float:
        """Where a segment of a single recording begins; a shorter recording is placed randomly in silence."""
        spare_s = track.duration_s - self.config.segment_s * speed
        return rng.uniform(min(spare_s, 0.0), max(spare_s, 0.0))

    def _pair(self, rng: np.random.Generator, pool: Pool) -> Segment:
        """The same stretch of both parts, as recorded; a recording shorter than the segment is padded with silence."""
        config = self.config
        wants_voice = rng.random() < config.voiced_probability
        for _ in range(MAX_DRAWS):
            track, speed = pool.draw(rng), self._speed(rng)
            start_s = self._start_s(rng, track, speed)
            audio, exact_s = self._read(track, "vocals", start_s, config.segment_samples, speed)
            if not wants_voice or rms_dbfs(audio) > config.silence_dbfs:
                break
        vocals, accompaniment = self._empty_line(f"{track.id}@{exact_s:.3f}x{speed:.3f}"), self._empty_line("original")
        vocals.audio = to_channels(audio, config.num_channels, self._pan_db(rng))
        self._add_frames(vocals, track, 0, config.segment_samples, exact_s, speed)
        audio, _ = self._read(track, "accompaniment", start_s, config.segment_samples, speed)
        accompaniment.audio = to_channels(audio, config.num_channels, self._pan_db(rng))
        return _meet(vocals, accompaniment)

    def _vocals(self, rng: np.random.Generator, pool: Pool) -> Line:
        wants_voice = rng.random() < self.config.voiced_probability
        for _ in range(MAX_DRAWS):
            line = self._line(rng, pool, "vocals", speed=self._speed(rng), max_gap_s=MAX_GAP_S)
            if not wants_voice or rms_dbfs(line.audio) > self.config.silence_dbfs:
                break
        return line

    def _accompaniment(
        self, rng: np.random.Generator, pool: Pool, other_than: str | None = None, band_rate: int | None = None
    ) -> Line:
        for _ in range(MAX_DRAWS):  # music also has rests and endings; a silent item teaches nothing
            line = self._line(rng, pool, "accompaniment", other_than=other_than, band_rate=band_rate)
            if rms_dbfs(line.audio) > self.config.silence_dbfs:
                break
        return line

    def _line(
        self,
        rng: np.random.Generator,
        pool: Pool,
        part: str,
        *,
        speed: float = 1.0,
        max_gap_s: float = 0.0,
        other_than: str | None = None,
        band_rate: int | None = None,
    ) -> Line:
        """Fill a segment from one recording, or from several if they are shorter than the segment."""
        config = self.config
        line, ids, position, pan_db = self._empty_line(""), [], 0, self._pan_db(rng)
        while position < config.segment_samples and len(ids) < MAX_PIECES:
            track = pool.draw(rng, other_than, first=not ids)
            left = config.segment_samples - position
            length = min(left, max(1, int(track.duration_s / speed * config.sampling_rate)))
            start_s = rng.uniform(0.0, max(0.0, track.duration_s - left * speed / config.sampling_rate))
            audio, exact_s = self._read(track, part, start_s, length, speed, band_rate)
            audio = fade_edges(audio, config.sampling_rate, start=position > 0, end=length < left)
            end = position + length
            line.audio[:, position:end] = to_channels(audio, config.num_channels, pan_db)
            if part == "vocals":
                self._add_frames(line, track, position, end, exact_s, speed)
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

    # Mixing

    def _over_background(self, rng: np.random.Generator, vocals: Line, pools: Pools) -> Segment:
        pool = pools.backgrounds[int(rng.choice(len(pools.backgrounds), p=pools.background_weights))]
        band_rate = vocals.band_rate if rng.random() < self.config.band_limit_probability else None
        return self._balanced(rng, vocals, self._accompaniment(rng, pool, band_rate=band_rate))

    def _balanced(self, rng: np.random.Generator, vocals: Line, accompaniment: Line) -> Segment:
        return self._balance(_meet(vocals, accompaniment), rng)


@dataclass(frozen=True)
class Group:
    """Recordings that share a recipe: a source, or the rows of one label kind of it. `weight` is their share of the
    items."""

    tracks: Sequence[Track]
    recipe: str
    options: Options
    weight: float


class Mixtures:
    """What the two datasets share: all recordings of the configuration by number, their groups and the mixer.

    Items are dicts: `mixture`, `vocals` (num_channels, segment_samples), the fields of `transforms.FrameLabels`
    (num_frames,), all float32, and `id`.

    Args:
        config: what to draw and how.
        tracks: the tracks of each of `config.sources`.

    Raises:
        ConfigError: all recordings of a source have weight 0; there are solo voices but no accompaniment for them.
    """

    def __init__(self, config: MixingConfig, tracks: Sequence[Sequence[Track]]) -> None:
        self.config = config
        # Epoch and first item; in shared memory, so that workers which persist between epochs see the next one.
        self._state = torch.zeros(2, dtype=torch.int64).share_memory_()
        self._mixer = Mixer(config)
        self._groups: list[Group] = []
        recordings = []
        for source, of_source in zip(config.sources, tracks, strict=True):
            recordings += self._add_source(source, of_source)
        group_of, index_of, songs, weights, durations_s, labelled = zip(*recordings, strict=True)
        self._group_of, self._index_of = np.array(group_of), np.array(index_of)
        self._songs = np.array(songs, dtype=object)
        self._weights, self._durations_s = np.array(weights, dtype=np.float64), np.array(durations_s, dtype=np.float64)
        self._members = [self._group_of == number for number in range(len(self._groups))]
        self._labelled = np.array(labelled)  # whether its vocals have a pitch label
        shares = [background_weight(group.options) for group in self._groups]
        self._lenders = np.flatnonzero(shares)
        self._background_weights = normalised([share for share in shares if share > 0])
        if len(self._lenders) == 0 and any(group.recipe == "vocals" and group.weight > 0 for group in self._groups):
            raise ConfigError(
                "There are solo voices, but no accompaniment for them; add rows of kind 'accompaniment' or "
                "'separation' with a background_weight above 0."
            )

    @property
    def epoch(self) -> int:
        return int(self._state[0])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose items are drawn from now on; a new epoch begins at its first item."""
        if epoch != self.epoch:
            self._state[0], self._state[1] = epoch, 0

    def _add_source(self, source: Source, tracks: Sequence[Track]) -> list[tuple]:
        """Add the groups of a source, one for each recipe, which share its weight by their recordings' weights.

        Returns:
            For each recording the number of its group, its index in `tracks`, its song, its weight, its duration in
            seconds, and whether its vocals have a pitch label.
        """
        about = getattr(tracks, "info", tracks)  # rows are not opened
        recipes, weights = np.array([one.recipe for one in about]), np.array([one.weight for one in about])
        found, recordings = [], []
        for recipe in sorted(set(recipes)):
            indices = np.flatnonzero(recipes == recipe)
            total = float(weights[indices].sum())
            if total > 0:
                options = source.options(recipe)
                number = len(self._groups) + len(found)
                found.append((recipe, options, options.weight * total))
                recordings += [
                    (number, i, about[i].song, weights[i], about[i].duration_s, about[i].has_labelled_vocals)
                    for i in indices
                ]
        total = sum(share for _, _, share in found)
        if not found or (source.weight > 0 and total == 0):
            of_split = f", split {source.split}," if source.kind == "rows" else ""
            raise ConfigError(f"All recordings of {source.folder}{of_split} have weight 0.")
        scale = source.weight / total if total > 0 else 0.0
        self._groups += [Group(tracks, recipe, options, share * scale) for recipe, options, share in found]
        return recordings

    def _open(self, number: int) -> Track:
        return self._groups[self._group_of[number]].tracks[int(self._index_of[number])]

    def _pool(self, numbers: np.ndarray, weights: np.ndarray) -> TrackPool:
        """A pool of some recordings; `weights` are those of all."""
        return TrackPool(self._open, numbers, self._songs[numbers], np.cumsum(weights[numbers]))

    def _mix(
        self,
        rng: np.random.Generator,
        number: int,
        lead: Pool,
        others: Pool,
        of_group: Callable[[int], Pool],
        labelled: Callable[[], Pool | None],
    ) -> Segment:
        """An item of group `number` whose recording is `lead`; `of_group` and `labelled` return the other pools."""
        group = self._groups[number]
        backgrounds = [of_group(lender) for lender in self._lenders]
        borrowed = labelled() if group.recipe == "vocals" else None
        pools = Pools(lead, others, backgrounds, self._background_weights, borrowed)
        return self._mixer(rng, group.recipe, group.options, pools)


class JointMixtureDataset(Mixtures, Dataset):
    """Map-style dataset of mixtures with their vocals and pitch.

    Args:
        config: with a `length`.

    Raises:
        CorpusError: from the readers, with the name of the file.
        ConfigError: as for `Mixtures`; no length.
    """

    def __init__(self, config: MixingConfig) -> None:
        if config.length is None:
            raise ConfigError("`length`, the number of items per epoch, is missing.")
        super().__init__(config, [source.load() for source in config.sources])
        self._pools = [self._pool(np.flatnonzero(members), self._weights) for members in self._members]
        labelled = np.flatnonzero(self._labelled)
        self._labelled_pool = self._pool(labelled, self._durations_s) if len(labelled) else None
        self._shares = normalised([group.weight for group in self._groups])

    def __len__(self) -> int:
        return self.config.length

    def __getitem__(self, index: int) -> dict[str, torch.Tensor | str]:
        return to_item(self.draw(index))

    def draw(self, index: int) -> Segment:
        """Draw item `index` of the current epoch, with both parts."""
        if not 0 <= index < len(self):
            raise IndexError(f"Item {index} does not exist; the dataset has {len(self)}, numbered from 0.")
        rng = np.random.default_rng(np.random.SeedSequence([self.config.seed, self.epoch, index]))
        number = int(rng.choice(len(self._groups), p=self._shares))
        pool = self._pools[number]
        return self._mix(rng, number, pool, pool, self._pools.__getitem__, lambda: self._labelled_pool)


def _meet(vocals: Line, accompaniment: Line) -> Segment:
    return Segment(
        f"{vocals.id}+{accompaniment.id}",
        vocals.audio,
        accompaniment.audio,
        vocals.frames,
    )


def to_item(segment: Segment) -> dict[str, torch.Tensor | str]:
    """A segment as the dict of tensors that `Mixtures` describes."""
    return {
        "mixture": torch.from_numpy(segment.mixture),
        "vocals": torch.from_numpy(np.ascontiguousarray(segment.vocals)),
        **{name: torch.from_numpy(values.astype(np.float32)) for name, values in vars(segment.frames).items()},
        "id": segment.id,
    }


def collate(items: Sequence[dict[str, torch.Tensor | str]]) -> dict[str, torch.Tensor | list[str]]:
    """Stack items into a batch: every tensor gains a leading batch_size, and the ids become the list `ids`."""
    batch = {key: torch.stack([item[key] for item in items]) for key in items[0] if key != "id"}
    return {**batch, "ids": [item["id"] for item in items]}


def normalised(weights: Sequence[float]) -> np.ndarray:
    """Weights scaled to sum to 1; all 0 stay 0."""
    weights = np.asarray(weights, dtype=np.float64)
    return weights / weights.sum() if weights.sum() > 0 else weights
