"""The results file: `{"runs": {key: run}}`, JSON, one run per system, dataset and split.

Every number in a card comes from such a file. A run contains what was measured (metrics with count and interval,
every clip), on what (dataset, split, protocol), with what (system, checkpoint, code, package versions), and when.
"""

from __future__ import annotations

import json
import math
import platform
from datetime import UTC, datetime
from pathlib import Path

import torch

from ..errors import EvaluationError
from ..metrics.statistics import LEVEL, NUM_RESAMPLES
from ..system.files import write_atomically
from ..system.provenance import code_revision, package_versions
from .runner import METRICS, Evaluation


def run_key(evaluation: Evaluation) -> str:
    """`SYSTEM/DATASET/SPLIT`, with `/CONDITION` if there is one, and `/first-N` if only the first N clips were read."""
    key = f"{evaluation.system}/{evaluation.dataset}/{evaluation.split}"
    if evaluation.condition is not None:
        key += f"/{evaluation.condition}"
    return key if evaluation.limit is None else f"{key}/first-{evaluation.limit}"


def make_run(evaluation: Evaluation, system) -> dict:
    """The record of one evaluation, ready for JSON.

    Args:
        system: the system that was evaluated; its `kind` and `provenance`, if any, go into the record.
    """
    audio_s = sum(item.duration_s for item in evaluation.items)
    wall_s = sum(item.wall_s for item in evaluation.items)
    metrics = {}
    for key, summary in evaluation.summary().items():
        name, unit = METRICS[key]
        metrics[key] = {"name": name, "unit": unit, **summary.to_dict(), "skipped": evaluation.skipped(key)}
    return {
        "system": {
            "name": evaluation.system,
            "kind": getattr(system, "kind", "rival"),
            **getattr(system, "provenance", {}),
        },
        "dataset": evaluation.dataset,
        "on_hub": evaluation.on_hub and dict(zip(("id", "revision"), evaluation.on_hub, strict=True)),
        "split": evaluation.split,
        "protocol": evaluation.protocol,
        "limit": evaluation.limit,
        "condition": evaluation.condition,
        "interval": f"{LEVEL:.0%} percentile bootstrap of the mean, {NUM_RESAMPLES} resamples, by clip",
        "metrics": metrics,
        "gnsdr_db": evaluation.gnsdr_db,
        "num_items": len(evaluation.items),
        "audio_s": audio_s,
        "wall_s": wall_s,
        "real_time_factor": wall_s / audio_s if audio_s else None,
        "num_threads": torch.get_num_threads(),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_revision": code_revision(),
        "python": platform.python_version(),
        "packages": package_versions(),
        "items": [
            {
                "id": item.id,
                "song": item.song,
                "duration_s": item.duration_s,
                "wall_s": item.wall_s,
                **{name: value if math.isfinite(value) else None for name, value in item.scores.items()},
                **({"skipped": item.skipped} if item.skipped else {}),
            }
            for item in evaluation.items
        ],
    }


def complete_runs(results: dict | str | Path) -> list[dict]:
    """The runs of a results file, or of its content, that read whole corpora as they are: without a limit and without a
    condition."""
    if not isinstance(results, dict):
        results = read_results(results)
    return [run for run in results["runs"].values() if run["limit"] is None and run.get("condition") is None]


def read_results(path: str | Path) -> dict:
    """A results file.

    Raises:
        EvaluationError: missing, not JSON, or without "runs".
    """
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # not JSON, or not even text
        raise EvaluationError(f"{path} cannot be read as results ({error}); `majl evaluate` writes them.") from error
    if not isinstance(results, dict) or not isinstance(results.get("runs"), dict):
        raise EvaluationError(f"{path} is not a results file: it needs an object with 'runs'.")
    return results


def merge_run(path: str | Path, key: str, run: dict) -> None:
    """Add `run` to the results file under `key`, replacing a run with the same key. The file is written atomically, so
    that a reader or a crash never sees half of it."""
    path = Path(path)
    results = read_results(path) if path.exists() else {"runs": {}}
    results["runs"][key] = run
    results["runs"] = dict(sorted(results["runs"].items()))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
