"""What the experiments' cards share: tables in Markdown, means with their intervals, and how results are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from majl_hf.system.files import write_atomically, write_json


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of a table; a column whose name ends in a colon is right-aligned."""
    lines = [f"| {' | '.join(name.removesuffix(':') for name in columns)} |"]
    lines.append(f"|{'|'.join('---:' if name.endswith(':') else '---' for name in columns)}|")
    return lines + [f"| {' | '.join(map(str, cells))} |" for cells in rows]


def with_interval(
    mean: float, low: float | None, high: float | None, scale: float = 1.0, form: str = ".1f", unit: str = ""
) -> str:
    """`mean unit [low, high]`, times `scale` and formatted by `form`; without the interval if there is none."""
    text = f"{scale * mean:{form}}{unit}"
    return text if low is None else f"{text} [{scale * low:{form}}, {scale * high:{form}}]"


def write_results(path: Path, results: Mapping, text: str) -> None:
    """Write results as JSON and, beside it, their `text` as Markdown, which is also printed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, results)
    write_atomically(path.with_suffix(".md"), text)
    print(text)
