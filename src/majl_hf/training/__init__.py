"""Training: a run's configuration, the Trainer with its weights of frames and losses, what judges a checkpoint."""

from ..errors import NonFiniteLossError
from .config import STAGES, TrainingConfig, ValidationConfig, load_training_config
from .run import is_finished, make_trainer, train
from .trainer import DwhsTrainer, parameter_groups

__all__ = [
    "STAGES",
    "DwhsTrainer",
    "NonFiniteLossError",
    "TrainingConfig",
    "ValidationConfig",
    "is_finished",
    "load_training_config",
    "make_trainer",
    "parameter_groups",
    "train",
]
