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

    def __call__(self, magnitudes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        mask, residual = self.vocals(magnitudes)
        if self.accompaniment is not None:
            other, _ = self.accompaniment(magnitudes)
            mask = share(mask, other)
        upper = mask.new_zeros(1)
        if self.separator.upper_band_scale is not None:
            highest = mask[:, :, -self.separator.config.num_mask_bins // 8 :].mean((2, 4))
            upper = self.separator.upper_band_scale.clamp(0, 1) * highest.flatten(1, 2)
        if residual is not None:
            residual[..., 0] += mask
            mask = residual
        image = mask.transpose(2, 3).contiguous()
        image = image.view(image.shape[0], magnitudes.shape[2], magnitudes.shape[3], *mask.shape[5:])
        if residual is not None:
            image = torch.view_as_complex(image)
        upper = upper.expand(image.shape[0], image.shape[1], image.shape[3])
        return image.permute(0, 3, 1, 2), upper.transpose(1, 2)[..., None]


def share(mask: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """A mask's share of the powers of two, a half where both are 0."""
    return (mask**2 + 0.5e-10) / (mask**2 + other**2 + 1e-10)


class _FusedUNet:
    """`MaskUNet`: magnitudes to the phases of the mask, and those of the residual, `(..., num_channels, 2)`, its real
    and imaginary parts."""

    def __init__(self, network):
        self.down = [
            (_channels_last(block.conv.weight), block.conv.bias, _affine(block.norm)) for block in network.down
        ]
        self.up = [
            ([[_channels_last(kernel) for kernel in row] for row in block.conv.phase_kernels()], block.conv.bias,
             _affine(block.norm))
            for block in network.up[:-1]
        ]  # fmt: skip
        last = network.up[-1]
        self.last = _phases_first(last.conv.phases()), last.conv.bias.repeat(4), _affine(last.norm)
        self.mask_kernels = _channels_last(network.mask.phase_kernels().flatten(3, 4).flatten(0, 2))
        self.mask_bias = network.mask.bias.repeat(4)
        self.has_residual = network.residual is not None
        if self.has_residual:
            conv = network.residual.conv
            # From real parts before imaginary parts to both of a channel.
            order = torch.arange(conv.out_channels).view(2, -1).T.flatten()
            self.residual_kernels = _phases_first(conv.phases()[order])
            self.residual_bias = conv.bias[order].repeat(4)

    def __call__(self, magnitudes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        hidden, skips, activated = magnitudes, [], []
        for kernels, bias, affine in self.down:
            padded = _padded(hidden, affine)
            activated.append(padded[:, :, 1:-2, 1:-2])
            hidden = nn.functional.conv2d(padded, kernels, bias, stride=2)
            skips.append(hidden)
        skips.pop()
        for level in self.up:
            hidden = _raised(hidden, skips.pop(), *level)
        kernels, bias, (scale, shift) = self.last
        phases = nn.functional.conv2d(hidden, kernels, bias, padding=1)
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


def _phases_first(kernels: torch.Tensor) -> torch.Tensor:
    """`(out_channels, 4, in_channels, 3, 3)` as the kernels of one convolution, which is faster for few channels."""
    return _channels_last(kernels.transpose(0, 1).flatten(0, 1))


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
