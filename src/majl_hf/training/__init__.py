"""Training: a run's configuration, the Trainer with its weights of frames and losses, what judges a checkpoint."""

from ..errors import NonFiniteLossError
from .config import TrainingConfig, ValidationConfig
from .records import is_finished
from .run import make_trainer, train
from .trainer import DwhsTrainer, parameter_groups

__all__ = [
    "DwhsTrainer",
    "NonFiniteLossError",
    "TrainingConfig",
    "ValidationConfig",
    "is_finished",
    "make_trainer",
    "parameter_groups",
    "train",
]
