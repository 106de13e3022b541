"""How the parts of a model are run: in evaluation mode, in float32 at least, and not where torch would hang."""

import itertools
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from threading import Barrier, Lock
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

_lock = Lock()
_evaluating: WeakKeyDictionary = WeakKeyDictionary()  # model to number of contexts and modules to set back
_threaded_process: int | None = None  # the first with a model and threads, of this one and those it was forked from


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Context in which a model and all its modules are in evaluation mode; after the last of those that overlap, in
    several threads, each is in its former mode."""
    with _lock:
        count, in_training = _evaluating.get(model) or (0, [module for module in model.modules() if module.training])
        _evaluating[model] = (count + 1, in_training)
        for module in in_training:
            module.training = False
    try:
        yield
    finally:
        with _lock:
            count, in_training = _evaluating.pop(model)
            if count > 1:
                _evaluating[model] = (count - 1, in_training)
            else:
                for module in in_training:
                    module.training = True


class TorchWorkers(ThreadPoolExecutor):
    """Threads that compute side by side, with the threads of torch divided among them: two windows on one core each
    take less time than one after the other on both."""

    def __init__(self, num_workers: int):
        num_threads, ready = torch.get_num_threads(), Barrier(num_workers + 1)

        def start():
            torch.set_num_threads(max(1, num_threads // num_workers))
            torch.get_num_threads()  # from here on this thread keeps its number
            ready.wait()

        super().__init__(num_workers, "majl-window", start)
        for _ in range(num_workers):  # each starts a thread, because the others wait
            self.submit(lambda: None)
        ready.wait()
        torch.set_num_threads(num_threads)  # for threads that are started later


def run_part(part: nn.Module, *inputs: torch.Tensor):
    """The output of a part in the precision of its first input, at least float32, whatever type its weights have.

    Weights of another type are converted for this call: waveforms and spectra need the precision, and half-precision
    STFTs do not exist everywhere.
    """
    dtype = at_least_float32(inputs[0]).dtype
    stored = itertools.chain(part.named_parameters(), part.named_buffers())
    others = {name: tensor.to(dtype) for name, tensor in stored if tensor.is_floating_point() and tensor.dtype != dtype}
    inputs = tuple(tensor.to(dtype) for tensor in inputs)
    return torch.func.functional_call(part, others, inputs) if others else part(*inputs)


def autocast_dtype(device_type: str) -> torch.dtype | None:
    """The type of `torch.autocast` in this thread; None without it."""
    return torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else None


@torch.inference_mode()
def run_on_arrays(model: nn.Module, dtype: torch.dtype | None, function: Callable, *inputs: np.ndarray):
    """`function` of arrays, on the model's device, with the model in evaluation mode and under autocast to `dtype`;
    its tensors as arrays."""
    autocast = nullcontext() if dtype is None else torch.autocast(model.device.type, dtype)
    with evaluating(model), autocast:
        output = function(*(torch.from_numpy(np.ascontiguousarray(values)).to(model.device) for values in inputs))
    if isinstance(output, tuple):
        return tuple(values.float().cpu().numpy() for values in output)
    return output.float().cpu().numpy()


def at_least_float32(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor of half precision as float32, others unchanged."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def check_fork() -> None:
    """Refuse to compute in a process that was forked from one that had a model and several threads.

    The threads of GNU's OpenMP, which torch's Linux builds use, do not survive a fork, and the first computation would
    wait for them forever. A single thread needs none of them.

    Raises:
        RuntimeError: this is such a process.
    """
    global _threaded_process
    if torch.get_num_threads() == 1:
        return
    _threaded_process = _threaded_process or os.getpid()
    if _threaded_process == os.getpid() or not _uses_gnu_openmp():
        return
    raise RuntimeError(
        f"This process was forked from one that had loaded a model with {torch.get_num_threads()} threads, which would "
        "make torch hang here. Start processes with multiprocessing.get_context('spawn'), or call "
        "torch.set_num_threads(1) in each of them before the model is used."
    )


def _uses_gnu_openmp() -> bool:
    try:
        return "libgomp" in Path("/proc/self/maps").read_text(errors="replace")
    except OSError:
        return False
