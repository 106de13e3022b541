"""Viterbi's algorithm over pitch bins: the exact best path, as a stream.

The path has the greatest sum of log posteriors minus transition costs. The cost of a step is proportional to its size,
up to that of a jump of any size.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np

MERGE_INTERVAL = 256  # frames between two checks whether the paths have merged
MAX_PENDING = 6000  # frames after which the best path so far is taken as final: a bound on memory, one minute at 10 ms
COMPILE_FROM = 40_000  # frames in a process, after which a compiler saves the time that its import takes
LEAST_ROOM = 512  # frames, by which the room for scores grows at least
FEW_BINS = 8  # up to which a search for their origins takes less time than finding out which stay
ROUNDING = 1e-9  # above the rounding errors of scores


def _advance(scores: np.ndarray, emissions: np.ndarray, ramp: np.ndarray, jump_cost: float) -> None:
    """Fill the rows of `scores` after the first, `(1 + num_frames, num_bins)`, each from the one before it and its
    emissions, `(num_frames, num_bins)`; the highest of each is 0."""
    # Every call writes into memory that is there already: the time goes into calls, not into arithmetic.
    ramps = np.stack([ramp, -ramp[::-1]])
    up_ramp, down_ramp = ramps
    ways, peak = np.empty_like(ramps), np.empty(())
    up, down = ways
    for before, after, emission in zip(scores, scores[1:], emissions, strict=False):
        np.add(before, up_ramp, out=up)
        np.add(before[::-1], down_ramp, out=down)
        np.maximum.accumulate(ways, axis=1, out=ways)
        np.subtract(ways, ramps, out=ways)
        np.maximum(up, down[::-1], out=after)
        np.maximum(after, -jump_cost, out=after)
        np.add(after, emission, out=after)
        np.maximum.reduce(after, out=peak)
        np.subtract(after, peak, out=after)


def _advance_bin_by_bin(scores, emissions, ramp, jump_cost):
    """`_advance` in the same arithmetic, for a compiler."""
    num_bins = len(ramp)
    for frame in range(len(emissions)):
        before, after = scores[frame], scores[frame + 1]
        way = -np.inf
        for bin in range(num_bins):
            way = max(way, before[bin] + ramp[bin])
            after[bin] = max(way - ramp[bin], -jump_cost)
        way, peak = -np.inf, -np.inf
        for bin in range(num_bins - 1, -1, -1):
            way = max(way, before[bin] - ramp[bin])
            after[bin] = max(after[bin], way + ramp[bin]) + emissions[frame, bin]
            peak = max(peak, after[bin])
        for bin in range(num_bins):
            after[bin] -= peak


@lru_cache(maxsize=1)
def _compiled_advance() -> Callable | None:
    """`_advance`, compiled by numba: ten times as fast. None where it is not installed or has no folder to cache in."""
    try:
        from numba import njit

        return njit(cache=True, nogil=True)(_advance_bin_by_bin)
    except (ImportError, RuntimeError):
        return None


class Viterbi:
    """The best path, emitted where all surviving paths have merged; the sizes of the pieces do not change it.

    The forward step takes time linear in the number of bins: a cost proportional to the distance is one running
    maximum from below and one from above (the distance transform of Felzenszwalb and Huttenlocher, "Distance
    transforms of sampled functions", 2012), and the jump is one more candidate, the same for all bins. Where a path
    came from is computed in the backward step, only for the bins on the path and among those that a step reaches for
    less than a jump.

    Args:
        num_bins: Number of bins.
        step_cost: Cost in nats of a step from one bin to the next.
        jump_cost: Cost in nats of a step of any size.
    """

    num_frames = 0  # of all paths in this process

    def __init__(self, num_bins: int, step_cost: float, jump_cost: float):
        self.jump_cost = jump_cost
        ramp = np.arange(num_bins) * step_cost
        self.ramp = ramp
        self.costs = np.minimum(np.abs(ramp[:, None] - ramp), jump_cost)
        reach = min(num_bins - 1, int(np.searchsorted(ramp, jump_cost)))  # bins, at which a step costs a jump
        bins = np.arange(num_bins)[:, None]
        self.near = np.clip(bins + np.arange(-reach, reach + 1), 0, num_bins - 1)  # the bins within reach of each
        self.near_costs = np.take_along_axis(self.costs, self.near, axis=1)
        self.scores = np.empty((0, num_bins))  # of the best path into each bin; each frame's highest is 0
        self.num_pending = 0  # frames that are not final: the first rows of `scores`
        self.next_look = MERGE_INTERVAL

    def push(self, emissions: np.ndarray, last: bool = False) -> np.ndarray:
        """Take log posteriors `(num_frames, num_bins)`, return the bins of the frames that are final; with `last`,
        all."""
        decided, start = [], 0
        while start < len(emissions):
            stop = min(len(emissions), start + self.next_look - self.num_pending)
            self._advance(emissions[start:stop])
            start = stop
            if self.num_pending == self.next_look:
                decided.append(self._merged())
        if last and self.num_pending:
            decided.append(self._trace(int(self.scores[self.num_pending - 1].argmax()), self.num_pending))
            self.num_pending = 0
        return np.concatenate(decided) if decided else np.zeros(0, dtype=int)

    def _advance(self, emissions: np.ndarray) -> None:
        """Compute the scores of some more frames."""
        begin, self.num_pending = self.num_pending, self.num_pending + len(emissions)
        if self.num_pending > len(self.scores):
            room = max(self.num_pending, 2 * len(self.scores), LEAST_ROOM)
            self.scores = np.concatenate([self.scores[:begin], np.empty((room - begin, self.scores.shape[1]))])
        if begin == 0 and len(emissions):
            self.scores[0] = emissions[0] - emissions[0].max()
        Viterbi.num_frames += len(emissions)
        advance = (_compiled_advance() if Viterbi.num_frames > COMPILE_FROM else None) or _advance
        first = max(1, begin)
        advance(self.scores[first - 1 : self.num_pending], emissions[first - begin :], self.ramp, self.jump_cost)

    def _margins(self, frame: int) -> np.ndarray:
        """How much better the best path into each bin after `frame` is if it stays there than if it comes from another
        bin, up to rounding."""
        scores = self.scores[frame]
        up = np.maximum.accumulate(scores + self.ramp)
        down = np.maximum.accumulate((scores - self.ramp)[::-1])[::-1]
        others = np.full(len(scores), scores.max() - self.jump_cost)
        others[1:] = np.maximum(others[1:], up[:-1] - self.ramp[1:])
        others[:-1] = np.maximum(others[:-1], down[1:] + self.ramp[:-1])
        return scores - others

    def _origins(self, frame: int, bins: np.ndarray) -> np.ndarray:
        """Bins in the frame before `frame` of the best paths into its `bins`, in any order."""
        if len(bins) > FEW_BINS:
            stays = self._margins(frame - 1)[bins] > ROUNDING
            return np.concatenate([bins[stays], self._searched_origins(frame, bins[~stays])])
        return self._searched_origins(frame, bins)

    def _searched_origins(self, frame: int, bins: np.ndarray) -> np.ndarray:
        scores = self.scores[frame - 1]
        near = self.near[bins]
        totals = scores[near] - self.near_costs[bins]
        rows, places = np.arange(len(bins)), totals.argmax(axis=1)
        origins = near[rows, places]
        jumps = np.flatnonzero(totals[rows, places] <= -self.jump_cost)
        if len(jumps):
            origins[jumps] = (scores - self.costs[bins[jumps]]).argmax(axis=1)
        return origins

    def _trace(self, end: int, num_frames: int) -> np.ndarray:
        """Bins of the first `num_frames` pending frames on the path that is at bin `end` in the last of them."""
        path = np.empty(num_frames, dtype=int)
        path[-1] = end
        reach = self.near.shape[1] // 2
        is_staying = self.costs[0, -1] > 0  # then no other bin is better than a path's own with the highest score
        highest = self.scores[: num_frames - 1].argmax(axis=1).tolist() if is_staying else [-1] * num_frames
        for frame in range(num_frames - 1, 0, -1):
            if highest[frame - 1] != end:
                scores, first = self.scores[frame - 1], max(0, end - reach)
                inside = slice(first, end + reach + 1)
                totals = scores[inside] - self.costs[end, inside]
                place = int(totals.argmax())
                if totals[place] <= -self.jump_cost:
                    totals, first = scores - self.costs[end], 0
                    place = int(totals.argmax())
                end = first + place
            path[frame - 1] = end
        return path

    def _merged(self) -> np.ndarray:
        """Bins of the frames before which all paths have met."""
        # Into all bins of the last frame come paths from no others than these.
        bins = np.flatnonzero(self._margins(self.num_pending - 2) >= -ROUNDING)
        for frame in range(self.num_pending - 2, 0, -1):
            bins = np.unique(self._origins(frame, bins))
            if len(bins) == 1:
                path = self._trace(int(bins[0]), frame)
                self._drop(frame)
                self.next_look = self.num_pending + MERGE_INTERVAL
                return path
        if self.num_pending >= MAX_PENDING:
            path = self._trace(int(self.scores[self.num_pending - 1].argmax()), self.num_pending)[:-1]
            self._drop(self.num_pending - 1)
            self.next_look = MERGE_INTERVAL
            return path
        # Where paths do not merge, as in silence, ever rarer checks keep the work linear in the number of frames.
        self.next_look = min(2 * self.num_pending, MAX_PENDING)
        return np.zeros(0, dtype=int)

    def _drop(self, num_frames: int) -> None:
        """Forget the first pending frames."""
        self.scores = self.scores[num_frames:].copy()
        self.num_pending -= num_frames
