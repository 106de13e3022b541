"""Band-limited resampling from the separator's rate to the pitch estimator's.

A windowed sinc (Kaiser) evaluated at every phase of the reduced ratio, applied as one strided convolution:
`orig` input samples give `new` output samples per step. Output sample j lies at time `j / new_rate` of the input, so
nothing is delayed. Here it is done as a stream, in `torch_resampling_majl.py` differentiably for training; files are
resampled by a library elsewhere.
"""

import math
from functools import lru_cache

import numpy as np

ZERO_CROSSINGS = 24  # of the sinc to each side: a transition band of 4 % of the lower Nyquist frequency
ROLLOFF = 0.95  # cutoff relative to the lower Nyquist frequency
KAISER_BETA = 10.0  # about 100 dB of stop-band attenuation


@lru_cache(maxsize=8)
def kernel(orig: int, new: int) -> tuple[np.ndarray, int]:
    """Kernel `(new, orig + 2 * width)` and its half width in input samples, for coprime `orig` and `new`."""
    cutoff = min(orig, new) * ROLLOFF
    width = math.ceil(ZERO_CROSSINGS * orig / cutoff)
    # Time in units of orig samples; row p is centred on output phase p / new.
    position = np.arange(-width, width + orig) / orig
    phase = np.arange(new)[:, None] / new
    time = (position - phase) * cutoff
    taper = np.i0(KAISER_BETA * np.sqrt(np.clip(1.0 - (time / ZERO_CROSSINGS) ** 2, 0.0, None))) / np.i0(KAISER_BETA)
    kernel = np.sinc(time) * taper * (np.abs(time) < ZERO_CROSSINGS) * (cutoff / orig)
    return kernel.astype(np.float32), width


def reduced(orig_rate: int, new_rate: int) -> tuple[int, int]:
    divisor = math.gcd(orig_rate, new_rate)
    return orig_rate // divisor, new_rate // divisor


def resampled_length_ceil(num_samples: int, orig_rate: int, new_rate: int) -> int:
    """Length of `num_samples` at `orig_rate` after resampling to `new_rate`: rounded up."""
    orig, new = reduced(orig_rate, new_rate)
    return -(-num_samples * new // orig)


class ResampleStream:
    """Resamples one waveform `(num_samples,)` that arrives in blocks: the same samples for any block sizes."""

    def __init__(self, orig_rate: int, new_rate: int):
        self.orig_rate, self.new_rate = orig_rate, new_rate
        if orig_rate != new_rate:
            self.orig, self.new = reduced(orig_rate, new_rate)
            self.kernel, self.width = kernel(self.orig, self.new)
            self.pending = np.zeros(self.width, dtype=np.float32)
        self.num_in = 0
        self.num_out = 0

    def push(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """Take `(num_samples,)`, return the `(num_resampled,)` samples that are final; with `last`, all the rest."""
        if self.orig_rate == self.new_rate:
            return block
        self.num_in += block.shape[0]
        tail = np.zeros(self.width + self.orig if last else 0, dtype=np.float32)
        self.pending = np.concatenate([self.pending, block, tail])
        num_steps = max(0, (self.pending.shape[0] - 2 * self.width) // self.orig)
        if num_steps == 0:
            return block[:0]
        used = self.pending[: num_steps * self.orig + 2 * self.width]
        seen = np.lib.stride_tricks.sliding_window_view(used, self.orig + 2 * self.width)[:: self.orig]
        out = (np.ascontiguousarray(seen) @ self.kernel.T).reshape(-1)  # overlapping rows are not multiplied by BLAS
        self.pending = self.pending[num_steps * self.orig :]
        if last:
            out = out[: resampled_length_ceil(self.num_in, self.orig_rate, self.new_rate) - self.num_out]
        self.num_out += out.shape[0]
        return out
