"""MAJL: a song in; vocals, accompaniment and the sung pitch out, from one jointly trained model.

Importing this package loads neither torch nor transformers: names are imported on first use, and the model and its
pipeline are registered as soon as transformers looks for them.
"""

import importlib

from . import _import_hooks
from .system.provenance import __version__

_HOMES = {
    "MajlConfig": "models.configuration_majl",
    "MajlFeatureExtractor": "models.feature_extraction_majl",
    "MajlModel": "models.modeling_majl",
    "MajlPipeline": "models.pipeline_majl",
    "find_checkpoint": "checkpoints",
    "load_model": "checkpoints.loading",
    "separate": "separation",
}
__all__ = ["__version__", *_HOMES]

_import_hooks.install()


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
