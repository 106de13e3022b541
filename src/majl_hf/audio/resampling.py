"""Resampling by soxr (linear phase, no delay).

The output length is defined here only: `num_samples` at one rate become `resampled_length_rounded(...)` at the other,
however soxr itself would round. (The resampler between the model's parts, in `models/`, rounds up.)
"""

import numpy as np
import soxr

QUALITY = "HQ"


def resampled_length_rounded(num_samples: int, orig_rate: int, target_rate: int) -> int:
    """`num_samples * target_rate / orig_rate`, rounded half up, in integers; at least 1 if `num_samples` is."""
    exact = (2 * num_samples * target_rate + orig_rate) // (2 * orig_rate)
    return max(exact, min(num_samples, 1))


class StreamResampler:
    """Resample a signal that arrives in blocks; the block sizes do not matter (to 1e-6 of full scale).

    Sample i of the output lies at i / target_rate seconds of the input. A push returns the samples that are final, or
    none; all pushes together return `resampled_length_rounded` samples: the end is cut or padded with zeros if
    soxr rounds differently.

    Args:
        orig_rate, target_rate: Hz, whole numbers above 0; with equal rates, blocks are returned unchanged.
        num_channels: Rows of every block.
    """

    def __init__(self, orig_rate: int, target_rate: int, num_channels: int):
        for rate in (orig_rate, target_rate):
            if rate != int(rate) or rate < 1:
                raise ValueError(f"The sampling rate is {rate!r}; a whole number of Hz above 0 is needed.")
        self.orig_rate, self.target_rate, self.num_channels = int(orig_rate), int(target_rate), num_channels
        self._stream = None
        if self.orig_rate != self.target_rate:
            self._stream = soxr.ResampleStream(
                self.orig_rate, self.target_rate, num_channels, dtype="float32", quality=QUALITY
            )
        self._num_in = self._num_out = 0
        self._finished = False

    def push(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        """Take a `(num_channels, num_samples)` block of any length, even 0; return `(num_channels, any)` float32.

        Raises:
            ValueError: another number of channels, or a push after the last one.
        """
        block = np.asarray(block, dtype=np.float32)
        if block.ndim != 2 or block.shape[0] != self.num_channels:
            raise ValueError(f"A block of shape {block.shape} was pushed; ({self.num_channels}, any) is needed.")
        if self._finished:
            raise ValueError("The last block was pushed already; make a new StreamResampler for another signal.")
        self._finished = last
        if self._stream is None:
            return block
        self._num_in += block.shape[1]
        output = self._stream.resample_chunk(np.ascontiguousarray(block.T), last=last)
        output = output.reshape(-1, self.num_channels).T
        if last:
            wanted = resampled_length_rounded(self._num_in, self.orig_rate, self.target_rate) - self._num_out
            output = np.pad(output[:, :wanted], ((0, 0), (0, max(0, wanted - output.shape[1]))))
        self._num_out += output.shape[1]
        return np.ascontiguousarray(output)


def resample(array: np.ndarray, orig_rate: int, target_rate: int) -> np.ndarray:
    """Resample a whole `(num_channels, num_samples)` or `(num_samples,)` signal; float32 of the same layout."""
    array = np.asarray(array, dtype=np.float32)
    rows = np.atleast_2d(array)
    output = StreamResampler(orig_rate, target_rate, rows.shape[0]).push(rows, last=True)
    return output.reshape(*array.shape[:-1], -1)
