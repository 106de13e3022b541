"""Measure separation and pitch, and keep the figures in a results file.

    python scripts/evaluate.py --model majl-base --output results.json \\
        --mir1k DIR --split-column singer_split --split test
    python scripts/evaluate.py --system mixture --system spleeter-fcpe --output results.json --stems DIR --songs A,B
    python scripts/evaluate.py --model runs/base --output results.json --stem-file "Song.stem.mp4"

What is measured: `--model` a shipped name, a folder or a Hub id; `--system` one of mixture, oracle-mask, spleeter,
spleeter-fcpe, spleeter-swift, fcpe, swift, vocals-fcpe, vocals-swift; all but the first two need their packages, see
majl_hf/evaluation/rivals.py. Both may be given several times. On what: `--mir1k`, `--stems`, `--stem-file`, alone or
together.

Metrics: SDR, NSDR, SI-SDR of the vocals over all channels and the whole clip; RPA, RCA, OA, VR, VFA of the pitch where
the corpus has labels. Each with mean, median, 95 % bootstrap interval and count. OUTPUT gets one run per system and
corpus beside the runs it already holds (a run of the same key is replaced), with every clip's scores, the checkpoint's
SHA-256, the code's commit and the packages' versions. `python -m majl_hf.evaluation.model_card OUTPUT -o card.md`
makes the model card from it. A run with `--limit` is kept under a key of its own and never reported.

Test splits are for the final report: choose and tune on `--split validation`.

Exit code: 0 done, 2 wrong arguments or data that cannot be read.
"""

import argparse
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from majl_hf.errors import MajlError
from majl_hf.evaluation import (
    SYSTEMS,
    Evaluation,
    MajlSystem,
    build_system,
    evaluate_mir1k,
    evaluate_stem_file,
    evaluate_stems,
)
from majl_hf.evaluation.results import make_run, merge_run, run_key


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", action="append", default=[], metavar="NAME_OR_PATH")
    parser.add_argument("--name", help="what the results call the model (default: last part of NAME_OR_PATH)")
    parser.add_argument("--system", action="append", default=[], choices=sorted(SYSTEMS))
    parser.add_argument("--mir1k", type=Path, metavar="DIR")
    parser.add_argument("--split-column", metavar="COLUMN")
    parser.add_argument("--split", metavar="VALUE")
    parser.add_argument("--stems", type=Path, metavar="DIR")
    parser.add_argument("--songs", default="", help="comma-separated names (default: all)")
    parser.add_argument("--stem-file", type=Path, metavar="FILE")
    parser.add_argument("--limit", type=int, help="only the first N clips: a trial")
    parser.add_argument("--policy", help="voicing policy (default: the model's)")
    parser.add_argument("--threshold", type=float, help="voicing threshold (default: the model's)")
    parser.add_argument("--threads", type=int, help="torch threads (default: torch's choice)")
    parser.add_argument("--output", type=Path, required=True, metavar="JSON")
    options = parser.parse_args(arguments)
    if not (options.model or options.system):
        parser.error("nothing to measure: give --model or --system")
    if not (options.mir1k or options.stems or options.stem_file):
        parser.error("nothing to measure on: give --mir1k, --stems or --stem-file")
    if (options.split_column is None) != (options.split is None):
        parser.error("--split-column and --split belong together")
    if options.name and len(options.model) != 1:
        parser.error("--name needs exactly one --model")
    return options


def build_systems(options: argparse.Namespace):
    for name_or_path in options.model:
        yield MajlSystem.from_pretrained(name_or_path, options.policy, options.threshold, options.name)
    for name in options.system:
        yield build_system(name)


def evaluate_all(system, options: argparse.Namespace, on_item):
    if options.mir1k:
        yield evaluate_mir1k(system, options.mir1k, options.split_column, options.split, options.limit, on_item)
    if options.stems:
        songs = [song for song in options.songs.split(",") if song]
        yield evaluate_stems(system, options.stems, songs, options.limit, on_item)
    if options.stem_file:
        yield evaluate_stem_file(system, options.stem_file, on_item)


def result_table(evaluation: Evaluation, run: dict) -> Table:
    title = run_key(evaluation)
    caption = f"{run['num_items']} clips, {run['audio_s']:.0f} s of audio in {run['wall_s']:.0f} s"
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    for heading in ("metric", "mean", "95 % interval", "median", "clips", "skipped"):
        table.add_column(heading, justify="left" if heading == "metric" else "right")
    for metric in run["metrics"].values():
        scale, unit = (100, "%") if metric["unit"] == "fraction" else (1, metric["unit"])
        interval = "" if metric["low"] is None else f"{metric['low'] * scale:.2f} to {metric['high'] * scale:.2f}"
        table.add_row(
            f"{metric['name']}, {unit}",
            f"{metric['mean'] * scale:.2f}",
            interval,
            f"{metric['median'] * scale:.2f}",
            str(metric["count"]),
            str(metric["skipped"] + metric["non_finite"]),
        )
    return table


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    console, progress_console = Console(), Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[status]}"), TimeElapsedColumn())
    try:
        for system in build_systems(options):
            tables = []
            with Progress(
                *columns, console=progress_console, transient=True, disable=not progress_console.is_terminal
            ) as progress:
                task = progress.add_task(system.name, total=None, status="")
                done = []

                def on_item(item, progress=progress, task=task, done=done):
                    done.append(item.duration_s)
                    progress.update(task, status=f"{len(done)} clips, {sum(done):.0f} s of audio")

                for evaluation in evaluate_all(system, options, on_item):
                    run = make_run(evaluation, system)
                    merge_run(options.output, run_key(evaluation), run)
                    tables.append(result_table(evaluation, run))
            console.print(*tables, sep="\n")
    except (MajlError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
