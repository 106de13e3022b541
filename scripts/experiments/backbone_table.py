"""A table of all parts that come with the package: parameters, work, and on demand speed.

    python scripts/experiments/backbone_table.py          # model_cards/backbones.md and its results
    python scripts/experiments/backbone_table.py --speed  # with the real-time factor of a forward pass here

Work is in GMAC per second of audio: billions of multiply-adds of a forward pass over ten seconds, divided by ten,
without the Fourier transforms. Speed is measured anew for all parts or kept from the last time; run it on an idle
machine. Quality is that of the pairs that ablations trained, from `results/ablation_*.json`.
"""

from __future__ import annotations

import argparse
import json
import platform
from pathlib import Path

import torch
from ablation.card import read_all

import majl_hf  # noqa: F401
from majl_hf.backbone_facts import SECONDS, describe_presets, gmac_per_second, real_time_factor
from majl_hf.system.files import write_atomically

ROOT = Path(__file__).parents[2]
TITLES = {"separator": "Separators", "pitch_estimator": "Pitch estimators"}


def measure(speed: bool, before: dict) -> dict:
    """All facts; speeds are those of `before` unless they are asked for."""
    known = {fact["name"]: fact for fact in before.get("presets", [])}
    presets = []
    for fact in describe_presets():
        if fact["model_type"].startswith("majl-foreign"):
            continue  # not networks of this package
        if "note" in fact:
            raise SystemExit(f"{fact['name']} cannot be built: {fact['note']}")
        fact["gmac_per_second"] = round(gmac_per_second(fact["name"]), 4)
        fact["real_time_factor"] = known.get(fact["name"], {}).get("real_time_factor")
        if speed:
            fact["real_time_factor"] = round(real_time_factor(fact["name"]), 5)
        print(json.dumps(fact), flush=True)
        presets.append(fact)
    machine = before.get("speed_measured_on")
    if speed:
        machine = f"{torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}"
    return {"seconds": SECONDS, "speed_measured_on": machine, "presets": presets}


def table(results: dict) -> str:
    """The page."""
    lines = [
        "# Separators and pitch estimators",
        "",
        "Written by `scripts/experiments/backbone_table.py`. A preset goes into a configuration by its name:",
        '`MajlConfig(separator_config="resunet-small", pitch_estimator_config="crepe-tiny")`. GMAC/s: billions of',
        f"multiply-adds of a forward pass for each second of audio, over {results['seconds']} s, without Fourier "
        "transforms. Context: what a",
        "part sees to each side.",
    ]
    has_speed = any(fact["real_time_factor"] is not None for fact in results["presets"])
    if has_speed:
        lines += ["", f"Real-time factor of a forward pass: {results['speed_measured_on']}."]
    for kind, title in TITLES.items():
        own = ["Hz", "channels"] if kind == "separator" else ["hop, ms", "bins", "first bin, Hz"]
        columns = ["preset", "parameters, M", "GMAC/s", *own, "context, s"] + ["real-time factor"] * has_speed
        lines += ["", f"## {title}", "", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
        for fact in results["presets"]:
            if fact["kind"] != kind:
                continue
            if kind == "separator":
                own = [str(fact["sampling_rate"]), str(fact["num_channels"])]
            else:
                hop_ms = 1000 * fact["hop_length"] / fact["sampling_rate"]
                own = [f"{hop_ms:g}", f"{fact['num_bins']} of {fact['bin_cents']:.4g} cents"]
                own += [f"{fact['first_bin_hz']:.2f}"]
            context = "unbounded" if fact["context_s"] is None else f"{fact['context_s']:.2f}"
            cells = [f"`{fact['name']}`", f"{fact['num_parameters'] / 1e6:.2f}", f"{fact['gmac_per_second']:.3g}"]
            cells += [*own, context]
            if has_speed:
                factor = fact["real_time_factor"]
                cells.append("" if factor is None else f"{factor:.4f}")
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def quality(ablations: list[dict]) -> str:
    """The pairs of parts that ablations trained, with naive joint training and with full MAJL, on validation clips."""
    lines = [
        "## Trained pairs",
        "",
        "Means over seeds and whole validation clips, the same for all, after budgets that a pair's rows share;",
        "budgets, intervals and other rows are in [ablations.md](ablations.md).",
        "",
        "| pair | separator | pitch estimator | training | seeds | SDR, dB | RPA, % | OA, % |",
        f"|{'---|' * 8}",
    ]
    for results in ablations:
        cells = results["splits"].get("validation", {"cells": {}})["cells"]
        for name in (results["references"][0], results["main"]):
            if name not in cells:
                continue
            figures = [cells[name]["metrics"][metric]["mean"] for metric in ("sdr_db", "rpa", "oa")]
            facts = [results["title"], *(f"`{part}`" for part in results["parts"]), results["cells"][name]["title"]]
            facts += [str(len(cells[name]["seeds"])), f"{figures[0]:.2f}", *(f"{100 * f:.1f}" for f in figures[1:])]
            lines.append(f"| {' | '.join(facts)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speed", action="store_true", help="measure real-time factors, on an idle machine")
    parser.add_argument("--threads", type=int, help="threads to compute with")
    parser.add_argument("--folder", type=Path, default=ROOT / "model_cards", help="where the table is written")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    path = arguments.folder / "results" / "backbones.json"
    before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    results = measure(arguments.speed, before)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(results, indent=1) + "\n")
    page = table(results)
    if any(path.parent.glob("ablation_*.json")):
        page += "\n" + quality(read_all(path.parent))
    write_atomically(arguments.folder / "backbones.md", page)


if __name__ == "__main__":
    main()
