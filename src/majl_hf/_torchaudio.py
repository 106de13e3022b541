"""Make `import torchaudio` work beside a CPU build of torch.

torchaudio's wheels link against CUDA's runtime. Beside a CPU-only torch the import raises `OSError`, and transformers,
which imports torchaudio wherever it is installed, fails with it. Only the compiled extension is affected (forced
alignment and the RNN-T loss), so a stand-in for that one module brings everything else back. Importing this module
applies the cure where it is needed and does nothing elsewhere; it has to be imported before transformers.
"""

import importlib.util
import sys
import types


def _unavailable(*_args, **_kwargs):
    raise RuntimeError("torchaudio's compiled extension does not load beside this build of torch.")


def ensure_torchaudio() -> None:
    """Import torchaudio, without its compiled extension if that does not load. No-op when it is not installed."""
    if importlib.util.find_spec("torchaudio") is None:
        return
    try:
        import torchaudio
    except OSError:
        for name in [name for name in sys.modules if name == "torchaudio" or name.startswith("torchaudio.")]:
            del sys.modules[name]
        extension = types.ModuleType("torchaudio._extension")
        extension._IS_TORCHAUDIO_EXT_AVAILABLE = False
        extension._IS_ALIGN_AVAILABLE = False
        extension.fail_if_no_align = lambda function: _unavailable
        extension._check_cuda_version = lambda: None
        sys.modules["torchaudio._extension"] = extension
        import torchaudio  # noqa: F401


ensure_torchaudio()
