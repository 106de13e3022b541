"""The tempo of a recording, from the rhythm of its onsets.

1. Onset strength, about 100 values a second, as a stream: the increases of the logarithm of the power in bands, summed
   (spectral flux; Bello et al., "A Tutorial on Onset Detection in Music Signals", 2005).
2. First tempos: peaks of the autocorrelation of the onset strength at a beat's period and its multiples.
3. The exact tempo: the one near it at which the phases of the onset strength, in stretches of `STRETCH_S` at the
   frequency of the beat and its harmonics, agree over the whole recording (compare the Fourier tempograms of Grosche
   and Müller, "Extracting Predominant Local Pulse Information from Music Recordings", 2011). Of several first tempos,
   the one with the strongest harmonics is chosen, weighted by a log-normal prior around 120 bpm (Ellis, "Beat Tracking
   by Dynamic Programming", 2007).
4. The beat: the phase within the period at which the onset strength is greatest in the mean.
"""

import numpy as np

from .transcription import Tempo

ANALYSIS_HZ = 11025  # about the sampling rate of the analysis, after averaging neighbouring samples
ENVELOPE_HZ = 100  # about the number of onset strengths a second
NUM_BANDS = 24
CHUNK_FRAMES = 128  # analysed at a time, whatever the size of the blocks
FLOOR = 1e-3  # of a band's mean power: increases below it do not count
LEVEL_DECAY = 0.8  # of the running mean power, per chunk

MIN_BPM, MAX_BPM = 50.0, 220.0
PRIOR_BPM, PRIOR_OCTAVES = 120.0, 0.6
NUM_MULTIPLES = 4
NUM_CANDIDATES = 6
STRETCH_S = 8.0
SEARCH = 0.02  # the exact tempo differs from the first one by less than this share
SEARCH_STEP_BPM = 0.01
HARMONICS = (1, 2, 3, 4)
MIN_DURATION_S = 3.0
MIN_EVIDENCE = 45.0  # power at the harmonics of the beat; onsets at random have 20 in the mean and up to 48


class TempoEstimator:
    """Estimates one constant tempo from a stream of blocks, in memory of 1.5 MB an hour.

    Results do not depend on the sizes of the blocks, nor on the level of the recording.

    Args:
        sampling_rate: Of the blocks, in Hz.
    """

    def __init__(self, sampling_rate: int):
        if sampling_rate < 1:
            raise ValueError(f"sampling_rate is {sampling_rate}; at least 1 Hz is needed.")
        self._factor = max(1, round(sampling_rate / ANALYSIS_HZ))
        rate_hz = sampling_rate / self._factor
        self._hop = max(1, round(rate_hz / ENVELOPE_HZ))
        self.envelope_hz = rate_hz / self._hop
        window = np.hanning(2 * self._hop + 2)[1:-1].astype(np.float32)
        self._window = window / np.linalg.norm(window)
        self._bands = _bands(len(window))
        self._pending: list[np.ndarray] = []
        self._num_pending = 0
        # Frame 0 is centred on sample 0, as everywhere in the package.
        self._samples = np.zeros(self._hop, dtype=np.float32)
        self._last_power: np.ndarray | None = None
        self._level: np.ndarray | None = None
        self._strengths: list[np.ndarray] = []

    def push(self, block: np.ndarray) -> None:
        """Take a `(num_channels, num_samples)` block, of any length."""
        block = np.asarray(block, dtype=np.float32)
        # Unequal weights: channels of opposite polarity do not cancel.
        weights = np.linspace(1.0, 0.5, len(block), dtype=np.float32)
        self._pending.append(weights / weights.sum() @ block)
        self._num_pending += block.shape[1]
        chunk = CHUNK_FRAMES * self._hop * self._factor
        if self._num_pending >= chunk:
            samples = np.concatenate(self._pending)
            whole = len(samples) - len(samples) % chunk
            for start in range(0, whole, chunk):
                self._analyse(samples[start : start + chunk])
            self._pending, self._num_pending = [samples[whole:]], len(samples) - whole

    def finish(self, bpm: float | None = None) -> Tempo:
        """The tempo of all blocks; the default `Tempo` where there is no beat, or less than 3 s.

        Args:
            bpm: The tempo where it is known, in quarter notes per minute; then only the beat is estimated.
        """
        rest = np.concatenate([*self._pending, np.zeros(0, dtype=np.float32)])
        self._pending, self._num_pending = [], 0
        self._analyse(rest[: len(rest) - len(rest) % (self._hop * self._factor)])
        strength = np.concatenate([*self._strengths, np.zeros(0, dtype=np.float32)])
        return estimate_tempo(strength, self.envelope_hz, bpm)

    def _analyse(self, samples: np.ndarray) -> None:
        """Append the onset strengths of whole hops."""
        if not len(samples):
            return
        averaged = samples.reshape(-1, self._factor) @ np.full(self._factor, 1 / self._factor, dtype=np.float32)
        samples = np.concatenate([self._samples, averaged])
        frames = np.lib.stride_tricks.sliding_window_view(samples, 2 * self._hop)[:: self._hop]
        self._samples = samples[len(frames) * self._hop :]
        spectrum = np.fft.rfft(frames * self._window)
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ self._bands
        mean = power.mean(axis=0)
        self._level = mean if self._level is None else LEVEL_DECAY * self._level + (1 - LEVEL_DECAY) * mean
        last = power[:1] if self._last_power is None else self._last_power
        log_power = np.log(np.concatenate([last, power]) + FLOOR * self._level + np.float32(1e-12))
        self._last_power = power[-1:]
        self._strengths.append(np.maximum(np.diff(log_power, axis=0), 0).sum(axis=1))


def estimate_tempo(strength: np.ndarray, envelope_hz: float, bpm: float | None = None) -> Tempo:
    """The tempo of an onset strength, or the default `Tempo` where it has no beat.

    Args:
        strength: Of shape `(num_frames,)`, at least 0; frame i is centred at `i / envelope_hz`.
        envelope_hz: Frames a second.
        bpm: The tempo where it is known; then only the beat is estimated.
    """
    default = Tempo() if bpm is None else Tempo(bpm)
    if len(strength) < MIN_DURATION_S * envelope_hz:
        return default
    strength = _flattened(strength, envelope_hz)
    power = float(strength @ strength)
    if power == 0:
        return default
    if bpm is not None:
        return Tempo(bpm, _first_beat_s(strength, envelope_hz, bpm))
    candidates = [_exact_bpm(strength, envelope_hz, bpm) for bpm in _first_bpms(strength, envelope_hz)]
    # Amplitudes favour a tempo with several harmonics over one for which 3 beats in the time of 2 give the only one.
    bpm, powers = max(
        candidates, key=lambda found: np.sqrt(found[1]).sum() * _prior(found[0]), default=(0.0, np.zeros(1))
    )
    if powers.sum() < MIN_EVIDENCE:
        return default
    return Tempo(bpm, _first_beat_s(strength, envelope_hz, bpm), is_estimated=True)


def _bands(frame_length: int) -> np.ndarray:
    """`(num_bins, num_bands)`: sums neighbouring bins into bands, narrow ones at low frequencies."""
    num_bins = frame_length // 2 + 1
    edges = np.unique(np.geomspace(1, num_bins, min(NUM_BANDS, num_bins) + 1).round().astype(int))
    bins = np.arange(num_bins)[:, None]
    return ((bins >= edges[:-1]) & (bins < edges[1:])).astype(np.float32)


def _flattened(strength: np.ndarray, envelope_hz: float) -> np.ndarray:
    """Without its local mean, and as strong in quiet passages as in loud ones."""
    length = 2 * round(envelope_hz) + 1
    strength = strength.astype(np.float64)
    centred = strength - _moving_mean(strength, length)
    deviation = np.sqrt(_moving_mean(centred**2, 4 * length))
    # A passage far below the others is silence: its noise must not count as much as music.
    flat = centred / np.maximum(deviation, 0.2 * deviation.max() + 1e-9)
    return np.clip(flat, -3, 3)


def _moving_mean(values: np.ndarray, length: int) -> np.ndarray:
    sums = np.concatenate([[0.0], np.cumsum(values)])
    centre = np.arange(len(values))
    begin, end = np.maximum(centre - length // 2, 0), np.minimum(centre + length // 2 + 1, len(values))
    return (sums[end] - sums[begin]) / (end - begin)


def _prior(bpm: float) -> float:
    return np.exp(-0.5 * (np.log2(bpm / PRIOR_BPM) / PRIOR_OCTAVES) ** 2)


def _first_bpms(strength: np.ndarray, envelope_hz: float) -> list[float]:
    """The highest peaks of the autocorrelation at a beat's multiples."""
    max_lag = int(np.ceil(NUM_MULTIPLES * 60 / MIN_BPM * envelope_hz)) + 2
    spectrum = np.fft.rfft(strength, 1 << (len(strength) + max_lag).bit_length())
    correlation = np.fft.irfft(np.abs(spectrum) ** 2)[: max_lag + 1]
    bpms = np.geomspace(MIN_BPM, MAX_BPM, 600)
    lags = 60 / bpms[:, None] * envelope_hz * np.arange(1, NUM_MULTIPLES + 1)
    pulse = np.interp(lags, np.arange(max_lag + 1), correlation).mean(axis=1)
    peaks = np.flatnonzero((pulse[1:-1] > pulse[:-2]) & (pulse[1:-1] >= pulse[2:]) & (pulse[1:-1] > 0)) + 1
    return [float(bpms[peak]) for peak in sorted(peaks, key=lambda peak: -pulse[peak])[:NUM_CANDIDATES]]


def _exact_bpm(strength: np.ndarray, envelope_hz: float, first_bpm: float) -> tuple[float, np.ndarray]:
    """The bpm near the first one with the greatest power of its harmonics, and the power of each."""
    times_s = np.arange(len(strength)) / envelope_hz
    length = round(STRETCH_S * envelope_hz)
    starts = np.arange(0, len(strength), length)
    centres_s = (starts + np.minimum(starts + length, len(strength))) / 2 / envelope_hz
    bpms = first_bpm + np.arange(-SEARCH * first_bpm, SEARCH * first_bpm, SEARCH_STEP_BPM)
    powers = np.zeros((len(HARMONICS), len(bpms)))
    for harmonic, power in zip(HARMONICS, powers, strict=True):
        phasors = np.exp(-2j * np.pi * harmonic * first_bpm / 60 * times_s)
        stretches = np.add.reduceat(strength * phasors, starts)
        shifts_hz = harmonic * (bpms - first_bpm) / 60
        for begin in range(0, len(bpms), 64):  # bounds the memory for long recordings
            turned = np.exp(-2j * np.pi * shifts_hz[begin : begin + 64, None] * centres_s)
            power[begin : begin + 64] = np.abs(turned @ stretches) ** 2
    powers /= strength @ strength
    total = powers.sum(axis=0)
    best = int(np.clip(np.argmax(total), 1, len(bpms) - 2))
    left, centre, right = total[best - 1 : best + 2]
    curvature = left - 2 * centre + right
    offset = np.clip(0.5 * (left - right) / curvature, -1, 1) if curvature < 0 else 0.0  # of a parabola's peak
    return float(bpms[best] + offset * SEARCH_STEP_BPM), powers[:, best]


def _first_beat_s(strength: np.ndarray, envelope_hz: float, bpm: float) -> float:
    period = 60 / bpm * envelope_hz
    num_bins = 4 * round(period)
    phases = np.arange(len(strength)) / period % 1
    folded = np.bincount((phases * num_bins).astype(int), weights=strength, minlength=num_bins)
    # Smoothed over 30 ms: what a band's onsets differ by.
    width = 0.03 * envelope_hz / period * num_bins
    offsets = np.arange(num_bins)
    kernel = np.exp(-0.5 * (np.minimum(offsets, num_bins - offsets) / (width / 2)) ** 2)
    smooth = np.fft.irfft(np.fft.rfft(folded) * np.fft.rfft(kernel), num_bins)
    best = (int(np.argmax(smooth)) + 0.5) / num_bins
    return best * 60 / bpm
