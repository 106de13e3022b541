"""Differentiable band-limited resampling between the parts, whole or as a stream.

A windowed sinc (Kaiser) evaluated at every phase of the reduced ratio, applied as one strided convolution:
`orig` input samples give `new` output samples per step. Output sample j lies at time `j / new_rate` of the input, so
nothing is delayed. This serves the step from separator to pitch estimator; files are resampled by a library elsewhere.
"""

import math
from functools import lru_cache

import torch

ZERO_CROSSINGS = 24  # of the sinc to each side: a transition band of 4 % of the lower Nyquist frequency
ROLLOFF = 0.95  # cutoff relative to the lower Nyquist frequency
KAISER_BETA = 10.0  # about 100 dB of stop-band attenuation


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # a kernel first used by a pipeline must also serve training in the same process
def _kernel(orig: int, new: int) -> tuple[torch.Tensor, int]:
    """Kernel `(new, 1, orig + 2 * width)` and its half width in input samples, for coprime `orig` and `new`."""
    cutoff = min(orig, new) * ROLLOFF
    width = math.ceil(ZERO_CROSSINGS * orig / cutoff)
    # Time in units of orig samples; row p is centred on output phase p / new.
    position = torch.arange(-width, width + orig, dtype=torch.float64)[None, :] / orig
    phase = torch.arange(new, dtype=torch.float64)[:, None] / new
    time = (position - phase) * cutoff
    inside = (time.abs() < ZERO_CROSSINGS).to(torch.float64)
    taper = torch.special.i0(
        KAISER_BETA * torch.sqrt((1.0 - (time / ZERO_CROSSINGS) ** 2).clamp(min=0.0))
    ) / torch.special.i0(torch.tensor(KAISER_BETA, dtype=torch.float64))
    kernel = torch.sinc(time) * taper * inside * (cutoff / orig)
    return kernel[:, None, :].to(torch.float32), width


def _reduce(orig_rate: int, new_rate: int) -> tuple[int, int]:
    divisor = math.gcd(orig_rate, new_rate)
    return orig_rate // divisor, new_rate // divisor


def resampled_length_ceil(num_samples: int, orig_rate: int, new_rate: int) -> int:
    """Length of `num_samples` at `orig_rate` after resampling to `new_rate`: rounded up."""
    orig, new = _reduce(orig_rate, new_rate)
    return -(-num_samples * new // orig)


def resample(waveform: torch.Tensor, orig_rate: int, new_rate: int) -> torch.Tensor:
    """Resample `(batch_size, num_samples)` from `orig_rate` to `new_rate` (Hz), differentiably.

    Returns:
        `torch.Tensor` of shape `(batch_size, resampled_length_ceil(num_samples, orig_rate, new_rate))`.
    """
    if orig_rate == new_rate:
        return waveform
    orig, new = _reduce(orig_rate, new_rate)
    kernel, width = _kernel(orig, new)
    length = resampled_length_ceil(waveform.shape[-1], orig_rate, new_rate)
    padded = torch.nn.functional.pad(waveform[:, None, :], (width, width + orig))
    steps = torch.nn.functional.conv1d(padded, kernel.to(waveform), stride=orig)
    return steps.transpose(1, 2).reshape(waveform.shape[0], -1)[:, :length]


class ResampleStream:
    """`resample` for one mono waveform that arrives in blocks: the same samples for any block sizes."""

    def __init__(self, orig_rate: int, new_rate: int):
        self.orig_rate, self.new_rate = orig_rate, new_rate
        if orig_rate != new_rate:
            self.orig, self.new = _reduce(orig_rate, new_rate)
            self.kernel, self.width = _kernel(self.orig, self.new)
            self.pending = torch.zeros(self.width)
        self.num_in = 0
        self.num_out = 0

    def push(self, block: torch.Tensor, last: bool = False) -> torch.Tensor:
        """Take `(num_samples,)`, return the `(num_resampled,)` samples that are final; with `last`, all the rest."""
        if self.orig_rate == self.new_rate:
            return block
        self.num_in += block.shape[0]
        tail = torch.zeros(self.width + self.orig if last else 0)
        self.pending = torch.cat([self.pending, block, tail])
        num_steps = max(0, (self.pending.shape[0] - 2 * self.width) // self.orig)
        if num_steps == 0:
            return block.new_zeros(0)
        used = self.pending[: num_steps * self.orig + 2 * self.width]
        out = torch.nn.functional.conv1d(used[None, None], self.kernel, stride=self.orig)[0].T.reshape(-1)
        self.pending = self.pending[num_steps * self.orig :]
        if last:
            out = out[: resampled_length_ceil(self.num_in, self.orig_rate, self.new_rate) - self.num_out]
        self.num_out += out.shape[0]
        return out
