"""A model by its name, ready to use, on a device by its name; the digest of its weights."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import MajlError

DEVICES = ("auto", "cpu", "cuda", "mps")
DTYPES = ("float32", "float16", "bfloat16")


def load_model(
    name: str | os.PathLike = "majl-base",
    device: str = "auto",
    threads: int | None = None,
    voicing_policy: str | None = None,
    voicing_threshold: float | None = None,
):
    """A `MajlModel` in evaluation mode on a device; of a folder that `majl export onnx` wrote, an `OnnxModel`, for
    which neither torch nor transformers is imported.

    Args:
        name: a shipped name, a folder, or a Hub id, `owner/name` or `owner/name@revision`.
        device: one of `DEVICES`; "auto" takes a GPU if there is one.
        threads: CPU threads of torch or onnxruntime; None does not change them.
        voicing_policy, voicing_threshold: only checked against the model.

    Raises:
        MajlError: a model that cannot be loaded, a device that is not available, a threshold out of range.
    """
    from ..models.decoding_majl import PitchDecoder
    from ..models.onnx_majl import is_onnx_folder

    model = _load_onnx(name, device, threads) if is_onnx_folder(name) else _load_torch(name, device, threads)
    try:
        PitchDecoder(model.config, voicing_policy, voicing_threshold)
    except ValueError as error:
        raise MajlError(str(error)) from error
    return model


def _load_onnx(folder: str | os.PathLike, device: str, threads: int | None):
    from ..models.onnx_majl import OnnxModel

    if device not in ("auto", "cpu"):
        raise MajlError(f"The exported model {os.fspath(folder)!r} computes on the CPU; leave out --device {device}.")
    try:
        return OnnxModel(folder, threads)
    except ModuleNotFoundError as error:
        raise MajlError(
            f"Exported models need {error.name}, which is not installed; run: pip install 'majl_hf[onnx]'"
        ) from error
    except ValueError as error:
        raise MajlError(str(error)) from error


def _load_torch(name: str | os.PathLike, device: str, threads: int | None):
    import torch

    from ..models.modeling_majl import MajlModel
    from . import SHIPPED
    from .hub_errors import explain

    name, revision = split_revision(os.fspath(name))
    if name not in SHIPPED and "/" not in name and not os.path.isdir(name):  # cannot be a Hub id
        raise MajlError(
            f"There is no model {name!r}; give a shipped name ({', '.join(SHIPPED) or 'none is installed'}), a folder "
            "or a Hub id (owner/name)."
        )
    if threads is not None:
        torch.set_num_threads(threads)
    target = _torch_device(device)
    try:
        model = MajlModel.from_pretrained(name, revision=revision, use_safetensors=True)
    except Exception as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        advice = explain(error, name) or f"{reason} Give a name of `majl models`, a folder or a Hub id."
        raise MajlError(f"The model {name!r} cannot be loaded: {advice}") from error
    return model.eval().to(target)


@contextmanager
def computing_in(dtype: str, model) -> Iterator[None]:
    """Context in which the networks of a `MajlModel` compute in a type of `DTYPES`; waveforms stay in float32."""
    if dtype == "float32":
        yield
        return
    if is_exported(model):
        raise MajlError(f"An exported model computes in the type of its graphs; leave out --dtype {dtype}.")
    import torch

    with torch.autocast(model.device.type, getattr(torch, dtype)):
        yield


def is_exported(model) -> bool:
    """Whether a loaded model is an `OnnxModel`."""
    from ..models.onnx_majl import OnnxModel

    return isinstance(model, OnnxModel)


def split_revision(name: str) -> tuple[str, str]:
    """Hub id and revision of `owner/name@revision`; for any other name, the name and "main"."""
    hub_id, _, revision = name.partition("@")
    is_path = os.path.exists(name) or not revision
    return (name, "main") if is_path else (hub_id, revision)


def checkpoint_sha256(folder: str | Path) -> str | None:
    """SHA-256 over the safetensors files of a folder in order of their names; None if there are none."""
    paths = sorted(Path(folder).glob("*.safetensors"))
    if not paths:
        return None
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def silence_libraries(model: str | os.PathLike = "") -> None:
    """Let transformers and the Hub's client report errors only, without a progress bar while weights are loaded; an
    exported model needs neither."""
    from ..models.onnx_majl import is_onnx_folder

    if is_onnx_folder(model):
        return
    import huggingface_hub
    import transformers

    huggingface_hub.utils.logging.set_verbosity_error()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def _torch_device(device: str) -> str:
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available.get(device, False):
        usable = ", ".join(name for name, is_there in available.items() if is_there)
        raise MajlError(f"The device {device} is not available here; use one of auto, {usable}.")
    return device
