"""Audio cut on one fixed grid of windows, anchored at the start of the file.

Each window contributes its core to the output; its margins are computed and discarded. The grid depends on the model
alone, so results depend neither on the blocks in which audio arrives nor on how many windows share a forward pass, even
for parts that see their whole window.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class WindowGrid:
    """Window k has the core `[k * core, (k + 1) * core)` and `margin` more samples to each side, clipped to the audio.
    All lengths are in samples and multiples of the part's alignment."""

    core: int
    margin: int

    @classmethod
    def for_part(cls, config, part) -> "WindowGrid":
        """Grid of the part with the config `part` of a model's `config`; its `context` widens the margin if it is the
        larger one. A pitch estimator's windows start on frame centres."""
        alignment = part.hop_length if part is config.pitch_estimator_config else part.alignment
        core = max(1, round(config.window_s * part.sampling_rate / alignment)) * alignment
        margin = -(-max(int(config.margin_s * part.sampling_rate), part.context or 0) // alignment) * alignment
        return cls(core, margin)


@dataclass
class Window:
    """A window of audio: `samples` of shape `(..., num_samples)`, the first of which is sample `offset` of the stream;
    `samples[..., start:stop]` is the core."""

    samples: np.ndarray
    offset: int
    start: int
    stop: int
    is_last: bool


class WindowCutter:
    """Cuts a stream `(..., num_samples)` into windows; keeps no more than one window and its margins."""

    def __init__(self, grid: WindowGrid):
        self.grid = grid
        self.pending: np.ndarray | None = None
        self.offset = 0  # of the pending samples in the stream
        self.core_start = 0  # of the next window in the stream

    def push(self, block: np.ndarray, last: bool = False) -> list[Window]:
        """Windows that are complete; with `last`, also the rest, cut where the audio ends."""
        self.pending = block if self.pending is None else np.concatenate([self.pending, block], axis=-1)
        end = self.offset + self.pending.shape[-1]
        grid, windows = self.grid, []
        # A window is complete once audio beyond its margin has arrived: only then it cannot be the last one.
        while self.core_start + grid.core + grid.margin < end:
            windows.append(self._cut(self.core_start + grid.core + grid.margin, is_last=False))
        if last:
            while self.core_start + grid.core < end:
                windows.append(self._cut(end, is_last=False))
            if self.core_start < end:
                windows.append(self._cut(end, is_last=True))
        return windows

    def _cut(self, stop: int, is_last: bool) -> Window:
        grid = self.grid
        start = max(0, self.core_start - grid.margin)
        core_stop = min(self.core_start + grid.core, stop)
        window = Window(
            samples=self.pending[..., start - self.offset : stop - self.offset],
            offset=start,
            start=self.core_start - start,
            stop=core_stop - start,
            is_last=is_last,
        )
        self.core_start += grid.core
        keep = max(0, self.core_start - grid.margin) - self.offset
        self.pending = self.pending[..., keep:]
        self.offset += keep
        return window
