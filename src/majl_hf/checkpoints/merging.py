"""Models made from trained ones without training."""

from collections.abc import Mapping

import torch

from ..errors import ConfigError
from ..models.modeling_majl import MajlModel


@torch.no_grad()
def move_towards(model: MajlModel, start: MajlModel, shares: Mapping[str, float]) -> None:
    """Move the weights of `model` back towards `start`, which its training started from, so that less of what `start`
    learnt is forgotten (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).

    Args:
        shares: Share of the change from `start` that each part keeps, 0 to 1, such as `{"separator": 0.85}`; parts that
            are not named stay. Choose them on validation data. For a refiner that `start` does not have, the start is
            a last layer of zeros.
    """
    origin = start.state_dict()
    for name, tensor in model.state_dict().items():
        share = shares.get(name.partition(".")[0], 1.0)
        if name.startswith("refiner.head.") and start.refiner is None:
            tensor.mul_(share)
        elif tensor.is_floating_point() and name in origin:
            tensor.copy_(torch.lerp(origin[name], tensor, share))


def use_pitch_estimator(model: MajlModel, source: MajlModel) -> None:
    """Give `model` the pitch estimator of `source`; ConfigError unless their separators are the same."""
    theirs = source.separator.state_dict()
    if any(not torch.equal(tensor, theirs[name]) for name, tensor in model.separator.state_dict().items()):
        raise ConfigError("The pitch estimator was trained with another separator; give models with the same one.")
    model.pitch_estimator.load_state_dict(source.pitch_estimator.state_dict())
