"""Weights between those of two models."""

import torch

from majl_hf import MajlConfig, MajlModel
from majl_hf.checkpoints.merging import move_towards

PARTS = {"separator_config": "mask-tiny", "pitch_estimator_config": "spectrum-tiny"}
REFINER = {"n_fft": 256, "hop_length": 64, "num_bins": 64, "hidden_channels": 4}


def test_each_part_moves_by_its_share():
    start, model = MajlModel(MajlConfig(**PARTS)), MajlModel(MajlConfig(**PARTS, refiner_config=REFINER))
    torch.nn.init.ones_(model.refiner.head.weight)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    move_towards(model, start, {"separator": 0.25, "refiner": 0.5})
    origin, after = start.state_dict(), model.state_dict()
    name = "separator.head.weight"
    torch.testing.assert_close(after[name], 0.75 * origin[name] + 0.25 * before[name])
    assert torch.equal(after["pitch_estimator.head.weight"], before["pitch_estimator.head.weight"])
    head = after["refiner.head.weight"]
    torch.testing.assert_close(head, torch.full_like(head, 0.5))
    name = next(name for name in before if name.startswith("refiner.middle"))
    assert torch.equal(after[name], before[name])
