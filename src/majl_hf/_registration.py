"""Importing this module registers the model, its feature extractor and its pipeline with transformers.

As the body of a module it runs once, whichever thread comes first; `_import_hooks` decides when.
"""

from transformers import AutoFeatureExtractor, AutoModel
from transformers.pipelines import PIPELINE_REGISTRY

from . import foreign_parts  # noqa: F401  (registers the parts of other packages)
from .checkpoints import SHIPPED, find_checkpoint
from .models.configuration_majl import MajlConfig
from .models.feature_extraction_majl import MajlFeatureExtractor
from .models.modeling_majl import SHIPPED_CHECKPOINTS, MajlModel
from .models.pipeline_majl import MajlPipeline

SHIPPED_CHECKPOINTS.update(SHIPPED)
AutoFeatureExtractor.register(MajlConfig, MajlFeatureExtractor, exist_ok=True)
PIPELINE_REGISTRY.register_pipeline(
    "majl-separation-pitch",
    pipeline_class=MajlPipeline,
    pt_model=AutoModel,
    default={"model": (find_checkpoint("majl-base"), "main")},
    type="audio",
)
# A checkpoint saved from here carries its code, so that it also loads where this package is not installed.
MajlConfig.register_for_auto_class()
MajlModel.register_for_auto_class("AutoModel")
MajlFeatureExtractor.register_for_auto_class("AutoFeatureExtractor")
