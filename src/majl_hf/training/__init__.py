"""Stage-1 training: the run's configuration, the Trainer, and what a checkpoint is judged by."""

from .config import TrainingConfig, ValidationConfig, load_training_config
from .run import make_trainer, train
from .trainer import MajlTrainer, NonFiniteLossError, parameter_groups

__all__ = [
    "MajlTrainer",
    "NonFiniteLossError",
    "TrainingConfig",
    "ValidationConfig",
    "load_training_config",
    "make_trainer",
    "parameter_groups",
    "train",
]
