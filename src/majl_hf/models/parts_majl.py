"""A model as the streaming engine sees it: its parts as functions of arrays, whatever computes them.

`MajlModel.parts()` gives those of torch; an exported model computes the same without it.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

MAX_WORKERS = 2  # that compute side by side; each needs the memory of a window, about 0.8 GB


@dataclass(frozen=True)
class Parts:
    """The parts of a model, each a function of float32 arrays or `None` where the model lacks it.

    Args:
        config: The model's `MajlConfig`, or an object with the same attributes.
        separator: Mixture `(batch_size, num_channels, num_samples)` to vocals of the same shape, at the model's rate.
        pitch_estimator: Voice `(batch_size, num_samples)` at the pitch estimator's rate to logits `(batch_size,
            1 + num_samples // hop_length, num_bins)`.
        refiner: Mixture and vocals `(batch_size, num_channels, num_samples)`, with any number of channels, and logits
            `(batch_size, 1 + num_samples // hop_length, num_bins)` of the pitch frames next to the refiner's own (see
            `nearest_pitch_frames`) to refined vocals.
        note_estimator: Voice `(batch_size, num_samples)` and its logits to the four arrays of `NoteEstimatorOutput`,
            each `(batch_size, 1 + num_samples // hop_length)`.
        make_executor: Makes what runs the functions several at a time; None where they are to run one after another.
        num_ahead: Number of calls that are in progress while others wait for the first of their results.
    """

    config: Any
    separator: Callable[[np.ndarray], np.ndarray] | None = None
    pitch_estimator: Callable[[np.ndarray], np.ndarray] | None = None
    refiner: Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray] | None = None
    note_estimator: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, ...]] | None = None
    make_executor: Callable[[], Executor] | None = None
    num_ahead: int = 0

    @contextmanager
    def executor(self) -> Iterator[Executor | None]:
        """What runs the functions; at the end, those that have not started are cancelled."""
        executor = None if self.make_executor is None else self.make_executor()
        try:
            yield executor
        finally:
            if executor is not None:
                executor.shutdown(cancel_futures=True)


class HasParts(Protocol):
    """A model that the streaming engine can run."""

    def parts(self) -> Parts: ...


class OrderedCalls:
    """Calls whose results are taken in their order, `num_ahead` calls later; at once without an executor."""

    def __init__(self, executor: Executor | None, num_ahead: int):
        self.executor, self.num_ahead = executor, 0 if executor is None else num_ahead
        self.running: deque[Future] = deque()

    def submit(self, function: Callable, *arguments, is_final: bool = False) -> None:
        """Call `function`. A final call with none beside it, as of a short recording, is made in the caller's thread,
        which has all cores."""
        if self.executor is not None and (self.running or not is_final):
            self.running.append(self.executor.submit(function, *arguments))
            return
        done: Future = Future()
        done.set_result(function(*arguments))
        self.running.append(done)

    def results(self, last: bool) -> Iterator:
        """What is due; with `last`, all. How much is due depends on the calls alone and not on their speed."""
        while self.running and (last or len(self.running) > self.num_ahead):
            yield self.running.popleft().result()


def nearest_pitch_frames(config, num_samples: int, offset: int = 0) -> np.ndarray:
    """Numbers of the pitch frames next to the frames in which the refiner sees `num_samples` from sample `offset` on (a
    multiple of its hop), `(1 + num_samples // hop_length,)`."""
    part = config.refiner_config
    first = offset // part.hop_length
    frames = np.arange(first, first + 1 + num_samples // part.hop_length, dtype=float)
    return np.round(frames * (part.hop_length / part.sampling_rate) / config.frame_hop_s).astype(int)
