"""The short-time Fourier transform as the parts use it: Hann window, frames centred on multiples of the hop."""

import torch


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
    """A spectrum of `stft`'s shape back to a waveform `(..., num_samples)`."""
    frames = spectrum.flatten(0, -3).transpose(1, 2)
    window = _window(n_fft, spectrum.real)
    waveform = torch.istft(frames, n_fft, hop_length, window=window, center=True, length=num_samples)
    return waveform.unflatten(0, spectrum.shape[:-2])


def _window(n_fft: int, like: torch.Tensor) -> torch.Tensor:
    return torch.hann_window(n_fft, device=like.device, dtype=like.dtype)
