"""The probability that a frame is voiced, from a pitch estimator's highest logit; learnt while the estimator trains.

Posteriors of a network in training are no probabilities: where targets are narrow and labels few, voiced frames may
peak at 0.2. This module keeps `P(voiced) = sigmoid(scale * highest logit + bias)` up to date with human labels.
"""

from __future__ import annotations

import torch
from torch import nn


class RunningVoicing(nn.Module):
    """A logistic regression of "the label is voiced" on the highest logit, by one Newton step for each training step.

    It starts as the identity: the voicing is the highest posterior.

    Args:
        memory: What a step keeps of the curvature of those before it.
    """

    def __init__(self, memory: float = 0.98):
        super().__init__()
        self.memory = memory
        self.register_buffer("coefficients", torch.tensor([1.0, 0.0]))  # scale, bias
        self.register_buffer("curvature", torch.eye(2))
        self.clear()

    def clear(self) -> None:
        """Forget what was observed since the last step."""
        self._gradient, self._seen = torch.zeros_like(self.coefficients), torch.zeros_like(self.curvature)

    def forward(self, highest_logits: torch.Tensor) -> torch.Tensor:
        """The probability that each frame is voiced, at least in single precision."""
        scale, bias = self.coefficients
        return torch.sigmoid(scale * highest_logits.to(torch.promote_types(highest_logits.dtype, torch.float32)) + bias)

    def observe(self, highest_logits: torch.Tensor, voiced: torch.Tensor, weights: torch.Tensor) -> None:
        """Add frames, all arguments of shape `(num_frames,)`, to what the next step learns from."""
        logits, voiced, weights = (values.to(self.coefficients) for values in (highest_logits, voiced, weights))
        inputs, probability = torch.stack([logits, torch.ones_like(logits)], dim=1), self(logits)
        self._gradient = self._gradient + inputs.T @ (weights * (voiced - probability))
        slope = weights * (probability * (1.0 - probability)).clamp(min=1e-3)
        self._seen = self._seen + (inputs * slope[:, None]).T @ inputs

    def step(self, reduce=lambda tensor: tensor) -> None:
        """Learn from what was observed; `reduce` sums a tensor over all processes."""
        gradient, seen = reduce(self._gradient), reduce(self._seen)
        self.curvature.mul_(self.memory).add_(seen)
        self.coefficients.add_(torch.linalg.solve(self.curvature, gradient))
        self.clear()
