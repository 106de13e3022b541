"""The masks of `SpleeterSeparator` without gradients on a CPU: the same results with less arithmetic and fewer passes
over memory.

- A transposed convolution of kernel 5 and stride 2 is four convolutions, one for each phase of an output position,
  whose kernels have 3 or 2 taps along an axis: no products with zeros, and no buffer of 25 values per sample.
- A normalisation writes into the padded input of the next convolution, or into the joined input of the next level.
- The last layers stay in phases, `(batch_size, time / 2, frequency / 2, 2, 2, num_channels)`, until all is added up.

Images are channels last in memory. "Phases" of an image are its values at even and odd times and frequencies.
"""

import torch
from torch import nn

from .running_majl import autocast_dtype


class FusedMasks:
    """`SpleeterSeparator._masks` with the weights prepared, for several calls."""

    def __init__(self, separator):
        self.separator = separator
        self.vocals = _FusedUNet(separator.vocals)
        self.accompaniment = None if separator.accompaniment is None else _FusedUNet(separator.accompaniment)

    def __call__(self, magnitudes: torch.Tensor, num_before: int) -> tuple[torch.Tensor, torch.Tensor]:
        config = self.separator.config
        num_frames = magnitudes.shape[2]
        block = 2 ** len(config.hidden_channels)
        magnitudes = nn.functional.pad(magnitudes, (0, 0, num_before, -(num_before + num_frames) % block))
        mask, residual = self.vocals(magnitudes)
        if self.accompaniment is not None:
            other, _ = self.accompaniment(magnitudes)
            mask = (mask**2 + 0.5e-10) / (mask**2 + other**2 + 1e-10)
        upper = mask.new_zeros(1)
        if self.separator.upper_band_scale is not None:
            highest = mask[:, :, -config.num_mask_bins // 8 :].mean((2, 4))
            upper = self.separator.upper_band_scale.clamp(0, 1) * highest.flatten(1, 2)
        if residual is not None:
            residual[..., 0] += mask
            mask = residual
        image = mask.transpose(2, 3).contiguous()
        image = image.view(image.shape[0], magnitudes.shape[2], magnitudes.shape[3], *mask.shape[5:])
        if residual is not None:
            image = torch.view_as_complex(image)
        upper = upper.expand(image.shape[0], image.shape[1], image.shape[3])
        inside = slice(num_before, num_before + num_frames)
        return image.permute(0, 3, 1, 2)[:, :, inside], upper.transpose(1, 2)[:, :, inside, None]


class _FusedUNet:
    """`MaskUNet`: magnitudes to the phases of the mask, and those of the residual, `(..., num_channels, 2)`, its real
    and imaginary parts."""

    def __init__(self, network):
        self.down = [
            (_channels_last(block.conv.weight), block.conv.bias, _affine(block.norm)) for block in network.down
        ]
        self.up = [(_phase_kernels(block.conv), block.conv.bias, _affine(block.norm)) for block in network.up]
        self.mask_kernels, self.mask_bias = _mask_kernels(network.mask), network.mask.bias.repeat(4)
        self.has_residual = network.residual is not None
        if self.has_residual:
            conv = network.residual.conv
            # From real parts before imaginary parts to both of a channel.
            order = torch.arange(conv.out_channels).view(2, -1).T.flatten()
            self.residual_kernels = _joined_phases([[k[order] for k in row] for row in _phase_kernels(conv)])
            self.residual_bias = conv.bias[order].repeat(4)

    def __call__(self, magnitudes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        hidden, skips, activated = magnitudes, [], []
        for kernels, bias, affine in self.down:
            padded = _padded(hidden, affine)
            activated.append(padded[:, :, 1:-2, 1:-2])
            hidden = nn.functional.conv2d(padded, kernels, bias, stride=2)
            skips.append(hidden)
        skips.pop()
        for level in self.up[:-1]:
            hidden = _raised(hidden, skips.pop(), *level)
        kernels, bias, (scale, shift) = self.up[-1]
        phases = nn.functional.conv2d(hidden, _joined_phases(kernels), bias.repeat(4), padding=1)
        phases = phases.relu_() * scale + shift
        mask = nn.functional.conv2d(phases, self.mask_kernels, self.mask_bias, padding=2).float().sigmoid_()
        mask = mask.permute(0, 2, 3, 1).unflatten(3, (2, 2, -1))
        if not self.has_residual:
            return mask, None
        hidden[:, : activated[1].shape[1]] = activated[1]  # in place of the last level's skip
        residual = nn.functional.conv2d(hidden, self.residual_kernels, self.residual_bias, padding=1).float().tanh_()
        return mask, residual.permute(0, 2, 3, 1).unflatten(3, (2, 2, -1, 2))


def _channels_last(kernels: torch.Tensor) -> torch.Tensor:
    """In the order and in the type in which they are used, so that it is converted once for several calls."""
    return kernels.to(autocast_dtype("cpu") or kernels.dtype).contiguous(memory_format=torch.channels_last)


def _phase_kernels(conv) -> list[list[torch.Tensor]]:
    """The kernels of an `UpConv`'s phases, `(out_channels, in_channels, 2 or 3, 2 or 3)`. In each direction an even
    position sees taps 3 and 1 on the inputs before and at it, an odd one 4, 2 and 0 around it."""
    kernels = conv.weight.permute(1, 0, 2, 3).flip(2, 3)
    return [[_channels_last(kernels[:, :, 1 - row :: 2, 1 - column :: 2]) for column in (0, 1)] for row in (0, 1)]


def _joined_phases(kernels: list[list[torch.Tensor]]) -> torch.Tensor:
    """The kernels of all phases as one convolution's, which is faster for few channels."""
    padded = [nn.functional.pad(k, (0, 3 - k.shape[3], 0, 3 - k.shape[2])) for row in kernels for k in row]
    return _channels_last(torch.cat(padded))


def _mask_kernels(conv) -> torch.Tensor:
    """Kernels of `MaskConv` from the four phases of its input to those of its outputs.

    With padding 3 and dilation 2, output 2i + b sees the inputs 2i + b + 2k - 3, which is phase 1 - b at i + k - 2 + b:
    taps 0 to 3 of 5 around i for b = 0, and 1 to 4 for b = 1.
    """
    kernels = conv.weight.new_zeros(2, 2, conv.out_channels, 4, 5, 5)
    for row in (0, 1):
        for column in (0, 1):
            seen = 2 * (1 - row) + 1 - column
            kernels[row, column, :, seen, row : row + 4, column : column + 4] = conv.weight[:, 0]
    return _channels_last(kernels.flatten(0, 2))


def _affine(norm: nn.BatchNorm2d | None) -> tuple[torch.Tensor, torch.Tensor] | None:
    """A normalisation with fixed statistics as a factor and an offset, each `(1, num_channels, 1, 1)`."""
    if norm is None:
        return None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    shift = norm.bias - norm.running_mean * scale
    dtype = autocast_dtype("cpu") or scale.dtype
    return scale[None, :, None, None].to(dtype), shift[None, :, None, None].to(dtype)


def _empty(like: torch.Tensor, num_channels: int, height: int, width: int) -> torch.Tensor:
    shape = (like.shape[0], num_channels, height, width)
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=torch.channels_last)


def _padded(hidden: torch.Tensor, affine: tuple[torch.Tensor, torch.Tensor] | None) -> torch.Tensor:
    """The activated input of a level of the encoder, with silence around it."""
    height, width = hidden.shape[2:]
    padded = _empty(hidden, hidden.shape[1], height + 3, width + 3)
    for border in (padded[:, :, :1], padded[:, :, -2:], padded[:, :, :, :1], padded[:, :, :, -2:]):
        border.zero_()
    inside = padded[:, :, 1:-2, 1:-2]
    if affine is None:
        inside.copy_(hidden)
        return padded
    scale, shift = affine
    torch.addcmul(shift, hidden, scale, out=inside)
    return nn.functional.leaky_relu_(padded, 0.2)


def _raised(
    hidden: torch.Tensor,
    skip: torch.Tensor,
    kernels: list[list[torch.Tensor]],
    bias: torch.Tensor,
    affine: tuple[torch.Tensor, torch.Tensor],
) -> torch.Tensor:
    """A level of the decoder, joined with its skip."""
    (height, width), num_skipped, (scale, shift) = hidden.shape[2:], skip.shape[1], affine
    joined = _empty(skip, num_skipped + len(bias), 2 * height, 2 * width)
    joined[:, :num_skipped] = skip
    for row in (0, 1):
        for column in (0, 1):
            phase = nn.functional.conv2d(hidden, kernels[row][column], bias, padding=1).relu_()
            phase = phase[:, :, :height, :width]  # an even one has a position more
            torch.addcmul(shift, phase, scale, out=joined[:, num_skipped:, row::2, column::2])
    return joined
