"""How much is in a corpus, counted by split, corpus and label kind: for checks, cards and reports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .shards import SPLITS

Key = tuple[str, str, str]  # split, corpus, label kind


@dataclass
class Amount:
    """Rows, seconds of audio as time passes (not times the number of parts), and bytes of encoded audio and labels."""

    num_rows: int = 0
    duration_s: float = 0.0
    num_bytes: int = 0

    def add(self, num_rows: int, duration_s: float, num_bytes: int = 0) -> None:
        self.num_rows += num_rows
        self.duration_s += duration_s
        self.num_bytes += num_bytes

    @property
    def minutes(self) -> float:
        return self.duration_s / 60

    @property
    def bytes_per_minute(self) -> float:
        return self.num_bytes / self.minutes if self.duration_s else 0.0


class Amounts(dict[Key, Amount]):
    """An `Amount` for each (split, corpus, label kind) that occurs."""

    def add(self, split: str, corpus: str, label_kind: str, duration_s: float, num_bytes: int = 0) -> None:
        """Count one row."""
        self.setdefault((split, corpus, label_kind), Amount()).add(1, duration_s, num_bytes)

    def in_order(self) -> Iterator[tuple[Key, Amount]]:
        """By split in the order of `SPLITS`, then by name."""
        order = {split: number for number, split in enumerate(SPLITS)}
        yield from sorted(self.items(), key=lambda item: (order.get(item[0][0], len(order)), item[0]))

    def total(self, split: str = "", corpus: str = "", label_kind: str = "") -> Amount:
        """The sum of what is asked for; empty asks for all."""
        wanted, total = (split, corpus, label_kind), Amount()
        for key, amount in self.items():
            if all(not asked or asked == value for asked, value in zip(wanted, key, strict=True)):
                total.add(amount.num_rows, amount.duration_s, amount.num_bytes)
        return total
