"""Weights of frames for the two losses: Dynamic Weights on Hard Samples (DWHS), and alternatives for comparison.

MAJL (arXiv 2501.03689) names DWHS, but not its formula; the definition here is this project's. The same pitch estimator
computes two posteriors, in evaluation mode and without gradients: one from the estimated vocals, one from the reference
vocals. How well each agrees with the label shows what makes a frame hard:

    agreement   A(p, y): the largest posterior within 50 cents of a voiced label (in any octave if the label's octave is
                not reliable); one minus the largest posterior for an unvoiced one
    blame       h = clamp(A(clean) - A(estimated), 0, 1): readable from the clean vocals, not from the estimate
    hardness    g = 1 - A(clean): not readable even from the clean vocals

    separation  q clip(1 + alpha h)                     errors that spoil the pitch cost more
    pitch       c clip((1 + beta g) (1 - gamma h))      human labels: hard frames cost more, badly separated ones less
                c clip((1 - g) (1 - gamma h))           pseudo and weak labels: disagreement is noise

with the confidences c of the label and q of the reference vocals; alpha, beta and gamma are the fields
`separation_gain`, `hard_gain` and `blame_discount` of `Dwhs`. Strategies are functions of tensors
`(batch_size, num_frames)` and chosen by name; each of their terms can be switched off. The trainer divides a batch's
weighted sums by the sums of the weights, which normalises them by their mean.

An estimator without dropout or batch statistics computes the same in training mode; then the logits of the training
pass serve as the first posterior at no extra cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from ..models.modeling_majl import MajlModel
from ..models.posteriors_majl import agreement, likeliest_octave, moving_average

# Which pitch a strategy needs: none, that of the estimated vocals, or also that of the reference vocals.
Reading = Literal["nothing", "estimate", "clean"]


@dataclass
class Evidence:
    """Inputs of a strategy, all of shape `(batch_size, num_frames)`.

    Args:
        agreement_estimate: Agreement of the label with the pitch read from the estimated vocals.
        agreement_clean: The same for the reference vocals; equal to `agreement_estimate` where there are none, which
            puts no blame on the separation.
        pitch_confidence: c in [0, 1], 0 where there is no label.
        vocals_confidence: q in [0, 1], 0 where there are no reference vocals.
        by_hand: Whether the pitch label was made by people for this recording, frame by frame; bool.
        voiced: Whether the label is voiced; bool.
    """

    agreement_estimate: torch.Tensor
    agreement_clean: torch.Tensor
    pitch_confidence: torch.Tensor
    vocals_confidence: torch.Tensor
    by_hand: torch.Tensor
    voiced: torch.Tensor


@dataclass
class FrameWeights:
    """Weights of the separation and of the pitch loss, `(batch_size, num_frames)`; not normalised.

    `blame` and `hardness`, from which they were computed, are for the log; None if a strategy has none.
    """

    separation: torch.Tensor
    pitch: torch.Tensor
    blame: torch.Tensor | None = None
    hardness: torch.Tensor | None = None


@dataclass(frozen=True)
class Dwhs:
    """Dynamic Weights on Hard Samples; see this module's docstring.

    Args:
        separation_gain: How much blame raises the separation weight (alpha); 0 switches the term off.
        hard_gain: How much hardness raises the pitch weight of human labels (beta).
        blame_discount: How much blame lowers the pitch weight of voiced frames (gamma), at most 1: nothing can be
            learnt from a lost voice.
        blame_discount_unvoiced: The same for unvoiced frames. There the estimate contains accompaniment that resembles
            a voice; 0 keeps teaching that it is not a voice.
        noise: Whether hardness lowers the pitch weight of pseudo and weak labels.
        smoothing_frames: Frames over which blame and hardness are averaged.
        smallest, largest: Limits of a frame's weight before its confidence.
    """

    reads: ClassVar[Reading] = "clean"
    separation_gain: float = 1.0
    hard_gain: float = 1.0
    blame_discount: float = 1.0
    blame_discount_unvoiced: float = 1.0
    noise: bool = True
    smoothing_frames: int = 11
    smallest: float = 0.1
    largest: float = 5.0

    def __call__(self, evidence: Evidence) -> FrameWeights:
        labelled = (evidence.pitch_confidence > 0).to(evidence.pitch_confidence)  # 0 where the pitch is unknown
        blame = labelled * (evidence.agreement_clean - evidence.agreement_estimate).clamp(0.0, 1.0)
        blame = moving_average(blame, self.smoothing_frames)
        hardness = moving_average(labelled * (1.0 - evidence.agreement_clean), self.smoothing_frames)
        trusted = 1.0 - hardness if self.noise else torch.ones_like(hardness)
        teaches = torch.where(evidence.by_hand, 1.0 + self.hard_gain * hardness, trusted)
        discount = torch.where(evidence.voiced, self.blame_discount, self.blame_discount_unvoiced)
        separation = (1.0 + self.separation_gain * blame).clamp(self.smallest, self.largest)
        pitch = (teaches * (1.0 - discount * blame)).clamp(self.smallest, self.largest)
        return FrameWeights(evidence.vocals_confidence * separation, evidence.pitch_confidence * pitch, blame, hardness)


@dataclass(frozen=True)
class Uniform:
    """Every labelled frame has the same weight, whatever its confidence."""

    reads: ClassVar[Reading] = "nothing"

    def __call__(self, evidence: Evidence) -> FrameWeights:
        return FrameWeights(
            (evidence.vocals_confidence > 0).to(evidence.vocals_confidence),
            (evidence.pitch_confidence > 0).to(evidence.pitch_confidence),
        )


@dataclass(frozen=True)
class Confidence:
    """Confidences alone; the other strategies build on it."""

    reads: ClassVar[Reading] = "nothing"

    def __call__(self, evidence: Evidence) -> FrameWeights:
        return FrameWeights(evidence.vocals_confidence, evidence.pitch_confidence)


@dataclass(frozen=True)
class Focal:
    """Pitch frames times `(1 - agreement) ** exponent` (Lin et al., "Focal loss for dense object detection", 2017)."""

    reads: ClassVar[Reading] = "estimate"
    exponent: float = 2.0

    def __call__(self, evidence: Evidence) -> FrameWeights:
        hardness = (1.0 - evidence.agreement_estimate).clamp(0.0, 1.0) ** self.exponent
        return FrameWeights(evidence.vocals_confidence, evidence.pitch_confidence * hardness)


@dataclass(frozen=True)
class HardestShare:
    """Only the share of labelled pitch frames that agree least (online hard example mining: Shrivastava et al.,
    2016)."""

    reads: ClassVar[Reading] = "estimate"
    share: float = 0.5

    def __call__(self, evidence: Evidence) -> FrameWeights:
        confidence = evidence.pitch_confidence
        labelled = confidence > 0
        kept = torch.zeros_like(confidence)
        count = int(labelled.sum())
        if count:
            hardness = torch.where(labelled, 1.0 - evidence.agreement_estimate, -1.0).flatten()
            hardest = hardness.topk(max(1, round(self.share * count))).indices
            kept.view(-1)[hardest] = 1.0
        return FrameWeights(evidence.vocals_confidence, confidence * kept)


STRATEGIES: dict[str, Callable] = {
    "dwhs": Dwhs,
    "uniform": Uniform,
    "confidence": Confidence,
    "focal": Focal,
    "hardest": HardestShare,
}


def depends_on_mode(module: nn.Module) -> bool:
    """Whether a module computes something different in training mode and in evaluation mode."""
    return any(
        (isinstance(child, nn.modules.dropout._DropoutNd) and child.p > 0)
        or (isinstance(child, nn.modules.batchnorm._NormBase) and child.training)
        or (isinstance(child, nn.RNNBase) and child.dropout > 0)
        for child in module.modules()
    )


def known_evidence(batch: Mapping[str, torch.Tensor]) -> Evidence:
    """The evidence of a batch of `mixing.items.collate` without a model: agreement is 1."""
    f0_hz = batch["f0_hz"]
    ones = torch.ones_like(f0_hz), torch.ones_like(f0_hz)
    return Evidence(*ones, batch["pitch_weight"], batch["vocals_weight"], batch["by_hand"] > 0, f0_hz > 0)


@torch.no_grad()
def read_evidence(
    model: MajlModel, batch: Mapping[str, torch.Tensor], vocals: torch.Tensor, logits: torch.Tensor, reading: Reading
) -> tuple[Evidence, torch.Tensor]:
    """The evidence of a batch, and the pitch to teach.

    Args:
        model: its pitch estimator is used.
        batch: of `mixing.items.collate`.
        vocals (`torch.Tensor` of shape `(batch_size, num_channels, num_samples)`): estimated in the training pass.
        logits (`torch.Tensor` of shape `(batch_size, num_frames, num_bins)`): of the training pass.
        reading: what the strategy needs. If that is less than "clean", or if an item has no reference vocals, the
            agreement with the estimated vocals is used for both; for "nothing", agreement is 1.

    Returns:
        The evidence, and f0 in Hz of shape `(batch_size, num_frames)`: the label, moved to the likeliest octave where
        its own is unreliable.
    """
    evidence, f0_hz, octave_reliable = known_evidence(batch), batch["f0_hz"], batch["octave_reliable"] > 0
    estimate, clean, taught_hz = evidence.agreement_estimate, evidence.agreement_clean, f0_hz.clone()
    config = model.config.pitch_estimator_config
    labelled = torch.nonzero(evidence.pitch_confidence.amax(dim=1) > 0)[:, 0]
    if reading == "nothing":  # only labels whose octave must be chosen
        labelled = labelled[(evidence.voiced & ~octave_reliable)[labelled].any(dim=1)]
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
    return evidence, taught_hz


def _read(model: MajlModel, vocals: torch.Tensor) -> torch.Tensor:
    """Logits in evaluation mode; the modes are restored."""
    modes = {module: module.training for module in model.pitch_estimator.modules()}
    model.pitch_estimator.eval()
    try:
        return model.estimate_pitch(vocals)
    finally:
        for module, mode in modes.items():
            module.training = mode
