"""Configuration of a MAJL model: the parts' nested configs, how audio is cut, how pitch is decoded."""

from transformers import CONFIG_MAPPING, AutoConfig, PreTrainedConfig

from .backbones_majl import FcpeConfig, SpleeterConfig
from .note_estimator_majl import NoteEstimatorConfig
from .presets_majl import preset_config
from .refiner_majl import RefinerConfig

GRADIENT_RULES = ("sum", "norm", "project")
# Names of checkpoints that an installation brings along, and their folders; filled by the package.
SHIPPED_CHECKPOINTS: dict[str, str] = {}


def part_config(value, kind: str) -> PreTrainedConfig:
    """A part's config from what a caller, a config.json or a training file gives.

    Args:
        value: Nothing, a config, the name of a preset, or a dict with `preset` or `model_type` and what differs from
            its defaults.
        kind: `"separator"` or `"pitch_estimator"`.

    Raises:
        ValueError: there is no such preset or type, or a value is out of its range.
    """
    default_class = SpleeterConfig if kind == "separator" else FcpeConfig
    if value is None:
        return default_class()
    if isinstance(value, PreTrainedConfig):
        return value
    if isinstance(value, str):
        return preset_config(value, kind)
    values = dict(value)
    if "preset" in values:
        return preset_config(values.pop("preset"), kind, **values)
    model_type = values.pop("model_type", default_class.model_type)
    if model_type not in CONFIG_MAPPING:
        raise ValueError(
            f"The part of type {model_type!r} is not registered. Import the module that defines it (and calls "
            f"AutoConfig.register and AutoModel.register) before this model is built."
        )
    return AutoConfig.for_model(model_type, **values)


class MajlConfig(PreTrainedConfig):
    """Configuration of `MajlModel`.

    Args:
        separator_config (`SpleeterConfig`, `str`, `dict`, *optional*): Config of the separator, of any registered type
            that keeps the separator contract; or the name of a preset, such as `"resunet-small"`.
        pitch_estimator_config (`FcpeConfig`, `str`, `dict`, *optional*): Config of the pitch estimator, likewise.
        refiner_config (`RefinerConfig`, `dict`, *optional*): Config of a refiner, which corrects the separator's vocals
            by the pitch found in them, see `refiner_majl.py`; its rate is the separator's. `None` for no refiner.
        note_estimator_config (`NoteEstimatorConfig`, `dict`, *optional*): Config of a note estimator, see
            `note_estimator_majl.py`; its rate and hop are the pitch estimator's. `None` for none: notes are then read
            from pitch and loudness alone.
        window_s (`float`): Seconds of audio that one window contributes to the output.
        margin_s (`float`): Seconds computed and discarded at each side of a window, at least; more where a part's
            declared context requires it.
        pitch_decoder (`str`): `"viterbi"` or `"local_mean"`, see `decoding_majl.py`.
        viterbi_step_cost (`float`): Viterbi's cost of a step of one semitone from frame to frame, in nats.
        viterbi_jump_cost (`float`): Viterbi's cost of a jump of any size, in nats.
        viterbi_floor (`float`): Posterior below which all bins count the same.
        voicing_scale (`float`), voicing_bias (`float`): `voicing = sigmoid(scale * logit + bias)` with the frame's
            highest pitch logit; calibrated on validation data.
        voicing_policy (`str`): Default policy that turns voicing into a decision, `"threshold"`, `"hysteresis"` or
            `"always"`.
        voicing_threshold (`float`): Probability from which the default policy calls a frame sung.
        note_threshold (`float`): Probability of a note's beginning from which one begins where nothing else speaks for
            or against it, see `note_decoding_majl.py`; higher gives fewer notes.
        min_note_s (`float`): Shortest note in seconds.
        note_active_weight (`float`), note_offset_weight (`float`): Weights of the log odds of being sung, in each
            frame, and of a note's end, against those of its beginning; chosen on validation data.
        note_spread_weight (`float`): Cost of the variance of pitch within a note, in 1 / semitone^2 and frame.
        pitch_loss_weight (`float`): Weight of the pitch loss against the separation loss.
        separator_gradient_scale (`float`): Factor on the pitch loss's gradient where it enters the separator; 1 is
            plain joint training, 0 trains the parts side by side.
        separator_gradient_rule (`str`): How the two losses' gradients meet there. `"sum"` adds them. `"norm"` first
            gives the pitch loss's the norm of the separation loss's, so that the factor is a share whatever the losses'
            sizes. `"project"` removes from each what opposes the other (PCGrad: Yu et al., NeurIPS 2020), here at
            the estimated vocals instead of at the shared parameters, which costs nothing (as Sener and Koltun do for
            MGDA, NeurIPS 2018).
    """

    model_type = "majl"
    sub_configs = {
        "separator_config": AutoConfig,
        "pitch_estimator_config": AutoConfig,
        "refiner_config": RefinerConfig,
        "note_estimator_config": NoteEstimatorConfig,
    }

    separator_config: PreTrainedConfig | dict | str | None = None
    pitch_estimator_config: PreTrainedConfig | dict | str | None = None
    refiner_config: PreTrainedConfig | dict | None = None
    note_estimator_config: PreTrainedConfig | dict | None = None
    window_s: float = 20.0
    margin_s: float = 1.0
    pitch_decoder: str = "viterbi"
    viterbi_step_cost: float = 1.0
    viterbi_jump_cost: float = 8.0
    viterbi_floor: float = 1e-3
    voicing_scale: float = 1.0
    voicing_bias: float = 0.0
    voicing_policy: str = "threshold"
    voicing_threshold: float = 0.5
    note_threshold: float = 0.5
    min_note_s: float = 0.06
    note_active_weight: float = 0.05
    note_offset_weight: float = 0.5
    note_spread_weight: float = 0.03
    pitch_loss_weight: float = 1.0
    separator_gradient_scale: float = 1.0
    separator_gradient_rule: str = "sum"

    def __post_init__(self, **kwargs):
        self.separator_config = part_config(self.separator_config, "separator")
        self.pitch_estimator_config = part_config(self.pitch_estimator_config, "pitch_estimator")
        self.refiner_config = self._refiner_config(self.refiner_config)
        self.note_estimator_config = self._note_estimator_config(self.note_estimator_config)
        if self.separator_gradient_rule not in GRADIENT_RULES:
            raise ValueError(
                f"separator_gradient_rule is {self.separator_gradient_rule!r}; it needs to be one of {GRADIENT_RULES}."
            )
        # Extra scalars of the output that Trainer must not gather as predictions.
        kwargs.setdefault("keys_to_ignore_at_inference", ["separation_loss", "pitch_loss", "accompaniment"])
        super().__post_init__(**kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, **kwargs):
        name = SHIPPED_CHECKPOINTS.get(str(pretrained_model_name_or_path), pretrained_model_name_or_path)
        return super().from_pretrained(name, **kwargs)

    def _refiner_config(self, value) -> RefinerConfig | None:
        """The refiner's config from what a caller or a config.json gives; ValueError where it has another rate."""
        if value is None:
            return None
        rate = self.separator_config.sampling_rate
        if isinstance(value, dict):
            value = RefinerConfig(**{"sampling_rate": rate, **value, "model_type": RefinerConfig.model_type})
        if value.sampling_rate != rate:
            raise ValueError(
                f"The refiner works at {value.sampling_rate} Hz and the separator at {rate} Hz; they need one rate."
            )
        return value

    def _note_estimator_config(self, value) -> NoteEstimatorConfig | None:
        """The note estimator's config, likewise; ValueError where its frames are not the pitch estimator's."""
        if value is None:
            return None
        pitch = self.pitch_estimator_config
        frames = {"sampling_rate": pitch.sampling_rate, "hop_length": pitch.hop_length}
        if isinstance(value, dict):
            value = NoteEstimatorConfig(**{**frames, **value, "model_type": NoteEstimatorConfig.model_type})
        if frames != {name: getattr(value, name) for name in frames}:
            raise ValueError(
                f"The note estimator has a frame every {value.hop_length} samples at {value.sampling_rate} Hz and the "
                f"pitch estimator every {pitch.hop_length} at {pitch.sampling_rate} Hz; they need the same frames."
            )
        return value

    def to_dict(self) -> dict:
        values = super().to_dict()
        for name in self.sub_configs:
            # A saved config does not reveal where a part was on the disk.
            if isinstance(values.get(name), dict):
                values[name]["_name_or_path"] = ""
        return values

    @property
    def sampling_rate(self) -> int:
        """Rate in Hz of the mixture that the model takes: the separator's."""
        return self.separator_config.sampling_rate

    @property
    def num_channels(self) -> int:
        """Number of channels of the mixture that the model takes: the separator's."""
        return self.separator_config.num_channels

    @property
    def frame_hop_s(self) -> float:
        """Seconds from one pitch frame to the next."""
        return self.pitch_estimator_config.hop_length / self.pitch_estimator_config.sampling_rate


AutoConfig.register(MajlConfig.model_type, MajlConfig, exist_ok=True)
