"""Import hooks for other packages, because `import majl_hf` itself loads neither torch nor transformers.

- transformers' modules in which models and pipelines are looked up: ours are registered there (`_registration`).
- `torchaudio`, whose wheels link against CUDA's runtime: with a CPU-only torch its import raises `OSError`, and
  transformers, which imports it if it is installed, fails with it. Only the compiled extension is affected (forced
  alignment and the RNN-T loss), so a stand-in for that one module makes everything else work.

Modules of transformers and of `majl_hf.models` import each other while they are half imported, so the registration
waits for the end of the outermost import among them.
"""

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
_WATCHED = ("transformers.", f"{__package__}.models.", "torchaudio.")


class _Importing(threading.local):
    """How many watched modules this thread is in the middle of importing."""

    depth = 0
    is_registration_due = False


_importing = _Importing()


def install() -> None:
    """Watch the imports from now on; modules imported earlier are handled at once. Further calls do nothing."""
    if any(isinstance(finder, _Finder) for finder in sys.meta_path):
        return
    sys.meta_path.insert(0, _Finder())
    if not _LOOKED_UP_IN.isdisjoint(sys.modules):
        _register()


def _register() -> None:
    from . import _registration  # noqa: F401


class _Finder:
    """Finds watched modules by the finders after it, and wraps their loaders."""

    def find_spec(self, name, path=None, target=None):
        if not f"{name}.".startswith(_WATCHED):
            return None
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader:
    """Loads a module by its own loader, which is the one that the module refers to afterwards."""

    def __init__(self, loader):
        self._loader = loader

    def __getattr__(self, name):
        if name == "_loader":  # a copy that is not filled yet
            raise AttributeError(name)
        return getattr(self._loader, name)

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__loader__ = module.__spec__.loader = self._loader
        name = module.__name__
        _importing.depth += 1
        try:
            if name == "torchaudio":
                _load_torchaudio(self._loader, module)
            else:
                self._loader.exec_module(module)
        finally:
            _importing.depth -= 1
        _importing.is_registration_due |= name in _LOOKED_UP_IN
        if _importing.is_registration_due and _importing.depth == 0:
            _importing.is_registration_due = False
            _register()


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
    raise RuntimeError("torchaudio's compiled extension does not load with this build of torch.")
