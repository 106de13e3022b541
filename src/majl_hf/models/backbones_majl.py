"""The parts that come with the package. Importing one registers it with the Auto classes; one line adds a backbone."""

from .band_split_majl import BandSplitConfig, BandSplitSeparator
from .fcpe_majl import FcpeConfig, FcpePitchEstimator
from .presets_majl import register_presets
from .resunet_majl import ResUNetConfig, ResUNetSeparator
from .spleeter_majl import SpleeterConfig, SpleeterSeparator
from .tiny_pitch_estimator_majl import TinyPitchEstimator, TinyPitchEstimatorConfig
from .tiny_separator_majl import TinySeparator, TinySeparatorConfig
from .torchaudio_majl import ConvTasNetConfig, ConvTasNetSeparator, HDemucsConfig, HDemucsSeparator

__all__ = [
    "BandSplitConfig",
    "BandSplitSeparator",
    "ConvTasNetConfig",
    "ConvTasNetSeparator",
    "FcpeConfig",
    "FcpePitchEstimator",
    "HDemucsConfig",
    "HDemucsSeparator",
    "ResUNetConfig",
    "ResUNetSeparator",
    "SpleeterConfig",
    "SpleeterSeparator",
    "TinyPitchEstimator",
    "TinyPitchEstimatorConfig",
    "TinySeparator",
    "TinySeparatorConfig",
]
