"""From a run's configuration to a trained model on disk."""

from __future__ import annotations

import contextlib
import copy
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import EarlyStoppingCallback, PreTrainedConfig, TrainingArguments, get_scheduler
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..errors import ConfigError
from ..mixing.items import JointMixtureDataset, collate
from ..mixing.streaming import StreamingMixtureDataset
from ..models.configuration_majl import MajlConfig
from ..models.feature_extraction_majl import MajlFeatureExtractor
from ..models.modeling_majl import MajlModel
from ..system.memory import keep_freed_memory
from . import records
from .config import BASE_ARGUMENTS, TrainingConfig
from .trainer import DwhsTrainer, parameter_groups

TRAINER_STATE_NAME = "trainer_state.json"


def make_trainer(config: TrainingConfig) -> DwhsTrainer:
    """Model, data and Trainer of a run.

    Raises:
        ConfigError: the configuration does not fit the model or `TrainingArguments`.
        CorpusError: a corpus cannot be read; the message names the file.
    """
    arguments = training_arguments(config)
    keep_freed_memory()
    if arguments.device.type == "cpu":
        local_processes = int(os.environ.get("LOCAL_WORLD_SIZE", arguments.world_size))
        torch.set_num_threads(config.threads or max(1, (os.cpu_count() or 1) // local_processes))
    with _explained("the model to start from"):
        model = _starting_model(config, arguments.seed)
    items_a_step = arguments.train_batch_size * arguments.gradient_accumulation_steps  # of one process
    is_streaming = config.data.streaming
    mixing = config.data.model_copy(
        update={
            "length": arguments.max_steps * items_a_step * (1 if is_streaming else arguments.world_size),
            "sampling_rate": model.config.sampling_rate,
            "num_channels": model.config.num_channels,
            "hop_s": model.config.frame_hop_s,
            "num_frames": model.num_pitch_frames(config.data.segment_samples),
        }
    )
    if is_streaming:
        arguments.ignore_data_skip = True  # the stream itself continues where the checkpoint was; see DwhsTrainer
        train_dataset = StreamingMixtureDataset(
            mixing, arguments.train_batch_size, arguments.process_index, arguments.world_size
        )
    else:
        train_dataset = JointMixtureDataset(mixing)
    callbacks = []
    if config.early_stopping_evaluations is not None:
        callbacks.append(EarlyStoppingCallback(config.early_stopping_evaluations))
    return DwhsTrainer(
        config,
        model=model,
        args=arguments,
        train_dataset=train_dataset,
        data_collator=collate,
        eval_dataset=[],
        processing_class=MajlFeatureExtractor.from_config(model.config),
        callbacks=callbacks,
    )


def training_arguments(config: TrainingConfig) -> TrainingArguments:
    """The run's `arguments` on top of what joint training needs; ConfigError where they do not fit."""
    with _explained("arguments"):
        return TrainingArguments(**BASE_ARGUMENTS | config.arguments)


@contextlib.contextmanager
def _explained(what: str) -> Iterator[None]:
    """Turn what a library raises for wrong settings into a ConfigError."""
    try:
        yield
    except ConfigError:
        raise
    except (ValueError, TypeError, OSError) as error:
        raise ConfigError(f"{what}: {error}") from error


def seeded_model(config: MajlConfig, seed: int) -> MajlModel:
    """A new model with the random weights of `seed`; the state of torch's generator stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return MajlModel(config)


def _starting_model(config: TrainingConfig, seed: int) -> MajlModel:
    """The model that training starts from: a saved one, or parts with the random weights of `seed`."""
    overrides = config.model_config_overrides
    if config.model is None:
        model_config = MajlConfig(separator_config=config.separator, pitch_estimator_config=config.pitch_estimator)
        _override(model_config, overrides)
        return seeded_model(model_config, seed)
    model = MajlModel.from_pretrained(config.model).float()
    before = set(dict(model.named_children()))
    _override(model.config, overrides)
    if any(name in overrides for name in MajlConfig.sub_configs):
        weights = model.state_dict()
        model = seeded_model(model.config, seed)  # parts read their config when they are made
        for name, part in model.named_children():
            if name not in before:
                weights |= {f"{name}.{key}": tensor for key, tensor in part.state_dict().items()}
        model.load_state_dict(weights)
    return model


def _override(config: PreTrainedConfig, overrides: Mapping[str, Any]) -> None:
    """Set fields of a loaded model's config, and of its parts' configs, with the checks that a new one gets."""
    if unknown := sorted(set(overrides) - set(config.to_dict())):
        raise ConfigError(f"model_config_overrides names {unknown}, which a {type(config).__name__} does not have.")
    parts = [name for name in config.sub_configs if getattr(config, name) is not None]
    own = {name: value for name, value in overrides.items() if name not in parts}
    new = type(config)(**{**{name: getattr(config, name) for name in parts}, **own})
    for name in own:
        setattr(config, name, getattr(new, name))
    for name in parts:
        if name in overrides:
            _override(getattr(config, name), overrides[name])


def check_run(config: TrainingConfig, start: MajlConfig | None = None) -> MajlConfig:
    """Check what can be known of a run without its data and without training.

    Args:
        start: Config of the model that training starts from, where that does not exist yet.

    Returns:
        Config of the model that the run makes.

    Raises:
        ConfigError: The configuration does not fit the model or `TrainingArguments`.
    """
    arguments = training_arguments(config.with_arguments(use_cpu=True))  # settings are checked here, not the machine
    with _explained("arguments"):
        get_scheduler(
            arguments.lr_scheduler_type,
            torch.optim.SGD([torch.zeros(1)]),
            arguments.get_warmup_steps(arguments.max_steps),
            arguments.max_steps,
            arguments.lr_scheduler_kwargs,
        )
    with _explained("the model to start from"):
        if config.model is None:
            start = MajlConfig(separator_config=config.separator, pitch_estimator_config=config.pitch_estimator)
        model_config = copy.deepcopy(MajlConfig.from_pretrained(config.model) if start is None else start)
        _override(model_config, config.model_config_overrides)
        with torch.device("meta"):
            model = MajlModel(model_config)
    parameter_groups(model, config.learning_rates, arguments.learning_rate, arguments.weight_decay)
    return model_config


def train(config: TrainingConfig, resume: bool = True, made_from: records.MadeFrom | None = None) -> DwhsTrainer:
    """Run training to its end and save the model in the run's folder.

    Args:
        resume: Continue from the last checkpoint of the run's folder, if there is one. Settings that can change
            during a run are applied, and recorded in the folder.
        made_from: What it reads of earlier stages, which is recorded.

    Raises:
        ConfigError: As of `checkpoint_to_resume` and `make_trainer`.
    """
    checkpoint, changes = checkpoint_to_resume(config) if resume else (None, {})
    trainer = make_trainer(config)
    if trainer.args.should_save:
        records.begin(config, step_of(checkpoint), changes, made_from)
    trainer.train(resume_from_checkpoint=checkpoint)
    trainer.use_average()
    trainer.save_model(config.out)
    if trainer.args.should_save:
        records.finish(config)
    return trainer


def checkpoint_to_resume(config: TrainingConfig) -> tuple[str | None, records.Changes]:
    """The last checkpoint of the run's folder, if there is one, and the settings that have changed since it started.

    Raises:
        ConfigError: a setting has changed that cannot change during a run, see `records.changes_since`.
    """
    checkpoint = last_checkpoint(config.out)
    if checkpoint is None:
        return None, {}
    return checkpoint, records.changes_since(config)


def step_of(checkpoint: str | None) -> int:
    """Number of steps that a checkpoint was written after; 0 of none."""
    return 0 if checkpoint is None else int(checkpoint.rpartition("-")[2])


def last_checkpoint(folder: str | Path) -> str | None:
    """The newest checkpoint of a run that was written to its end, or None; one that a kill cut short is skipped."""
    checkpoints = Path(folder).glob(f"{PREFIX_CHECKPOINT_DIR}-*")
    for checkpoint in sorted(checkpoints, key=lambda path: -step_of(path.name)):
        try:
            json.loads((checkpoint / TRAINER_STATE_NAME).read_text())  # the last file of a checkpoint
        except (OSError, ValueError):
            continue
        return str(checkpoint)
    return None
