"""The card of all ablations, made from their results files alone, so that no figure in it was typed by hand."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from markdown_tables import table, with_interval

from majl_hf.errors import MajlError

_UNITS = {"sdr_db": ("SDR, dB", 1.0), "rpa": ("RPA, %", 100.0), "oa": ("OA, %", 100.0)}
_POINTS = {"sdr_db": "dB", "rpa": "points", "oa": "points"}
_HEAD = """# Ablations of MAJL

Made by `scripts/experiments/ablate.py` from the files `results/ablation_*.json` beside it, which also contain the
scores of every clip and seed; `scripts/experiments/ablate.py CONFIG --report-only` writes it again. Each section has
one starting point: all its variants have the same optimiser steps, items and seeds, start from the same weights and are
scored on the same whole clips. Variants with several stages divide the steps among them; a variant with 0 steps is the
starting point itself. Pseudo labels cost additional time, which is stated.

SDR is that of the vocals over the whole clip, RPA and OA are `mir_eval`'s. The decoder and its voicing threshold are
the same for all variants and calibrated for none. Each section names the code that its variants were trained with: DWHS
before `4645477` weighed frames by blame and hardness of posteriors as they are.
"""


def read_all(folder: Path) -> list[dict]:
    """The content of all results files of a folder, in fixed order.

    Raises:
        MajlError: there are none, or one cannot be read.
    """
    results = []
    for path in sorted(folder.glob("ablation_*.json"), reverse=True):
        try:
            results.append(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise MajlError(
                f"{path} cannot be read ({error}); run scripts/experiments/ablate.py for it again."
            ) from error
    if not results:
        raise MajlError(
            f"{folder} has no ablation_*.json; run scripts/experiments/ablate.py with a configuration first."
        )
    return results


def make_card(results: Sequence[Mapping]) -> str:
    """Markdown of results files."""
    return _HEAD + "".join(f"\n{section(one)}" for one in results)


def section(results: Mapping) -> str:
    """Markdown of one results file."""
    lines = [f"## {results['title']}", ""]
    if results["about"]:
        lines += [results["about"].strip(), ""]
    lines += [*_facts(results), ""]
    for split, content in reversed(results["splits"].items()):
        lines += [f"### {split.capitalize()}", "", *_split(results, content), ""]
    lines += ["### Cost of each variant", "", *_costs(results)]
    return "\n".join(lines) + "\n"


def _facts(results: Mapping) -> list[str]:
    budget, corpus = results["budget"], results["corpus"]
    trained = [cell for cell in results["cells"].values() if cell["steps"]]
    counts = ", ".join(
        f"{count['songs']} songs ({count['rows']} rows, {count['minutes']:.1f} min) {what}"
        for what, count in zip(
            ("with everything", "with stems alone", "with mixture and pitch alone"),
            corpus["counts"].values(),
            strict=True,
        )
    )
    lines = [
        f"- Parts: `{results['parts'][0]}` and `{results['parts'][1]}`; start: {results['start']}.",
        f"- Training songs, assigned by seed {corpus['seed']}, no song in two groups: {counts}.",
        f"- Budget: {budget['steps']} steps of {budget['batch_size']} items",
        f"- Seeds: {', '.join(map(str, results['seeds']))}, of items, their order and random weights.",
        f"- Intervals: {results['interval']}.",
        f"- Code `{results['code_revision']}`, {results['date'][:10]}, torch {results['packages'].get('torch')}.",
    ]
    if trained:
        lines[2] += f", {trained[0]['items']} items or {trained[0]['audio_s'] / 3600:.2f} h of audio; equal, checked."
    return lines


def _split(results: Mapping, content: Mapping) -> list[str]:
    cells, first = content["cells"], results["references"][0]
    titles = {cell: facts["title"] for cell, facts in results["cells"].items()}
    lines = [
        f"{content['num_clips']} whole clips of {content['num_songs']} songs and {content['num_singers']} singers, "
        f"{content['minutes']:.1f} min.",
        "",
        *table(
            ["variant", "seeds:", *(f"{name}:" for name, _ in _UNITS.values())],
            [[titles[cell], len(f["seeds"]), *_figures(f["metrics"], ".2f")] for cell, f in cells.items()],
        ),
    ]
    for reference in results["references"]:
        rows = [(titles[cell], f["differences"].get(reference)) for cell, f in cells.items()]
        if rows := [[title, *_figures(difference, "+.2f")] for title, difference in rows if difference]:
            lines += ["", f"Differences to {titles[reference]}, paired over seeds and clips:", ""]
            lines += table(["variant", "SDR, dB:", "RPA, points:", "OA, points:"], rows)
    if content["verdict"] is not None:
        lines += ["", _verdict(content["verdict"], titles[results["main"]], titles[first])]
    return lines


def _figures(figures: Mapping, form: str) -> list[str]:
    """A variant's means with their intervals."""
    return [
        with_interval(*(figures[metric][key] for key in ("mean", "low", "high")), scale, form)
        for metric, (_, scale) in _UNITS.items()
    ]


def _verdict(verdict: Mapping, main: str, reference: str) -> str:
    """The target in words."""
    words = []
    for metric, facts in verdict["metrics"].items():
        scale, unit, name = _UNITS[metric][1], _POINTS[metric], _UNITS[metric][0].partition(",")[0]
        sure = ", also at the interval's lower end" if facts["is_sure"] else ""
        words.append(
            f"{name} {scale * facts['difference']:+.2f} {unit} where {scale * facts['margin']:+.2f} are required "
            f"({'met' if facts['met'] else 'not met'}{sure})"
        )
    seeds = f"{len(verdict['seeds'])} {'seed' if len(verdict['seeds']) == 1 else 'seeds'}"
    outcome = "met" if verdict["met"] else "not met"
    return f"**Target {outcome}**, {main} over {reference}, {seeds}: {'; '.join(words)}."


def _costs(results: Mapping) -> list[str]:
    rows = []
    for facts in results["cells"].values():
        steps = " + ".join(map(str, facts["stage_steps"])) or "0"
        minutes = ["" if facts[name] is None else f"{facts[name] / 60:.1f}" for name in ("training_s", "labelling_s")]
        revisions = [f"`{name[:8]}{'-dirty' * name.endswith('-dirty')}`" for name in facts["revisions"]]
        rows.append([facts["title"], steps, facts["items"], *minutes, ", ".join(revisions)])
    columns = ["variant", "steps:", "items:", "training, min:", "pseudo labels, min:", "code"]
    return [
        *table(columns, rows),
        "",
        "Minutes are means over the seeds on a machine that other work may have shared.",
    ]
