"""Weights of the two losses, and how their gradients are combined in the separator."""

import pytest
import torch

from majl_hf import MajlModel
from majl_hf.models.modeling_majl import _TwoTasks
from majl_hf.training.balancing import BALANCES, Balance, Djcm, DynamicAverage, Uncertainty


def test_fixed_and_djcm_by_hand():
    separation, pitch = torch.tensor(2.0), torch.tensor(3.0)
    assert Balance(0.5)(separation, pitch).item() == pytest.approx(3.5)
    assert Djcm(0.5, separation_weight=1.5)(separation, pitch).item() == pytest.approx(1.5 * 2 + 0.5 * 0.5 * 3)
    with pytest.raises(ValueError, match=r"separation_weight is 2.5"):
        Djcm(separation_weight=2.5)


def test_uncertainty_settles_at_the_losses():
    """Its minimum over the variances is where each variance is its loss."""
    balance = Uncertainty()
    optimizer = torch.optim.SGD(balance.parameters(), lr=0.5)
    for _ in range(300):
        optimizer.zero_grad()
        sum(balance(torch.tensor(0.5), torch.tensor(4.0), share=0.5) / 2 for _ in range(2)).backward()
        balance(torch.tensor(0.0), torch.tensor(0.0), share=0.5).backward()
        optimizer.step()
    assert torch.exp(balance.log_variances).tolist() == pytest.approx([0.5, 4.0], rel=1e-3)


def test_dynamic_average_turns_to_the_loss_that_falls_slowly():
    balance = DynamicAverage(window=2, temperature=1.0)
    for separation, pitch in ((1.0, 1.0), (1.0, 1.0), (1.0, 0.5)):
        balance.observe(separation, pitch)
    assert balance.weights.tolist() == [1.0, 1.0]
    balance.observe(1.0, 0.5)  # means 1 and 1, then 1 and 0.5
    expected = 2 * torch.softmax(torch.tensor([1.0, 0.5]), dim=0)
    assert torch.allclose(balance.weights, expected)
    copy = DynamicAverage(window=2, temperature=1.0)
    copy.load_state_dict(balance.state_dict())
    assert copy(torch.tensor(1.0), torch.tensor(0.0)) == balance(torch.tensor(1.0), torch.tensor(0.0))


@pytest.mark.parametrize("name", BALANCES)
def test_every_balance_keeps_both_losses(name):
    separation = torch.tensor(2.0, requires_grad=True)
    pitch = torch.tensor(3.0, requires_grad=True)
    BALANCES[name](pitch_weight=0.5)(separation, pitch).backward()
    assert separation.grad > 0 and pitch.grad > 0


def meet(rule: str, scale: float, separation: list[float], pitch: list[float]) -> list[float]:
    vocals = torch.zeros(1, 1, len(pitch), requires_grad=True)
    for_separation, for_pitch = _TwoTasks.apply(vocals, rule, scale)
    loss = (for_separation[0, 0] * torch.tensor(separation)).sum() + (for_pitch[0, 0] * torch.tensor(pitch)).sum()
    loss.backward()
    return vocals.grad[0, 0].tolist()


def test_gradients_meet_by_rule():
    assert meet("sum", 0.5, [1.0, 0.0], [0.0, 4.0]) == pytest.approx([1.0, 2.0])
    assert meet("norm", 0.5, [3.0, 0.0], [0.0, 40.0]) == pytest.approx([3.0, 1.5])
    assert meet("norm", 0.5, [3.0, 0.0], [0.0, 0.0]) == pytest.approx([3.0, 0.0])
    assert meet("project", 1.0, [1.0, 0.0], [1.0, 1.0]) == pytest.approx([2.0, 1.0])  # no conflict
    # (1, 0) and (-1, 1) lose their components against each other: (0.5, 0.5) and (0, 1).
    assert meet("project", 1.0, [1.0, 0.0], [-1.0, 1.0]) == pytest.approx([0.5, 1.5])


def test_a_model_trains_by_every_rule(tiny_model_folder):
    gradients = {}
    for rule in ("sum", "norm", "project"):
        model = MajlModel.from_pretrained(tiny_model_folder).train()
        model.config.separator_gradient_rule = rule
        torch.manual_seed(0)
        mixture = 0.1 * torch.randn(1, 1, 4000)
        f0_hz = torch.full((1, model.num_pitch_frames(4000)), 220.0)
        model(mixture, vocals=0.5 * mixture, f0_hz=f0_hz).loss.backward()
        gradients[rule] = model.separator.head.weight.grad
    assert not torch.equal(gradients["sum"], gradients["norm"])
    with pytest.raises(ValueError, match="separator_gradient_rule is 'mean'"):
        type(model.config)(separator_gradient_rule="mean")
