"""MAJL: a separator and a pitch estimator as one cascade that is trained jointly.

Wei, Yuan, Zhang, Dai and Chen, "MAJL: A Model-Agnostic Joint Learning Framework for Music Source Separation and Pitch
Estimation", arXiv 2501.03689. The mixture goes through the separator; the mean of the estimated vocals' channels,
resampled to the pitch estimator's rate, goes through the pitch estimator. Both parts are found by their registered
config type, so any model that keeps the contracts of `separator_majl.py` and `pitch_estimator_majl.py` fits. A refiner,
where there is one, then corrects the vocals by the pitch that was found in them; a note estimator finds the notes.
"""

from dataclasses import dataclass
from functools import partial

import torch
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.utils import ModelOutput

from .configuration_majl import SHIPPED_CHECKPOINTS, MajlConfig
from .losses_majl import note_loss, pitch_loss, separation_loss
from .note_estimator_majl import NoteEstimator, NoteEstimatorOutput
from .parts_majl import MAX_WORKERS, Parts, nearest_pitch_frames
from .pitch_estimator_majl import PitchEstimatorConfig, num_pitch_frames
from .posteriors_majl import likeliest_pitch
from .refiner_majl import HarmonicRefiner
from .resampling_majl import resampled_length_ceil
from .running_majl import (
    TorchWorkers,
    at_least_float32,
    autocast_dtype,
    check_fork,
    run_on_arrays,
    run_part,
)
from .separator_majl import SeparatorConfig
from .torch_resampling_majl import resample


@dataclass
class MajlOutput(ModelOutput):
    """Output of `MajlModel`.

    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*): `separation_loss + config.pitch_loss_weight *
            pitch_loss + note_loss`, of those whose targets were given.
        separation_loss (`torch.FloatTensor` of shape `(1,)`, *optional*): Mean over items, by `vocals_weight`.
        pitch_loss (`torch.FloatTensor` of shape `(1,)`, *optional*): Mean over frames, by `pitch_weight`.
        note_loss (`torch.FloatTensor` of shape `(1,)`, *optional*): Mean over frames, by `note_weight`.
        vocals (`torch.FloatTensor` of shape `(batch_size, num_channels, num_samples)`): Estimated vocals.
        accompaniment (`torch.FloatTensor` of shape `(batch_size, num_channels, num_samples)`): Mixture minus vocals.
        pitch_logits (`torch.FloatTensor` of shape `(batch_size, num_frames, num_bins)`): Logits on the grid of
            `config.pitch_estimator_config`.
        notes (`NoteEstimatorOutput`, *optional*): Evidence of notes, where the model has a note estimator.
    """

    loss: torch.FloatTensor | None = None
    separation_loss: torch.FloatTensor | None = None
    pitch_loss: torch.FloatTensor | None = None
    note_loss: torch.FloatTensor | None = None
    vocals: torch.FloatTensor | None = None
    accompaniment: torch.FloatTensor | None = None
    pitch_logits: torch.FloatTensor | None = None
    notes: NoteEstimatorOutput | None = None


class _TwoTasks(torch.autograd.Function):
    """The estimated vocals twice, for the separation loss and for the pitch estimator; where the two gradients meet
    again on their way into the separator, a rule combines them. See `MajlConfig.separator_gradient_rule`."""

    @staticmethod
    def forward(ctx, vocals, rule, scale):
        ctx.rule, ctx.scale = rule, scale
        return vocals.view_as(vocals), vocals.view_as(vocals)

    @staticmethod
    def backward(ctx, separation, pitch):
        if ctx.rule == "norm":
            pitch = pitch * (separation.norm() / pitch.norm().clamp(min=1e-12))
        pitch = ctx.scale * pitch
        if ctx.rule == "project":
            product = (separation * pitch).sum()
            if product < 0:
                separation, pitch = (
                    separation - product / pitch.square().sum() * pitch,
                    pitch - product / separation.square().sum() * separation,
                )
        return separation + pitch, None, None


def _network(config: PreTrainedConfig) -> PreTrainedModel | None:
    """The network of a part's config; none for a config of the contract itself, which stands for a missing part."""
    return None if type(config) in (SeparatorConfig, PitchEstimatorConfig) else AutoModel.from_config(config)


class MajlModel(PreTrainedModel):
    """Separator and pitch estimator as one model. `from_parts` joins trained parts; `from_pretrained` also takes the
    name of a checkpoint that ships with the package, such as `"majl-base"`.

    It computes in float32, whatever type its weights are stored in, and in float64 only for a mixture of that type.
    Weights in half precision save half of their memory; to compute faster, keep them in float32 and use
    `torch.autocast`."""

    config_class = MajlConfig
    base_model_prefix = "majl"
    main_input_name = "mixture"
    input_modalities = "audio"

    def __init__(self, config: MajlConfig):
        check_fork()
        super().__init__(config)
        self.separator = _network(config.separator_config)
        self.pitch_estimator = _network(config.pitch_estimator_config)
        self.refiner = None if config.refiner_config is None else HarmonicRefiner(config.refiner_config)
        notes = config.note_estimator_config
        self.note_estimator = None if notes is None else NoteEstimator(notes)
        self.post_init()

    def _init_weights(self, module):
        """The parts initialise themselves; the cascade adds no weights."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        name = SHIPPED_CHECKPOINTS.get(str(pretrained_model_name_or_path), pretrained_model_name_or_path)
        return super().from_pretrained(name, *args, **kwargs)

    @classmethod
    def from_parts(
        cls,
        separator: PreTrainedModel | None = None,
        pitch_estimator: PreTrainedModel | None = None,
        **config_arguments,
    ):
        """Join a trained separator and a trained pitch estimator; the parts are used directly, not copied.

        A model of one part only is for `separate_stream`, with `read_pitch=False` or `separate=False`.

        Args:
            separator: A registered model that keeps the contract of `separator_majl.py`.
            pitch_estimator: A registered model that keeps the contract of `pitch_estimator_majl.py`.
            config_arguments: Further arguments of `MajlConfig`. A new refiner, by `refiner_config`, changes nothing
                until it is trained; a new note estimator, by `note_estimator_config`, has to be trained.
        """
        pitch_config = PitchEstimatorConfig() if pitch_estimator is None else pitch_estimator.config
        solo_voice = SeparatorConfig(sampling_rate=pitch_config.sampling_rate, num_channels=1)
        separator_config = solo_voice if separator is None else separator.config
        model = cls(
            MajlConfig(separator_config=separator_config, pitch_estimator_config=pitch_config, **config_arguments)
        )
        model.separator, model.pitch_estimator = separator, pitch_estimator
        return model

    def num_pitch_frames(self, num_samples: int) -> int:
        """Number of pitch frames for a mixture of `num_samples`."""
        config = self.config.pitch_estimator_config
        num_resampled = resampled_length_ceil(num_samples, self.config.sampling_rate, config.sampling_rate)
        return num_pitch_frames(num_resampled, config.hop_length)

    def estimate_pitch(self, vocals: torch.Tensor) -> torch.Tensor:
        """Logits `(batch_size, num_frames, num_bins)` of vocals `(batch_size, num_channels, num_samples)` at the
        model's rate."""
        logits = run_part(self.pitch_estimator, self.voice(vocals)).logits
        return logits.to(vocals.dtype)  # under autocast they come in half precision

    def estimate_notes(self, vocals: torch.Tensor, pitch_logits: torch.Tensor) -> NoteEstimatorOutput:
        """Evidence of notes in vocals `(batch_size, num_channels, num_samples)` at the model's rate with their logits
        `(batch_size, num_frames, num_bins)`."""
        pitch = likeliest_pitch(pitch_logits.detach(), self.config.pitch_estimator_config)
        return run_part(self.note_estimator, self.voice(vocals), *pitch)

    def voice(self, vocals: torch.Tensor) -> torch.Tensor:
        """The mean of the vocals' channels at the pitch estimator's rate, `(batch_size, num_samples)`."""
        with torch.autocast(vocals.device.type, enabled=False):  # waveforms keep their precision
            rate = self.config.pitch_estimator_config.sampling_rate
            return resample(vocals.mean(dim=1), self.config.sampling_rate, rate)

    def refine(self, mixture: torch.Tensor, vocals: torch.Tensor, pitch_logits: torch.Tensor) -> torch.Tensor:
        """The vocals, corrected by their pitch where the model has a refiner; waveforms `(batch_size, num_channels,
        num_samples)` at the model's rate, logits `(batch_size, num_frames, num_bins)`."""
        if self.refiner is None:
            return vocals
        nearest = nearest_pitch_frames(self.config, mixture.shape[2]).clip(max=pitch_logits.shape[1] - 1)
        nearest = torch.from_numpy(nearest).to(pitch_logits.device)
        return self._refine(mixture, vocals, pitch_logits[:, nearest].detach())

    def _refine(self, mixture: torch.Tensor, vocals: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        """`refine` with logits of the refiner's frames."""
        return run_part(self.refiner, mixture, vocals, *likeliest_pitch(logits, self.config.pitch_estimator_config))

    def parts(self) -> Parts:
        """The parts as functions of arrays, as the streaming engine uses them: on the model's device, in evaluation
        mode, whichever mode the model is in, and under the autocast of the caller's thread.

        Raises:
            RuntimeError: a forked process in which torch would hang, see `check_fork`.
        """
        check_fork()
        pitch_config = self.config.pitch_estimator_config
        functions = {
            "separator": lambda mixture: run_part(self.separator, mixture).vocals,
            "pitch_estimator": lambda voice: run_part(self.pitch_estimator, voice).logits,
            "refiner": self._refine,
            "note_estimator": lambda voice, logits: run_part(
                self.note_estimator, voice, *likeliest_pitch(logits, pitch_config)
            ).to_tuple(),
        }
        present = {name: run for name, run in functions.items() if getattr(self, name) is not None}
        dtype = autocast_dtype(self.device.type)
        functions = {name: partial(run_on_arrays, self, dtype, run) for name, run in present.items()}
        num_workers = self._num_workers()
        make_executor = partial(TorchWorkers, num_workers) if num_workers else None
        return Parts(self.config, **functions, make_executor=make_executor, num_ahead=num_workers)

    def _num_workers(self) -> int:
        """Number of windows to compute at a time; 0 for one after another in the caller's thread."""
        if any(tensor.is_floating_point() and tensor.dtype != torch.float32 for tensor in self.state_dict().values()):
            return 0  # `run_part` replaces the weights for the time of a call, for all threads
        if self.device.type != "cpu":
            return 1  # so that the device computes while the caller prepares and decodes
        num_threads = torch.get_num_threads()
        return 0 if num_threads == 1 else min(num_threads, MAX_WORKERS)

    def _training_logits(self, vocals: torch.Tensor, pitch_weight: torch.Tensor | None) -> torch.Tensor:
        """Logits of a training batch. Items without a pitch label have no part in it: the pitch estimator, which is
        half of the work, leaves them out and their logits are zero; for a refiner they are read, without gradients."""
        if pitch_weight is None:
            return self.estimate_pitch(vocals)
        is_labelled = pitch_weight.amax(dim=1) > 0
        labelled, others = torch.nonzero(is_labelled)[:, 0], torch.nonzero(~is_labelled)[:, 0]
        if others.shape[0] == 0:
            return self.estimate_pitch(vocals)
        config = self.config.pitch_estimator_config
        logits = vocals.new_zeros(vocals.shape[0], self.num_pitch_frames(vocals.shape[2]), config.num_bins)
        if self.refiner is not None:
            with torch.no_grad():
                logits = logits.index_copy(0, others, self.estimate_pitch(vocals[others]))
        if labelled.shape[0] == 0:
            return logits
        return logits.index_copy(0, labelled, self.estimate_pitch(vocals[labelled]))

    def separation_loss(
        self,
        estimate: torch.Tensor,
        vocals: torch.Tensor,
        mixture: torch.Tensor,
        weight: torch.Tensor | None = None,
        total: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mean over items and time by weight; arguments as of `forward`.

        Args:
            total: What the weighted sum is divided by, instead of the sum over items of each one's mean weight: a batch
                that is part of a larger one is given that one's.
        """
        if weight is None or weight.ndim == 1:
            losses = separation_loss(estimate, vocals, mixture)
            weight = torch.ones_like(losses) if weight is None else weight
            losses = losses * weight
        else:
            samples_per_frame = self.config.sampling_rate * self.config.frame_hop_s
            losses = separation_loss(estimate, vocals, mixture, weight, samples_per_frame)
            weight = weight.mean(dim=1)
        return losses.sum() / (weight.sum() if total is None else total).clamp(min=1e-8)

    def pitch_loss(
        self,
        logits: torch.Tensor,
        f0_hz: torch.Tensor,
        weight: torch.Tensor | None = None,
        total: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mean over frames by weight; arguments as of `forward`, `total` as of `separation_loss`."""
        weight = torch.ones_like(f0_hz) if weight is None else weight
        losses = pitch_loss(logits, f0_hz, self.config.pitch_estimator_config) * weight
        return losses.sum() / (weight.sum() if total is None else total).clamp(min=1e-8)

    def note_loss(
        self,
        output: MajlOutput,
        note_midi: torch.Tensor,
        note_onset: torch.Tensor,
        note_offset: torch.Tensor,
        weight: torch.Tensor | None = None,
        total: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Mean over frames by weight; labels and `weight` as of `forward`, `total` as of `separation_loss`."""
        f0_hz, _ = likeliest_pitch(output.pitch_logits.detach(), self.config.pitch_estimator_config)
        weight = torch.ones_like(note_midi) if weight is None else weight
        losses = note_loss(output.notes, f0_hz, note_midi, note_onset, note_offset) * weight
        return losses.sum() / (weight.sum() if total is None else total).clamp(min=1e-8)

    def forward(
        self,
        mixture: torch.Tensor,
        vocals: torch.Tensor | None = None,
        f0_hz: torch.Tensor | None = None,
        vocals_weight: torch.Tensor | None = None,
        pitch_weight: torch.Tensor | None = None,
        note_midi: torch.Tensor | None = None,
        note_onset: torch.Tensor | None = None,
        note_offset: torch.Tensor | None = None,
        note_weight: torch.Tensor | None = None,
        return_dict: bool | None = None,
        **kwargs,
    ) -> MajlOutput | tuple:
        r"""
        Args:
            mixture (`torch.Tensor` of shape `(batch_size, num_channels, num_samples)`):
                Waveform at `config.sampling_rate`, full scale at 1; half precision is used as float32.
            vocals (`torch.Tensor` of shape `(batch_size, num_channels, num_samples)`, *optional*):
                Reference vocals, for the separation loss.
            f0_hz (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*):
                Reference f0 in Hz, 0 where unvoiced, for the pitch loss.
            vocals_weight (`torch.Tensor` of shape `(batch_size,)` or `(batch_size, num_frames)`, *optional*):
                Weight of each item's reference vocals, or of each pitch frame's; 1 where not given.
            pitch_weight (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*):
                Weight of each frame's label, 0 where there is none; 1 where not given.
            note_midi, note_onset, note_offset (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*):
                Reference notes, for the note loss of a model with a note estimator: the pitch of each frame's note as
                MIDI number, 0 outside of notes; closeness in [0, 1] of a note's begin and end.
            note_weight (`torch.Tensor` of shape `(batch_size, num_frames)`, *optional*):
                Weight of each frame's notes, 0 where they are unknown; 1 where not given.

        Returns:
            `MajlOutput`, or a tuple of its entries that are not `None`.
        """
        return_dict = self.config.return_dict if return_dict is None else return_dict
        config = self.config
        inputs = (mixture, vocals, f0_hz, vocals_weight, pitch_weight, note_midi, note_onset, note_offset, note_weight)
        inputs = (None if tensor is None else at_least_float32(tensor) for tensor in inputs)
        mixture, vocals, f0_hz, vocals_weight, pitch_weight, *notes = inputs
        estimate = entering = run_part(self.separator, mixture).vocals
        if self.training and (config.separator_gradient_scale != 1.0 or config.separator_gradient_rule != "sum"):
            estimate, entering = _TwoTasks.apply(
                estimate, config.separator_gradient_rule, config.separator_gradient_scale
            )
        logits = self._training_logits(entering, pitch_weight) if self.training else self.estimate_pitch(entering)
        evidence = None if self.note_estimator is None else self.estimate_notes(entering, logits)
        estimate = self.refine(mixture, estimate, logits)
        output = MajlOutput(vocals=estimate, accompaniment=mixture - estimate, pitch_logits=logits, notes=evidence)
        losses = {}
        if vocals is not None:
            losses["separation_loss"] = self.separation_loss(estimate, vocals, mixture, vocals_weight)
        if f0_hz is not None:
            losses["pitch_loss"] = self.pitch_loss(logits, f0_hz, pitch_weight)
        if notes[0] is not None and evidence is not None:
            losses["note_loss"] = self.note_loss(output, *notes)
        if losses:
            factors = {"pitch_loss": config.pitch_loss_weight}
            output.loss = sum(factors.get(name, 1.0) * loss for name, loss in losses.items())
        for name, loss in losses.items():
            setattr(output, name, loss)
        return output if return_dict else output.to_tuple()


AutoModel.register(MajlConfig, MajlModel, exist_ok=True)
