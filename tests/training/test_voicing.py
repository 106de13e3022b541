"""The running voicing: from posteriors to probabilities, in steps that do not depend on how a batch is cut."""

import torch

from majl_hf.training.voicing import RunningVoicing


def frames(num_frames: int, seed: int, scale: float = 2.0, bias: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Highest logits, and whether the label is voiced, with the probability of a logistic function of them."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(num_frames, generator=generator) * 2.0 - 1.5
    return logits, torch.rand(num_frames, generator=generator) < torch.sigmoid(scale * logits + bias)


def test_it_starts_as_the_posterior_and_becomes_a_probability():
    voicing = RunningVoicing()
    logits = torch.linspace(-5.0, 5.0, 11)
    assert torch.equal(voicing(logits), torch.sigmoid(logits))
    for seed in range(100):
        voicing.observe(*frames(200, seed), torch.ones(200))
        voicing.step()
    scale, bias = voicing.coefficients.tolist()
    assert abs(scale - 2.0) < 0.2 and abs(bias - 3.0) < 0.3
    unheard, voiced = frames(20_000, 1000)
    probability = voicing(unheard)
    for low in (0.1, 0.3, 0.5, 0.7):
        near = (probability > low) & (probability < low + 0.2)
        assert abs(voiced[near].float().mean() - probability[near].mean()) < 0.05


def test_it_follows_a_model_that_changes():
    voicing = RunningVoicing()
    for seed in range(400):
        voicing.observe(*frames(200, seed, bias=3.0 if seed < 200 else 0.0), torch.ones(200))
        voicing.step()
    assert abs(voicing.coefficients[1].item()) < 0.3


def test_a_batch_may_be_cut():
    logits, voiced = frames(100, 0)
    weights = torch.linspace(0.0, 1.0, 100)
    whole, parts = RunningVoicing(), RunningVoicing()
    whole.observe(logits, voiced, weights)
    parts.observe(logits[:30], voiced[:30], weights[:30])
    parts.observe(logits[30:], voiced[30:], weights[30:])
    for voicing in (whole, parts):
        voicing.step()
    assert torch.allclose(whole.coefficients, parts.coefficients, atol=1e-6)
    nothing = whole.coefficients.clone()
    whole.observe(logits, voiced, torch.zeros(100))
    whole.step()
    assert torch.equal(whole.coefficients, nothing)
    summed = RunningVoicing()  # two processes with the same frames
    summed.observe(logits, voiced, weights / 2)
    summed.step(lambda tensor: 2 * tensor)
    assert torch.allclose(summed.coefficients, parts.coefficients, atol=1e-6)
