"""Make a model card from a results file, so that no figure in a card was typed by hand.

    python -m majl_hf.evaluation.model_card results.json -o card.md
    python -m majl_hf.evaluation.model_card results.json -o card.md --check

Options: `--model NAME` if the file contains several models, `--template FILE` (default: `model_cards/MODEL.md.jinja` in
the current folder), `--checkpoint FOLDER` (default: the shipped model of that name), `--benchmark FILE` of
`scripts/benchmark.py` (default: `benchmark.json` beside the results, if it exists), `--check` writes nothing and exits
with 1 if `card.md` does not match the results.

The template gets `card_data` (the metadata block), `model_name`, `model` (the system record: checkpoint_sha256,
revision, num_parameters ...), `run` (the model's first run: date, code_revision, packages ...), `interval` (what the
intervals are), `tables`, each with `title`, `protocol`, `markdown` and `differences`, and the sections that all cards
share: `use`, `outputs`, `limits`, `speed`, `citation` (`card_sections.py`). Runs that read only the first few clips
(`--limit`) and those under a condition are left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..checkpoints import LICENCE_FILES, find_checkpoint
from ..checkpoints.loading import checkpoint_sha256
from ..errors import EvaluationError, MajlError
from ..metrics.statistics import paired_difference
from .card_sections import TEMPLATES, card_sections
from .results import complete_runs, read_results
from .runner import MELODY_METRICS, METRICS, SEPARATION_METRICS

INDEX_METRICS = ("sdr_db", "nsdr_db", "si_sdr_db", "rpa", "rca", "oa")
RESEARCH_LICENCE = "research-non-commercial-training-data"  # licence of the shipped weights
COMPARED_METRICS = ("sdr_db", "rpa", "oa")
_KIND_ORDER = {"model": 0, "rival": 1, "bound": 2}


def make_card(
    results: dict | str | Path,
    template: str,
    model_name: str | None = None,
    checkpoint: str | Path | None = None,
    benchmark: dict | None = None,
) -> str:
    """A model card as Markdown with its metadata block.

    Args:
        results: the content of a results file, or its path.
        template: Jinja text; this module's docstring lists its variables.
        model_name: which model the card is about; may be left out if the results contain only one.
        checkpoint: folder of the model; None for the shipped one of that name.
        benchmark: content of a file of `scripts/benchmark.py`.

    Raises:
        EvaluationError: no complete run of such a model, several models and no name, or no such checkpoint.
    """
    runs = complete_runs(results)
    model_name = _choose_model(runs, model_name)
    own_runs = _of_one_checkpoint(run for run in runs if run["system"]["name"] == model_name)
    licence = {"license": "other", "license_name": RESEARCH_LICENCE, "license_link": LICENCE_FILES[0]}
    return _render(
        template,
        card_data=card_data(model_name, own_runs, **licence),
        model_name=model_name,
        model=own_runs[0]["system"],
        run=own_runs[0],
        interval=own_runs[0]["interval"],
        tables=result_tables(runs, model_name),
        **card_sections(checkpoint or find_checkpoint(model_name), benchmark=benchmark),
    )


def make_model_card(
    checkpoint: str | Path,
    address: str,
    licence: str,
    results: dict | str | Path | None = None,
    base_models: Sequence[str] = (),
    datasets: Sequence[str] = (),
) -> str:
    """The card of a model without its own template.

    Args:
        checkpoint: folder of the model.
        address: its Hub id, `OWNER/NAME`.
        licence: of the weights, for example "cc-by-nc-4.0".
        results: the content of a results file, or its path; runs of this model's weights are used.
        base_models: Hub ids of the models that it was trained from.
        datasets: Hub ids of the datasets that it was trained on.

    Raises:
        EvaluationError: results without a complete run of these weights.
    """
    model_name = address.split("/")[-1]
    runs = [] if results is None else runs_of_weights(results, checkpoint_sha256(checkpoint), model_name)
    own_runs = [run for run in runs if run["system"]["kind"] == "model"]
    return _render(
        (TEMPLATES / "model_card.md.jinja").read_text(encoding="utf-8"),
        card_data=card_data(
            model_name,
            own_runs,
            license=licence,
            base_model=list(base_models) or None,
            base_model_relation="finetune" if base_models else None,
            datasets=list(datasets) or None,
        ),
        model_name=model_name,
        licence=licence,
        interval=own_runs[0]["interval"] if own_runs else "",
        tables=result_tables(runs, model_name),
        **card_sections(checkpoint, address),
    )


def runs_of_weights(results: dict | str | Path, digest: str | None, name: str) -> list[dict]:
    """Complete runs of a checkpoint, renamed to `name`, and of systems that are not models."""
    runs = complete_runs(results)
    own = [
        {**run, "system": {**run["system"], "name": name}}
        for run in runs
        if run["system"].get("checkpoint_sha256") == digest
    ]
    if not own:
        raise EvaluationError(
            f"The results contain no complete run of the weights with SHA-256 {digest}; `majl evaluate` without "
            "--limit adds it."
        )
    return own + [run for run in runs if run["system"]["kind"] != "model"]


def _of_one_checkpoint(runs: Iterable[dict]) -> list[dict]:
    runs = list(runs)
    checkpoints = {run["system"].get("checkpoint_sha256") for run in runs}
    if len(checkpoints) > 1:
        raise EvaluationError(
            f"The runs of {runs[0]['system']['name']!r} come from {len(checkpoints)} different checkpoints; measure "
            "the final one on all corpora again, or give the others different names with --name."
        )
    return runs


def _render(template: str, **values) -> str:
    from huggingface_hub import ModelCard

    return str(ModelCard.from_template(template_str=template, **values)).rstrip() + "\n"


def card_data(model_name: str, runs: list[dict], **metadata):
    """Metadata block of the card: what the Hub indexes, and the model's results with their counts and intervals.

    Args:
        metadata: fields of `huggingface_hub.ModelCardData` besides those that all models of this package share.
    """
    from huggingface_hub import EvalResult, ModelCardData

    eval_results = []
    for run in runs:
        config, _, split = run["split"].rpartition("=")
        on_hub = run.get("on_hub") or {}
        for key in (key for key in INDEX_METRICS if key in run["metrics"]):
            metric, scale = run["metrics"][key], scale_of(key)
            eval_results.append(
                EvalResult(
                    task_type="audio-to-audio",
                    task_name="Music source separation and pitch estimation",
                    dataset_type=on_hub.get("id") or run["dataset"].lower().replace(" ", "-"),
                    dataset_name=run["dataset"],
                    dataset_config=config or None,
                    dataset_split=split,
                    dataset_revision=on_hub.get("revision"),
                    metric_type=key.removesuffix("_db"),
                    metric_name=f"{metric['name']} ({'%' if scale == 100 else metric['unit']})",
                    metric_value=round(metric["mean"] * scale, 3),
                    metric_args={"count": metric["count"], "interval": _rounded_interval(metric, scale)},
                )
            )
    return ModelCardData(
        model_name=model_name,
        library_name="transformers",
        pipeline_tag="audio-to-audio",
        tags=["majl", "music-source-separation", "singing-voice", "pitch-estimation", "f0", "vocals", "karaoke"],
        metrics=[key.removesuffix("_db") for key in METRICS if any(key in run["metrics"] for run in runs)] or None,
        eval_results=eval_results or None,
        **metadata,
    )


def result_tables(runs: list[dict], model_name: str) -> list[dict]:
    """One table per corpus, split and task on which the model was measured, with all systems measured there."""
    tables = []
    for own in (run for run in runs if run["system"]["name"] == model_name):
        same = [run for run in runs if (run["dataset"], run["split"]) == (own["dataset"], own["split"])]
        same.sort(key=lambda run: (run is not own, _KIND_ORDER[run["system"]["kind"]], run["system"]["name"]))
        for task, keys in (("vocals", SEPARATION_METRICS), ("pitch", MELODY_METRICS)):
            keys = [key for key in keys if key in own["metrics"]]
            if keys:
                rows = [run for run in same if keys[0] in run["metrics"]]
                tables.append(
                    {
                        "title": f"{own['dataset']}, {own['split']}: {task}",
                        "protocol": own["protocol"],
                        "markdown": _markdown_table(rows, keys),
                        "differences": _differences(own, rows, [key for key in COMPARED_METRICS if key in keys]),
                    }
                )
    return tables


def _choose_model(runs: list[dict], model_name: str | None) -> str:
    names = sorted({run["system"]["name"] for run in runs if run["system"]["kind"] == "model"})
    if model_name is None and len(names) == 1:
        return names[0]
    if model_name not in names:
        raise EvaluationError(
            f"The results contain complete runs of the models {names or 'none'}; the card needs the name of one, got "
            f"{model_name!r}. `majl evaluate` without --limit adds runs."
        )
    return model_name


def scale_of(key: str) -> int:
    """What a score is multiplied by where it is shown: fractions are in percent."""
    return 100 if METRICS[key][1] == "fraction" else 1


def _rounded_interval(metric: dict, scale: int) -> list[float] | None:
    return None if metric["low"] is None else [round(metric[end] * scale, 3) for end in ("low", "high")]


def _cell(metric: dict | None, scale: int) -> str:
    if metric is None:
        return "-"
    mean = f"{metric['mean'] * scale:.2f}"
    return mean if metric["low"] is None else f"{mean} [{metric['low'] * scale:.2f}, {metric['high'] * scale:.2f}]"


def _markdown_table(runs: list[dict], keys: list[str]) -> str:
    heads = [f"{METRICS[key][0]}, {'%' if scale_of(key) == 100 else METRICS[key][1]}" for key in keys]
    lines = [f"| system | {' | '.join(heads)} | clips | skipped |", "|---" * (len(keys) + 3) + "|"]
    for run in runs:
        first = run["metrics"][keys[0]]
        cells = [_cell(run["metrics"].get(key), scale_of(key)) for key in keys]
        left_out = first["skipped"] + first["non_finite"]
        lines.append(f"| {run['system']['name']} | {' | '.join(cells)} | {first['count']} | {left_out} |")
    return "\n".join(lines)


def _differences(own: dict, runs: list[dict], keys: list[str]) -> list[str]:
    """Sentences on the model minus each other system, clip by clip, where both scored the same clips."""
    sentences = []
    for run in (run for run in runs if run is not own and run["system"]["kind"] != "bound"):
        for key in keys:
            first, second = (_by_clip(side, key) for side in (own, run))
            if len(first) < 2 or first.keys() != second.keys():
                continue
            difference, scale = paired_difference(first, second), scale_of(key)
            unit = "points" if scale == 100 else METRICS[key][1]
            sentences.append(
                f"{METRICS[key][0]} minus that of {run['system']['name']} on the same {difference.count} clips: "
                f"{difference.mean * scale:+.2f} [{difference.low * scale:+.2f}, {difference.high * scale:+.2f}] {unit}"
            )
    return sentences


def _by_clip(run: dict, key: str) -> dict[str, float]:
    return {item["id"]: item[key] for item in run["items"] if item.get(key) is not None}


def _read_benchmark(options: argparse.Namespace) -> dict | None:
    path = options.benchmark or options.results.with_name("benchmark.json")
    if options.benchmark is None and not path.exists():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise EvaluationError(f"{path} is not a benchmark file ({error}); scripts/benchmark.py makes one.") from error


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m majl_hf.evaluation.model_card",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", metavar="NAME")
    parser.add_argument("--template", type=Path)
    parser.add_argument("--checkpoint", type=Path, metavar="FOLDER")
    parser.add_argument("--benchmark", type=Path, metavar="FILE")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    try:
        results = read_results(options.results)
        name = _choose_model(complete_runs(results), options.model)
        template_path = options.template or Path("model_cards") / f"{name}.md.jinja"
        template = template_path.read_text(encoding="utf-8")
        card = make_card(results, template, name, options.checkpoint, _read_benchmark(options))
        if options.check:
            current = options.output.read_text(encoding="utf-8") if options.output.exists() else ""
            if current != card:
                print(f"{options.output} does not match {options.results}; generate it again.", file=sys.stderr)
                return 1
        else:
            options.output.write_text(card, encoding="utf-8")
    except (MajlError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
