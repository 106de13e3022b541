"""The mask U-Net of Spleeter as a separator, with additions that start as the identity.

Hennequin, Khlif, Voituret and Moussallam, "Spleeter: a fast and efficient music source separation tool with
pre-trained models", JOSS 5(50), 2020. A U-Net maps the magnitudes of an STFT (4096 at hop 1024, 44.1 kHz, the lowest
1024 bins) to a mask in [0, 1] for the vocals. What this file adds to the published network:

- `residual_head`: a complex term added to the mask, so that the estimate may turn phases and exceed the mixture;
- `upper_band`: the mask above the network's last bin, as a learned share of the mask just below it;
- `second_pass_frames`: in evaluation, the mean of two masks, one computed with the frames shifted.

The last layers of the first two start at zero, so a network with them equals the published one until it is trained.
"""

from collections.abc import Callable

import torch
from torch import nn
from transformers import initialization as init

from .fused_unet_majl import FusedMasks, share
from .presets_majl import MONO_16K, register_part
from .separator_majl import Separator, SeparatorConfig
from .stft_majl import istft, stft

NUM_DROPOUT_LEVELS = 3


class SpleeterConfig(SeparatorConfig):
    """Configuration of `SpleeterSeparator`.

    Args:
        n_fft (`int`): STFT size in samples.
        hop_length (`int`): STFT hop in samples.
        num_mask_bins (`int`): Number of lowest STFT bins that the network sees; a multiple of 64.
        hidden_channels (`list[int]`): Channels of the encoder levels, each of which halves time and frequency.
        accompaniment_network (`bool`): Add a second network for the accompaniment and divide the squared mask by the
            sum of both, as the published system does. Twice the work; used as a teacher and for comparison.
        residual_head (`bool`): Add the complex residual term.
        upper_band (`bool`): Extend the mask above the network's last bin.
        second_pass_frames (`int`): In evaluation the mask is the mean of two, of which one is computed with this many
            silent frames before the first: the levels that halve time then group other frames, so the two masks have
            different errors. 0 for a single pass; an odd number shifts every level. Window alignment does not change.
        freeze_batch_norm (`bool`): Keep BatchNorm's statistics fixed in training also, as small batches need.
        decoder_dropout (`float`): In training, dropout after the first three decoder levels; published: 0.5.
    """

    model_type = "majl-spleeter"

    n_fft: int = 4096
    hop_length: int = 1024
    num_mask_bins: int = 1024
    hidden_channels: list[int] | tuple = (16, 32, 64, 128, 256, 512)
    accompaniment_network: bool = False
    residual_head: bool = False
    upper_band: bool = False
    second_pass_frames: int = 0
    freeze_batch_norm: bool = True
    decoder_dropout: float = 0.0
    alignment: int | None = None

    def __post_init__(self, **kwargs):
        self.hidden_channels = list(self.hidden_channels)
        # The U-Net halves time at each level, so its output is equivariant to shifts by 2**levels frames.
        self.alignment = self.alignment or self.hop_length * 2 ** len(self.hidden_channels)
        super().__post_init__(**kwargs)


class UpConv(nn.ConvTranspose2d):
    """Transposed convolution, kernel 5, stride 2, that doubles time and frequency.

    For few output channels it is computed as one convolution whose outputs are shuffled into place: on a CPU this is
    two to four times faster, and avoids the transposed convolution's buffer of 25 values per sample.
    """

    max_shuffled_channels, max_shuffled_channels_autocast = 16, 64

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, kernel_size=5, stride=2, padding=1)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`(batch_size, in_channels, time, frequency)` to `(batch_size, out_channels, 2 * time, 2 * frequency)`."""
        is_cheap = torch.is_autocast_enabled(hidden.device.type)
        if self.out_channels > (self.max_shuffled_channels_autocast if is_cheap else self.max_shuffled_channels):
            return super().forward(hidden)[:, :, :-1, :-1]
        shuffled = nn.functional.conv2d(hidden, self.phases().flatten(0, 1), self.bias.repeat_interleave(4), padding=1)
        return nn.functional.pixel_shuffle(shuffled, 2)

    def phase_kernels(self) -> list[list[torch.Tensor]]:
        """Kernels `(out_channels, in_channels, 2 or 3, 2 or 3)` of the four phases of an output position, by row and
        column. In each direction an even position sees taps 3 and 1 on the inputs before and at it; an odd one 4, 2 and
        0 around it."""
        kernel = self.weight.transpose(0, 1).flip(2, 3)
        return [[kernel[:, :, 1 - row :: 2, 1 - column :: 2] for column in (0, 1)] for row in (0, 1)]

    def phases(self) -> torch.Tensor:
        """The same as kernels `(out_channels, 4, in_channels, 3, 3)` of one convolution with padding 1."""
        kernels = [kernel for row in self.phase_kernels() for kernel in row]
        return torch.stack([nn.functional.pad(k, (0, 3 - k.shape[3], 0, 3 - k.shape[2])) for k in kernels], dim=1)


class ZeroUpConv(UpConv):
    """`UpConv` that starts at zero. It is its own type so that `_init_weights` can recognise it."""


class DownBlock(nn.Module):
    """Normalisation and activation of the level above, then a stride-2 convolution (the first level takes its input
    unchanged). The decoder's skips are taken before the normalisation."""

    def __init__(self, in_channels: int, out_channels: int, is_first: bool):
        super().__init__()
        self.norm = None if is_first else nn.BatchNorm2d(in_channels, eps=1e-3, momentum=0.01)
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size=5, stride=2)

    def activate(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden if self.norm is None else nn.functional.leaky_relu_(self.norm(hidden), 0.2)

    def forward(self, activated: torch.Tensor) -> torch.Tensor:
        """The convolution of what `activate` returned."""
        # TensorFlow's "same" padding of an even length: one before, two after.
        return self.conv(nn.functional.pad(activated, (1, 2, 1, 2)))


class UpBlock(nn.Module):
    """Stride-2 transposed convolution, ReLU, normalisation, dropout (in this order, as published)."""

    def __init__(self, in_channels: int, out_channels: int, dropout: float):
        super().__init__()
        self.conv = UpConv(in_channels, out_channels)
        self.norm = nn.BatchNorm2d(out_channels, eps=1e-3, momentum=0.01)
        self.dropout = nn.Dropout(dropout)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = self.conv(hidden)
        return self.dropout(self.norm(nn.functional.relu(hidden, inplace=not hidden.requires_grad)))


class ResidualHead(nn.Module):
    """Complex residual of the mask, from the features below the last decoder level; zero before training."""

    def __init__(self, in_channels: int, num_channels: int):
        super().__init__()
        self.conv = ZeroUpConv(in_channels, 2 * num_channels)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`(batch_size, in_channels, time / 2, frequency / 2)` to complex, at full time and frequency."""
        real, imaginary = torch.tanh(self.conv(hidden)).float().chunk(2, dim=1)  # no half-precision complex
        return torch.complex(real, imaginary)


class MaskConv(nn.Conv2d):
    """Convolution of one channel, kernel 4, dilation 2, to a value for each channel.

    Positions of one parity see inputs of one parity only, so it is computed as a convolution without gaps over the four
    parities as channels: on a CPU this is three times faster forward and eight times backward.
    """

    def __init__(self, num_channels: int):
        super().__init__(1, num_channels, kernel_size=4, dilation=2, padding=3)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`(batch_size, 1, time, frequency)`, both even, to `(batch_size, num_channels, time, frequency)`."""
        parities = nn.functional.pixel_unshuffle(nn.functional.pad(hidden, (3, 3, 3, 3)), 2)
        apart = torch.eye(4, dtype=self.weight.dtype, device=self.weight.device)[:, :, None, None]
        kernel = self.weight[:, :, None] * apart  # (num_channels, 4, 4, 4, 4): each parity sees itself
        outputs = nn.functional.conv2d(parities, kernel.flatten(0, 1), self.bias.repeat_interleave(4))
        return nn.functional.pixel_shuffle(outputs, 2)

    def phase_kernels(self) -> torch.Tensor:
        """Kernels `(2, 2, num_channels, 2, 2, 5, 5)` of a convolution with padding 2 from the phases of the input, by
        row and column, to those of the outputs.

        Output 2i + b sees the inputs 2i + b + 2k - 3, which is phase 1 - b at i + k - 2 + b: taps 0 to 3 of 5 around i
        for b = 0, and 1 to 4 for b = 1.
        """
        kernels = self.weight.new_zeros(2, 2, self.out_channels, 2, 2, 5, 5)
        for row in (0, 1):
            for column in (0, 1):
                seen = kernels[row, column, :, 1 - row, 1 - column]
                seen[..., row : row + 4, column : column + 4] = self.weight[:, 0]
        return kernels


class MaskUNet(nn.Module):
    """Magnitudes `(batch_size, num_channels, time, frequency)`, time a multiple of 64, to a mask of the same shape."""

    def __init__(self, config: SpleeterConfig):
        super().__init__()
        channels = config.hidden_channels
        self.down = nn.ModuleList(
            DownBlock(fan_in, fan_out, is_first=level == 0)
            for level, (fan_in, fan_out) in enumerate(zip([config.num_channels, *channels], channels, strict=False))
        )
        outputs = [*channels[-2::-1], 1]
        inputs = [channels[-1]] + [2 * channel for channel in channels[-2::-1]]
        self.up = nn.ModuleList(
            UpBlock(fan_in, fan_out, config.decoder_dropout if level < NUM_DROPOUT_LEVELS else 0.0)
            for level, (fan_in, fan_out) in enumerate(zip(inputs, outputs, strict=True))
        )
        self.mask = MaskConv(config.num_channels)
        self.residual = ResidualHead(2 * channels[0], config.num_channels) if config.residual_head else None

    def forward(self, magnitudes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        skips, activated = [], []
        for block in self.down:
            activated.append(block.activate(skips[-1] if skips else magnitudes))
            skips.append(block(activated[-1]))
        hidden = skips.pop()
        for block in self.up[:-1]:
            decoded = block(hidden)
            hidden = torch.cat([skips.pop(), decoded], dim=1)
        mask = torch.sigmoid(self.mask(self.up[-1](hidden)).float())
        if self.residual is None:
            return mask, None
        # The last level's input, its skip normalised as in the encoder's second level: the skip's level varies with the
        # music's, which would make the training of a layer that starts at zero unstable.
        return mask, self.residual(torch.cat([activated[1], decoded], dim=1))


class SpleeterSeparator(Separator):
    """Spleeter's vocals U-Net on a waveform; the docstring of this file lists what it adds to the published network."""

    config_class = SpleeterConfig

    def __init__(self, config: SpleeterConfig):
        super().__init__(config)
        self.vocals = MaskUNet(config)
        self.accompaniment = MaskUNet(config) if config.accompaniment_network else None
        self.upper_band_scale = nn.Parameter(torch.zeros(1)) if config.upper_band else None
        self.post_init()

    def train(self, mode: bool = True):
        super().train(mode)
        if mode and self.config.freeze_batch_norm:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def _init_weights(self, module: nn.Module):
        if isinstance(module, ZeroUpConv):
            init.zeros_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            init.kaiming_normal_(module.weight, nonlinearity="leaky_relu", a=0.2)
            init.zeros_(module.bias)
        elif isinstance(module, SpleeterSeparator) and module.upper_band_scale is not None:
            init.zeros_(module.upper_band_scale)
        else:
            super()._init_weights(module)

    def estimate(self, mixture: torch.Tensor) -> torch.Tensor:
        config = self.config
        num_samples = mixture.shape[-1]
        spectrum = stft(mixture, config.n_fft, config.hop_length)
        return istft(self._masked(spectrum, num_samples), config.n_fft, config.hop_length, num_samples)

    def _masked(self, spectrum: torch.Tensor, num_samples: int) -> torch.Tensor:
        """The vocals' spectrum, estimated from the mixture's, `(batch_size, num_channels, num_frames, num_bins)`;
        without gradients in the memory of the mixture's."""
        config = self.config
        num_frames, num_bins = spectrum.shape[2], config.num_mask_bins
        # The frame centred on the very end of the signal, which exists when the length is a multiple of the hop, could
        # cost a whole block of 64 frames for a few samples: it uses the mask of the frame before it.
        num_inside = max(1, -(-num_samples // config.hop_length))
        magnitudes = spectrum[:, :, :num_inside, :num_bins].abs()
        without_gradients = not (self.training or torch.is_grad_enabled())
        masks = FusedMasks(self) if spectrum.is_cpu and without_gradients else self._masks
        mask, upper_mask = self._one_pass(masks, magnitudes, 0)
        if config.second_pass_frames and not self.training:
            second, second_upper = self._one_pass(masks, magnitudes, config.second_pass_frames)
            mask, upper_mask = (mask + second) / 2, (upper_mask + second_upper) / 2
        mask, upper_mask = _extended(mask, num_frames), _extended(upper_mask, num_frames)
        # As real numbers: half the work of a complex product.
        upper = torch.view_as_real(spectrum[..., num_bins:])
        if without_gradients:
            spectrum[..., :num_bins].mul_(mask)
            upper.mul_(upper_mask[..., None])
            return spectrum
        upper = torch.view_as_complex(upper_mask[..., None] * upper)
        return torch.cat([mask * spectrum[..., :num_bins], upper], dim=-1)

    def _one_pass(self, masks: Callable, magnitudes: torch.Tensor, num_before: int):
        """What `masks` returns, computed with `num_before` silent frames before the first."""
        num_frames = magnitudes.shape[2]
        block = 2 ** len(self.config.hidden_channels)
        padded = nn.functional.pad(magnitudes, (0, 0, num_before, -(num_before + num_frames) % block))
        inside = slice(num_before, num_before + num_frames)
        return tuple(mask[:, :, inside] for mask in masks(padded))

    def _masks(self, magnitudes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Mask `(batch_size, num_channels, num_frames, num_mask_bins)`, complex with a residual, and that of the bins
        above, `(..., num_frames, 1)`; the frames fill blocks of the network."""
        mask, residual = self.vocals(magnitudes)
        if self.accompaniment is not None:
            other, _ = self.accompaniment(magnitudes)
            mask = share(mask, other)
        upper = mask.new_zeros(*mask.shape[:3], 1)
        if self.upper_band_scale is not None:
            highest = mask[..., -self.config.num_mask_bins // 4 :].mean(-1, keepdim=True)
            upper = self.upper_band_scale.clamp(0, 1) * highest
        if residual is not None:
            mask = mask + residual
        return mask, upper


def _extended(mask: torch.Tensor, num_frames: int) -> torch.Tensor:
    """The mask, with its last frame repeated if the spectrum has one frame more."""
    return mask if mask.shape[2] == num_frames else torch.cat([mask, mask[:, :, -1:]], dim=2)


register_part(
    SpleeterConfig,
    SpleeterSeparator,
    presets={
        "spleeter": {},  # as published
        "spleeter-extended": {"residual_head": True, "upper_band": True},
        "spleeter-small": {
            **MONO_16K,
            "n_fft": 1024,
            "hop_length": 256,
            "num_mask_bins": 512,
            "hidden_channels": (16, 32, 64, 96, 128),
        },
    },
    test_presets={
        "spleeter-tiny": {
            **MONO_16K,
            "n_fft": 256,
            "hop_length": 64,
            "num_mask_bins": 64,
            "hidden_channels": (4, 6, 8),
            "residual_head": True,
            "upper_band": True,
        }
    },
)
