"""The parts that come with the package. Importing one registers it with the Auto classes; one line adds a backbone."""

from .band_split_majl import BandSplitConfig, BandSplitSeparator
from .crepe_majl import CrepeConfig, CrepePitchEstimator
from .fcpe_majl import FcpeConfig, FcpePitchEstimator
from .foreign_examples_majl import register_foreign  # noqa: F401  (registers parts of other packages)
from .harmonic_majl import HarmonicConfig, HarmonicPitchEstimator
from .presets_majl import register_presets
from .resunet_majl import ResUNetConfig, ResUNetSeparator
from .rmvpe_majl import RmvpeConfig, RmvpePitchEstimator
from .spleeter_majl import SpleeterConfig, SpleeterSeparator
from .tiny_pitch_estimator_majl import TinyPitchEstimator, TinyPitchEstimatorConfig
from .tiny_separator_majl import TinySeparator, TinySeparatorConfig
from .torchaudio_majl import ConvTasNetConfig, ConvTasNetSeparator, HDemucsConfig, HDemucsSeparator

__all__ = [
    "BandSplitConfig",
    "BandSplitSeparator",
    "ConvTasNetConfig",
    "ConvTasNetSeparator",
    "CrepeConfig",
    "CrepePitchEstimator",
    "FcpeConfig",
    "FcpePitchEstimator",
    "HDemucsConfig",
    "HDemucsSeparator",
    "HarmonicConfig",
    "HarmonicPitchEstimator",
    "ResUNetConfig",
    "ResUNetSeparator",
    "RmvpeConfig",
    "RmvpePitchEstimator",
    "SpleeterConfig",
    "SpleeterSeparator",
    "TinyPitchEstimator",
    "TinyPitchEstimatorConfig",
    "TinySeparator",
    "TinySeparatorConfig",
]

# Presets of the parts that the shipped model is made of, and of the test parts; the others name theirs themselves.
register_presets(
    SpleeterConfig,
    {
        "spleeter": {},  # as published
        "spleeter-extended": {"residual_head": True, "upper_band": True},
        "spleeter-small": {
            "sampling_rate": 16_000,
            "num_channels": 1,
            "n_fft": 1024,
            "hop_length": 256,
            "num_mask_bins": 512,
            "hidden_channels": (16, 32, 64, 96, 128),
        },
    },
)
register_presets(
    SpleeterConfig,
    {
        "spleeter-tiny": {
            "sampling_rate": 16_000,
            "num_channels": 1,
            "n_fft": 256,
            "hop_length": 64,
            "num_mask_bins": 64,
            "hidden_channels": (4, 6, 8),
            "residual_head": True,
            "upper_band": True,
        }
    },
    for_tests=True,
)
register_presets(FcpeConfig, {"fcpe": {}, "fcpe-small": {"hidden_size": 192, "num_layers": 4}})
register_presets(
    FcpeConfig,
    {
        "fcpe-tiny": {
            "hop_length": 320,
            "n_fft": 512,
            "num_mels": 32,
            "hidden_size": 16,
            "num_layers": 1,
            "kernel_size": 7,
        }
    },
    for_tests=True,
)
register_presets(TinySeparatorConfig, {"mask-tiny": {"n_fft": 512, "hop_length": 128, "hidden_channels": 4}}, True)
register_presets(TinyPitchEstimatorConfig, {"spectrum-tiny": {"n_fft": 1024, "hidden_channels": 4}}, True)
