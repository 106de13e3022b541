"""Joint training of a separator and a pitch estimator with transformers' Trainer, which runs on Accelerate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from accelerate.data_loader import prepare_data_loader
from torch.utils.data import DataLoader, SequentialSampler
from transformers import Trainer, TrainerCallback

from ..data import StreamingMixtureDataset
from ..models.modeling_majl import MajlModel


class NonFiniteLossError(RuntimeError):
    """The loss became infinite or not a number; the message names the batch's items."""


def parameter_groups(
    model: MajlModel, learning_rates: Mapping[str, float], default: float, weight_decay: float
) -> list[dict]:
    """Optimiser groups by learning rate and decay; parameters whose rate is 0 are frozen.

    Args:
        model: The model, whose parameters' `requires_grad` is set.
        learning_rates: Rate by the beginning of a parameter's name; the longest match wins.
        default: Rate where no name matches.
        weight_decay: Of matrices and convolution kernels; biases and normalisations have none.

    Raises:
        ValueError: a name matches no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    for prefix in learning_rates:
        if not any(name.startswith(prefix) for name in names):
            children = sorted({".".join(name.split(".")[:2]) for name in names})
            raise ValueError(
                f"learning_rates names {prefix!r}, but no parameter begins so. The model has {', '.join(children)}."
            )
    groups: dict[tuple[float, float], list] = {}
    for name, parameter in model.named_parameters():
        matches = [prefix for prefix in learning_rates if name.startswith(prefix)]
        rate = learning_rates[max(matches, key=len)] if matches else default
        parameter.requires_grad_(rate > 0)
        if rate > 0:
            groups.setdefault((rate, weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [{"params": parameters, "lr": lr, "weight_decay": decay} for (lr, decay), parameters in groups.items()]


class _SeekStream(TrainerCallback):
    """A resumed run goes on with the item after the last one it used, which is counted from its steps."""

    def __init__(self, dataset: StreamingMixtureDataset):
        self.dataset = dataset

    def on_train_begin(self, args, state, control, **kwargs):
        self.dataset.seek(state.global_step * args.gradient_accumulation_steps * args.train_batch_size)


class MajlTrainer(Trainer):
    """Trainer for `MajlModel` on batches of `majl_hf.data.collate`.

    Items are functions of their index, so they are read in order and a resumed run skips to where it was. A
    `StreamingMixtureDataset` is already this process's share: Accelerate neither shards nor dispatches it. The separate
    losses are averaged between two log entries. `evaluate` scores whole validation clips.

    Args:
        learning_rates: Rate by the beginning of a parameter's name, see `parameter_groups`.
        validation: Called with the model, returns metrics by name; see `validation.Validation`.
    """

    def __init__(self, *args, learning_rates: Mapping[str, float] | None = None, validation=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.learning_rates = dict(learning_rates or {})
        self.validation = validation
        self._loss_sums: dict[str, float] = {}
        self._loss_count = 0
        if isinstance(self.train_dataset, StreamingMixtureDataset):
            self.add_callback(_SeekStream(self.train_dataset))

    def create_optimizer(self, model=None):
        if self.optimizer is None:
            groups = parameter_groups(self.model, self.learning_rates, self.args.learning_rate, self.args.weight_decay)
            optimizer_class, arguments = self.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer = optimizer_class(groups, **arguments)
        return self.optimizer

    def _get_train_sampler(self, *args, **kwargs):
        return SequentialSampler(self.train_dataset)

    def get_train_dataloader(self):
        if not isinstance(self.train_dataset, StreamingMixtureDataset):
            return super().get_train_dataloader()
        loader = DataLoader(
            self.train_dataset,
            batch_size=self.args.train_batch_size,
            collate_fn=self.data_collator,
            num_workers=self.args.dataloader_num_workers,
            pin_memory=self.args.dataloader_pin_memory,
            persistent_workers=self.args.dataloader_persistent_workers,
            prefetch_factor=self.args.dataloader_prefetch_factor,
        )
        # `accelerator.prepare` would have the main process read for all of them, or take every w-th batch of each.
        return prepare_data_loader(
            loader,
            self.accelerator.device,
            num_processes=1,
            process_index=0,
            put_on_device=True,
            dispatch_batches=False,
        )

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        inputs = dict(inputs)
        ids: Sequence[str] = inputs.pop("ids", ())
        output = model(**inputs)
        if not math.isfinite(output.loss.item()):
            raise NonFiniteLossError(
                f"The loss is {output.loss.item()} at step {self.state.global_step} (separation "
                f"{output.separation_loss}, pitch {output.pitch_loss}). The batch holds: {'; '.join(ids)}. Look at "
                "these recordings, or lower the learning rate."
            )
        for name in ("separation_loss", "pitch_loss"):
            value = getattr(output, name)
            if value is not None:
                self._loss_sums[name] = self._loss_sums.get(name, 0.0) + value.item()
        self._loss_count += 1
        return (output.loss, output) if return_outputs else output.loss

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        if "loss" in logs and self._loss_count:
            logs.update({name: total / self._loss_count for name, total in self._loss_sums.items()})
            self._loss_sums, self._loss_count = {}, 0
        super().log(logs, *args, **kwargs)

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval") -> dict[str, float]:
        model = self.accelerator.unwrap_model(self.model)
        was_training = model.training
        model.eval()
        with torch.no_grad():
            metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.validation(model).items()}
        model.train(was_training)
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics
