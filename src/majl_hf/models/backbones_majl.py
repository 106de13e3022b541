"""The parts that come with the package. Importing one registers it with the Auto classes; to add one, add a line."""

# ruff: noqa: F401

from .band_split_majl import BandSplitConfig, BandSplitSeparator
from .crepe_majl import CrepeConfig, CrepePitchEstimator
from .fcpe_majl import FcpeConfig, FcpePitchEstimator
from .foreign_majl import register_foreign  # and registers the wrappers
from .harmonic_majl import HarmonicConfig, HarmonicPitchEstimator
from .resunet_majl import ResUNetConfig, ResUNetSeparator
from .rmvpe_majl import RmvpeConfig, RmvpePitchEstimator
from .spleeter_majl import SpleeterConfig, SpleeterSeparator
from .tiny_pitch_estimator_majl import TinyPitchEstimator, TinyPitchEstimatorConfig
from .tiny_separator_majl import TinySeparator, TinySeparatorConfig
from .torchaudio_majl import ConvTasNetConfig, ConvTasNetSeparator, HDemucsConfig, HDemucsSeparator
