"""A model that was exported to ONNX, for the streaming engine: numpy and onnxruntime, without torch."""

import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from .parts_majl import MAX_WORKERS, Parts

MODEL_TYPE = "majl-onnx"
PARTS = ("separator", "pitch_estimator", "refiner", "note_estimator")


def is_onnx_folder(path: str | os.PathLike) -> bool:
    """Whether a folder is one that `majl export onnx` wrote."""
    try:
        return json.loads((Path(path) / "config.json").read_text(encoding="utf-8")).get("model_type") == MODEL_TYPE
    except (OSError, ValueError, AttributeError):
        return False


class OnnxModel:
    """A folder that `majl export onnx` wrote, as a model for `separate_stream`.

    Args:
        folder: It contains `config.json` and a graph for each part that the model has.
        threads: CPU threads of onnxruntime; None for all cores.

    Raises:
        ModuleNotFoundError: onnxruntime is not installed.
        ValueError: a file of the folder is missing or damaged.
    """

    device = "cpu"

    def __init__(self, folder: str | os.PathLike, threads: int | None = None):
        import onnxruntime

        self.folder = Path(folder)
        try:
            text = (self.folder / "config.json").read_text(encoding="utf-8")
            self.config = json.loads(text, object_hook=lambda values: SimpleNamespace(**values))
            names = self.config.parts
        except (OSError, ValueError, AttributeError) as error:
            raise ValueError(
                f"{self.folder / 'config.json'} cannot be used ({error}); export the model again."
            ) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Windows side by side are faster than all threads on one window.
        threads = threads or _num_cores()
        self.num_workers = min(threads, MAX_WORKERS)
        options.intra_op_num_threads = threads // self.num_workers
        self._sessions = {}
        for name in names:
            path = self.folder / f"{name}.onnx"
            try:
                self._sessions[name] = onnxruntime.InferenceSession(
                    str(path), options, providers=["CPUExecutionProvider"]
                )
            except Exception as error:  # onnxruntime's exceptions have no common base
                raise ValueError(f"{path} is missing or damaged ({error}); export the model again.") from error
        for name in PARTS:
            setattr(self, name, self._function(name) if name in self._sessions else None)

    def _function(self, name: str):
        session = self._sessions[name]
        names = [value.name for value in session.get_inputs()]

        def run(*arrays: np.ndarray):
            arrays = (np.ascontiguousarray(array, dtype=np.float32) for array in arrays)
            outputs = session.run(None, dict(zip(names, arrays, strict=True)))
            return outputs[0] if len(outputs) == 1 else tuple(outputs)

        return run

    def parts(self) -> Parts:
        """The model as functions of arrays."""
        functions = {name: getattr(self, name) for name in PARTS}
        if self.num_workers == 1:
            return Parts(self.config, **functions)
        make_executor = partial(ThreadPoolExecutor, self.num_workers)
        return Parts(self.config, **functions, make_executor=make_executor, num_ahead=self.num_workers)


def _num_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
