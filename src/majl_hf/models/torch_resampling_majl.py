"""The resampling of `resampling_majl.py` for batches of tensors, with gradients."""

import torch

from .resampling_majl import kernel, reduced, resampled_length_ceil


def resample(waveform: torch.Tensor, orig_rate: int, new_rate: int) -> torch.Tensor:
    """Resample `(batch_size, num_samples)` from `orig_rate` to `new_rate` (Hz), differentiably.

    Returns:
        `torch.Tensor` of shape `(batch_size, resampled_length_ceil(num_samples, orig_rate, new_rate))`.
    """
    if orig_rate == new_rate:
        return waveform
    orig, new = reduced(orig_rate, new_rate)
    weights, width = kernel(orig, new)
    length = resampled_length_ceil(waveform.shape[-1], orig_rate, new_rate)
    padded = torch.nn.functional.pad(waveform[:, None, :], (width, width + orig))
    steps = torch.nn.functional.conv1d(padded, torch.from_numpy(weights[:, None]).to(waveform), stride=orig)
    return steps.transpose(1, 2).reshape(waveform.shape[0], -1)[:, :length]
