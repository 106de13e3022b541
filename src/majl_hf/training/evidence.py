"""What a weighting strategy looks at, read from a batch: how well the labels agree with the pitch of the estimated
vocals and with that of the reference vocals.

Both are read by the pitch estimator in evaluation mode and without gradients. An estimator without dropout or batch
statistics computes the same in training mode, so there the training pass's own logits are taken and cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import nn

from ..models.modeling_majl import MajlModel
from ..models.pitch_majl import agreement, likeliest_octave
from .weights import Evidence, Reading


def depends_on_mode(module: nn.Module) -> bool:
    """Whether a module computes something else in training than in evaluation."""
    return any(
        (isinstance(child, nn.modules.dropout._DropoutNd) and child.p > 0)
        or (isinstance(child, nn.modules.batchnorm._NormBase) and child.training)
        or (isinstance(child, nn.RNNBase) and child.dropout > 0)
        for child in module.modules()
    )


@torch.no_grad()
def read_evidence(
    model: MajlModel, batch: Mapping[str, torch.Tensor], vocals: torch.Tensor, logits: torch.Tensor, reading: Reading
) -> tuple[Evidence, torch.Tensor]:
    """The evidence of a batch, and the pitch to teach.

    Args:
        model: whose pitch estimator reads.
        batch: of `mixing.items.collate`.
        vocals (`torch.Tensor` of shape `(batch_size, num_channels, num_samples)`): estimated in the training pass.
        logits (`torch.Tensor` of shape `(batch_size, num_frames, num_bins)`): of the training pass.
        reading: what the strategy needs. Where that is less than "clean", or where an item has no reference vocals, the
            agreement with the estimated vocals stands for both; for "nothing", agreement is 1.

    Returns:
        The evidence, and f0 in Hz of shape `(batch_size, num_frames)`: the label, moved to the likeliest octave where
        its own is unreliable.
    """
    f0_hz, confidence = batch["f0_hz"], batch["pitch_weight"]
    by_hand, octave_reliable = batch["by_hand"] > 0, batch["octave_reliable"] > 0
    estimate, clean, taught_hz = torch.ones_like(f0_hz), torch.ones_like(f0_hz), f0_hz.clone()
    config = model.config.pitch_estimator_config
    labelled = torch.nonzero(confidence.amax(dim=1) > 0)[:, 0]
    if reading == "nothing":  # only what cannot be taught without looking
        labelled = labelled[((f0_hz > 0) & ~octave_reliable)[labelled].any(dim=1)]
    if len(labelled):
        label = (f0_hz[labelled], octave_reliable[labelled], config)
        logits = _read(model, vocals[labelled]) if depends_on_mode(model.pitch_estimator) else logits[labelled]
        posteriors = torch.sigmoid(logits)
        if reading != "nothing":
            estimate[labelled] = clean[labelled] = agreement(posteriors, *label)
        taught_hz[labelled] = likeliest_octave(posteriors, *label)
        known = labelled[batch["vocals_weight"][labelled].amax(dim=1) > 0] if reading == "clean" else []
        if len(known):
            label = (f0_hz[known], octave_reliable[known], config)
            posteriors = torch.sigmoid(_read(model, batch["vocals"][known]))
            clean[known] = agreement(posteriors, *label)
            taught_hz[known] = likeliest_octave(posteriors, *label)
    return Evidence(estimate, clean, confidence, batch["vocals_weight"], by_hand, f0_hz > 0), taught_hz


def _read(model: MajlModel, vocals: torch.Tensor) -> torch.Tensor:
    """Logits in evaluation mode; the modes are put back."""
    modes = {module: module.training for module in model.pitch_estimator.modules()}
    model.pitch_estimator.eval()
    try:
        return model.estimate_pitch(vocals)
    finally:
        for module, mode in modes.items():
            module.training = mode
