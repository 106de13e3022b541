"""The moving average of the weights: its formula, and that it is saved and loaded completely."""

import pytest
import torch

from majl_hf.training.trainer import moving_average


def test_average_by_hand():
    """The start keeps the weight that the first steps leave it; integers are copied from the model."""
    model = torch.nn.BatchNorm1d(2)
    average = moving_average(model, decay=0.5)
    expected = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for step in range(1, 25):
        with torch.no_grad():
            for tensor in model.state_dict().values():
                tensor.copy_(torch.randn(tensor.shape) if tensor.is_floating_point() else torch.tensor(step))
        average.update_parameters(model)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                expected[name] = decay * expected[name] + (1 - decay) * tensor
        measured = average.module.state_dict()
        assert measured.pop("num_batches_tracked") == step
        for name, tensor in measured.items():
            assert tensor.numpy() == pytest.approx(expected[name].numpy(), abs=1e-6), (step, name)
    again = moving_average(torch.nn.BatchNorm1d(2), decay=0.5)
    again.load_state_dict(average.state_dict())
    again.update_parameters(model)
    average.update_parameters(model)
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in average.state_dict().items())
    assert not again.module.training
