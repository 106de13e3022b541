"""What `majl batch` left behind."""

import json
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq

GOOD = ("album/a", "album/b", "c", "d")
BROKEN = ("cut", "empty", "no sound", "text")  # four, each in a way of its own


def manifest_rows(dest: Path) -> dict[str, dict]:
    """The latest row of each song."""
    parts = sorted((dest / "manifest").glob("*.jsonl"))
    rows = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    return {row["name"]: row for row in rows}


def results(dest: Path) -> dict:
    """Everything in a destination that does not depend on when, where and in which order songs were processed."""
    stems = {path.relative_to(dest).as_posix(): path.read_bytes() for path in (dest / "stems").rglob("*.*")}
    labels = [row for part in (dest / "labels").glob("*.parquet") for row in pq.read_table(part).to_pylist()]
    assert max(Counter(row["id"] for row in labels).values(), default=1) == 1, "a song has labels twice"
    facts = ("status", "reason", "run", "input_sha256", "duration_s", "sampling_rate", "num_channels", "warnings")
    rows = {name: [row[fact] for fact in facts] for name, row in manifest_rows(dest).items()}
    return {"stems": stems, "labels": sorted(labels, key=lambda row: row["id"]), "rows": rows}
