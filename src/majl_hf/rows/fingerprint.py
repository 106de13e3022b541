"""Find recordings that share audio: landmarks of spectral peaks, matched by time offset.

After A. Wang, "An industrial-strength audio search algorithm", ISMIR 2003. A recording becomes a set of landmarks: two
peaks of its spectrogram, kept as (frequency of the first, frequency step, time step). Two recordings of the same audio
have many landmarks in common whose times differ by one constant, wherever they were cut, at whatever level, through
lossy coding, and with something else mixed in. A version in another tempo or key does not match.

Conventions: 8 kHz mono; spectrogram frame i is centred at `i * HOP / RATE` seconds from the start. Times of landmarks
are in frames. The fingerprint of a row is that of its accompaniment where it has one (singers of one karaoke track
share it), else of its mixture, else of its vocals.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..audio.resampling import StreamResampler
from ..corpora.tracks import Part, Track

RATE = 8_000  # Hz; frequencies above 4 kHz suffer most from lossy coding
WINDOW, HOP = 1024, 256  # samples: 128 ms, 32 ms
FIRST_BIN, LAST_BIN = 16, 496  # 125 to 3,875 Hz
PEAK_FRAMES, PEAK_BINS = 6, 16  # a peak is the largest value this far to each side: 192 ms, 125 Hz
FLOOR_DB = -60.0  # of a peak, relative to the recording's strongest
FAN_OUT = 5  # landmarks that begin at one peak
MAX_FRAMES_APART, MAX_BINS_APART = 63, 63  # of a landmark's two peaks: 2 s, 492 Hz
MAX_OCCURRENCES = 200  # a landmark that occurs more often than this identifies nothing
# Two recordings share audio if at least this many different landmarks agree on one offset, and at least this share of
# those in the overlap. On MIR-1K (1,000 clips of 8 s, 110 songs, half of them lossy) all 20 pairs of songs in which two
# singers have one accompaniment are found: at least 266 landmarks (0.23) agree between the accompaniments and 60
# (0.059) between the mixtures with voices at 0 dB; of the other 5,975 pairs none has more than 16 (0.026). Of 247 solo
# voices two pairs are found, with 425 (0.134) and 119 (0.12), and no other has more than 7.
MIN_MATCHES, MIN_SHARE = 30, 0.04
_BLOCK_S = 30.0  # seconds decoded at a time


@dataclass(frozen=True, eq=False)
class Fingerprint:
    """Landmarks of one recording.

    Args:
        hashes: uint32 array of shape (num_landmarks,).
        frames: int32 array of shape (num_landmarks,), the frame of each landmark's first peak, ascending.
        num_frames: length of the recording.
    """

    hashes: np.ndarray
    frames: np.ndarray
    num_frames: int


@dataclass(frozen=True)
class Match:
    """Two recordings that share audio.

    Args:
        first, second: their positions in the sequence that was searched, `first < second`.
        offset_s: time t of `second` is time t + offset_s of `first`.
        count: different landmarks that agree on this offset.
        share: count divided by the landmarks in the overlap, of the recording that has fewer there; at most 1.
    """

    first: int
    second: int
    offset_s: float
    count: int
    share: float


def part_to_fingerprint(part: Part) -> Fingerprint:
    """Read a part in pieces of 30 s and fingerprint it; any rate and channel count.

    Raises:
        CorpusError: the part cannot be decoded.
    """
    return fingerprint(_mono_at_8khz(part))


def track_to_fingerprint(track: Track) -> Fingerprint:
    """The fingerprint of a track's accompaniment, else mixture, else vocals."""
    part = next(p for p in (track.accompaniment, track.mixture, track.vocals) if p is not None)
    return part_to_fingerprint(part)


def fingerprint(audio: np.ndarray) -> Fingerprint:
    """Fingerprint mono audio at 8 kHz, array of shape (num_samples,), any level."""
    audio = np.asarray(audio, dtype=np.float32)
    num_frames = 1 + len(audio) // HOP
    frames, bins = _peaks(_spectrogram(audio, num_frames))
    hashes, times = _landmarks(frames, bins)
    return Fingerprint(hashes, times, num_frames)


def find_matches(
    fingerprints: Sequence[Fingerprint],
    groups: Sequence | None = None,
    min_matches: int = MIN_MATCHES,
    min_share: float = MIN_SHARE,
) -> list[Match]:
    """All pairs of recordings that share audio, in order of their positions.

    Args:
        groups: one value per recording; recordings of one group are not compared. None compares all.
        min_matches, min_share: a pair below either is not returned.
    """
    if not fingerprints:
        return []
    _, group_of = np.unique(np.asarray(range(len(fingerprints)) if groups is None else groups), return_inverse=True)
    owner = np.repeat(np.arange(len(fingerprints), dtype=np.int32), [len(f.hashes) for f in fingerprints])
    hashes = np.concatenate([f.hashes for f in fingerprints])
    times = np.concatenate([f.frames for f in fingerprints])
    order = np.argsort(hashes, kind="stable")
    hashes, times, owner = hashes[order], times[order], owner[order]
    matches = []
    for second, query in enumerate(fingerprints):
        matches.extend(
            match
            for match in _query(query, second, fingerprints, hashes, times, owner, group_of, min_matches)
            if match.share >= min_share
        )
    return sorted(matches, key=lambda match: (match.first, match.second))


def _query(query, second, fingerprints, hashes, times, owner, group_of, min_matches) -> Iterable[Match]:
    """The best offset of one recording against each one before it."""
    begin = np.searchsorted(hashes, query.hashes, side="left")
    count = np.searchsorted(hashes, query.hashes, side="right") - begin
    count[count > MAX_OCCURRENCES] = 0
    source = np.repeat(np.arange(len(query.hashes)), count)  # which landmark of the query
    entry = np.arange(len(source)) - np.repeat(np.cumsum(count) - count, count) + np.repeat(begin, count)
    keep = (owner[entry] < second) & (group_of[owner[entry]] != group_of[second])
    source, entry = source[keep], entry[keep]
    if not len(source):
        return
    other = owner[entry].astype(np.int64)
    offset = times[entry].astype(np.int64) - query.frames[source] + query.num_frames  # positive
    span = int(offset.max()) + 3
    # Recordings may be cut between two frames, so a landmark votes for its offset and the next.
    place = np.concatenate([other * span + offset, other * span + offset + 1])
    place_hash = np.concatenate([query.hashes[source]] * 2).astype(np.int64)
    # A sustained tone repeats one landmark, so each different landmark counts once per offset.
    votes = np.unique(place << 32 | place_hash) >> 32
    places, counts = np.unique(votes, return_counts=True)
    promising = np.flatnonzero(counts >= min_matches)
    promising = promising[np.lexsort((places[promising], -counts[promising], places[promising] // span))]
    firsts, best = np.unique(places[promising] // span, return_index=True)  # the best of each comes first
    for first, place in zip(firsts.tolist(), promising[best].tolist(), strict=True):
        shift, num_matches = int(places[place] % span) - query.num_frames, int(counts[place])
        overlap = min(_num_between(query, -shift, fingerprints[first]), _num_between(fingerprints[first], shift, query))
        yield Match(first, second, (shift - 0.5) * HOP / RATE, num_matches, min(1.0, num_matches / max(overlap, 1)))


def _num_between(one: Fingerprint, shift: int, other: Fingerprint) -> int:
    """Landmarks of `one` from frame `shift` on, for as long as `other` lasts."""
    low, high = np.searchsorted(one.frames, [shift, shift + other.num_frames])
    return int(high - low)


def _mono_at_8khz(part: Part) -> np.ndarray:
    resampler = StreamResampler(part.sampling_rate, RATE, 1)
    size = int(_BLOCK_S * part.sampling_rate)
    pieces = []
    for first in range(0, part.num_samples, size):
        num_samples = min(size, part.num_samples - first)
        block = part.read(first, num_samples).mean(axis=0, keepdims=True)
        pieces.append(resampler.push(block, last=first + num_samples == part.num_samples)[0])
    return np.concatenate(pieces)


def _spectrogram(audio: np.ndarray, num_frames: int) -> np.ndarray:
    """Level in dB, shape (num_frames, LAST_BIN - FIRST_BIN) float32."""
    padded = np.zeros((num_frames - 1) * HOP + WINDOW, dtype=np.float32)
    padded[WINDOW // 2 : WINDOW // 2 + len(audio)] = audio[: len(padded) - WINDOW // 2]
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
    cut = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    level = np.empty((num_frames, LAST_BIN - FIRST_BIN), dtype=np.float32)
    for first in range(0, num_frames, 1024):  # 33 s at a time keep the memory low
        spectrum = np.fft.rfft(cut[first : first + 1024] * window)[:, FIRST_BIN:LAST_BIN]
        level[first : first + 1024] = 20 * np.log10(np.abs(spectrum) + 1e-9)
    return level


def _peaks(level: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Frames and bins of the local maxima, in order of time, then frequency."""
    largest = _running_max(_running_max(level, PEAK_BINS, 1), PEAK_FRAMES, 0)
    floor = max(float(level.max(initial=-200.0)) + FLOOR_DB, -120.0)  # digital silence has no peak
    frames, bins = np.nonzero((level == largest) & (level > floor))
    return frames.astype(np.int32), bins.astype(np.int32)


def _running_max(values: np.ndarray, radius: int, axis: int) -> np.ndarray:
    """Maximum over `radius` neighbours to each side along `axis`, by doubling."""
    pad = [(0, 0)] * values.ndim
    pad[axis] = (radius, radius)
    values = np.swapaxes(np.pad(values, pad, constant_values=-np.inf), 0, axis)
    width, wanted = 1, 2 * radius + 1
    while width < wanted:
        step = min(width, wanted - width)
        values = np.maximum(values[:-step], values[step:])
        width += step
    return np.swapaxes(values, 0, axis)


def _landmarks(frames: np.ndarray, bins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Join each peak to the next `FAN_OUT` ones near it in frequency; hashes (uint32) and frames (int32)."""
    hashes, times = [], []
    used = np.zeros(len(frames), dtype=np.int64)
    # Peaks are in order of time: the peak `step` places on is a later one, or one of the same frame.
    for step in range(1, len(frames)):
        first, second = slice(0, len(frames) - step), slice(step, None)
        frames_apart = frames[second] - frames[first]
        bins_apart = bins[second] - bins[first]
        near = (frames_apart >= 1) & (frames_apart <= MAX_FRAMES_APART) & (used[first] < FAN_OUT)
        if not near.any() and frames_apart.min() >= 1:
            break
        take = np.flatnonzero(near & (np.abs(bins_apart) <= MAX_BINS_APART))
        used[take] += 1
        code = (bins[take] << 13) | ((bins_apart[take] + MAX_BINS_APART) << 6) | frames_apart[take]
        hashes.append(code.astype(np.uint32))
        times.append(frames[take])
    if not hashes:
        return np.zeros(0, dtype=np.uint32), np.zeros(0, dtype=np.int32)
    hashes, times = np.concatenate(hashes), np.concatenate(times)
    order = np.lexsort((hashes, times))
    return hashes[order], times[order]
