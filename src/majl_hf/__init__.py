"""MAJL: a song in; vocals, accompaniment and the sung pitch out, from one jointly trained model."""

# isort: off
from . import _torchaudio  # noqa: F401  (must precede every import of transformers)

# isort: on
from transformers import AutoFeatureExtractor, AutoModel
from transformers.pipelines import PIPELINE_REGISTRY

from .checkpoints import SHIPPED, find_checkpoint
from .models.configuration_majl import MajlConfig
from .models.feature_extraction_majl import MajlFeatureExtractor
from .models.modeling_majl import SHIPPED_CHECKPOINTS, MajlModel
from .models.pipeline_majl import MajlPipeline
from .system.provenance import __version__

__all__ = ["MajlConfig", "MajlFeatureExtractor", "MajlModel", "MajlPipeline", "__version__", "find_checkpoint"]

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
