"""From a run's configuration to a trained model on disk."""

from __future__ import annotations

from pathlib import Path

from transformers import TrainingArguments
from transformers.trainer_utils import get_last_checkpoint

from .._memory import keep_freed_memory
from ..data import JointMixtureDataset, StreamingMixtureDataset, collate
from ..models.feature_extraction_majl import MajlFeatureExtractor
from ..models.modeling_majl import MajlModel
from .config import TrainingConfig
from .trainer import MajlTrainer
from .validation import Validation


def make_trainer(config: TrainingConfig) -> MajlTrainer:
    """Model, data and Trainer of a run.

    Raises:
        ValueError: the configuration does not fit the model or `TrainingArguments`.
        CorpusError: a corpus cannot be read; the message names the file.
    """
    arguments = TrainingArguments(
        **{
            "remove_unused_columns": False,
            "label_names": ["vocals", "f0_hz"],
            "num_train_epochs": 1,
            "report_to": "none",
            **config.arguments,
        }
    )
    keep_freed_memory()
    if arguments.max_steps <= 0:
        raise ValueError(f"arguments.max_steps is {arguments.max_steps}; a run needs a number of steps above 0.")
    model = MajlModel.from_pretrained(config.model)
    model.config.update(dict(config.model_config_overrides))
    items_a_step = arguments.train_batch_size * arguments.gradient_accumulation_steps  # of one process
    is_streaming = bool(config.data.get("streaming", False))
    mixing = config.mixing(
        length=arguments.max_steps * items_a_step * (1 if is_streaming else arguments.world_size),
        sampling_rate=model.config.sampling_rate,
        num_channels=model.config.num_channels,
        hop_s=model.config.frame_hop_s,
    )
    mixing = mixing.model_copy(update={"num_frames": model.num_pitch_frames(mixing.segment_samples)})
    if is_streaming:
        arguments.ignore_data_skip = True  # the stream itself goes on where the checkpoint was; see MajlTrainer
        train_dataset = StreamingMixtureDataset(
            mixing, arguments.train_batch_size, arguments.process_index, arguments.world_size
        )
    else:
        train_dataset = JointMixtureDataset(mixing)
    return MajlTrainer(
        model=model,
        args=arguments,
        train_dataset=train_dataset,
        data_collator=collate,
        eval_dataset=[],
        processing_class=MajlFeatureExtractor.from_config(model.config),
        learning_rates=config.learning_rates,
        validation=Validation(config.validation),
    )


def train(config: TrainingConfig, resume: bool = True) -> MajlTrainer:
    """Run training to its end and save the model in the run's folder.

    Args:
        resume: Go on from the last checkpoint of the run's folder, if there is one.
    """
    trainer = make_trainer(config)
    folder = trainer.args.output_dir
    checkpoint = get_last_checkpoint(folder) if resume and Path(folder).is_dir() else None
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.save_model(folder)
    return trainer
