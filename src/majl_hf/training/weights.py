"""Weights of frames for the two losses: Dynamic Weights on Hard Samples (DWHS), and alternatives for comparison.

MAJL (arXiv 2501.03689) names DWHS, but not its formula; the definition here is this project's. The same pitch estimator
computes two posteriors, in evaluation mode and without gradients: one from the estimated vocals, one from the reference
vocals. Their highest values become probabilities v of a voiced frame by a logistic function that is fitted to human
labels as training goes (`voicing.py`). What is compared shows what makes a frame hard:

    agreement   A(p, y): for a voiced label v times the largest posterior within 50 cents of it (in any octave if the
                label's octave is not reliable), relative to the highest one; 1 - v for an unvoiced one
    blame       h = clamp(A(clean) - A(estimated), 0, 1): readable from the clean vocals, not from the estimate
    hardness    g = 1 - A(clean): not readable even from the clean vocals
    error       e: the separation's mean absolute error around the frame, relative to its mean over the item
    certainty   a = max(v, 1 - v) of the reading of the clean vocals

    separation  q clip(e^epsilon)                       what is separated badly costs more
    pitch       c clip((1 + beta g) (1 - gamma h))      human labels: hard frames cost more, badly separated ones less
                c clip((1 - g) (1 - gamma h))           pseudo and weak labels: disagreement is noise
                q a clip(1 - gamma h)                   those that disagree more than the reading is uncertain: the
                                                        reading is taught instead

with the confidences c of the label and q of the reference vocals; beta, gamma and epsilon are the fields `hard_gain`,
`blame_discount` and `error_exponent` of `Dwhs`. Strategies are functions of tensors `(batch_size, num_frames)` and
chosen by name; each of their terms can be switched off. The trainer divides a batch's weighted sums by the sums of the
weights, which normalises them by their mean.

What led to this (model_cards/results/weights.md, model_cards/ablations.md): nine tenths of the wrong pseudo labels say
"unvoiced" where the teacher's posterior is low but clear. As probabilities, posteriors contradict such labels; reading
them again leaves half of the errors, and gradients that are closer to those of the true labels. Blame as a weight of
the separation gained nothing; its own error does.

An estimator without dropout or batch statistics computes the same in training mode; then the logits of the training
pass serve as the first posterior at no extra cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import nn

from ..models.losses_majl import frame_means
from ..models.modeling_majl import MajlModel
from ..models.posteriors_majl import agreement, likeliest_octave, likeliest_pitch, moving_average
from .voicing import RunningVoicing

# Which pitch a strategy needs: none, that of the estimated vocals, or also that of the reference vocals.
Reading = Literal["nothing", "estimate", "clean"]


@dataclass
class Evidence:
    """Inputs of a strategy, all of shape `(batch_size, num_frames)`.

    Args:
        agreement_estimate: Agreement of the label with the pitch read from the estimated vocals.
        agreement_clean: The same for the reference vocals; equal to `agreement_estimate` where there are none, which
            puts no blame on the separation.
        separation_error: Mean absolute difference of estimated and reference vocals from half a frame before to half a
            frame after the frame; meaningless where there are no reference vocals.
        pitch_confidence: c in [0, 1], 0 where there is no label.
        vocals_confidence: q in [0, 1], 0 where there are no reference vocals.
        by_hand: Whether the pitch label was made by people for this recording, frame by frame; bool.
        voiced: Whether the label is voiced; bool.
        reading_hz: f0 in Hz that is read from the reference vocals, 0 where unvoiced or where there are none.
        reading_certainty: Probability of that voicing, in [0.5, 1]; 0 where there are no reference vocals.
    """

    agreement_estimate: torch.Tensor
    agreement_clean: torch.Tensor
    separation_error: torch.Tensor
    pitch_confidence: torch.Tensor
    vocals_confidence: torch.Tensor
    by_hand: torch.Tensor
    voiced: torch.Tensor
    reading_hz: torch.Tensor
    reading_certainty: torch.Tensor


@dataclass
class FrameWeights:
    """Weights of the separation and of the pitch loss, `(batch_size, num_frames)`; not normalised.

    `reread` are the frames in which the reading is taught instead of the label; None for nowhere. `blame` and
    `hardness`, from which the weights were computed, are for the log; None if a strategy has none.
    """

    separation: torch.Tensor
    pitch: torch.Tensor
    reread: torch.Tensor | None = None
    blame: torch.Tensor | None = None
    hardness: torch.Tensor | None = None

    def taught_hz(self, evidence: Evidence, label_hz: torch.Tensor) -> torch.Tensor:
        """The pitch to teach: the labels', with the reading where they are read again."""
        return label_hz if self.reread is None else torch.where(self.reread, evidence.reading_hz, label_hz)


@dataclass(frozen=True)
class Dwhs:
    """Dynamic Weights on Hard Samples; see this module's docstring.

    Args:
        error_exponent: Of the error in the separation weight (epsilon); 0 switches the term off.
        hard_gain: How much hardness raises the pitch weight of human labels (beta).
        blame_discount: How much blame lowers the pitch weight of voiced frames (gamma), at most 1: nothing can be
            learnt from a lost voice.
        blame_discount_unvoiced: The same for unvoiced frames. There the estimate contains accompaniment that resembles
            a voice; 0 keeps teaching that it is not a voice.
        noise: Whether hardness lowers the pitch weight of pseudo and weak labels.
        reread_margin: By how much the certainty of the reading must exceed the agreement of a pseudo or weak label for
            it to be taught instead; 1 or more switches the term off.
        smoothing_frames: Frames over which blame and hardness are averaged.
        smallest, largest: Limits of a frame's weight before its confidence.
    """

    reads: ClassVar[Reading] = "clean"
    error_exponent: float = 2.0
    hard_gain: float = 1.0
    blame_discount: float = 1.0
    blame_discount_unvoiced: float = 1.0
    noise: bool = True
    reread_margin: float = 0.1
    smoothing_frames: int = 11
    smallest: float = 0.1
    largest: float = 5.0

    def __call__(self, evidence: Evidence) -> FrameWeights:
        labelled = (evidence.pitch_confidence > 0).to(evidence.pitch_confidence)  # 0 where the pitch is unknown
        blame = labelled * (evidence.agreement_clean - evidence.agreement_estimate).clamp(0.0, 1.0)
        blame = moving_average(blame, self.smoothing_frames)
        hardness = moving_average(labelled * (1.0 - evidence.agreement_clean), self.smoothing_frames)
        certainty = evidence.vocals_confidence * evidence.reading_certainty
        wrong = certainty > evidence.agreement_clean + self.reread_margin
        reread = (evidence.pitch_confidence > 0) & ~evidence.by_hand & wrong
        trusted = 1.0 - hardness if self.noise else torch.ones_like(hardness)
        teaches = torch.where(evidence.by_hand, 1.0 + self.hard_gain * hardness, torch.where(reread, 1.0, trusted))
        discount = torch.where(evidence.voiced, self.blame_discount, self.blame_discount_unvoiced)
        error = self._relative_error(evidence) ** self.error_exponent
        separation = error.clamp(self.smallest, self.largest)
        pitch = (teaches * (1.0 - discount * blame)).clamp(self.smallest, self.largest)
        return FrameWeights(
            separation=evidence.vocals_confidence * separation,
            pitch=torch.where(reread, certainty, evidence.pitch_confidence) * pitch,
            reread=reread,
            blame=blame,
            hardness=hardness,
        )

    def _relative_error(self, evidence: Evidence) -> torch.Tensor:
        """The error around each frame, relative to its mean over the item's frames that have a reference."""
        known = (evidence.vocals_confidence > 0).to(evidence.separation_error)
        error = known * evidence.separation_error
        mean = error.sum(dim=1, keepdim=True) / known.sum(dim=1, keepdim=True).clamp(min=1.0)
        return error / mean.clamp(min=1e-8)


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
    """The evidence of a batch of `mixing.items.collate` without a model: agreements and errors are 1."""
    f0_hz = batch["f0_hz"]
    ones, zeros = (torch.ones_like(f0_hz) for _ in range(3)), (torch.zeros_like(f0_hz) for _ in range(2))
    return Evidence(*ones, batch["pitch_weight"], batch["vocals_weight"], batch["by_hand"] > 0, f0_hz > 0, *zeros)


@torch.no_grad()
def read_evidence(
    model: MajlModel,
    batch: Mapping[str, torch.Tensor],
    vocals: torch.Tensor,
    logits: torch.Tensor,
    reading: Reading,
    voicing: RunningVoicing | None = None,
) -> tuple[Evidence, torch.Tensor]:
    """The evidence of a batch, and the pitch that its labels teach.

    Args:
        model: its pitch estimator is used.
        batch: of `mixing.items.collate`.
        vocals (`torch.Tensor` of shape `(batch_size, num_channels, num_samples)`): estimated in the training pass.
        logits (`torch.Tensor` of shape `(batch_size, num_frames, num_bins)`): of the training pass.
        reading: what the strategy needs. If that is less than "clean", or if an item has no reference vocals, the
            agreement with the estimated vocals is used for both, errors are 1, and there is no reading; for "nothing",
            agreement is 1, too.
        voicing: what makes probabilities of posteriors; human labels of reference vocals are added to what it learns
            from. Left out, the voicing of a frame is its highest posterior.

    Returns:
        The evidence, and f0 in Hz of shape `(batch_size, num_frames)`: the label, moved to the likeliest octave where
        its own is unreliable.
    """
    evidence, f0_hz, octave_reliable = known_evidence(batch), batch["f0_hz"], batch["octave_reliable"] > 0
    estimate, clean, taught_hz = evidence.agreement_estimate, evidence.agreement_clean, f0_hz.clone()
    config = model.config.pitch_estimator_config
    voicing = RunningVoicing().to(f0_hz.device) if voicing is None else voicing
    labelled = torch.nonzero(evidence.pitch_confidence.amax(dim=1) > 0)[:, 0]
    if reading == "nothing":  # only labels whose octave must be chosen
        labelled = labelled[(evidence.voiced & ~octave_reliable)[labelled].any(dim=1)]
    if reading == "clean":
        samples_per_frame = model.config.sampling_rate * model.config.frame_hop_s
        error = (vocals - batch["vocals"]).abs().mean(dim=1)
        evidence.separation_error = frame_means(error, f0_hz.shape[1], samples_per_frame)
    if len(labelled):
        label = (f0_hz[labelled], octave_reliable[labelled], config)
        logits = _read(model, vocals[labelled]) if depends_on_mode(model.pitch_estimator) else logits[labelled]
        posteriors = torch.sigmoid(logits)
        if reading != "nothing":
            estimate[labelled] = clean[labelled] = agreement(posteriors, *label, voicing(logits.amax(dim=-1)))
        taught_hz[labelled] = likeliest_octave(posteriors, *label)
        known = labelled[batch["vocals_weight"][labelled].amax(dim=1) > 0] if reading == "clean" else []
        if len(known):
            label = (f0_hz[known], octave_reliable[known], config)
            logits = _read(model, batch["vocals"][known])
            posteriors, highest = torch.sigmoid(logits), logits.amax(dim=-1)
            sung = voicing(highest).to(clean)
            clean[known] = agreement(posteriors, *label, sung)
            taught_hz[known] = likeliest_octave(posteriors, *label)
            evidence.reading_hz[known] = torch.where(sung > 0.5, likeliest_pitch(logits, config)[0], 0.0).to(clean)
            evidence.reading_certainty[known] = torch.maximum(sung, 1.0 - sung)
            weights = torch.where(evidence.by_hand, evidence.pitch_confidence * evidence.vocals_confidence, 0.0)[known]
            voicing.observe(highest.flatten(), evidence.voiced[known].flatten(), weights.flatten())
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
