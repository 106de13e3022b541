"""Models made from trained ones without training: weights on the way back to a start, parts of another model."""

from pathlib import Path

import torch

from ..models.feature_extraction_majl import MajlFeatureExtractor
from ..models.modeling_majl import MajlModel


def merge(
    model: str | Path,
    out: str | Path,
    start: str | Path | None = None,
    share: float = 1.0,
    pitch_estimator: str | Path | None = None,
) -> None:
    """Write a model that is made from others to the folder `out`.

    Args:
        model: Folder, Hub id or shipped name, as of all arguments.
        start: What its training started from. The result stands between both weights, which forgets less of what the
            start knew (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022).
        share: Of the way from `start` that is kept, 0 to 1; choose it on validation data.
        pitch_estimator: A model with the same separator, whose pitch estimator the result gets.

    Raises:
        ValueError: The separators differ.
    """
    merged = MajlModel.from_pretrained(model)
    if start is not None:
        move_towards(merged, MajlModel.from_pretrained(start), share)
    if pitch_estimator is not None:
        use_pitch_estimator(merged, MajlModel.from_pretrained(pitch_estimator))
    merged.save_pretrained(out)
    MajlFeatureExtractor.from_config(merged.config).save_pretrained(out)


@torch.no_grad()
def move_towards(model: MajlModel, start: MajlModel, share: float) -> None:
    """Move the weights of `model` back towards `start`: `share` of the way from there is kept. A refiner that `start`
    does not have began with a last layer of zeros."""
    origin = start.state_dict()
    for name, tensor in model.state_dict().items():
        if name.startswith("refiner.head.") and start.refiner is None:
            tensor.mul_(share)
        elif tensor.is_floating_point() and name in origin:
            tensor.copy_(torch.lerp(origin[name], tensor, share))


def use_pitch_estimator(model: MajlModel, source: MajlModel) -> None:
    """Give `model` the pitch estimator of `source`; ValueError unless their separators are the same."""
    theirs = source.separator.state_dict()
    if any(not torch.equal(tensor, theirs[name]) for name, tensor in model.separator.state_dict().items()):
        raise ValueError("The pitch estimator was trained behind another separator; give models with the same one.")
    model.pitch_estimator.load_state_dict(source.pitch_estimator.state_dict())
