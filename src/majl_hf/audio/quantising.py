"""Rounding to the steps of integer samples."""

import numpy as np


class Quantiser:
    """Rounds a stream of blocks to the steps of integers of `bits` bits; nothing is clipped.

    Sums and differences of such samples are exact in float32 up to +-2. So if one stem is the rounded mixture minus the
    other rounded stem, the two still add up to the rounded mixture, bit for bit, after being written and read.

    16 bits are dithered: triangular noise of up to one step, from a seeded generator and independent of the block
    sizes, makes the rounding error independent of the signal. Samples that are already on a step, those of a 16-bit
    recording and digital silence, are unchanged.

    Args:
        bits: 16 or 24.
        seed: Of the dither; signals that are mixed or subtracted afterwards need different ones.
    """

    def __init__(self, bits: int, seed: int = 0):
        self.full_scale = np.float32(2.0 ** (bits - 1))  # in steps
        self._noise = np.random.default_rng(seed) if bits == 16 else None

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """A `(num_channels, num_samples)` block as multiples of `1 / full_scale`, float32."""
        steps = np.asarray(block, dtype=np.float32) * self.full_scale
        rounded = np.rint(steps)
        if self._noise is not None:
            uniform = self._noise.random((*steps.shape[::-1], 2), dtype=np.float32)
            dithered = np.rint(steps + (uniform[..., 0] - uniform[..., 1]).T)
            rounded = np.where(steps == rounded, rounded, dithered)
        return rounded / self.full_scale


def to_24_bit_grid(block: np.ndarray) -> np.ndarray:
    """Round float32 samples to multiples of 2**-23, as a `Quantiser` of 24 bits does."""
    return Quantiser(24)(block)
