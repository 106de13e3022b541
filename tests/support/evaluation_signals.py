"""Signals that several tests of the evaluation room use."""

import numpy as np

RATE = 16000


def sung_note(f0_hz: float, num_samples: int, rate: int = RATE) -> np.ndarray:
    """Five harmonics, peak below 0.5; shape (num_samples,) float32."""
    time_s = np.arange(num_samples) / rate
    return (0.2 * sum(np.sin(2 * np.pi * k * f0_hz * time_s) / k for k in range(1, 6))).astype(np.float32)
