"""Configs of separators and pitch estimators by name: `preset_config("resunet-small")`.

Each backbone's file defines its own presets by `register_part` or `register_presets`, and so can other packages.
A name gives the architecture and its size. Presets for tests are marked as such: they have a few channels, run in
milliseconds and learn nothing useful.
"""

from dataclasses import dataclass, field

from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from .pitch_estimator_majl import PitchEstimatorConfig
from .separator_majl import SeparatorConfig

MONO_16K = {"sampling_rate": 16_000, "num_channels": 1}
KINDS = {"separator": SeparatorConfig, "pitch_estimator": PitchEstimatorConfig}


@dataclass(frozen=True)
class Preset:
    """A named config.

    Args:
        config_class: Class of the config.
        arguments: Arguments of that class.
        for_tests: Whether the preset is for tests only.
    """

    config_class: type[PreTrainedConfig]
    arguments: dict = field(default_factory=dict)
    for_tests: bool = False

    @property
    def kind(self) -> str:
        """`"separator"` or `"pitch_estimator"`."""
        return next(kind for kind, base in KINDS.items() if issubclass(self.config_class, base))


PRESETS: dict[str, Preset] = {}


def register_part(
    config_class: type[PreTrainedConfig],
    model_class: type[PreTrainedModel],
    presets: dict[str, dict] | None = None,
    test_presets: dict[str, dict] | None = None,
) -> None:
    """Register a backbone with the Auto classes, together with its presets and those for tests only."""
    AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    AutoModel.register(config_class, model_class, exist_ok=True)
    register_presets(config_class, presets or {})
    register_presets(config_class, test_presets or {}, for_tests=True)


def register_presets(config_class: type[PreTrainedConfig], presets: dict[str, dict], for_tests: bool = False) -> None:
    """Register named configs of a backbone.

    Args:
        config_class: A `SeparatorConfig` or `PitchEstimatorConfig`.
        presets: Name of each preset -> arguments of `config_class`.
        for_tests: Whether they are for tests only.

    Raises:
        ValueError: another class has a preset of that name, or `config_class` is not the config of a part.
    """
    if not issubclass(config_class, tuple(KINDS.values())):
        raise ValueError(
            f"{config_class.__name__} is neither a SeparatorConfig nor a PitchEstimatorConfig; presets need one."
        )
    for name, arguments in presets.items():
        taken = PRESETS.get(name)
        if taken is not None and taken.config_class.model_type != config_class.model_type:
            raise ValueError(f"The preset {name!r} belongs to {taken.config_class.__name__}; choose another name.")
        PRESETS[name] = Preset(config_class, dict(arguments), for_tests)


def preset_names(kind: str | None = None, for_tests: bool | None = None) -> list[str]:
    """Names of the registered presets, sorted.

    Args:
        kind: `"separator"` or `"pitch_estimator"`; both if left out.
        for_tests: Only those for tests, or only the others; all if left out.
    """
    return sorted(
        name
        for name, preset in PRESETS.items()
        if kind in (None, preset.kind) and for_tests in (None, preset.for_tests)
    )


def preset_config(name: str, kind: str | None = None, **overrides) -> PreTrainedConfig:
    """A new config from a preset.

    Args:
        name: Name of the preset.
        kind: `"separator"` or `"pitch_estimator"`, to accept only that kind.
        overrides: Arguments of the config that differ from the preset's.

    Raises:
        ValueError: there is no such preset; the message lists those that exist.
    """
    preset = PRESETS.get(name)
    if preset is None or kind not in (None, preset.kind):
        wanted = "part" if kind is None else kind.replace("_", " ")
        raise ValueError(
            f"There is no {wanted} preset {name!r}. Available: {', '.join(preset_names(kind))}. To use a preset of "
            "another package, import that package first."
        )
    return preset.config_class(**{**preset.arguments, **overrides})
