"""What several backbones share: filter tables, sequences of blocks, the initialisation of recurrent layers."""

import torch
from torch import nn
from transformers import initialization as init
from transformers.audio_utils import mel_filter_bank


class Filterbank(nn.Module):
    """Base of spectrograms whose bins are weighted by a table, the persistent buffer `filters`: `from_pretrained`
    builds models without memory, and `PitchEstimator` computes the table by `make_filters` if a file lacks it."""

    def __init__(self, config):
        super().__init__()
        self.n_fft, self.hop_length = config.n_fft, config.hop_length
        self.register_buffer("filters", self.make_filters(config))

    @staticmethod
    def make_filters(config) -> torch.Tensor:
        """The table that belongs to a config."""
        raise NotImplementedError


def mel_filters(config, min_hz: float, max_hz: float, mel_scale: str) -> torch.Tensor:
    """`(n_fft // 2 + 1, num_mels)` of a config with `n_fft`, `num_mels` and `sampling_rate`, each band of unit area."""
    filters = mel_filter_bank(
        num_frequency_bins=config.n_fft // 2 + 1,
        num_mel_filters=config.num_mels,
        min_frequency=min_hz,
        max_frequency=max_hz,
        sampling_rate=config.sampling_rate,
        norm="slaney",
        mel_scale=mel_scale,
    )
    return torch.from_numpy(filters).float()


def blocks_in_a_row(block: type[nn.Module], in_channels: int, out_channels: int, num_blocks: int) -> nn.Sequential:
    """`num_blocks` blocks, the first of which changes the number of channels."""
    return nn.Sequential(
        *(block(in_channels if index == 0 else out_channels, out_channels) for index in range(num_blocks))
    )


def init_recurrent(layer: nn.RNNBase) -> None:
    """Initialise a recurrent layer."""
    for name, parameter in layer.named_parameters():
        if name.startswith("weight_ih"):
            init.xavier_uniform_(parameter)
        elif name.startswith("weight_hh"):
            init.orthogonal_(parameter)
        else:
            init.zeros_(parameter)
