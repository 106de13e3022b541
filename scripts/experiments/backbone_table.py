"""A table of all parts that come with the package: parameters, work and, on request, speed.

    python scripts/experiments/backbone_table.py          # model_cards/backbones.md and its results
    python scripts/experiments/backbone_table.py --speed  # with the real-time factor of a forward pass here
    python scripts/experiments/backbone_table.py --report-only

Work is in GMAC per second of audio: billions of multiply-adds of a forward pass over ten seconds, divided by ten,
without the Fourier transforms. Speed is either measured for all parts or kept from the last time; measure it on an idle
machine, with torch's default number of threads. Quality is that of the pairs that ablations trained, from
`results/ablation_*.json`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import time
from pathlib import Path
from unittest import mock

import torch
from ablation.card import read_all
from markdown_tables import table
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, PreTrainedModel

from majl_hf.cli.models import describe_presets, part_without_memory
from majl_hf.models.presets_majl import preset_config
from majl_hf.system.files import write_atomically, write_json

SECONDS = 10  # of audio that work and speed are measured on
ROOT = Path(__file__).parents[2]
TITLES = {"separator": "Separators", "pitch_estimator": "Pitch estimators"}


def measure(speed: bool, before: dict) -> dict:
    """All facts; speeds are those of `before` unless `speed` is set."""
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


def gmac_per_second(name: str) -> float:
    """Billions of multiply-adds of one forward pass, for each second of audio. Fourier transforms are not counted.

    Raises:
        ImportError: a package that the part needs is not installed.
    """
    part = part_without_memory(name)
    recurrent = [_count_instead(layer) for layer in part.modules() if isinstance(layer, torch.nn.RNNBase)]
    with torch.no_grad(), _runs_without_values(), FlopCounterMode(display=False) as counter:
        part(torch.zeros(_input_shape(part), device="meta"))
    num_macs = counter.get_total_flops() / 2 + sum(sum(counts) for counts in recurrent)
    return num_macs / SECONDS / 1e9


@contextlib.contextmanager
def _runs_without_values():
    """Stand-ins for functions that fail on tensors without values: `istft`, which reads them, and autocast, which does
    not support their device."""
    with (
        mock.patch.object(torch, "istft", _istft_shape),
        mock.patch.object(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext()),
        mock.patch.object(torch, "is_autocast_enabled", lambda *args: False),
    ):
        yield


def _istft_shape(spectrum: torch.Tensor, *args, length: int, **kwargs) -> torch.Tensor:
    """Shape of the output of `torch.istft`, which itself would read values."""
    return spectrum.real.new_zeros(*spectrum.shape[:-2], length)


def _count_instead(layer: torch.nn.RNNBase) -> list[int]:
    """Let a recurrent layer return only a shape, and append its multiply-adds to the returned list: every weight is
    used once per step. Counting step by step would take minutes, and a fused kernel is not counted at all."""
    num_weights = sum(parameter.numel() for key, parameter in layer.named_parameters() if key.startswith("weight"))
    num_outputs = layer.hidden_size * (2 if layer.bidirectional else 1)
    counts = []

    def forward(states: torch.Tensor) -> tuple[torch.Tensor, None]:
        counts.append(num_weights * states.shape[0] * states.shape[1])
        return states.new_zeros(*states.shape[:2], num_outputs), None

    layer.forward = forward
    return counts


def real_time_factor(name: str, num_passes: int = 3) -> float:
    """Seconds of computing for each second of audio, the fastest of `num_passes` forward passes on random weights with
    torch's current number of threads. Meaningful only on an idle machine."""
    torch.manual_seed(0)
    part = AutoModel.from_config(preset_config(name)).eval()
    audio = 0.1 * torch.randn(_input_shape(part))
    seconds = []
    with torch.inference_mode():
        for _ in range(num_passes + 1):  # one to warm up
            start = time.perf_counter()
            part(audio)
            seconds.append(time.perf_counter() - start)
    return min(seconds[1:]) / SECONDS


def _input_shape(part: PreTrainedModel) -> tuple[int, ...]:
    """Shape of `SECONDS` of one recording."""
    config = part.config
    channels = (config.num_channels,) if hasattr(config, "num_channels") else ()
    return (1, *channels, SECONDS * config.sampling_rate)


def parts_page(results: dict) -> list[str]:
    """Lines of the page: a table of separators and one of pitch estimators."""
    lines = [
        "# Separators and pitch estimators",
        "",
        "Written by `scripts/experiments/backbone_table.py`. A preset goes into a configuration by its name:",
        '`MajlConfig(separator_config="resunet-small", pitch_estimator_config="crepe-tiny")`. GMAC/s: billions of',
        f"multiply-adds of a forward pass for each second of audio, over {results['seconds']} s, without Fourier "
        "transforms. Context: what a",
        "part sees to each side.",
    ]
    if results["speed_measured_on"]:
        lines += ["", f"Real-time factor of a forward pass: {results['speed_measured_on']}."]
    for kind, title in TITLES.items():
        facts = [fact for fact in results["presets"] if fact["kind"] == kind]
        own = ["Hz", "channels"] if kind == "separator" else ["hop, ms", "bins", "first bin, Hz"]
        columns = ["preset", "parameters, M", "GMAC/s", *own, "context, s", "real-time factor"]
        lines += ["", f"## {title}", "", *table(columns, map(part_cells, facts))]
    return lines


def part_cells(fact: dict) -> list[str]:
    if fact["kind"] == "separator":
        own = [fact["sampling_rate"], fact["num_channels"]]
    else:
        hop_ms = 1000 * fact["hop_length"] / fact["sampling_rate"]
        own = [f"{hop_ms:g}", f"{fact['num_bins']} of {fact['bin_cents']:.4g} cents", f"{fact['first_bin_hz']:.2f}"]
    context = "unbounded" if fact["context_s"] is None else f"{fact['context_s']:.2f}"
    factor = "" if fact["real_time_factor"] is None else f"{fact['real_time_factor']:.4f}"
    work = [f"{fact['num_parameters'] / 1e6:.2f}", f"{fact['gmac_per_second']:.3g}"]
    return [f"`{fact['name']}`", *work, *own, context, factor]


def pairs_page(ablations: list[dict]) -> list[str]:
    """Lines about the pairs of parts that ablations trained, with naive joint training and with full MAJL, on
    validation clips."""
    rows = []
    for results in ablations:
        cells = results["splits"].get("validation", {"cells": {}})["cells"]
        for name in (results["references"][0], results["main"]):
            if name in cells:
                sdr_db, *shares = (cells[name]["metrics"][metric]["mean"] for metric in ("sdr_db", "rpa", "oa"))
                pair = [results["title"], *(f"`{part}`" for part in results["parts"])]
                figures = [f"{sdr_db:.2f}", *(f"{100 * share:.1f}" for share in shares)]
                rows.append([*pair, results["cells"][name]["title"], len(cells[name]["seeds"]), *figures])
    return [
        "## Trained pairs",
        "",
        "Means over seeds and whole validation clips, the same for all, after budgets that a pair's rows share;",
        "budgets, intervals and other rows are in [ablations.md](ablations.md).",
        "",
        *table(["pair", "separator", "pitch estimator", "training", "seeds", "SDR, dB", "RPA, %", "OA, %"], rows),
    ]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--speed", action="store_true", help="measure real-time factors, on an idle machine")
    what.add_argument("--report-only", action="store_true", help="make the page from the existing results")
    parser.add_argument("--folder", type=Path, default=ROOT / "model_cards", help="where the table is written")
    options = parser.parse_args(arguments)
    path = options.folder / "results" / "backbones.json"
    results = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    if not options.report_only:
        results = measure(options.speed, results)
        write_json(path, results)
    lines = [*parts_page(results), "", *pairs_page(read_all(path.parent))]
    write_atomically(options.folder / "backbones.md", "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
