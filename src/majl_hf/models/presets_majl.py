"""Configs of separators and pitch estimators by name: `preset_config("resunet-small")`.

Each backbone's file names its own presets, and one from outside can, by `register_part` or `register_presets`.
A name says the architecture and its size. Presets that exist for tests are marked so: they have a few channels, run in
milliseconds and learn nothing worth hearing.
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
        arguments: What it is made with.
        for_tests: Whether it is for tests only.
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
    """Make a backbone known to the Auto classes, and name its presets and those that are for tests only."""
    AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    AutoModel.register(config_class, model_class, exist_ok=True)
    register_presets(config_class, presets or {})
    register_presets(config_class, test_presets or {}, for_tests=True)


def register_presets(config_class: type[PreTrainedConfig], presets: dict[str, dict], for_tests: bool = False) -> None:
    """Name configs of a backbone.

    Args:
        config_class: A `SeparatorConfig` or `PitchEstimatorConfig`.
        presets: Name of each preset -> arguments of `config_class`.
        for_tests: Whether they are for tests only.

    Raises:
        ValueError: another class has a preset of that name, or `config_class` is no part's config.
    """
    if not issubclass(config_class, tuple(KINDS.values())):
        raise ValueError(
            f"{config_class.__name__} is neither a SeparatorConfig nor a PitchEstimatorConfig; presets are of those."
        )
    for name, arguments in presets.items():
        taken = PRESETS.get(name)
        if taken is not None and taken.config_class.model_type != config_class.model_type:
            raise ValueError(f"The preset {name!r} is one of {taken.config_class.__name__}; choose another name.")
        PRESETS[name] = Preset(config_class, dict(arguments), for_tests)


def preset_names(kind: str | None = None, for_tests: bool | None = None) -> list[str]:
    """Names of the registered presets, sorted.

    Args:
        kind: `"separator"` or `"pitch_estimator"`; both where left out.
        for_tests: Only those for tests, or only the others; all where left out.
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
        kind: `"separator"` or `"pitch_estimator"`, where only one of them will do.
        overrides: Arguments of the config that differ from the preset's.

    Raises:
        ValueError: there is no such preset; the message names those there are.
    """
    preset = PRESETS.get(name)
    if preset is None or kind not in (None, preset.kind):
        wanted = "part" if kind is None else kind.replace("_", " ")
        raise ValueError(
            f"There is no {wanted} preset {name!r}. Those there are: {', '.join(preset_names(kind))}. A preset of "
            "another package is there once that package is imported."
        )
    return preset.config_class(**{**preset.arguments, **overrides})
