"""The band-split recurrent network as a separator: recurrent over time within a band, and over bands within a frame.

Luo and Yu, "Music Source Separation with Band-Split RNN", arXiv 2209.15174 (IEEE/ACM TASLP 2023). The spectrum is cut
into bands, narrow where voices have their harmonics and wide above. Each band is normalised and mapped to the same
number of features by its own layer; then a bidirectional LSTM over time and one over the bands alternate, each with a
residual connection; then each band's own small network returns a complex mask for its bins.

The bands are given as groups of equal width, so that a group's layers are one batched product instead of a loop over
bands. Normalisation is over the features of a frame and not over time, so a frame's normalisation does not depend on
the rest of the window; the recurrence over time still sees the whole window.
"""

import torch
from torch import nn
from transformers import initialization as init

from .layers_majl import init_recurrent
from .presets_majl import MONO_16K, register_part
from .separator_majl import Separator, SeparatorConfig
from .stft_majl import istft, stft

# Groups (number of bands, bins per band) of 1025 bins at 44.1 kHz, the paper's "V7" for vocals in whole bins: 100 Hz
# wide up to 1 kHz, 250 Hz to 4 kHz, 500 Hz to 8 kHz, 1 kHz to 16 kHz, 2 kHz to 20 kHz, and the rest as one band.
BANDS_44K = ((9, 5), (12, 12), (8, 23), (8, 46), (2, 93), (1, 98))
# The same for 513 bins at 16 kHz: 94 Hz up to 1 kHz, 250 Hz to 4 kHz, 500 Hz above.
BANDS_16K = ((11, 6), (12, 16), (7, 32), (1, 31))


class BandSplitConfig(SeparatorConfig):
    """Configuration of `BandSplitSeparator`.

    Args:
        n_fft (`int`): STFT size in samples.
        hop_length (`int`): STFT hop in samples.
        bands (`list[tuple[int, int]]`): Groups `(number of bands, bins per band)` from 0 Hz up; together they
            cover all `n_fft // 2 + 1` bins.
        hidden_size (`int`): Features per band.
        lstm_size (`int`): Units of a recurrent layer in each direction.
        num_layers (`int`): Pairs of recurrent layers over time and over bands.
        mask_size (`int`): Hidden units of the network that estimates a band's mask.
    """

    model_type = "majl-band-split"

    n_fft: int = 2048
    hop_length: int = 512
    bands: list[list[int]] | tuple = BANDS_44K
    hidden_size: int = 128
    lstm_size: int = 256
    num_layers: int = 12
    mask_size: int = 512
    alignment: int | None = None

    def __post_init__(self, **kwargs):
        self.bands = [list(group) for group in self.bands]
        self.alignment = self.alignment or self.hop_length
        num_bins = sum(count * width for count, width in self.bands)
        if num_bins != self.n_fft // 2 + 1:
            raise ValueError(
                f"bands have {num_bins} bins in all; an n_fft of {self.n_fft} needs {self.n_fft // 2 + 1}."
            )
        super().__post_init__(**kwargs)


class BandLinear(nn.Module):
    """A linear layer for each band: `(..., num_bands, in_features)` to `(..., num_bands, out_features)`."""

    def __init__(self, num_bands: int, in_features: int, out_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_bands, in_features, out_features))
        self.bias = nn.Parameter(torch.empty(num_bands, out_features))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.einsum("...bi,bio->...bo", hidden, self.weight) + self.bias


class BandNorm(nn.Module):
    """Normalisation over the features of each band and frame, with a scale and a shift for each band."""

    def __init__(self, num_bands: int, num_features: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_bands, num_features))
        self.bias = nn.Parameter(torch.empty(num_bands, num_features))

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return nn.functional.layer_norm(hidden, hidden.shape[-1:]) * self.weight + self.bias


class BandGroup(nn.Module):
    """The layers of bands of one width: their bins to features, and features to the mask of their bins."""

    def __init__(self, config: BandSplitConfig, num_bands: int, width: int):
        super().__init__()
        self.num_bands, self.width, self.num_channels = num_bands, width, config.num_channels
        num_values = 2 * width * config.num_channels  # real and imaginary parts
        self.split_norm = BandNorm(num_bands, num_values)
        self.split = BandLinear(num_bands, num_values, config.hidden_size)
        self.mask_norm = BandNorm(num_bands, config.hidden_size)
        self.mask_in = BandLinear(num_bands, config.hidden_size, config.mask_size)
        self.mask_out = BandLinear(num_bands, config.mask_size, 2 * num_values)

    def features(self, bins: torch.Tensor) -> torch.Tensor:
        """`(batch_size, num_channels, num_frames, num_bands * width, 2)` to `(batch_size, num_frames, num_bands,
        hidden_size)`."""
        bins = bins.unflatten(3, (self.num_bands, self.width)).permute(0, 2, 3, 1, 4, 5).flatten(3)
        return self.split(self.split_norm(bins))

    def mask(self, hidden: torch.Tensor) -> torch.Tensor:
        """Features back to a complex mask `(batch_size, num_channels, num_frames, num_bands * width, 2)`."""
        hidden = self.mask_out(torch.tanh(self.mask_in(self.mask_norm(hidden))))
        mask = nn.functional.glu(hidden, dim=-1).unflatten(-1, (self.num_channels, self.width, 2))
        return mask.permute(0, 3, 1, 2, 4, 5).flatten(3, 4)


class ResidualLstm(nn.Module):
    """Normalisation, a bidirectional LSTM along the second-to-last dimension and a projection, added to the input."""

    def __init__(self, hidden_size: int, lstm_size: int):
        super().__init__()
        self.norm = nn.LayerNorm(hidden_size)
        self.lstm = nn.LSTM(hidden_size, lstm_size, batch_first=True, bidirectional=True)
        self.project = nn.Linear(2 * lstm_size, hidden_size)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """`(batch_size, num_sequences, length, hidden_size)` in and out."""
        states, _ = self.lstm(self.norm(hidden).flatten(0, 1))
        return hidden + self.project(states).unflatten(0, hidden.shape[:2])


class BandSplitSeparator(Separator):
    """BSRNN on a waveform."""

    config_class = BandSplitConfig

    def __init__(self, config: BandSplitConfig):
        super().__init__(config)
        self.groups = nn.ModuleList(BandGroup(config, count, width) for count, width in config.bands)
        sizes = (config.hidden_size, config.lstm_size)
        self.over_time = nn.ModuleList(ResidualLstm(*sizes) for _ in range(config.num_layers))
        self.over_bands = nn.ModuleList(ResidualLstm(*sizes) for _ in range(config.num_layers))
        self.post_init()

    def _init_weights(self, module: nn.Module):
        if isinstance(module, nn.Linear):
            init.xavier_uniform_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, BandLinear):
            bound = (6.0 / sum(module.weight.shape[1:])) ** 0.5
            init.uniform_(module.weight, -bound, bound)
            init.zeros_(module.bias)
        elif isinstance(module, BandNorm):
            init.ones_(module.weight)
            init.zeros_(module.bias)
        elif isinstance(module, nn.LSTM):
            init_recurrent(module)
        else:
            super()._init_weights(module)

    def estimate(self, mixture: torch.Tensor) -> torch.Tensor:
        config = self.config
        spectrum = stft(mixture, config.n_fft, config.hop_length)
        mask = self.network(torch.view_as_real(spectrum)).to(mixture.dtype)
        vocals = spectrum * torch.view_as_complex(mask.contiguous())  # there are no half-precision complex numbers
        return istft(vocals, config.n_fft, config.hop_length, mixture.shape[-1])

    def network(self, bins: torch.Tensor) -> torch.Tensor:
        """Spectrum as real numbers `(batch_size, num_channels, num_frames, num_bins, 2)` to a mask of its shape."""
        widths = [group.num_bands * group.width for group in self.groups]
        parts = [group.features(part) for group, part in zip(self.groups, bins.split(widths, dim=3), strict=True)]
        hidden = torch.cat(parts, dim=2)  # (batch_size, num_frames, num_bands, hidden_size)
        for over_time, over_bands in zip(self.over_time, self.over_bands, strict=True):
            hidden = over_time(hidden.transpose(1, 2)).transpose(1, 2)
            hidden = over_bands(hidden)
        parts = hidden.split([group.num_bands for group in self.groups], dim=2)
        return torch.cat([group.mask(part) for group, part in zip(self.groups, parts, strict=True)], dim=3)


register_part(
    BandSplitConfig,
    BandSplitSeparator,
    presets={
        "band-split": {},  # the paper's
        "band-split-small": {
            **MONO_16K,
            "n_fft": 1024,
            "hop_length": 256,
            "bands": BANDS_16K,
            "hidden_size": 48,
            "lstm_size": 64,
            "num_layers": 4,
            "mask_size": 128,
        },
    },
    test_presets={
        "band-split-tiny": {
            **MONO_16K,
            "n_fft": 256,
            "hop_length": 128,
            "bands": ((8, 4), (6, 16), (1, 1)),
            "hidden_size": 8,
            "lstm_size": 6,
            "num_layers": 1,
            "mask_size": 12,
        }
    },
)
