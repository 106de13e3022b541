"""ResUNetDecouple+ as a separator: a deep residual U-Net whose estimate is not tied to the mixture's phase or level.

Kong, Cao, Liu, Choi and Wang, "Decoupling magnitude and phase estimation with deep ResUNet for music source
separation", ISMIR 2021; also the separator of DJCM (Wei et al., arXiv 2401.03856). A U-Net of residual convolution
blocks sees the mixture's magnitudes |X|. For every time-frequency bin and channel it returns a mask M in [0, 1], a
direct estimate Q and a rotation (c, s) of the phase:

    |V| = relu(M |X| + Q),    angle V = angle X + angle(c + i s)

so that the estimate may exceed the mixture (Q) and differ from its phase. Two things differ here: the rotation is
`(1 + c) + i s`, so that outputs of zero rotate nothing and training starts from the mixture's phase; and a level may
halve frequency only and not time, as in DJCM.
"""

import torch
from torch import nn
from transformers import initialization as init

from .layers_majl import blocks_in_a_row
from .presets_majl import MONO_16K, register_part
from .separator_majl import Separator, SeparatorConfig
from .stft_majl import istft, stft


class ResUNetConfig(SeparatorConfig):
    """Configuration of `ResUNetSeparator`.

    Args:
        n_fft (`int`): STFT size in samples; the network sees its lowest `n_fft // 2` bins, a multiple of
            `2 ** num_levels`.
        hop_length (`int`): STFT hop in samples.
        hidden_channels (`list[int]`): Channels of the encoder's levels, each of which halves frequency.
        bottleneck_channels (`int`): Channels at the bottom.
        num_time_levels (`int`): How many of the last levels also halve time; all in the paper, none in DJCM.
        num_blocks (`int`): Residual blocks per level in the encoder.
        num_bottleneck_blocks (`int`): Residual blocks at the bottom.
        num_decoder_blocks (`int`): Residual blocks per level in the decoder.
    """

    model_type = "majl-resunet"

    n_fft: int = 2048
    hop_length: int = 441
    hidden_channels: list[int] | tuple = (32, 64, 128, 256, 384, 384)
    bottleneck_channels: int = 384
    num_time_levels: int = 6
    num_blocks: int = 4
    num_bottleneck_blocks: int = 16
    num_decoder_blocks: int = 4
    alignment: int | None = None

    def __post_init__(self, **kwargs):
        self.hidden_channels = list(self.hidden_channels)
        num_levels = len(self.hidden_channels)
        if self.n_fft // 2 % 2**num_levels or not 0 <= self.num_time_levels <= num_levels:
            raise ValueError(
                f"n_fft is {self.n_fft} and num_time_levels {self.num_time_levels} with {num_levels} levels; n_fft // "
                f"2 needs to be a multiple of {2**num_levels}, and num_time_levels to be from 0 to {num_levels}."
            )
        self.alignment = self.alignment or self.hop_length * 2**self.num_time_levels
        self.context = self.context or self.n_fft + self.hop_length * self.reach_frames()
        super().__post_init__(**kwargs)

    def time_strides(self) -> list[int]:
        """Factor by which each level shortens time: 1 or 2."""
        num_levels = len(self.hidden_channels)
        return [2 if level >= num_levels - self.num_time_levels else 1 for level in range(num_levels)]

    def reach_frames(self) -> int:
        """Spectrogram frames that the U-Net sees to each side: one cell per 3x3 convolution, times the frames that a
        cell spans at its level, and one more cell where time is shortened and stretched again."""
        reach, span = 2, 1  # the head's and the first convolution
        for stride in self.time_strides():
            reach += span * (2 * self.num_blocks + 2 * self.num_decoder_blocks)
            span *= stride
            reach += 2 * (span - span // stride)
        return reach + span * 2 * self.num_bottleneck_blocks


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions, each after normalisation and activation, with a residual connection (a 1x1 convolution
    where the number of channels changes)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__()
        self.norm_1 = nn.BatchNorm2d(in_channels, momentum=0.01)
        self.conv_1 = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm_2 = nn.BatchNorm2d(out_channels, momentum=0.01)
        self.conv_2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.shortcut = None if in_channels == out_channels else nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`(batch_size, in_channels, time, frequency)` to `(batch_size, out_channels, time, frequency)`."""
        branch = self.conv_1(nn.functional.leaky_relu(self.norm_1(hidden), 0.01))
        branch = self.conv_2(nn.functional.leaky_relu(self.norm_2(branch), 0.01))
        return branch + (hidden if self.shortcut is None else self.shortcut(hidden))


class DecoderLevel(nn.Module):
    """Transposed convolution to twice the frequency (and time), then residual blocks on it and the encoder's skip."""

    def __init__(self, in_channels: int, out_channels: int, num_blocks: int, time_stride: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(in_channels, momentum=0.01)
        # The kernel is as large as the stride, so that the outputs of two cells do not overlap.
        stride = (time_stride, 2)
        self.up = nn.ConvTranspose2d(in_channels, out_channels, kernel_size=stride, stride=stride, bias=False)
        self.blocks = blocks_in_a_row(ResidualBlock, 2 * out_channels, out_channels, num_blocks)

    def forward(self, hidden: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        hidden = self.up(nn.functional.leaky_relu(self.norm(hidden), 0.01))
        return self.blocks(torch.cat([hidden, skip], dim=1))


class ResUNetSeparator(Separator):
    """ResUNetDecouple+ on a waveform."""

    config_class = ResUNetConfig

    def __init__(self, config: ResUNetConfig):
        super().__init__(config)
        channels = config.hidden_channels
        self.input_norm = nn.BatchNorm1d(config.n_fft // 2, momentum=0.01)  # each frequency has its own level
        self.input_conv = nn.Conv2d(config.num_channels, channels[0], 3, padding=1, bias=False)
        self.encoder = nn.ModuleList(
            blocks_in_a_row(ResidualBlock, channels[max(0, level - 1)], channels[level], config.num_blocks)
            for level in range(len(channels))
        )
        self.bottleneck = blocks_in_a_row(
            ResidualBlock, channels[-1], config.bottleneck_channels, config.num_bottleneck_blocks
        )
        inputs = [config.bottleneck_channels, *channels[:0:-1]]
        self.decoder = nn.ModuleList(
            DecoderLevel(fan_in, fan_out, config.num_decoder_blocks, stride)
            for fan_in, fan_out, stride in zip(inputs, channels[::-1], config.time_strides()[::-1], strict=True)
        )
        self.head_norm = nn.BatchNorm2d(channels[0], momentum=0.01)
        self.head = nn.Conv2d(channels[0], 4 * config.num_channels, 3, padding=1)
        self.post_init()

    def _init_weights(self, module: nn.Module):
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            init.xavier_uniform_(module.weight)
            if module.bias is not None:
                init.zeros_(module.bias)
        else:
            super()._init_weights(module)

    def estimate(self, mixture: torch.Tensor) -> torch.Tensor:
        config = self.config
        spectrum = stft(mixture, config.n_fft, config.hop_length)
        lower = spectrum[..., :-1]
        magnitudes = lower.abs()
        # (batch_size, num_channels, 4, num_frames, num_bins); there are no half-precision complex numbers
        outputs = self.network(magnitudes).unflatten(1, (config.num_channels, 4)).to(magnitudes.dtype)
        mask, direct, real, imaginary = outputs.unbind(dim=2)
        estimate = nn.functional.relu(torch.sigmoid(mask) * magnitudes + direct)
        real, imaginary = 1 + torch.tanh(real), torch.tanh(imaginary)
        rotation = torch.complex(real, imaginary) / torch.sqrt(real**2 + imaginary**2 + 1e-8)
        phase = lower / magnitudes.clamp(min=1e-10)
        vocals = nn.functional.pad(estimate * rotation * phase, (0, 1))  # the Nyquist bin is zero
        return istft(vocals, config.n_fft, config.hop_length, mixture.shape[-1])

    def network(self, magnitudes: torch.Tensor) -> torch.Tensor:
        """Magnitudes `(batch_size, num_channels, num_frames, n_fft // 2)` to `(batch_size, 4 * num_channels, ...)`."""
        config = self.config
        num_frames = magnitudes.shape[2]
        hidden = nn.functional.pad(magnitudes, (0, 0, 0, -num_frames % 2**config.num_time_levels))
        flat = hidden.flatten(1, 2).transpose(1, 2)  # (batch_size, num_bins, num_channels * num_frames)
        hidden = self.input_norm(flat).transpose(1, 2).unflatten(1, hidden.shape[1:3])
        hidden = self.input_conv(hidden)
        skips = []
        for blocks, stride in zip(self.encoder, config.time_strides(), strict=True):
            skips.append(blocks(hidden))
            hidden = nn.functional.avg_pool2d(skips[-1], (stride, 2))
        hidden = self.bottleneck(hidden)
        for level in self.decoder:
            hidden = level(hidden, skips.pop())
        return self.head(nn.functional.leaky_relu(self.head_norm(hidden), 0.01))[:, :, :num_frames]


ONE_BLOCK = {"num_blocks": 1, "num_bottleneck_blocks": 1, "num_decoder_blocks": 1}
register_part(
    ResUNetConfig,
    ResUNetSeparator,
    presets={
        "resunet": {},  # as deep and wide as published
        "resunet-djcm": {**MONO_16K, **ONE_BLOCK, "hop_length": 320, "num_time_levels": 0},
        "resunet-small": {
            **MONO_16K,
            **ONE_BLOCK,
            "n_fft": 1024,
            "hop_length": 256,
            "hidden_channels": (16, 32, 48, 64, 96),
            "bottleneck_channels": 96,
            "num_time_levels": 4,
        },
    },
    test_presets={
        "resunet-tiny": {
            **MONO_16K,
            **ONE_BLOCK,
            "n_fft": 256,
            "hop_length": 64,
            "hidden_channels": (4, 6, 8),
            "bottleneck_channels": 8,
            "num_time_levels": 2,
        }
    },
)
