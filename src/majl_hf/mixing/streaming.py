"""Training items from rows in the order of the epoch, each row once: for corpora larger than the disk, or the Hub.

Conventions
    A pass is a seeded permutation of all rows, of which rank r of w processes takes every w-th from the r-th on; the
    next pass follows without a break. Item i of epoch e is number `e * len(dataset) + i` of that sequence, and one
    epoch is one pass unless the configuration gives a length.
    An item is a function of (seed, pass, number) and of the rows near it in the sequence (`buffer_mb` of them), which
    its own row is mixed with. It is planned from the rows' metadata alone. So nothing depends on the number of workers,
    each of which reads only what its own items use, and a resumed run does not read what it skips.
    With `labelled_probability`, a nearby voice with a pitch label replaces a solo voice, as in the other dataset.

Traps
    Without `length`, ranks may differ by one item per epoch, but synchronised training needs equal numbers: set it.
    A loader whose batch size differs from the dataset's returns the batches in another order.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from ..corpora.tracks import Track
from ..errors import ConfigError
from .config import MixingConfig
from .items import Mixtures, Pool, TrackPool, normalised, to_item
from .transforms import Segment


def process_rank() -> tuple[int, int]:
    """(rank, world size) of torch.distributed, else of the launcher's environment, else (0, 1)."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return torch.distributed.get_rank(), torch.distributed.get_world_size()
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))


@dataclass(frozen=True)
class _Lead:
    """The item's own recording; what follows it comes from `others`."""

    track: Track
    others: Pool

    def draw(self, rng: np.random.Generator, other_than: str | None = None, first: bool = True) -> Track:
        return self.track if first else self.others.draw(rng, other_than, first)


@dataclass(frozen=True)
class _Pass:
    """One rank's rows of a pass, in order: `rows` are numbers of rows, `items` the places of those that are items,
    `ends` the cumulative bytes at the end of each."""

    rows: np.ndarray
    items: np.ndarray
    ends: np.ndarray

    def window(self, place: int, num_bytes: float) -> np.ndarray:
        """Rows around `place` that take about `num_bytes`; near an end of the pass, more of them on one side."""
        first = min(self.ends[place] - num_bytes / 2, self.ends[-1] - num_bytes)
        begin = int(np.searchsorted(self.ends, max(first, 0.0), side="right"))
        end = int(np.searchsorted(self.ends, max(first, 0.0) + num_bytes, side="right"))
        return self.rows[min(begin, place) : max(end, place + 1)]


class StreamingMixtureDataset(Mixtures, IterableDataset):
    """Mixtures from rows, each of which leads one item per pass; otherwise as `items.JointMixtureDataset`.

    Args:
        config: sources of kind "rows", which are opened in place, without download; `length` items per epoch of this
            process, by default one pass.
        batch_size: of the loader: worker k of n makes the batches k, k + n, ...
        rank, world_size: of this process; by default those of `process_rank`.

    Raises:
        CorpusError: from the rows, with the name of the file.
        ConfigError: as for `items.Mixtures`; fewer rows than processes.
        ValueError: a rank outside the world size.
    """

    def __init__(
        self,
        config: MixingConfig,
        batch_size: int,
        rank: int | None = None,
        world_size: int | None = None,
    ) -> None:
        if rank is None or world_size is None:
            rank, world_size = process_rank()
        if not 0 <= rank < world_size:
            raise ValueError(
                f"The rank is {rank} of a world size of {world_size}; it needs to be 0 to {world_size - 1}."
            )
        self._sources = [source.load(download=False) for source in config.sources]
        super().__init__(config, self._sources)
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        self._bytes = np.array([self._info(row).num_bytes for row in range(len(self._songs))], dtype=np.float64)
        totals = np.bincount(self._group_of, self._weights)
        shares = np.array([group.weight for group in self._groups]) / totals
        self._shares = normalised(shares[self._group_of] * self._weights)
        self._num_items = len(self._share_of_rank(np.flatnonzero(self._shares > 0)))
        if self._num_items == 0:
            raise ConfigError(f"{(self._shares > 0).sum()} rows cannot be shared by {world_size} processes.")
        self._plan: tuple[int, _Pass] | None = None

    def __len__(self) -> int:
        return self.config.length or self._num_items

    def seek(self, item: int) -> None:
        """Begin at item `item` of the epoch from now on, for a resumed run that has used the items before it."""
        if not 0 <= item <= len(self):
            raise ValueError(f"Item {item} does not exist; an epoch has {len(self)}, numbered from 0.")
        self._state[1] = item

    def __iter__(self) -> Iterator[dict[str, torch.Tensor | str]]:
        worker = get_worker_info()
        number, count = (0, 1) if worker is None else (worker.id, worker.num_workers)
        for source in self._sources:
            source.cache_bytes = int(self.config.buffer_mb * 1e6 / len(self._sources) / count)
        first = int(self._state[1])
        for item in range(first, len(self)):
            if (item - first) // self.batch_size % count == number:
                yield to_item(self.draw(item))

    def draw(self, item: int) -> Segment:
        """Draw item `item` of the current epoch, with both parts."""
        plan, number, pass_number = self._place(item)
        place = int(plan.items[number])
        row = int(plan.rows[place])
        seed = [self.config.seed, pass_number, number * self.world_size + self.rank]
        window = plan.window(place, self.config.buffer_mb * 1e6)
        window = window[window != row]

        def of_group(group: int) -> TrackPool:
            return self._near(self._members[group], self._weights, window, plan, place)

        def labelled() -> TrackPool | None:
            return self._near(self._labelled, self._durations_s, window, plan, place) if self._labelled.any() else None

        group = int(self._group_of[row])
        others = of_group(group)
        rng = np.random.default_rng(np.random.SeedSequence(seed))
        return self._mix(rng, group, _Lead(self._open(row), others), others, of_group, labelled)

    def _info(self, row: int):
        return self._groups[self._group_of[row]].tracks.info[self._index_of[row]]

    def _share_of_rank(self, rows: np.ndarray) -> np.ndarray:
        return rows[self.rank :: self.world_size]

    def _near(self, wanted: np.ndarray, weights: np.ndarray, window: np.ndarray, plan: _Pass, place: int) -> TrackPool:
        """The wanted rows in the window; else the nearest one; else, if this rank has none, all of them."""
        rows = window[wanted[window] & (weights[window] > 0)]
        if len(rows) == 0:
            places = np.flatnonzero(wanted[plan.rows])
            others = places[plan.rows[places] != plan.rows[place]]
            places = others if len(others) else places
            rows = plan.rows[places[[np.abs(places - place).argmin()]]] if len(places) else np.flatnonzero(wanted)
        return self._pool(rows, np.maximum(weights, np.finfo(np.float32).tiny))

    def _place(self, item: int) -> tuple[_Pass, int, int]:
        """For an item of the current epoch: its pass, its number in that pass, and the number of the pass."""
        pass_number, number = divmod(self.epoch * len(self) + item, self._num_items)
        if self._plan is None or self._plan[0] != pass_number:
            self._plan = (pass_number, self._make_pass(pass_number))
        return self._plan[1], number, pass_number

    def _make_pass(self, number: int) -> _Pass:
        rng = np.random.default_rng(np.random.SeedSequence([self.config.seed, number]))
        visited = np.flatnonzero(self._shares > 0)
        if self.config.visits == "weighted":
            # Equal steps through the weights: each row comes as often as its weight says, rounded up or down.
            steps = (np.arange(len(visited)) + rng.random()) / len(visited)
            ends = np.cumsum(self._shares[visited])
            visited = visited[np.searchsorted(ends / ends[-1], steps, side="right").clip(max=len(visited) - 1)]
        visited = self._share_of_rank(rng.permutation(visited))
        # Rows of weight 0 are only mixed with other rows; they are spread evenly between them.
        lent = self._share_of_rank(rng.permutation(np.flatnonzero(self._shares == 0)))
        times = [(np.arange(len(rows)) + 0.5) / max(len(rows), 1) for rows in (visited, lent)]
        order = np.argsort(np.concatenate(times), kind="stable")
        rows = np.concatenate([visited, lent])[order]
        items = np.flatnonzero(order < len(visited))
        return _Pass(rows, items, np.cumsum(self._bytes[rows]))
