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
from ..models.posteriors_majl import agreement, likeliest_octave, likeliest_pitch, moving_average

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
    reading_hz: torch.Tensor | None = None
    reading_certainty: torch.Tensor | None = None
    agreement_average: torch.Tensor | None = None
    error: torch.Tensor | None = None
    label_hz: torch.Tensor | None = None
    progress: float = 0.0


@dataclass
class FrameWeights:
    """Weights of the separation and of the pitch loss, `(batch_size, num_frames)`; not normalised.

    `blame` and `hardness`, from which they were computed, are for the log; None if a strategy has none.
    """

    separation: torch.Tensor
    pitch: torch.Tensor
    blame: torch.Tensor | None = None
    hardness: torch.Tensor | None = None
    f0_hz: torch.Tensor | None = None
    harmonics: torch.Tensor | None = None


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
    confidence_power: float = 1.0

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
        confidence = evidence.pitch_confidence**self.confidence_power
        return FrameWeights(evidence.vocals_confidence * separation, confidence * pitch, blame, hardness)


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


@dataclass(frozen=True)
class Relabel(Dwhs):
    """Noise as label distribution: where the own reading of the clean vocals is surer than the label, it is taught."""

    averaged: ClassVar[bool] = False
    margin: float = 0.2

    def __call__(self, evidence: Evidence) -> FrameWeights:
        weights = super().__call__(evidence)
        if evidence.reading_hz is None:
            return weights
        weak = (evidence.pitch_confidence > 0) & ~evidence.by_hand & (evidence.vocals_confidence > 0)
        agreed = evidence.agreement_average if self.averaged else evidence.agreement_clean
        other = weak & (evidence.reading_certainty > agreed + self.margin)
        weights.f0_hz = torch.where(other, evidence.reading_hz, evidence.label_hz)
        discount = torch.where(weights.f0_hz > 0, self.blame_discount, self.blame_discount_unvoiced)
        pitch = (evidence.reading_certainty * (1.0 - discount * weights.blame)).clamp(self.smallest, self.largest)
        weights.pitch = torch.where(other, pitch, weights.pitch)
        return weights


@dataclass(frozen=True)
class RelabelAverage(Relabel):
    averaged: ClassVar[bool] = True


@dataclass(frozen=True)
class ErrorWeights(Dwhs):
    """The separation's own error in place of blame."""

    power: float = 1.0

    def __call__(self, evidence: Evidence) -> FrameWeights:
        weights = super().__call__(evidence)
        known = evidence.vocals_confidence > 0
        error = moving_average(evidence.error, self.smoothing_frames)
        mean = (error * known).sum(dim=1, keepdim=True) / known.sum(dim=1, keepdim=True).clamp(min=1)
        relative = (error / mean.clamp(min=1e-6)) ** self.power
        weights.separation = evidence.vocals_confidence * relative.clamp(self.smallest, self.largest)
        return weights


@dataclass(frozen=True)
class LearningProgress(Dwhs):
    """Frames in which the agreement rises count more, whatever its level."""

    averaged: ClassVar[bool] = True
    gain: float = 5.0

    def __call__(self, evidence: Evidence) -> FrameWeights:
        weights = super().__call__(evidence)
        if evidence.agreement_average is None:
            return weights
        rise = moving_average(evidence.agreement_clean - evidence.agreement_average, self.smoothing_frames)
        pitch = ((1.0 + self.gain * rise) * (1.0 - weights.blame)).clamp(self.smallest, self.largest)
        weights.pitch = evidence.pitch_confidence * pitch
        return weights


@dataclass(frozen=True)
class ItemWeights(Dwhs):
    """Frames' weights times one of the whole item, from its mean hardness."""

    def __call__(self, evidence: Evidence) -> FrameWeights:
        weights = super().__call__(evidence)
        labelled = evidence.pitch_confidence > 0
        hardness = (weights.hardness * labelled).sum(dim=1, keepdim=True) / labelled.sum(dim=1, keepdim=True).clamp(
            min=1
        )
        weights.pitch = weights.pitch * torch.where(evidence.by_hand, 1.0 + hardness, 1.0 - hardness)
        return weights


@dataclass(frozen=True)
class SmallLoss(Dwhs):
    """Co-teaching's selection: the share of pseudo labels that agree least is left out."""

    share: float = 0.2

    def __call__(self, evidence: Evidence) -> FrameWeights:
        weights = super().__call__(evidence)
        weak = (evidence.pitch_confidence > 0) & ~evidence.by_hand
        if weak.any():
            limit = evidence.agreement_clean[weak].quantile(self.share)
            dropped = weak & (evidence.agreement_clean <= limit)
            kept = evidence.pitch_confidence * (1.0 - weights.blame).clamp(self.smallest, self.largest)
            weights.pitch = torch.where(weak, torch.where(dropped, 0.0, kept), weights.pitch)
        return weights


@dataclass(frozen=True)
class Curriculum(Dwhs):
    """From easy to hard: human labels' hard frames count less at first and more at the end."""

    def __call__(self, evidence: Evidence) -> FrameWeights:
        weights = super().__call__(evidence)
        gain = 2.0 * evidence.progress - 1.0
        pitch = ((1.0 + gain * weights.hardness) * (1.0 - weights.blame)).clamp(self.smallest, self.largest)
        weights.pitch = torch.where(evidence.by_hand, evidence.pitch_confidence * pitch, weights.pitch)
        return weights


@dataclass(frozen=True)
class Harmonics(Dwhs):
    """Blame raises the weights of the missed pitch's harmonics in the spectrum instead of those of whole frames."""

    harmonics_gain: float = 3.0

    def __call__(self, evidence: Evidence) -> FrameWeights:
        weights = super().__call__(evidence)
        weights.separation = evidence.vocals_confidence.clone()
        weights.harmonics = self.harmonics_gain * weights.blame * (evidence.label_hz > 0)
        weights.f0_hz = evidence.label_hz
        return weights


class Calibration:
    """P(voiced | highest logit) of the clean reading, by online Newton steps on human labels with forgetting."""

    def __init__(self, forget: float = 0.98):
        self.theta = torch.tensor([1.0, 0.0], dtype=torch.float64)
        self.hessian = torch.eye(2, dtype=torch.float64)
        self.forget = forget

    def update(self, logits: torch.Tensor, voiced: torch.Tensor) -> None:
        x = torch.stack([logits.double(), torch.ones_like(logits, dtype=torch.float64)], dim=1)
        p = torch.sigmoid(x @ self.theta)
        w = (p * (1 - p)).clamp(min=1e-3)
        self.hessian = self.forget * self.hessian + (x * w[:, None]).T @ x
        self.theta = self.theta + torch.linalg.solve(self.hessian, x.T @ (voiced.double() - p))

    def __call__(self, logits: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.theta[0] * logits.double() + self.theta[1]).to(logits.dtype)


CALIBRATION = Calibration()


@dataclass(frozen=True)
class Calibrated(Dwhs):
    """DWHS with agreement as a calibrated probability that the label is right."""

    calibrated: ClassVar[bool] = True
    relabel: bool = False

    def __call__(self, evidence: Evidence) -> FrameWeights:
        weights = super().__call__(evidence)
        if not self.relabel or evidence.reading_hz is None:
            return weights
        weak = (evidence.pitch_confidence > 0) & ~evidence.by_hand & (evidence.vocals_confidence > 0)
        other = weak & (evidence.reading_certainty > evidence.agreement_clean + 0.1)
        weights.f0_hz = torch.where(other, evidence.reading_hz, evidence.label_hz)
        pitch = (evidence.reading_certainty * (1.0 - self.blame_discount * weights.blame)).clamp(
            self.smallest, self.largest
        )
        weights.pitch = torch.where(other, pitch, weights.pitch)
        return weights


def recalibrate(evidence: Evidence, model, batch, known, estimate_logits, clean_logits) -> None:
    config = model.config.pitch_estimator_config
    f0_hz, reliable = batch["f0_hz"], batch["octave_reliable"] > 0
    by_hand = evidence.by_hand[known] & (evidence.pitch_confidence[known] > 0)
    highest = clean_logits.float().amax(dim=-1)
    if by_hand.any():
        CALIBRATION.update(highest[by_hand], evidence.voiced[known][by_hand])

    def agreed(logits, rows):
        top, voiced = logits.float().amax(dim=-1), evidence.voiced[rows]
        v = CALIBRATION(top)
        near = agreement(torch.sigmoid(logits.float()), f0_hz[rows], reliable[rows], config)
        return torch.where(voiced, v * near / torch.sigmoid(top).clamp(min=1e-6), 1.0 - v)

    labelled = torch.nonzero(evidence.pitch_confidence.amax(dim=1) > 0)[:, 0]
    evidence.agreement_estimate[labelled] = agreed(estimate_logits, labelled)
    evidence.agreement_clean[labelled] = evidence.agreement_estimate[labelled]
    evidence.agreement_clean[known] = agreed(clean_logits, known)
    v = CALIBRATION(highest)
    hz, _ = likeliest_pitch(clean_logits, config)
    evidence.reading_hz = torch.zeros_like(f0_hz)
    evidence.reading_certainty = torch.zeros_like(f0_hz)
    evidence.reading_hz[known] = torch.where(v > 0.5, hz, 0.0)
    evidence.reading_certainty[known] = torch.maximum(v, 1.0 - v)


STRATEGIES: dict[str, Callable] = {
    "calibrated": Calibrated,
    "relabel": Relabel,
    "relabel_average": RelabelAverage,
    "error": ErrorWeights,
    "progress": LearningProgress,
    "items": ItemWeights,
    "small_loss": SmallLoss,
    "curriculum": Curriculum,
    "harmonics": Harmonics,
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
    model: MajlModel,
    batch: Mapping[str, torch.Tensor],
    vocals: torch.Tensor,
    logits: torch.Tensor,
    reading: Reading,
    average: MajlModel | None = None,
    calibrated: bool = False,
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
        estimate_logits = logits
        posteriors = torch.sigmoid(logits)
        if reading != "nothing":
            estimate[labelled] = clean[labelled] = agreement(posteriors, *label)
        taught_hz[labelled] = likeliest_octave(posteriors, *label)
        known = labelled[batch["vocals_weight"][labelled].amax(dim=1) > 0] if reading == "clean" else []
        if len(known):
            label = (f0_hz[known], octave_reliable[known], config)
            clean_logits = _read(model, batch["vocals"][known])
            posteriors = torch.sigmoid(clean_logits)
            clean[known] = agreement(posteriors, *label)
            taught_hz[known] = likeliest_octave(posteriors, *label)
            if average is not None:
                logits = _read(average, batch["vocals"][known]).float()
                evidence.agreement_average = torch.ones_like(f0_hz)
                evidence.agreement_average[known] = agreement(torch.sigmoid(logits), *label)
            else:
                logits = torch.logit(posteriors.float().clamp(1e-6, 1 - 1e-6))
            hz, peak = likeliest_pitch(logits, config)
            evidence.reading_hz, evidence.reading_certainty = torch.zeros_like(f0_hz), torch.zeros_like(f0_hz)
            evidence.reading_hz[known] = torch.where(peak > 0.5, hz, 0.0)
            evidence.reading_certainty[known] = torch.maximum(peak, 1.0 - peak)
            if calibrated:
                recalibrate(evidence, model, batch, known, estimate_logits, clean_logits)
    evidence.label_hz = taught_hz
    samples = round(model.config.sampling_rate * model.config.frame_hop_s)
    error = (vocals - batch["vocals"]).abs().mean(dim=1) / batch["mixture"].square().mean(dim=(1, 2)).sqrt()[:, None]
    error = torch.nn.functional.avg_pool1d(error, samples, samples, ceil_mode=True, count_include_pad=False)
    error = torch.nn.functional.pad(error, (0, max(0, f0_hz.shape[1] - error.shape[1])))[:, : f0_hz.shape[1]]
    evidence.error = error
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
