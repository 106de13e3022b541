"""Separation metrics of one clip.

Conventions
    Signals are (num_channels, num_samples) at one rate, full scale at 1. Energies are summed over all channels and
    the whole clip in float64, so a score is one ratio per clip: no frames, no permutations, no filters.

Metrics
    SDR     10 log10(|s|^2 / |s - e|^2) in dB, for the reference s and the estimate e
    NSDR    SDR(e) - SDR(mixture), the improvement over doing nothing
    SI-SDR  SDR after scaling the reference to fit the estimate best; one scale for all channels, means kept
            (Le Roux et al., "SDR - half-baked or well done?", ICASSP 2019)

Special cases
    A silent reference has no SDR: `separation_scores` returns None, for the caller to skip and count. An exact estimate
    has infinite SDR and SI-SDR, a silent estimate 0 dB SDR and minus infinity SI-SDR.
"""

from __future__ import annotations

import math

import numpy as np

from ..errors import EvaluationError

# RMS below which a reference counts as silent: -80 dB of full scale, below the noise of a lossy codec.
SILENCE_RMS = 1e-4


def is_silent(signal: np.ndarray) -> bool:
    """True if the RMS over all channels and samples is below `SILENCE_RMS`."""
    signal = np.asarray(signal)
    return signal.size == 0 or math.sqrt(_energy(signal) / signal.size) < SILENCE_RMS


def sdr_db(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Signal-to-distortion ratio in dB of signals of one shape (num_channels, num_samples).

    Raises:
        EvaluationError: shapes differ, NaN or infinite samples, or a reference that is all zeros.
    """
    reference, estimate = _checked(reference, estimate)
    return _ratio_db(_energy(reference), _energy(reference - estimate))


def nsdr_db(reference: np.ndarray, estimate: np.ndarray, mixture: np.ndarray) -> float:
    """SDR of the estimate minus SDR of the mixture, in dB; raises as `sdr_db` does."""
    return sdr_db(reference, estimate) - sdr_db(reference, mixture)


def si_sdr_db(reference: np.ndarray, estimate: np.ndarray) -> float:
    """Scale-invariant SDR in dB; raises as `sdr_db` does."""
    reference, estimate = _checked(reference, estimate)
    scale = float(np.sum(reference * estimate)) / _energy(reference)
    target = scale * reference
    return _ratio_db(_energy(target), _energy(estimate - target))


def separation_scores(reference: np.ndarray, estimate: np.ndarray, mixture: np.ndarray) -> dict[str, float] | None:
    """`sdr_db`, `nsdr_db` and `si_sdr_db` of one clip, or None if the reference is silent."""
    if is_silent(reference):
        return None
    return {
        "sdr_db": sdr_db(reference, estimate),
        "nsdr_db": nsdr_db(reference, estimate, mixture),
        "si_sdr_db": si_sdr_db(reference, estimate),
    }


def _energy(signal: np.ndarray) -> float:
    return float(np.sum(np.square(signal, dtype=np.float64)))


def _ratio_db(signal: float, distortion: float) -> float:
    if signal == 0.0:
        return -math.inf
    return math.inf if distortion == 0.0 else 10.0 * math.log10(signal / distortion)


def _checked(reference: np.ndarray, estimate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    reference = np.asarray(reference, dtype=np.float64)
    estimate = np.asarray(estimate, dtype=np.float64)
    if reference.shape != estimate.shape or reference.ndim != 2:
        raise EvaluationError(
            f"The reference has shape {reference.shape} and the estimate {estimate.shape}; both need the same shape "
            f"(num_channels, num_samples). Find out why they differ instead of cutting or padding."
        )
    for name, signal in (("reference", reference), ("estimate", estimate)):
        if not np.isfinite(signal).all():
            raise EvaluationError(f"The {name} contains NaN or infinite samples; finite ones are needed.")
    if not reference.any():
        raise EvaluationError("The reference is all zeros, which leaves SDR undefined; skip the clip and count it.")
    return reference, estimate
