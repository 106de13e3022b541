"""The results of a matrix as one JSON file: every figure of the card, and the scores that it is computed from.

    {"name", "title", "about", "seeds", "budget", "corpus", "target", "interval", ...,
     "cells": {CELL: {"title", "stage_steps", "steps", "items", "audio_s", "training_s", "labelling_s", ...}},
     "splits": {SPLIT: {"protocol", "clips", "cells": {CELL: {"seeds", "metrics", "differences", "scores"}},
                        "verdict"}}}

Metrics are in dB or fractions. A variant counts with the seeds that are scored; a difference to another variant is over
the seeds that both have, seed by seed and clip by clip.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from majl_hf.errors import MajlError
from majl_hf.metrics.statistics import LEVEL, NUM_RESAMPLES, estimate
from majl_hf.rows.writing import read_plan
from majl_hf.system.files import write_atomically
from majl_hf.system.provenance import code_revision, package_versions

from .config import AblationConfig, plan_run
from .run import read_record

METRICS = ("sdr_db", "rpa", "oa")
_DECIMALS = 4  # of stored scores

Scores = Mapping[str, Mapping[int, list[dict]]]
"""Variant -> seed -> the scores of each clip."""


def write_results(config: AblationConfig, folder: Path) -> Path:
    """Write `collect_results` to `ablation_NAME.json` in a folder, lists of numbers on one line each."""
    text = json.dumps(collect_results(config), indent=1, ensure_ascii=False, allow_nan=False)
    text = re.sub(r"\[\s*((?:(?:-?[\d.e+-]+|null),?\s*)+)\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"ablation_{config.name}.json"
    write_atomically(path, text + "\n")
    return path


def collect_results(config: AblationConfig) -> dict:
    """The results of all runs that are scored.

    Raises:
        MajlError: nothing is scored yet, or runs were scored on different clips or made with other settings.
    """
    records = {
        cell: {seed: read_record(plan_run(config, cell, seed)) for seed in config.seeds} for cell in config.cells
    }
    splits = {}
    for split in ("validation", "test"):
        scores = {
            cell: {seed: record["scores"][split] for seed, record in of_cell.items() if split in record["scores"]}
            for cell, of_cell in records.items()
        }
        if scores := {cell: of_cell for cell, of_cell in scores.items() if of_cell}:
            splits[split] = _split(config, scores, split)
    if not splits:
        raise MajlError(f"Nothing is scored in {config.out} yet; run the command without --report-only first.")
    model, start, plan = config.start.get("model"), config.start_config(), read_plan(Path(config.corpus.out))
    settings = {"name", "title", "about", "seeds", "budget", "references", "main", "target"}
    return {
        **config.model_dump(mode="json", include=settings),
        "start": Path(model).name if model else "random weights, other ones for each seed",
        "parts": [start.separator_config.model_type, start.pitch_estimator_config.model_type],
        "corpus": config.corpus.model_dump(exclude={"rows", "out"}) | {n: plan[n] for n in ("counts", "songs")},
        "cluster": config.evaluate.cluster,
        "interval": f"{LEVEL:.0%} percentile bootstrap, {NUM_RESAMPLES} resamples of seeds and "
        f"{config.evaluate.cluster}s",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_revision": code_revision(),
        "packages": package_versions(),
        "cells": {
            cell: {
                "title": config.cells[cell].title,
                **config.spent(cell, start.sampling_rate),
                **_costs([record for record in of_cell.values() if record["scores"]]),
            }
            for cell, of_cell in records.items()
            if any(cell in content["cells"] for content in splits.values())
        },
        "splits": splits,
    }


def _costs(records: Sequence[Mapping]) -> dict:
    """Mean seconds of the seeds trained without interruption, revisions, and dataset rows that got pseudo labels."""
    runs = [list(record["stages"].values()) for record in records]

    def mean_s(name: str) -> float | None:
        seconds = [[stage.get(name, 0.0) for stage in run] for run in runs]
        totals = [sum(of_run) for of_run in seconds if None not in of_run]
        return round(float(np.mean(totals)), 1) if totals else None

    return {
        "training_s": mean_s("training_s"),
        "labelling_s": mean_s("labelling_s"),
        "revisions": sorted({str(stage["revision"]) for run in runs for stage in run}),
        "pseudo_rows": [[stage["pseudo_rows"] for stage in run if "pseudo_rows" in stage] for run in runs],
    }


def _split(config: AblationConfig, scores: Scores, split: str) -> dict:
    """Figures of a split."""
    clips = next(iter(next(iter(scores.values())).values()))
    for cell, by_seed in scores.items():
        for seed, items in by_seed.items():
            if [item["id"] for item in items] != [clip["id"] for clip in clips]:
                raise MajlError(
                    f"{cell}, seed {seed} was scored on other {split} clips than {next(iter(scores))}; remove these "
                    "scores from its run.json and run the command again."
                )
    cluster = config.evaluate.cluster
    clusters = [clip["id" if cluster == "clip" else cluster] for clip in clips]
    cells = {cell: _cell(config, scores, cell, clusters) for cell in scores}
    corpus = getattr(config.evaluate, split)
    return {
        "protocol": {**corpus.model_dump(mode="json"), "folder": Path(corpus.folder).name},
        "num_clips": len(clips),
        "minutes": round(sum(clip["duration_s"] for clip in clips) / 60, 2),
        "num_songs": len({clip["song"] for clip in clips}),
        "num_singers": len({clip["singer"] for clip in clips}),
        "clips": [{name: clip[name] for name in ("id", "song", "singer")} for clip in clips],
        "cells": cells,
        "verdict": _verdict(config, cells),
    }


def _cell(config: AblationConfig, scores: Scores, cell: str, clusters: Sequence[str]) -> dict:
    def values(cell: str, seeds: Collection[int], metric: str) -> np.ndarray:
        """(num_seeds, num_clips), NaN where a clip has no score."""
        return np.array([[item.get(metric, np.nan) for item in scores[cell][seed]] for seed in seeds], dtype=np.float64)

    differences = {}
    for reference in config.references:
        seeds = [seed for seed in scores[cell] if seed in scores.get(reference, {})]
        if reference != cell and seeds:
            differences[reference] = {"seeds": seeds} | {
                metric: asdict(estimate(values(cell, seeds, metric) - values(reference, seeds, metric), clusters))
                for metric in METRICS
            }
    own = {metric: values(cell, scores[cell], metric) for metric in METRICS}
    return {
        "seeds": list(scores[cell]),
        "metrics": {metric: asdict(estimate(of_metric, clusters)) for metric, of_metric in own.items()},
        "differences": differences,
        "scores": {
            metric: [
                [None if np.isnan(value) else round(value, _DECIMALS) for value in row] for row in of_metric.tolist()
            ]
            for metric, of_metric in own.items()
        },
    }


def _verdict(config: AblationConfig, cells: Mapping[str, Mapping]) -> dict | None:
    """Whether `main` reaches the target over the first reference: for each metric the difference, the margin and
    whether it is `met`; `is_sure` if the interval's lower end also reaches it. None if one of them is not scored."""
    difference = cells.get(config.main, {}).get("differences", {}).get(config.references[0])
    if difference is None or not config.target:
        return None
    metrics = {
        metric: {
            "margin": margin,
            "difference": difference[metric]["mean"],
            "met": difference[metric]["mean"] >= margin,
            "is_sure": difference[metric]["low"] is not None and difference[metric]["low"] >= margin,
        }
        for metric, margin in config.target.items()
    }
    return {"metrics": metrics, "seeds": difference["seeds"], "met": all(m["met"] for m in metrics.values())}
