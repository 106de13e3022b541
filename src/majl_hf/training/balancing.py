"""How the two losses become one: weights of tasks; the weights of frames are in `weights`.

A balance is a module called with the two losses of a batch; what it learns or remembers is in its `state_dict`, which
the trainer saves with its checkpoints. How the two gradients are combined in the separator is a separate choice,
`MajlConfig.separator_gradient_rule` (such as PCGrad).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn


class Balance(nn.Module):
    """Base: `separation + pitch_weight * pitch`, fixed."""

    def __init__(self, pitch_weight: float = 1.0):
        super().__init__()
        self.pitch_weight = pitch_weight

    def forward(self, separation: torch.Tensor, pitch: torch.Tensor, share: float = 1.0) -> torch.Tensor:
        """The loss to minimise.

        Args:
            separation, pitch: Losses, scalars.
            share: This call's share of the step, if a step sums several calls.
        """
        return separation + self.pitch_weight * pitch

    def observe(self, separation: float, pitch: float) -> None:
        """Called with a step's losses after the step."""


class Djcm(Balance):
    """`w * separation + (2 - w) * pitch`, the static weights of DJCM (Wei et al., arXiv 2401.03856)."""

    def __init__(self, pitch_weight: float = 1.0, separation_weight: float = 1.0):
        super().__init__(pitch_weight)
        if not 0 <= separation_weight <= 2:
            raise ValueError(f"separation_weight is {separation_weight}; it needs to be between 0 and 2.")
        self.separation_weight = separation_weight

    def forward(self, separation, pitch, share=1.0):
        return self.separation_weight * separation + (2.0 - self.separation_weight) * self.pitch_weight * pitch


class Uncertainty(Balance):
    """Each loss divided by a learnt variance, whose logarithm is added (Kendall, Gal and Cipolla, CVPR 2018)."""

    def __init__(self, pitch_weight: float = 1.0):
        super().__init__(pitch_weight)
        self.log_variances = nn.Parameter(torch.zeros(2))

    def forward(self, separation, pitch, share=1.0):
        precisions = torch.exp(-self.log_variances)
        weighted = precisions[0] * separation + precisions[1] * self.pitch_weight * pitch
        return weighted + share * self.log_variances.sum()


class DynamicAverage(Balance):
    """Dynamic weight average (Liu, Johns and Davison, CVPR 2019): the loss that falls more slowly gets more weight.

    Args:
        window: Steps that are averaged in place of the paper's epochs.
        temperature: The higher, the more equal the weights.
    """

    def __init__(self, pitch_weight: float = 1.0, window: int = 100, temperature: float = 2.0):
        super().__init__(pitch_weight)
        self.window, self.temperature = window, temperature
        self.register_buffer("weights", torch.ones(2))
        self.register_buffer("sums", torch.zeros(2, dtype=torch.float64))
        self.register_buffer("means", torch.zeros(2, 2, dtype=torch.float64))  # of the last two windows
        self.register_buffer("count", torch.zeros((), dtype=torch.int64))

    def forward(self, separation, pitch, share=1.0):
        return self.weights[0] * separation + self.weights[1] * self.pitch_weight * pitch

    def observe(self, separation: float, pitch: float) -> None:
        self.sums += torch.tensor([separation, pitch], dtype=torch.float64, device=self.sums.device)
        self.count += 1
        if int(self.count) % self.window:
            return
        self.means[0], self.means[1] = self.means[1].clone(), self.sums / self.window
        self.sums.zero_()
        if (self.means[0] > 0).all():
            self.weights.copy_(2.0 * torch.softmax(self.means[1] / self.means[0] / self.temperature, dim=0))


BALANCES: dict[str, Callable[..., Balance]] = {
    "fixed": Balance,
    "djcm": Djcm,
    "uncertainty": Uncertainty,
    "dynamic_average": DynamicAverage,
}
