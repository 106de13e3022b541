"""The losses of joint training, per item or frame, so that a caller can weight them.

Separation: an L1 on the waveform plus an L1 on compressed STFT magnitudes, both relative to the mixture's level, so
that a quiet song counts like a loud one. Pitch: binary cross-entropy on Gaussian targets of 25 cents (Kim et al.,
"CREPE", ICASSP 2018), all zero where a frame is unvoiced.
"""

import torch
from torch import nn

from .note_estimator_majl import MAX_DEVIATION_CENTS, NoteEstimatorOutput
from .pitch_estimator_majl import PitchEstimatorConfig
from .posteriors_majl import hz_to_bins
from .stft_majl import stft

SPECTRAL_N_FFT = 2048
SPECTRAL_HOP_LENGTH = 1024
TARGET_WIDTH_CENTS = 25.0


def _compressed_magnitudes(waveform: torch.Tensor) -> torch.Tensor:
    """Square roots of the STFT magnitudes of `(batch_size, num_channels, num_samples)`, in the shape of `stft`."""
    spectrum = stft(waveform, SPECTRAL_N_FFT, SPECTRAL_HOP_LENGTH)
    return torch.view_as_real(spectrum).square().sum(-1).add(1e-3).sqrt().sqrt()


def separation_loss(
    estimate: torch.Tensor,
    vocals: torch.Tensor,
    mixture: torch.Tensor,
    frame_weights: torch.Tensor | None = None,
    samples_per_frame: float = 1.0,
) -> torch.Tensor:
    """Separation loss of each item.

    Args:
        estimate, vocals, mixture (`torch.Tensor` of shape `(batch_size, num_channels, num_samples)`).
        frame_weights (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*): Weights over time, interpolated
            to samples and to frames of the spectrum; 1 everywhere by default.
        samples_per_frame: Samples from one frame of the weights to the next; frame 0 is centred on the first sample.

    Returns:
        `torch.Tensor` of shape `(batch_size,)`, the weighted error's mean over time: for weights of 1, 1 to 2 for the
        mixture as estimate and 0 for the vocals.
    """
    level = mixture.square().mean(dim=(1, 2)).sqrt().clamp(min=1e-3)
    waveform = (estimate - vocals).abs().mean(dim=1)
    spectral = (_compressed_magnitudes(estimate) - _compressed_magnitudes(vocals)).abs().mean(dim=(1, 3))
    if frame_weights is not None:
        waveform = waveform * _at_multiples(frame_weights, waveform.shape[1], 1.0 / samples_per_frame)
        spectral = spectral * _at_multiples(frame_weights, spectral.shape[1], SPECTRAL_HOP_LENGTH / samples_per_frame)
    return waveform.mean(dim=1) / level + spectral.mean(dim=1) / level.sqrt()


def _at_multiples(values: torch.Tensor, count: int, step: float) -> torch.Tensor:
    """`(batch_size, num_frames)` read at the frame positions `0, step, 2 * step, ...`, `count` of them, with linear
    interpolation; beyond the last frame its value is repeated."""
    position = torch.arange(count, device=values.device, dtype=torch.float64) * step
    last = values.shape[1] - 1
    below = position.long().clamp(max=last)
    fraction = (position - below).clamp(max=1.0).to(values.dtype)
    return torch.lerp(values[:, below], values[:, (below + 1).clamp(max=last)], fraction)


def frame_means(values: torch.Tensor, num_frames: int, samples_per_frame: float) -> torch.Tensor:
    """Means of `(batch_size, num_samples)` around each of `num_frames` frames, placed as in `separation_loss`:
    from half a frame before the centre to half a frame after it; 0 for frames that begin after the last sample."""
    num_samples = values.shape[1]
    edges = (torch.arange(num_frames + 1, device=values.device) - 0.5) * samples_per_frame
    edges = edges.ceil().long().clamp(0, num_samples)
    sums = nn.functional.pad(values.double().cumsum(dim=1), (1, 0))[:, edges]
    return (sums.diff(dim=1) / edges.diff().clamp(min=1)).to(values.dtype)


def pitch_targets(f0_hz: torch.Tensor, config: PitchEstimatorConfig) -> torch.Tensor:
    """Gaussian targets on the grid of `config`, peak 1.

    Args:
        f0_hz (`torch.Tensor` of shape `(batch_size, num_frames)`): 0 where unvoiced.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_frames, num_bins)`.
    """
    voiced = f0_hz > 0
    position = hz_to_bins(torch.where(voiced, f0_hz, config.first_bin_hz), config)[..., None]
    bins = torch.arange(config.num_bins, device=f0_hz.device, dtype=f0_hz.dtype)
    distance_cents = (bins - position) * config.bin_cents
    return torch.exp(-0.5 * (distance_cents / TARGET_WIDTH_CENTS) ** 2) * voiced[..., None]


def pitch_loss(logits: torch.Tensor, f0_hz: torch.Tensor, config: PitchEstimatorConfig) -> torch.Tensor:
    """Pitch loss of each frame: binary cross-entropy summed over the bins of about 200 cents.

    Args:
        logits (`torch.Tensor` of shape `(batch_size, num_frames, num_bins)`).
        f0_hz (`torch.Tensor` of shape `(batch_size, num_frames)`): 0 where unvoiced.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_frames)`. The sum over bins is scaled by `bin_cents / 200`, which
        makes losses on different grids comparable.
    """
    targets = pitch_targets(f0_hz, config).to(logits)
    loss = nn.functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return loss.sum(dim=-1) * (config.bin_cents / 200.0)


def note_loss(
    output: NoteEstimatorOutput,
    f0_hz: torch.Tensor,
    note_midi: torch.Tensor,
    note_onset: torch.Tensor,
    note_offset: torch.Tensor,
) -> torch.Tensor:
    """Note loss of each frame.

    Args:
        output: All tensors of shape `(batch_size, num_frames)`.
        f0_hz (`torch.Tensor` of shape `(batch_size, num_frames)`): What `output.deviation_cents` is relative to.
        note_midi (`torch.Tensor` of shape `(batch_size, num_frames)`): Pitch of each frame's note as MIDI number in any
            octave, 0 outside of notes.
        note_onset, note_offset (`torch.Tensor` of shape `(batch_size, num_frames)`): Closeness in [0, 1] of a note's
            begin and end.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_frames)`. A note whose pitch is more than `MAX_DEVIATION_CENTS` from
        f0 in every octave does not count for the deviation: f0 is wrong there.
    """
    cross_entropy = nn.functional.binary_cross_entropy_with_logits
    is_active = note_midi > 0
    loss = cross_entropy(output.active, is_active.to(output.active.dtype), reduction="none")
    loss = loss + cross_entropy(output.onset, note_onset, reduction="none")
    loss = loss + cross_entropy(output.offset, note_offset, reduction="none")
    cents = 100.0 * (note_midi - 69.0) - 1200.0 * torch.log2(f0_hz / 440.0)
    cents = torch.remainder(cents + 600.0, 1200.0) - 600.0
    is_near = is_active & (cents.abs() < MAX_DEVIATION_CENTS)
    distance = nn.functional.smooth_l1_loss(output.deviation_cents / 50.0, cents / 50.0, reduction="none", beta=0.2)
    return loss + torch.where(is_near, distance, 0.0)
