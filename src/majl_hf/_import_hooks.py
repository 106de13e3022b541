"""What happens when others are imported later: `import majl_hf` itself loads neither torch nor transformers.

- `majl_hf.models`, or those modules of transformers in which models and pipelines are looked up: the model, its
  configuration, feature extractor and pipeline are registered with transformers.
- `torchaudio`, whose wheels link against CUDA's runtime: beside a CPU-only torch its import raises `OSError`, and
  transformers, which imports it wherever it is installed, fails with it. Only the compiled extension is affected
  (forced alignment and the RNN-T loss), so a stand-in for that one module makes everything else work.

transformers imports parts of itself while others are half imported, so the registration waits until the outermost
import of it is finished.
"""

import importlib.abc
import sys
import threading
import types

_LOOKED_UP_IN = frozenset(
    {
        "transformers.pipelines",
        "transformers.models.auto.configuration_auto",
        "transformers.models.auto.feature_extraction_auto",
        "transformers.models.auto.modeling_auto",
    }
)
_MODELS = f"{__package__}.models"


class _Importing(threading.local):
    """How many modules of transformers this thread is in the middle of importing."""

    depth = 0
    is_registration_due = False


_importing = _Importing()
_registering = threading.RLock()
_is_registered = False


def install() -> None:
    """Watch the imports from now on; what was imported before is served at once. Further calls do nothing."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    if not _LOOKED_UP_IN.isdisjoint(sys.modules):
        register()


def register() -> None:
    """Register everything with transformers, once."""
    global _is_registered
    with _registering:
        if _is_registered:
            return
        _is_registered = True  # before the imports below, which come here again
        try:
            _register()
        except BaseException:
            _is_registered = False
            raise


def _register() -> None:
    from transformers import AutoFeatureExtractor, AutoModel
    from transformers.pipelines import PIPELINE_REGISTRY

    from . import foreign_parts  # noqa: F401  (registers parts of other packages)
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


class _Finder(importlib.abc.MetaPathFinder):
    """Finds watched modules by the other finders, and looks on while they are loaded."""

    def find_spec(self, name, path, target=None):
        if name not in (_MODELS, "torchaudio") and name.partition(".")[0] != "transformers":
            return None
        for finder in sys.meta_path:
            spec = None if finder is self else finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(importlib.abc.Loader):
    """Loads a module by its own loader, which is all that the module knows of afterwards."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self._loader
        name = module.__name__
        if name == "torchaudio":
            _load_torchaudio(self._loader, module)
        elif name == _MODELS:
            self._loader.exec_module(module)
            register()
        else:
            _importing.depth += 1
            try:
                self._loader.exec_module(module)
            finally:
                _importing.depth -= 1
            _importing.is_registration_due |= name in _LOOKED_UP_IN
            if _importing.is_registration_due and _importing.depth == 0:
                _importing.is_registration_due = False
                register()


def _load_torchaudio(loader, module) -> None:
    try:
        loader.exec_module(module)
    except OSError:
        for name in [name for name in sys.modules if name.startswith("torchaudio.")]:
            del sys.modules[name]
        extension = types.ModuleType("torchaudio._extension")
        extension._IS_TORCHAUDIO_EXT_AVAILABLE = False
        extension._IS_ALIGN_AVAILABLE = False
        extension.fail_if_no_align = lambda function: _unavailable
        extension._check_cuda_version = lambda: None
        sys.modules["torchaudio._extension"] = extension
        loader.exec_module(module)


def _unavailable(*_args, **_kwargs):
    raise RuntimeError("torchaudio's compiled extension does not load beside this build of torch.")
