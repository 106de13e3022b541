"""torchaudio's Hybrid Demucs and Conv-TasNet as separators that work on the waveform itself.

Défossez, "Hybrid Spectrogram and Waveform Source Separation", arXiv 2111.03600: a U-Net on the waveform and one on the
spectrogram that meet at the bottom. Luo and Mesgarani, "Conv-TasNet: Surpassing Ideal Time-Frequency Magnitude Masking
for Speech Separation", IEEE/ACM TASLP 2019: masks on a learned filterbank, from dilated convolutions. The networks are
torchaudio's own; this file gives them the contract of `separator_majl.py`. torchaudio is needed to build such a model,
not to import this file.

Both normalise over time, and Hybrid Demucs is also recurrent, so neither has a bounded context.
"""

import importlib

import torch
from torch import nn

from .foreign_majl import ForeignNetwork
from .presets_majl import MONO_16K, register_part
from .separator_majl import Separator, SeparatorConfig


def _torchaudio_models():
    """The module `torchaudio.models`; raises an error that says what is missing."""
    try:
        return importlib.import_module("torchaudio.models")
    except (ImportError, OSError) as error:
        raise ImportError(
            "This separator needs torchaudio: pip install torchaudio, in the version that matches the installed "
            f"torch {torch.__version__}. (Importing it failed with: {error})"
        ) from error


class HDemucsConfig(SeparatorConfig):
    """Configuration of `HDemucsSeparator`.

    Args:
        n_fft (`int`): STFT size in samples; its hop is a quarter of it.
        hidden_channels (`int`): Channels of the first level; doubled at each further one.
        depth (`int`): Number of levels: those that reduce frequency to one bin (each divides it by 4, the last by 8),
            and at least one more.
        sources (`list[str]`): What the network estimates; must contain `"vocals"`.
    """

    model_type = "majl-hdemucs"

    n_fft: int = 4096
    hidden_channels: int = 48
    depth: int = 6
    sources: list[str] | tuple = ("vocals",)
    alignment: int | None = None

    def __post_init__(self, **kwargs):
        self.sources = list(self.sources)
        if "vocals" not in self.sources:
            raise ValueError(f"sources are {self.sources}; they must contain 'vocals'.")
        num_frequency_levels, bins = 0, self.n_fft // 2
        while bins > 1:
            bins = 1 if bins <= 8 else bins // 4
            num_frequency_levels += 1
        self.hop_length = self.n_fft // 4
        # Levels below the last frequency bin halve the frames.
        self.alignment = self.alignment or self.hop_length * 2 ** max(0, self.depth - num_frequency_levels)
        super().__post_init__(**kwargs)


class ConvTasNetConfig(SeparatorConfig):
    """Configuration of `ConvTasNetSeparator`. Channels of the mixture go through the network one by one.

    Args:
        filter_length (`int`): Samples that a filter of the filterbank spans, even; its hop is half of it.
        num_filters (`int`): Filters of the filterbank.
        bottleneck_channels (`int`): Channels between the blocks of the mask network.
        hidden_channels (`int`): Channels inside a block.
        num_layers (`int`): Blocks of a stack; each has twice the dilation of the one before it.
        num_stacks (`int`): Number of stacks.
    """

    model_type = "majl-convtasnet"

    sampling_rate: int = 16_000
    num_channels: int = 1
    filter_length: int = 32
    num_filters: int = 512
    bottleneck_channels: int = 128
    hidden_channels: int = 512
    num_layers: int = 8
    num_stacks: int = 3
    alignment: int | None = None

    def __post_init__(self, **kwargs):
        self.hop_length = self.filter_length // 2
        self.alignment = self.alignment or self.hop_length
        super().__post_init__(**kwargs)


class HDemucsSeparator(ForeignNetwork, Separator):
    """Hybrid Demucs on a waveform."""

    config_class = HDemucsConfig

    def make_network(self) -> nn.Module:
        config = self.config
        return _torchaudio_models().HDemucs(
            sources=config.sources,
            audio_channels=config.num_channels,
            channels=config.hidden_channels,
            nfft=config.n_fft,
            depth=config.depth,
        )

    def estimate(self, mixture: torch.Tensor) -> torch.Tensor:
        num_samples = mixture.shape[-1]
        # The network divides by the deviation of its input, which is undefined for one sample.
        padded = nn.functional.pad(mixture, (0, max(0, self.config.n_fft - num_samples)))
        sources = self.network(padded)  # (batch_size, num_sources, num_channels, num_samples)
        vocals = sources[:, self.config.sources.index("vocals"), :, :num_samples]
        return vocals.to(mixture.dtype)


class ConvTasNetSeparator(ForeignNetwork, Separator):
    """Conv-TasNet on a waveform."""

    config_class = ConvTasNetConfig

    def make_network(self) -> nn.Module:
        config = self.config
        return _torchaudio_models().ConvTasNet(
            num_sources=1,
            enc_kernel_size=config.filter_length,
            enc_num_feats=config.num_filters,
            msk_num_feats=config.bottleneck_channels,
            msk_num_hidden_feats=config.hidden_channels,
            msk_num_layers=config.num_layers,
            msk_num_stacks=config.num_stacks,
            msk_activate="relu",
        )

    def estimate(self, mixture: torch.Tensor) -> torch.Tensor:
        vocals = self.network(mixture.flatten(0, 1)[:, None])
        return vocals[:, 0].unflatten(0, mixture.shape[:2]).to(mixture.dtype)


register_part(
    HDemucsConfig,
    HDemucsSeparator,
    presets={"hdemucs": {}, "hdemucs-small": {**MONO_16K, "n_fft": 1024, "hidden_channels": 16, "depth": 5}},
    test_presets={"hdemucs-tiny": {**MONO_16K, "n_fft": 1024, "hidden_channels": 4, "depth": 5}},
)
register_part(
    ConvTasNetConfig,
    ConvTasNetSeparator,
    presets={
        "convtasnet": {},
        "convtasnet-small": {
            "num_filters": 128,
            "bottleneck_channels": 64,
            "hidden_channels": 128,
            "num_layers": 7,
            "num_stacks": 2,
        },
    },
    test_presets={
        "convtasnet-tiny": {
            "num_filters": 16,
            "bottleneck_channels": 8,
            "hidden_channels": 8,
            "num_layers": 3,
            "num_stacks": 1,
        }
    },
)
