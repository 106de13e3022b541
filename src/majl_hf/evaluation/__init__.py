"""Evaluation of systems on corpora, with confidence intervals.

`systems` what is measured, `registry` by its name, `separators` and `trackers` those of other `packages`; `runner` over
a corpus, under `conditions`; `results` the JSON file; `report` a page with the worst clips; `model_card` the card made
from the results; `calibration` the decoding of a trained model.
The metrics of one clip are in `majl_hf.metrics`.
"""

from ..metrics.melody import melody_scores
from ..metrics.separation import separation_scores
from .registry import build_system
from .runner import evaluate
from .systems import CascadeSystem, MajlSystem, MixtureSystem, OracleMaskSystem, PitchTrack, SystemOutput

__all__ = [
    "CascadeSystem",
    "MajlSystem",
    "MixtureSystem",
    "OracleMaskSystem",
    "PitchTrack",
    "SystemOutput",
    "build_system",
    "evaluate",
    "melody_scores",
    "separation_scores",
]
