"""The moving average of the weights: its formula, and that a model gets its own weights back."""

import pytest
import torch

from majl_hf.training.averages import WeightAverage


def test_average_by_hand():
    model = torch.nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    average = WeightAverage(model, decay=0.5)
    expected = 1.0
    for step, value in ((1, 2.0), (2, 4.0), (20, 8.0)):
        with torch.no_grad():
            model.weight.fill_(value)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert average.average["weight"].item() == pytest.approx(expected)
    with average.in_model():
        assert model.weight.item() == pytest.approx(expected)
    assert model.weight.item() == 8.0


def test_average_is_saved_and_loaded(tmp_path):
    model = torch.nn.BatchNorm1d(3)
    average = WeightAverage(model, decay=0.9)
    average.average["running_mean"].fill_(0.25)
    average.save(tmp_path)
    other = WeightAverage(torch.nn.BatchNorm1d(3), decay=0.9)
    other.load(tmp_path)
    assert other.average.keys() == average.average.keys() and "num_batches_tracked" not in other.average
    assert all(torch.equal(other.average[name], average.average[name]) for name in other.average)
    with pytest.raises(FileNotFoundError, match="kept no average"):
        other.load(tmp_path / "nowhere")


def test_a_decay_of_one_never_moves(tmp_path):
    with pytest.raises(ValueError, match=r"is 1.0; it needs to be at least 0 and below 1"):
        WeightAverage(torch.nn.Linear(1, 1), decay=1.0)
