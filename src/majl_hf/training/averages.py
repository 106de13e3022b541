"""An exponential moving average of a model's weights, which is what is judged and kept at the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

FILE_NAME = "average.safetensors"


class WeightAverage:
    """Average of the floating-point entries of a model's `state_dict`.

    Args:
        model: whose weights it starts from.
        decay: what a step keeps of the average, below 1; less in the first steps, `(1 + step) / (10 + step)`, so that
            the start is soon forgotten.
    """

    def __init__(self, model: nn.Module, decay: float):
        if not 0 <= decay < 1:
            raise ValueError(f"The decay of the weights' average is {decay}; it needs to be at least 0 and below 1.")
        self.model, self.decay = model, decay
        self.average = {name: tensor.detach().clone() for name, tensor in self._entries()}

    def _entries(self) -> list[tuple[str, torch.Tensor]]:
        return [(name, tensor) for name, tensor in self.model.state_dict().items() if tensor.is_floating_point()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the model's weights after step `step`, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, tensor in self._entries():
            self.average[name].lerp_(tensor, 1.0 - decay)

    @torch.no_grad()
    def copy_to_model(self) -> None:
        for name, tensor in self._entries():
            tensor.copy_(self.average[name])

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """The model has the average's weights inside the block, and its own after it."""
        own = {name: tensor.detach().clone() for name, tensor in self._entries()}
        self.copy_to_model()
        try:
            yield
        finally:
            with torch.no_grad():
                for name, tensor in self._entries():
                    tensor.copy_(own[name])

    def save(self, folder: str | Path) -> None:
        save_file({name: tensor.contiguous() for name, tensor in self.average.items()}, Path(folder) / FILE_NAME)

    def load(self, folder: str | Path) -> None:
        """Go on from what `save` wrote.

        Raises:
            FileNotFoundError: the folder holds no average.
        """
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: that run kept no average of its weights. Start anew.")
        saved = load_file(path)
        for name, tensor in self.average.items():
            tensor.copy_(saved[name])
