"""How good is it, on what, and how sure is that?

`separation`, `melody` the numbers of one clip; `metrics` the same as modules of the `evaluate` library; `statistics`
what a list of them says; `systems`, `packages` what is measured; `runner` over a corpus; `results` the JSON file;
`report` the model card.
"""

from ..errors import EvaluationError
from ..metrics.melody import melody_scores
from ..metrics.modules import load_metric
from ..metrics.separation import is_silent, nsdr_db, sdr_db, separation_scores, si_sdr_db
from ..metrics.statistics import Summary, bootstrap_interval, paired_difference, summarise
from .packages import SYSTEMS, build_system
from .runner import Evaluation, ItemScores, evaluate
from .systems import (
    CascadeSystem,
    MajlSystem,
    MixtureSystem,
    OracleMaskSystem,
    PitchTrack,
    System,
    SystemOutput,
    TrueVocalsSystem,
)

__all__ = [
    "SYSTEMS",
    "CascadeSystem",
    "Evaluation",
    "EvaluationError",
    "ItemScores",
    "MajlSystem",
    "MixtureSystem",
    "OracleMaskSystem",
    "PitchTrack",
    "Summary",
    "System",
    "SystemOutput",
    "TrueVocalsSystem",
    "bootstrap_interval",
    "build_system",
    "evaluate",
    "is_silent",
    "load_metric",
    "melody_scores",
    "nsdr_db",
    "paired_difference",
    "sdr_db",
    "separation_scores",
    "si_sdr_db",
    "summarise",
]
