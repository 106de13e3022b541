"""The engine of the page in the browser, piece by piece in Node.js, against the package's."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from majl_hf import MajlConfig
from majl_hf.models.conditioning_majl import Conditioner, VoiceMix
from majl_hf.models.decoding_majl import PitchDecoder, PitchFrames
from majl_hf.models.parts_majl import Parts
from majl_hf.models.resampling_majl import ResampleStream
from majl_hf.models.streaming_majl import separate_stream

pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")

ENGINE = Path(__file__).parents[2] / "spaces" / "majl-in-the-browser" / "engine"
RATE = 8000
FIELDS = {"timeS": "times_s", "f0Hz": "f0_hz", "voicing": "voicing", "confidence": "confidence", "voiced": "voiced"}


def run(piece: str, blocks, config=None, rates=(RATE,)):
    """What the piece makes of the blocks in the browser's engine."""
    config = None if config is None else as_json(config)
    case = {"piece": piece, "config": config, "rates": rates, "blocks": [block.tolist() for block in blocks]}
    command = ["node", Path(__file__).with_name("run_engine.mjs"), ENGINE]
    process = subprocess.run(command, input=json.dumps(case), capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def as_json(config: MajlConfig) -> dict:
    """As an exported model's config.json: with what Python computes."""
    values = json.loads(config.to_json_string(use_diff=False))
    for name in ("separator_config", "pitch_estimator_config", "refiner_config"):
        if part := getattr(config, name):
            values[name].update(alignment=getattr(part, "alignment", None), context=part.context)
    return values


def cut(signal: np.ndarray, count: int = 5) -> list[np.ndarray]:
    """Blocks of random lengths along the last axis; one is empty."""
    places = sorted(np.random.default_rng(1).integers(0, signal.shape[-1], count))
    return np.split(signal, [*places, places[-1]], axis=-1)


def pushed(stream, blocks) -> np.ndarray:
    pieces = [stream.push(block, number == len(blocks) - 1) for number, block in enumerate(blocks)]
    return np.concatenate([np.atleast_2d(piece) for piece in pieces], axis=1)


def assert_close(found, wanted, tolerance_db: float = -90.0) -> None:
    found = np.array(found)
    assert found.shape == wanted.shape
    assert np.linalg.norm(found - wanted) <= 10 ** (tolerance_db / 20) * np.linalg.norm(wanted)


def recording(kind: str) -> np.ndarray:
    """Stereo, or `mono`, of some seconds, with what the conditioning mends."""
    rng = np.random.default_rng(0)
    times_s = np.arange(6 * RATE + 123) / RATE
    voice = (0.2 + 0.1 * np.sin(3 * times_s)) * np.sin(2 * np.pi * 220 * times_s)
    noise = 0.05 * rng.standard_normal((2, len(times_s)))
    left, right = np.array([[1.0], [0.5]]) * voice + noise
    if kind == "rumble":
        left, right = (0.01 * channel + 0.1 + 0.05 * np.sin(2 * np.pi * 12 * times_s) for channel in (left, right))
    if kind == "one side":
        right = 0.005 * right
    if kind == "unlike":
        right = 0.4 * noise[1]
    if kind == "opposite":
        right = -left
    if kind == "falls":
        left, right = (np.where(times_s < 2, channel, 1e-3 * channel) for channel in (left, right))
    audio = np.array([left] if kind == "mono" else [left, right], dtype=np.float32)
    return audio[:, :99] if kind == "short" else audio


@pytest.mark.parametrize("kind", ["plain", "mono", "rumble", "one side", "unlike", "opposite", "falls", "short"])
def test_conditioner(kind):
    blocks = cut(recording(kind))
    conditioner = Conditioner(RATE, len(blocks[0]))
    conditioned, restored = [], []
    for number, block in enumerate(blocks):
        conditioned.append(conditioner.push(block, number == len(blocks) - 1))
        restored.append(conditioner.restore(conditioned[-1]))
    found = run("conditioner", blocks)
    assert_close(found["conditioned"], np.concatenate(conditioned, axis=1))
    assert_close(found["restored"], np.concatenate(restored, axis=1))


@pytest.mark.parametrize("kind", ["plain", "mono", "opposite"])
def test_voice(kind):
    blocks = cut(recording(kind))
    assert_close(run("voice", blocks), pushed(VoiceMix(RATE), blocks))


@pytest.mark.parametrize("rates", [(44_100, 16_000), (48_000, 16_000), (16_000, 16_000)])
def test_resampling(rates):
    blocks = cut(recording("mono"))
    stream = ResampleStream(*rates)
    wanted = [stream.push(block[0], number == len(blocks) - 1) for number, block in enumerate(blocks)]
    assert_close(run("resampled", blocks, rates=rates), np.concatenate(wanted)[None])


@pytest.mark.parametrize("decoder", ["viterbi", "local_mean"])
@pytest.mark.parametrize("policy", ["threshold", "hysteresis", "always"])
def test_decoding(decoder, policy):
    rng = np.random.default_rng(0)
    config = MajlConfig(pitch_decoder=decoder, voicing_policy=policy)
    num_frames, num_bins = 700, config.pitch_estimator_config.num_bins
    path = 180 + 60 * np.sin(np.arange(num_frames) / 50)
    logits = 3 - 0.5 * np.abs(np.arange(num_bins) - path[:, None]) + 0.8 * rng.standard_normal((num_frames, num_bins))
    logits[300:420] -= 4.5
    logits[500:510] = rng.standard_normal((10, num_bins))
    blocks = np.split(logits, [1, 250, 250, 611])
    wanted = PitchDecoder(config)
    wanted = [wanted.push(block, number == len(blocks) - 1) for number, block in enumerate(blocks)]
    assert_same_frames(run("decoded", blocks, config), PitchFrames.concatenate(wanted))


def assert_same_frames(found: list[dict], wanted: PitchFrames, tolerance: float = 1e-9) -> None:
    assert len(found) == len(wanted)
    for name, wanted_name in FIELDS.items():
        values = [frame[name] for frame in found]
        np.testing.assert_allclose(values, getattr(wanted, wanted_name), rtol=tolerance, atol=tolerance)


class Functions:
    """A model of the same simple functions as in run_engine.mjs."""

    def __init__(self, config: MajlConfig):
        self.config = config

    def parts(self) -> Parts:
        return Parts(self.config, self.separator, self.pitch_estimator, self.refiner)

    def separator(self, mixture):
        return mixture * (1 - np.arange(mixture.shape[2]) % 7 / 10).astype(np.float32)

    def pitch_estimator(self, voice):
        grid = self.config.pitch_estimator_config
        samples = voice[
            :, np.minimum(np.arange(1 + voice.shape[1] // grid.hop_length) * grid.hop_length, voice.shape[1] - 1)
        ]
        places = np.floor(1e4 * np.abs(samples).astype(float)) % grid.num_bins
        return (4 - 2 * np.abs(np.arange(grid.num_bins) - places[..., None])).astype(np.float32)

    def refiner(self, mixture, vocals, logits):
        frames = np.arange(vocals.shape[2]) // self.config.refiner_config.hop_length
        place = logits.argmax(axis=2)[:, None, frames] / logits.shape[2]
        return (0.5 * vocals + 0.25 * mixture * place).astype(np.float32)


@pytest.mark.parametrize("kind", ["plain", "mono", "opposite", "short"])
def test_the_whole_engine(kind):
    """Windows, margins, the order of the parts, the refiner's frames."""
    rate = {"sampling_rate": RATE, "hop_length": 64}
    config = MajlConfig(
        separator_config={"preset": "spleeter-tiny", "num_channels": 2, "sampling_rate": RATE},
        pitch_estimator_config={**rate, "num_bins": 100, "sampling_rate": 4000},
        refiner_config={**rate, "n_fft": 256, "num_bins": 64},
        window_s=1.0,
        margin_s=0.2,
        pitch_decoder="local_mean",  # a last digit must not decide between two paths
    )
    blocks = cut(recording(kind))
    chunks = list(separate_stream(Functions(config), blocks, RATE))
    found = run("streamed", blocks, config)
    assert_close(found["vocals"], np.concatenate([chunk.vocals for chunk in chunks], axis=1), -60.0)
    wanted = PitchFrames.concatenate([chunk.frames for chunk in chunks])
    assert len(found["frames"]) == len(wanted)
    same = np.isclose([frame["f0Hz"] for frame in found["frames"]], wanted.f0_hz, rtol=1e-6)
    assert same.mean() > 0.95  # a sample at the edge of a bin falls on either side
