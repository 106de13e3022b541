"""Results of `majl evaluate` as `.eval_results/*.yaml`, which the Hub shows beside a model, one file for each dataset.

Only datasets that were read from the Hub have a file (`majl evaluate --rows OWNER/NAME`): an entry needs the dataset's
id. All figures are also in the card's `model-index`, which needs none.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from ..evaluation.model_card import INDEX_METRICS, scale_of

# The Hub ranks models only on datasets that it has registered, each with the framework that computes the scores, and it
# knows no framework for separation or for pitch.
NOT_REGISTERED = "self-reported; the dataset is not a registered benchmark"


def eval_result_files(runs: Iterable[dict], source_url: str) -> dict[str, str]:
    """Path in the repository -> YAML.

    Args:
        runs: complete runs of the model from a results file.
        source_url: where the results file is.
    """
    import yaml
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    by_dataset = defaultdict(list)
    for run in (run for run in runs if run.get("on_hub")):
        for key in (key for key in INDEX_METRICS if key in run["metrics"]):
            by_dataset[run["on_hub"]["id"]].append(
                EvalResultEntry(
                    dataset_id=run["on_hub"]["id"],
                    dataset_revision=run["on_hub"]["revision"],
                    task_id=f"{run['split']}_{key.removesuffix('_db')}",
                    value=round(run["metrics"][key]["mean"] * scale_of(key), 3),
                    date=run["date"],
                    source_url=source_url,
                    source_name="scores of every clip",
                    notes=_notes(run, key),
                )
            )
    return {
        f".eval_results/{dataset.replace('/', '--')}.yaml": yaml.safe_dump(
            eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True, width=120
        )
        for dataset, entries in by_dataset.items()
    }


def _notes(run: dict, key: str) -> str:
    metric, scale = run["metrics"][key], scale_of(key)
    unit = "%" if scale == 100 else metric["unit"]
    interval = ""
    if metric["low"] is not None:
        interval = f" [{metric['low'] * scale:.2f}, {metric['high'] * scale:.2f}]"
    return (
        f"{metric['name']} in {unit}{interval}, split {run['split']}, {metric['count']} clips; {run['protocol']}; "
        f"{NOT_REGISTERED}"
    )
