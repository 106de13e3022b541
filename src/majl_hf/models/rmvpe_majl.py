"""A mel U-Net with a recurrent layer as a pitch estimator, after RMVPE.

Wei, Cao, Dai and Chen, "RMVPE: A Robust Model for Vocal Pitch Estimation in Polyphonic Music", Interspeech 2023. A
log-mel spectrogram goes through a deep U-Net of residual blocks, a convolution to a few channels, a bidirectional GRU
over time and a linear layer to CREPE's grid of 360 bins of 20 cents.
"""

import math

import torch
from torch import nn
from transformers import initialization as init

from .crepe_majl import FIRST_BIN_HZ
from .layers_majl import Filterbank, blocks_in_a_row, init_recurrent, mel_filters
from .pitch_estimator_majl import PitchEstimator, PitchEstimatorConfig
from .presets_majl import register_part
from .stft_majl import stft

MEL_FLOOR = 1e-5
SILENCE = math.log(MEL_FLOOR)


class RmvpeConfig(PitchEstimatorConfig):
    """Configuration of `RmvpePitchEstimator`.

    Args:
        n_fft (`int`): STFT size in samples.
        num_mels (`int`): Mel bands between `min_hz` and `max_hz`; a multiple of `2 ** num_levels`.
        min_hz (`float`), max_hz (`float`): Range of the mel bands.
        hidden_channels (`int`): Channels of the U-Net's first level; each of the `num_levels` halves time and frequency
            and doubles the channels.
        num_levels (`int`): Levels of the U-Net.
        num_blocks (`int`): Residual blocks per level.
        num_bottom_stages (`int`): Stages of `num_blocks` residual blocks at the bottom.
        head_channels (`int`): Channels that the U-Net passes to the recurrent layer, for each mel band.
        gru_size (`int`): Units of the recurrent layer in each direction.
        dropout (`float`): Share of the recurrent layer's outputs dropped in training.
    """

    model_type = "majl-rmvpe"

    first_bin_hz: float = FIRST_BIN_HZ
    n_fft: int = 1024
    num_mels: int = 128
    min_hz: float = 30.0
    max_hz: float = 8000.0
    hidden_channels: int = 16
    num_levels: int = 5
    num_blocks: int = 4
    num_bottom_stages: int = 4
    head_channels: int = 3
    gru_size: int = 256
    dropout: float = 0.25

    def __post_init__(self, **kwargs):
        if self.num_mels % 2**self.num_levels:
            raise ValueError(
                f"num_mels is {self.num_mels}; {self.num_levels} levels need a multiple of {2**self.num_levels}."
            )
        super().__post_init__(**kwargs)


class MelSpectrogram(Filterbank):
    """Waveform `(batch_size, num_samples)` to log-mel magnitudes `(batch_size, num_frames, num_mels)`, frame i centred
    on sample `i * hop_length`, silence beyond the ends."""

    @staticmethod
    def make_filters(config: RmvpeConfig) -> torch.Tensor:
        """`(n_fft // 2 + 1, num_mels)`."""
        return mel_filters(config, config.min_hz, config.max_hz, "htk")

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        with torch.autocast(waveform.device.type, enabled=False):  # logarithms of small numbers
            spectrum = stft(waveform, self.n_fft, self.hop_length)
            # The root has no gradient at zero.
            magnitudes = torch.sqrt(spectrum.real.square() + spectrum.imag.square() + 1e-9)
            return torch.log(torch.clamp(magnitudes @ self.filters, min=MEL_FLOOR))


class ResidualConv(nn.Module):
    """Two 3x3 convolutions, each followed by normalisation and ReLU, with a residual connection."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.conv_1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm_1 = nn.BatchNorm2d(out_channels, momentum=0.01)
        self.conv_2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm_2 = nn.BatchNorm2d(out_channels, momentum=0.01)
        self.shortcut = None if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        branch = nn.functional.relu(self.norm_1(self.conv_1(hidden)))
        branch = nn.functional.relu(self.norm_2(self.conv_2(branch)))
        return branch + (hidden if self.shortcut is None else self.shortcut(hidden))


class UpLevel(nn.Module):
    """Transposed convolution to twice time and frequency, then residual blocks on it and the encoder's skip."""

    def __init__(self, in_channels: int, out_channels: int, num_blocks: int):
        super().__init__()
        self.up = nn.ConvTranspose2d(in_channels, out_channels, 3, stride=2, padding=1, output_padding=1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels, momentum=0.01)
        self.blocks = blocks_in_a_row(ResidualConv, 2 * out_channels, out_channels, num_blocks)

    def forward(self, hidden: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        hidden = nn.functional.relu(self.norm(self.up(hidden)))
        return self.blocks(torch.cat([hidden, skip], dim=1))


class RmvpePitchEstimator(PitchEstimator):
    """RMVPE's network on a waveform; its posteriors are the sigmoid of the logits."""

    config_class = RmvpeConfig

    def __init__(self, config: RmvpeConfig):
        super().__init__(config)
        channels = [config.hidden_channels * 2**level for level in range(config.num_levels)]
        bottom = 2 * channels[-1]
        self.mel = MelSpectrogram(config)
        self.input_norm = nn.BatchNorm2d(1, momentum=0.01)
        self.encoder = nn.ModuleList(
            blocks_in_a_row(ResidualConv, fan_in, fan_out, config.num_blocks)
            for fan_in, fan_out in zip([1, *channels[:-1]], channels, strict=True)
        )
        self.bottom = nn.Sequential(
            *(
                blocks_in_a_row(ResidualConv, channels[-1] if stage == 0 else bottom, bottom, config.num_blocks)
                for stage in range(config.num_bottom_stages)
            )
        )
        self.decoder = nn.ModuleList(UpLevel(2 * fan_out, fan_out, config.num_blocks) for fan_out in reversed(channels))
        self.reduce = nn.Conv2d(channels[0], config.head_channels, 3, padding=1)
        self.gru = nn.GRU(config.head_channels * config.num_mels, config.gru_size, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(2 * config.gru_size, config.num_bins)
        self.post_init()

    def _init_weights(self, module: nn.Module):
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                init.zeros_(module.bias)
        elif isinstance(module, nn.Linear):
            self._init_head(module)
        elif isinstance(module, nn.GRU):
            init_recurrent(module)
        else:
            super()._init_weights(module)

    def estimate(self, waveform: torch.Tensor) -> torch.Tensor:
        mel = self.mel(waveform)[:, None]
        num_frames = mel.shape[2]
        # The U-Net halves time at each level; frames missing to complete the last cell are filled with silence.
        missing = -num_frames % 2**self.config.num_levels
        hidden = self.input_norm(nn.functional.pad(mel, (0, 0, 0, missing), value=SILENCE))
        skips = []
        for blocks in self.encoder:
            skips.append(blocks(hidden))
            hidden = nn.functional.avg_pool2d(skips[-1], 2)
        hidden = self.bottom(hidden)
        for level in self.decoder:
            hidden = level(hidden, skips.pop())
        # (batch_size, head_channels, num_frames, num_mels) -> (batch_size, num_frames, head_channels * num_mels)
        features = self.reduce(hidden)[:, :, :num_frames].transpose(1, 2).flatten(2)
        states, _ = self.gru(features)
        return self.head(self.dropout(states))


register_part(
    RmvpeConfig,
    RmvpePitchEstimator,
    presets={
        "rmvpe": {},  # the paper's
        "rmvpe-small": {
            "hop_length": 320,
            "hidden_channels": 8,
            "num_levels": 4,
            "num_blocks": 1,
            "num_bottom_stages": 1,
            "gru_size": 128,
        },
    },
    test_presets={
        "rmvpe-tiny": {
            "hop_length": 320,
            "n_fft": 512,
            "num_mels": 16,
            "hidden_channels": 2,
            "num_levels": 2,
            "num_blocks": 1,
            "num_bottom_stages": 1,
            "head_channels": 2,
            "gru_size": 8,
        }
    },
)
