"""The short-time Fourier transform as the parts use it: Hann window, frames centred on multiples of the hop."""

import torch
from torch import nn


def stft(waveform: torch.Tensor, n_fft: int, hop_length: int) -> torch.Tensor:
    """`(..., num_samples)` to complex `(..., num_frames, num_bins)`, with one or more leading dimensions.

    There are `1 + num_samples // hop_length` frames and `n_fft // 2 + 1` bins; the signal is padded with silence.
    """
    spectrum = torch.stft(
        waveform.flatten(0, -2), n_fft, hop_length, window=_window(n_fft, waveform), center=True, pad_mode="constant",
        return_complex=True,
    )  # fmt: skip
    return spectrum.transpose(1, 2).unflatten(0, waveform.shape[:-1])


def istft(spectrum: torch.Tensor, n_fft: int, hop_length: int, num_samples: int) -> torch.Tensor:
    """A spectrum of `stft`'s shape back to a waveform `(..., num_samples)`.

    Frames are added up in blocks of one hop, which is several times faster than `torch.istft`.
    """
    overlap, num_frames = -(-n_fft // hop_length), spectrum.shape[-2]
    window = _window(n_fft, spectrum.real)
    frames = torch.fft.irfft(spectrum, n_fft) * window
    weight = _overlap_add(window.square().expand(num_frames, n_fft), overlap, hop_length)
    inside = slice(n_fft // 2, n_fft // 2 + num_samples)
    return _overlap_add(frames, overlap, hop_length)[..., inside] / weight[inside]


def _overlap_add(frames: torch.Tensor, overlap: int, hop_length: int) -> torch.Tensor:
    """Sum of frames `(..., num_frames, n_fft)` that begin one hop after each other, of which `overlap` overlap."""
    num_frames, n_fft = frames.shape[-2:]
    blocks = nn.functional.pad(frames, (0, overlap * hop_length - n_fft)).unflatten(-1, (overlap, hop_length))
    total = blocks.new_zeros(*frames.shape[:-2], num_frames + overlap - 1, hop_length)
    for i in range(overlap):
        total[..., i : i + num_frames, :] += blocks[..., i, :]
    return total.flatten(-2)


def _window(n_fft: int, like: torch.Tensor) -> torch.Tensor:
    return torch.hann_window(n_fft, device=like.device, dtype=like.dtype)
