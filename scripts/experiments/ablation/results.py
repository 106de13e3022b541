"""What the runs of a matrix came to, as one JSON file: every figure of the card, and the scores that it is made from.

    {"name", "title", "about", "seeds", "budget", "corpus", "target", "interval", ...,
     "cells": {CELL: {"title", "stages", "steps", "items", "audio_s", "training_s", "labelling_s", ...}},
     "splits": {SPLIT: {"protocol", "clips", "cells": {CELL: {"seeds", "metrics", "differences", "scores"}},
                        "verdict"}}}

Metrics are in dB or fractions. A row counts with the seeds that are scored; a difference to another row is over the
seeds that both have, seed by seed and clip by clip.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from majl_hf.errors import MajlError
from majl_hf.metrics.statistics import LEVEL, NUM_RESAMPLES, estimate
from majl_hf.models.configuration_majl import MajlConfig
from majl_hf.rows.writing import read_plan
from majl_hf.system.files import write_atomically
from majl_hf.system.provenance import code_revision, package_versions

from .config import AblationConfig
from .plan import Run, budgets, corpus_folder, plan_run, start_folder
from .run import STAGE_FILE

METRICS = ("sdr_db", "rpa", "oa")
SPLITS = ("validation", "test")
_DECIMALS = 4  # of kept scores


def results_path(folder: str | Path, name: str) -> Path:
    return Path(folder) / f"ablation_{name}.json"


def collect_results(config: AblationConfig) -> dict:
    """The results of all runs that are scored.

    Raises:
        MajlError: nothing is scored yet, or runs that were scored on different clips.
    """
    runs = {cell: [plan_run(config, cell, seed) for seed in config.seeds] for cell in config.cells}
    splits = {split: _split(config, runs, split) for split in SPLITS}
    splits = {split: content for split, content in splits.items() if content["cells"]}
    if not splits:
        raise MajlError(f"Nothing is scored in {config.out} yet; give the command without --report-only first.")
    scored = [cell for cell in config.cells if any(cell in content["cells"] for content in splits.values())]
    start = MajlConfig.from_pretrained(_config_folder(start_folder(config, config.seeds[0])))
    spent = budgets(config, start.sampling_rate)
    facts = read_plan(corpus_folder(config))
    return {
        "name": config.name,
        "title": config.title,
        "about": config.about,
        "seeds": list(config.seeds),
        "start": "random weights, other ones for each seed" if config.start.parts else Path(config.start.model).name,
        "parts": [start.separator_config.model_type, start.pitch_estimator_config.model_type],
        "budget": config.budget.model_dump(),
        "corpus": {**config.corpus.model_dump(exclude={"rows"}), "counts": facts["counts"], "songs": facts["songs"]},
        "references": list(config.references),
        "main": config.main,
        "target": config.target,
        "cluster": config.evaluate.cluster,
        "interval": f"{LEVEL:.0%} percentile bootstrap, {NUM_RESAMPLES} resamples of seeds and "
        f"{config.evaluate.cluster}s",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_revision": code_revision(),
        "packages": package_versions(),
        "cells": {
            cell: {"title": config.cells[cell].title, **asdict(spent[cell]), "steps": spent[cell].steps,
                   **_costs(runs[cell])}
            for cell in scored
        },
        "splits": splits,
    }  # fmt: skip


def write_results(path: Path, results: Mapping) -> None:
    """Write results as JSON, lists of numbers on one line each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results, indent=1, ensure_ascii=False, allow_nan=False)
    text = re.sub(r"\[\s*((?:(?:-?[\d.e+-]+|null),?\s*)+)\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    write_atomically(path, text + "\n")


def _config_folder(name: str) -> str:
    from majl_hf.checkpoints import find_checkpoint

    return find_checkpoint(name)


def _costs(runs: list[Run]) -> dict:
    """Means over the seeds that are trained, with the revisions they were trained by; losses at start and end."""
    stages = [
        [json.loads((stage.folder / STAGE_FILE).read_text(encoding="utf-8")) for stage in run.stages]
        for run in runs
        if all((stage.folder / STAGE_FILE).is_file() for stage in run.stages)
    ]

    def mean(name: str) -> float | None:
        totals = [sum(stage[name] for stage in of_run) for of_run in stages if all(s[name] is not None for s in of_run)]
        return round(float(np.mean(totals)), 1) if totals else None

    return {
        "training_s": mean("training_s"),
        "labelling_s": mean("labelling_s"),
        "threads": sorted({stage["threads"] for of_run in stages for stage in of_run}),
        "revisions": sorted({str(stage["code_revision"]) for of_run in stages for stage in of_run}),
        "losses": [[stage["losses"] for stage in of_run] for of_run in stages],
        "pseudo_rows": [[stage["pseudo_rows"] for stage in of_run] for of_run in stages],
    }


def _split(config: AblationConfig, runs: Mapping[str, list[Run]], split: str) -> dict:
    """Figures of a split: `cells` is empty where nothing is scored on it."""
    items: dict[str, dict[int, list[dict]]] = {}
    for cell, of_cell in runs.items():
        for run in of_cell:
            path = run.scores_file(split)
            if path.is_file():
                content = json.loads(path.read_text(encoding="utf-8"))
                if content["digest"] != run.digest:
                    raise MajlError(f"{path} is of a run with other settings; delete {run.folder} and train it again.")
                items.setdefault(cell, {})[run.seed] = content["items"]
    if not items:
        return {"cells": {}}
    ids = [item["id"] for item in next(iter(next(iter(items.values())).values()))]
    for cell, by_seed in items.items():
        for seed, of_run in by_seed.items():
            if [item["id"] for item in of_run] != ids:
                raise MajlError(
                    f"{cell}, seed {seed} was scored on other {split} clips than {next(iter(items))}; delete its "
                    f"scores_{split}.json and give the command again."
                )
    first = next(iter(next(iter(items.values())).values()))
    clusters = [item["id"] if config.evaluate.cluster == "clip" else item[config.evaluate.cluster] for item in first]
    cells = {cell: _cell(config, items, cell, clusters) for cell in items}
    corpus = getattr(config.evaluate, split)
    return {
        "protocol": {**corpus.model_dump(mode="json", exclude={"folder"}), "folder": Path(corpus.folder).name},
        "num_clips": len(first),
        "minutes": round(sum(item["duration_s"] for item in first) / 60, 2),
        "num_songs": len({item["song"] for item in first}),
        "num_singers": len({item["singer"] for item in first}),
        "clips": [{"id": item["id"], "song": item["song"], "singer": item["singer"]} for item in first],
        "cells": cells,
        "verdict": judge(config, cells),
    }


def _cell(config: AblationConfig, items: Mapping[str, Mapping[int, list[dict]]], cell: str, clusters) -> dict:
    seeds = [seed for seed in config.seeds if seed in items[cell]]
    differences = {}
    for reference in config.references:
        common = [seed for seed in seeds if seed in items.get(reference, {})]
        if reference != cell and common:
            differences[reference] = {"seeds": common} | {
                metric: asdict(
                    estimate(matrix(items[cell], common, metric) - matrix(items[reference], common, metric), clusters)
                )
                for metric in METRICS
            }
    return {
        "seeds": seeds,
        "metrics": {metric: asdict(estimate(matrix(items[cell], seeds, metric), clusters)) for metric in METRICS},
        "differences": differences,
        "scores": {metric: _kept(matrix(items[cell], seeds, metric)) for metric in METRICS},
    }


def matrix(by_seed: Mapping[int, list[dict]], seeds: list[int], metric: str) -> np.ndarray:
    """Scores (num_seeds, num_clips), NaN where a clip has none."""
    return np.array([[item.get(metric, np.nan) for item in by_seed[seed]] for seed in seeds], dtype=np.float64)


def _kept(scores: np.ndarray) -> list[list[float | None]]:
    """Scores for JSON, None where a clip has none."""
    return [[None if np.isnan(value) else round(float(value), _DECIMALS) for value in row] for row in scores]


def judge(config: AblationConfig, cells: Mapping[str, Mapping]) -> dict | None:
    """Whether `main` reaches the target over the first reference: for each metric the difference, the margin and
    whether it is `met`; `is_sure` where the interval's lower end reaches it too. None where one is not scored."""
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
