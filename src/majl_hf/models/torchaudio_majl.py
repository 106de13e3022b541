"""torchaudio's Hybrid Demucs and Conv-TasNet as separators that work on the waveform itself.

Défossez, "Hybrid Spectrogram and Waveform Source Separation", arXiv 2111.03600: a U-Net on the waveform and one on the
spectrogram that meet at the bottom. Luo and Mesgarani, "Conv-TasNet: Surpassing Ideal Time-Frequency Magnitude Masking
for Speech Separation", IEEE/ACM TASLP 2019: masks on a learned filterbank, from dilated convolutions. The networks are
torchaudio's own; this file gives them the contract of `separator_majl.py`. torchaudio is needed to build such a model,
not to import this file.

Both normalise over time, and Hybrid Demucs is recurrent besides, so neither has a bounded context.
"""

import importlib
from collections.abc import Callable

import torch
from torch import nn
from transformers import AutoConfig, AutoModel
from transformers import initialization as init

from .presets_majl import register_presets
from .separator_majl import Separator, SeparatorConfig, SeparatorOutput


def _torchaudio_models():
    """The module `torchaudio.models`, or an error that says what is missing."""
    try:
        return importlib.import_module("torchaudio.models")
    except (ImportError, OSError) as error:
        raise ImportError(
            "This separator is torchaudio's: pip install torchaudio, of the version that belongs to the installed "
            f"torch {torch.__version__}. (Importing it failed with: {error})"
        ) from error


class HDemucsConfig(SeparatorConfig):
    """Configuration of `HDemucsSeparator`.

    Args:
        n_fft (`int`): STFT size in samples; its hop is a quarter of it.
        hidden_channels (`int`): Channels of the first level; doubled at each further one.
        depth (`int`): Number of levels: those that take frequency to one bin (each divides it by 4, the last by 8), and
            at least one more.
        sources (`list[str]`): What the network estimates; `"vocals"` has to be among them.
    """

    model_type = "majl-hdemucs"

    def __init__(
        self,
        sampling_rate=44_100,
        num_channels=2,
        n_fft=4096,
        hidden_channels=48,
        depth=6,
        sources=("vocals",),
        alignment=None,
        context=None,
        **kwargs,
    ):
        self.n_fft = n_fft
        self.hidden_channels = hidden_channels
        self.depth = depth
        self.sources = list(sources)
        if "vocals" not in self.sources:
            raise ValueError(f"sources are {self.sources}; 'vocals' needs to be among them.")
        num_frequency_levels, bins = 0, n_fft // 2
        while bins > 1:
            bins = 1 if bins <= 8 else bins // 4
            num_frequency_levels += 1
        self.hop_length = n_fft // 4
        # Levels below the last frequency bin halve the frames.
        alignment = alignment or self.hop_length * 2 ** max(0, depth - num_frequency_levels)
        super().__init__(
            sampling_rate=sampling_rate, num_channels=num_channels, alignment=alignment, context=context, **kwargs
        )


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

    def __init__(
        self,
        sampling_rate=16_000,
        num_channels=1,
        filter_length=32,
        num_filters=512,
        bottleneck_channels=128,
        hidden_channels=512,
        num_layers=8,
        num_stacks=3,
        alignment=None,
        context=None,
        **kwargs,
    ):
        self.filter_length = filter_length
        self.num_filters = num_filters
        self.bottleneck_channels = bottleneck_channels
        self.hidden_channels = hidden_channels
        self.num_layers = num_layers
        self.num_stacks = num_stacks
        self.hop_length = filter_length // 2
        super().__init__(
            sampling_rate=sampling_rate,
            num_channels=num_channels,
            alignment=alignment or self.hop_length,
            context=context,
            **kwargs,
        )


class _TorchaudioSeparator(Separator):
    """Holds torchaudio's network as `network`. Its constructor draws the weights, each layer's in its own way, so
    weights that a checkpoint lacks are those of a network that is built anew."""

    make_network: Callable[[], nn.Module]

    def __init__(self, config: SeparatorConfig):
        super().__init__(config)
        self.network = self.make_network()
        self._has_initial_weights = next(self.network.parameters()).device.type != "meta"
        self._anew: dict[str, nn.Module] = {}
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        name = next((name for name, layer in self.network.named_modules() if layer is module), None)
        if self._has_initial_weights or name is None:
            return
        if not self._anew:
            with torch.device("cpu"):
                self._anew = dict(self.make_network().named_modules())
        for key, parameter in module.named_parameters(recurse=False):
            init.copy_(parameter, getattr(self._anew[name], key).to(parameter.device))


class HDemucsSeparator(_TorchaudioSeparator):
    """Hybrid Demucs on a waveform."""

    config_class = HDemucsConfig

    def make_network(self) -> nn.Module:
        config = self.config
        return _torchaudio_models().HDemucs(
            sources=list(config.sources),
            audio_channels=config.num_channels,
            channels=config.hidden_channels,
            nfft=config.n_fft,
            depth=config.depth,
        )

    def forward(self, mixture: torch.Tensor, **kwargs) -> SeparatorOutput:
        r"""
        Args:
            mixture (`torch.Tensor` of shape `(batch_size, num_channels, num_samples)`):
                Waveform at `config.sampling_rate`, full scale at 1.

        Returns:
            `SeparatorOutput` with `vocals` of the mixture's shape.
        """
        self.check_mixture(mixture)
        num_samples = mixture.shape[-1]
        # The network divides by the deviation of what it is given, which one sample does not have.
        padded = nn.functional.pad(mixture, (0, max(0, self.config.n_fft - num_samples)))
        sources = self.network(padded)  # (batch_size, num_sources, num_channels, num_samples)
        vocals = sources[:, self.config.sources.index("vocals"), :, :num_samples]
        return SeparatorOutput(vocals=vocals.to(mixture.dtype))


class ConvTasNetSeparator(_TorchaudioSeparator):
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

    def forward(self, mixture: torch.Tensor, **kwargs) -> SeparatorOutput:
        r"""
        Args:
            mixture (`torch.Tensor` of shape `(batch_size, num_channels, num_samples)`):
                Waveform at `config.sampling_rate`, full scale at 1.

        Returns:
            `SeparatorOutput` with `vocals` of the mixture's shape.
        """
        self.check_mixture(mixture)
        vocals = self.network(mixture.flatten(0, 1)[:, None])
        return SeparatorOutput(vocals=vocals[:, 0].unflatten(0, mixture.shape[:2]).to(mixture.dtype))


AutoConfig.register(HDemucsConfig.model_type, HDemucsConfig, exist_ok=True)
AutoModel.register(HDemucsConfig, HDemucsSeparator, exist_ok=True)
AutoConfig.register(ConvTasNetConfig.model_type, ConvTasNetConfig, exist_ok=True)
AutoModel.register(ConvTasNetConfig, ConvTasNetSeparator, exist_ok=True)
register_presets(
    HDemucsConfig,
    {
        "hdemucs": {},
        "hdemucs-small": {
            "sampling_rate": 16_000,
            "num_channels": 1,
            "n_fft": 1024,
            "hidden_channels": 16,
            "depth": 5,
        },
    },
)
register_presets(
    HDemucsConfig,
    {
        "hdemucs-tiny": {
            "sampling_rate": 16_000,
            "num_channels": 1,
            "n_fft": 1024,
            "hidden_channels": 4,
            "depth": 5,
        }
    },
    for_tests=True,
)
register_presets(
    ConvTasNetConfig,
    {
        "convtasnet": {},
        "convtasnet-small": {
            "num_filters": 128,
            "bottleneck_channels": 64,
            "hidden_channels": 128,
            "num_layers": 7,
            "num_stacks": 2,
        },
    },
)
register_presets(
    ConvTasNetConfig,
    {
        "convtasnet-tiny": {
            "num_filters": 16,
            "bottleneck_channels": 8,
            "hidden_channels": 8,
            "num_layers": 3,
            "num_stacks": 1,
        }
    },
    for_tests=True,
)
