"""Importing this module registers the model, its feature extractor and its pipeline with transformers.

As the body of a module it runs once, whichever thread comes first; `_import_hooks` decides when.
"""

from functools import wraps

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, pipelines

from . import foreign_parts  # noqa: F401  (registers the parts of other packages)
from .checkpoints import SHIPPED, find_checkpoint
from .models.configuration_majl import SHIPPED_CHECKPOINTS, MajlConfig
from .models.feature_extraction_majl import MajlFeatureExtractor
from .models.modeling_majl import MajlModel
from .models.pipeline_majl import MajlPipeline


def _knows_shipped(load):
    """Wrap a function of transformers that takes a model's name, so that it knows those shipped with this package."""

    def resolved(value):
        return find_checkpoint(value) if isinstance(value, str) else value

    @wraps(load)
    def knowing(*args, **kwargs):
        return load(*map(resolved, args), **{key: resolved(value) for key, value in kwargs.items()})

    return knowing


SHIPPED_CHECKPOINTS.update(SHIPPED)
AutoFeatureExtractor.register(MajlConfig, MajlFeatureExtractor, exist_ok=True)
pipelines.PIPELINE_REGISTRY.register_pipeline(
    "majl-separation-pitch",
    pipeline_class=MajlPipeline,
    pt_model=AutoModel,
    default={"model": (find_checkpoint("majl-base"), "main")},
    type="audio",
)
for auto_class in (AutoConfig, AutoFeatureExtractor, AutoModel):
    auto_class.from_pretrained = staticmethod(_knows_shipped(auto_class.from_pretrained))
pipelines.pipeline = _knows_shipped(pipelines.pipeline)
# A checkpoint saved from here carries its code, so that it also loads where this package is not installed.
MajlConfig.register_for_auto_class()
MajlModel.register_for_auto_class("AutoModel")
MajlFeatureExtractor.register_for_auto_class("AutoFeatureExtractor")
