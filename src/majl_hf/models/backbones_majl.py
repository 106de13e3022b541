"""The parts that come with the package. Importing one registers it with the Auto classes; one line adds a backbone."""

from .fcpe_majl import FcpeConfig, FcpePitchEstimator
from .spleeter_majl import SpleeterConfig, SpleeterSeparator
from .tiny_pitch_estimator_majl import TinyPitchEstimator, TinyPitchEstimatorConfig
from .tiny_separator_majl import TinySeparator, TinySeparatorConfig

__all__ = [
    "FcpeConfig",
    "FcpePitchEstimator",
    "SpleeterConfig",
    "SpleeterSeparator",
    "TinyPitchEstimator",
    "TinyPitchEstimatorConfig",
    "TinySeparator",
    "TinySeparatorConfig",
]
