"""Joint training of a separator and a pitch estimator with transformers' Trainer, which runs on Accelerate.

A step's loss is that of its global batch, however it is cut into processes and accumulation steps: each part divides
its weighted sums by the sums of the weights over all parts. Where a step has several accumulation steps, these sums are
needed before the first one's loss. A strategy that looks at the model's output then costs a pass of its own beforehand.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate.data_loader import prepare_data_loader
from safetensors.torch import load_file, save_file
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, SequentialSampler
from transformers import Trainer, TrainerCallback

from ..errors import ConfigError, NonFiniteLossError
from ..mixing.streaming import StreamingMixtureDataset
from ..models.modeling_majl import MajlModel
from .config import TrainingConfig
from .validation import Validation
from .voicing import RunningVoicing
from .weights import Confidence, FrameWeights, Uniform, known_evidence, read_evidence

BALANCE_FILE, AVERAGE_FILE, VOICING_FILE = "balance.safetensors", "average.safetensors", "voicing.safetensors"


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
        ConfigError: a name matches no parameter.
    """
    names = [name for name, _ in model.named_parameters()]
    for prefix in learning_rates:
        if not any(name.startswith(prefix) for name in names):
            children = sorted({".".join(name.split(".")[:2]) for name in names})
            raise ConfigError(
                f"learning_rates names {prefix!r}, which matches no parameter. The model has {', '.join(children)}."
            )
    groups: dict[tuple[float, float], list] = {}
    for name, parameter in model.named_parameters():
        matches = [prefix for prefix in learning_rates if name.startswith(prefix)]
        rate = learning_rates[max(matches, key=len)] if matches else default
        parameter.requires_grad_(rate > 0)
        if rate > 0:
            groups.setdefault((rate, weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [{"params": parameters, "lr": lr, "weight_decay": decay} for (lr, decay), parameters in groups.items()]


def moving_average(model: torch.nn.Module, decay: float) -> AveragedModel:
    """The exponential moving average of a model's floating-point weights and buffers, in evaluation mode.

    Args:
        model: Whose weights it starts from.
        decay: What a step keeps of the average; less in the first steps, `(1 + step) / (10 + step)` counted from 1, so
            that the start is soon forgotten.
    """

    def average_in(averages, weights, num_averaged):
        step = int(num_averaged)  # the start counts as one
        if averages[0].is_floating_point():
            get_ema_multi_avg_fn(min(decay, (1 + step) / (10 + step)))(averages, weights, num_averaged)
        else:
            for average, weight in zip(averages, weights, strict=True):
                average.copy_(weight)

    average = AveragedModel(model, multi_avg_fn=average_in, use_buffers=True).eval()
    average.update_parameters(model)
    return average


@dataclass(frozen=True)
class _Step:
    """What is known of a step of several batches before its first loss.

    Args:
        totals: Sums of the weights over all batches and processes, see `_sums`.
        num_batches: Of this process.
        weighed: Weights and pitch to teach of the batches that are still to come; empty where the strategy looks at
            nothing, so that the batches' own passes will do.
    """

    totals: torch.Tensor
    num_batches: int
    weighed: list[tuple[FrameWeights, torch.Tensor]]


class _Follow(TrainerCallback):
    """What the trainer keeps beside the model follows each step. A resumed stream continues with the item after the
    last one that was used, which is counted from the steps; a resumed run logs, saves and evaluates as configured now,
    and not as when it started."""

    def __init__(self, trainer: DwhsTrainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        state.compute_steps(args, state.max_steps)
        if isinstance(self.trainer.train_dataset, StreamingMixtureDataset):
            used = state.global_step * args.gradient_accumulation_steps * args.train_batch_size
            self.trainer.train_dataset.seek(used)

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        for parameter in self.trainer.balance.parameters():  # not the model's, so the Trainer does not average them
            if parameter.grad is not None:
                parameter.grad = self.trainer.accelerator.reduce(parameter.grad, "mean")

    def on_step_end(self, args, state, control, **kwargs):
        self.trainer.end_step()


class _Means:
    """Means of what was added since they were last taken, by name."""

    def __init__(self):
        self._sums: dict[str, float] = defaultdict(float)
        self._counts: dict[str, float] = defaultdict(float)

    def add(self, name: str, total: float, count: float = 1.0) -> None:
        self._sums[name] += float(total)
        self._counts[name] += float(count)

    def take(self) -> dict[str, float]:
        means = {name: total / self._counts[name] for name, total in self._sums.items() if self._counts[name] > 0}
        self._sums.clear()
        self._counts.clear()
        return means


class DwhsTrainer(Trainer):
    """Trainer for `MajlModel` on batches of `mixing.items.collate`, with weights of frames and of the two losses.

    Items are functions of their index, so they are read in order and a resumed run skips to where it was. A
    `StreamingMixtureDataset` is already this process's share: Accelerate neither shards nor dispatches it. The separate
    losses and the weights' distribution are averaged between two log entries. `evaluate` scores whole validation clips.

    Args:
        config: Whose learning rates, weights of frames and losses, average and validation it follows.
        kwargs: Of transformers' Trainer.
    """

    def __init__(self, config: TrainingConfig, **kwargs):
        super().__init__(**kwargs)
        self.learning_rates = config.learning_rates
        self.validation = Validation(config.validation)
        self.strategy = config.weighting.make()
        # In these the weights are the confidences, whatever the strategy.
        self.strategy_warmup_steps = round(config.weighting.warmup_share * self.args.max_steps)
        self.balance = config.balancing.make(self.model.config.pitch_loss_weight).to(self.args.device)
        self.average = None if config.average_decay is None else moving_average(self.model, config.average_decay)
        self.voicing = RunningVoicing().to(self.args.device) if self.strategy.reads == "clean" else None
        # The loss is that of the global batch already; see `training_step`.
        self.model_accepts_loss_kwargs = True
        self._step_losses = torch.zeros(3, device=self.args.device)
        self._means = _Means()
        self.add_callback(_Follow(self))

    # Optimiser and data

    def create_optimizer(self, model=None):
        if self.optimizer is None:
            groups = parameter_groups(self.model, self.learning_rates, self.args.learning_rate, self.args.weight_decay)
            if balance := list(self.balance.parameters()):
                groups.append({"params": balance, "lr": self.args.learning_rate, "weight_decay": 0.0})
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

    # The loss

    def get_batch_samples(self, epoch_iterator, num_batches, device):
        """The batches of a step and, where there are several, a `_Step`, which the Trainer hands to `compute_loss`."""
        batches, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        if len(batches) < 2:
            return batches, None
        inputs = [self._prepare_inputs({k: v for k, v in batch.items() if k != "ids"}) for batch in batches]
        weighed = []
        if self._present_strategy.reads == "nothing":
            weights = [self._present_strategy(known_evidence(batch)) for batch in inputs]
        else:
            model = self.accelerator.unwrap_model(self.model)
            was_training = model.training
            model.eval()
            with torch.no_grad():
                for batch in inputs:
                    output = model(mixture=batch["mixture"])
                    weighed.append(self._weigh(model, batch, output.vocals, output.pitch_logits))
            model.train(was_training)
            weights = [of_batch for of_batch, _ in weighed]
        totals = self.accelerator.reduce(sum(map(_sums, weights, inputs)), "sum")
        return batches, _Step(totals, len(batches), weighed)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch: _Step | None = None):
        inputs, step = dict(inputs), num_items_in_batch
        ids: Sequence[str] = inputs.pop("ids", ())
        output = model(mixture=inputs["mixture"], pitch_weight=inputs["pitch_weight"])
        majl = self.accelerator.unwrap_model(model)
        if step is not None and step.weighed:
            weights, taught_hz = step.weighed.pop(0)
        else:
            weights, taught_hz = self._weigh(majl, inputs, output.vocals, output.pitch_logits)
        totals = self.accelerator.reduce(_sums(weights, inputs), "sum") if step is None else step.totals
        # Gradients are averaged over the processes, so each one's part counts as often as there are processes.
        totals = totals / self.args.world_size
        separation = majl.separation_loss(
            output.vocals, inputs["vocals"], inputs["mixture"], weights.separation, totals[0]
        )
        pitch = majl.pitch_loss(output.pitch_logits, taught_hz, weights.pitch, totals[1])
        loss = self.balance(separation, pitch, 1.0 if step is None else 1.0 / step.num_batches)
        notes = torch.zeros_like(separation)
        if output.notes is not None:
            labels = (inputs[name] for name in ("note_midi", "note_onset", "note_offset", "note_weight"))
            notes = majl.note_loss(output, *labels, total=totals[2])
            loss = loss + notes
        if not math.isfinite(loss.item()):
            raise NonFiniteLossError(
                f"The loss is {loss.item()} at step {self.state.global_step} (separation {separation.item()}, pitch "
                f"{pitch.item()}, notes {notes.item()}). The batch contains: {'; '.join(ids)}. Look at these "
                "recordings, or lower the learning rate."
            )
        self._step_losses += torch.stack([separation, pitch, notes]).detach()
        return (loss, output) if return_outputs else loss

    def end_step(self) -> None:
        """Called when a step's parts have been summed and the weights have moved."""
        separation, pitch, notes = self.accelerator.reduce(self._step_losses, "mean").tolist()
        self._step_losses.zero_()
        self._means.add("separation_loss", separation)
        self._means.add("pitch_loss", pitch)
        if self.accelerator.unwrap_model(self.model).note_estimator is not None:
            self._means.add("note_loss", notes)
        self.balance.zero_grad()
        self.balance.observe(separation, pitch)
        if self.voicing is not None:
            self.voicing.step(lambda tensor: self.accelerator.reduce(tensor, "sum"))
        if self.average is not None:
            self.average.update_parameters(self.model)

    @property
    def _present_strategy(self):
        warming_up = self.state.global_step < self.strategy_warmup_steps and not isinstance(self.strategy, Uniform)
        return Confidence() if warming_up else self.strategy

    def _weigh(self, model: MajlModel, batch, vocals, logits) -> tuple[FrameWeights, torch.Tensor]:
        """Weights of a batch's frames, and the pitch to teach; see `read_evidence`."""
        strategy = self._present_strategy
        with self.accelerator.autocast():
            evidence, label_hz = read_evidence(
                model, batch, vocals.detach(), logits.detach(), strategy.reads, self.voicing
            )
        weights = strategy(evidence)
        self._note(evidence, weights)
        return weights, weights.taught_hz(evidence, label_hz)

    def _note(self, evidence, weights: FrameWeights) -> None:
        """Add a batch's weights to what the next log entry reports of their distribution."""
        for name, confidence, values in (
            ("separation", evidence.vocals_confidence, weights.separation),
            ("pitch", evidence.pitch_confidence, weights.pitch),
        ):
            known = values[confidence > 0]
            if known.numel():
                self._means.add(f"weight/{name}_mean", known.sum(), known.numel())
                self._means.add(f"weight/{name}_p10", known.quantile(0.1))
                self._means.add(f"weight/{name}_p90", known.quantile(0.9))
        labelled = evidence.pitch_confidence > 0
        if weights.blame is not None and labelled.any():
            self._means.add("weight/blamed_on_separation", (weights.blame[labelled] > 0.5).sum(), labelled.sum())
            weak = labelled & ~evidence.by_hand
            self._means.add("weight/taken_for_noise", (weights.hardness[weak] > 0.5).sum(), weak.sum())
            self._means.add("weight/reread", weights.reread[weak].sum(), weak.sum())

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        if "loss" in logs:
            logs.update(self._means.take())
        super().log(logs, *args, **kwargs)

    # Checkpoints and validation

    @property
    def _kept(self) -> dict[str, torch.nn.Module]:
        """What a checkpoint has beside the model, by the name of its file."""
        modules = {BALANCE_FILE: self.balance, AVERAGE_FILE: self.average, VOICING_FILE: self.voicing}
        return {name: module for name, module in modules.items() if module is not None and module.state_dict()}

    def _save_optimizer_and_scheduler(self, output_dir):
        super()._save_optimizer_and_scheduler(output_dir)
        if self.args.should_save:
            for name, module in self._kept.items():
                state = {key: tensor.contiguous() for key, tensor in module.state_dict().items()}
                save_file(state, Path(output_dir) / name)

    def _load_optimizer_and_scheduler(self, checkpoint):
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            for name in self._kept:
                self._load_kept(name, checkpoint)

    def _load_kept(self, name: str, checkpoint: str) -> None:
        path = Path(checkpoint) / name
        if not path.is_file():
            raise ConfigError(f"{path} is missing: the run was started with other settings. Start over with --fresh.")
        self._kept[name].load_state_dict(load_file(path))

    def use_average(self) -> None:
        """End of training: the model becomes the average of its weights, the best checkpoint's if requested."""
        if self.average is None:
            return
        if self.args.load_best_model_at_end and self.state.best_model_checkpoint is not None:
            self._load_kept(AVERAGE_FILE, self.state.best_model_checkpoint)
        self.model.load_state_dict(self.average.module.state_dict())

    def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix: str = "eval") -> dict[str, float]:
        model = self.accelerator.unwrap_model(self.model) if self.average is None else self.average.module
        was_training = model.training
        model.eval()
        with torch.no_grad():
            metrics = {f"{metric_key_prefix}_{name}": value for name, value in self.validation(model).items()}
        model.train(was_training)
        self.log(dict(metrics))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, metrics)
        return metrics


def _sums(weights: FrameWeights, inputs: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """What the losses are divided by: each item's mean weight of separation, summed; the frames' weights of pitch,
    summed; and those of notes."""
    notes = inputs["note_weight"].sum()
    return torch.stack([weights.separation.mean(dim=1).sum(), weights.pitch.sum(), notes])
