"""majl-base and the separators and pitch trackers of other packages side by side, on the same clips.

    python scripts/experiments/compare_rivals.py --real-songs DIR --mir1k DIR           # 33 min, two busy cores
    python scripts/experiments/compare_rivals.py --real-songs DIR --mir1k DIR --quick   # a few clips, two minutes
    python scripts/experiments/compare_rivals.py --report-only

Real songs, as stems, for separation; the validation clips of MIR-1K's `singer_split` for separation and pitch. Test
splits are not read. Systems are those of `majl evaluate --system`; one whose package or weights are missing is listed
with the reason, and `--weights demucs=PATH` adds it. Finished pairs of system and corpus are skipped: run the same
command again to resume, and delete a run from the results file to measure it again.

The results and the card that is made from them:

    model_cards/results/rivals.json    and    model_cards/rivals.md
    runs/rivals_quick.json             and    runs/rivals_quick.md, with --quick

Exit code: 0 done, 1 an error in the options or the data.
"""

import argparse
import hashlib
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

import majl_hf  # noqa: F401  (before transformers)
from majl_hf.errors import EvaluationError, MajlError

ROOT = Path(__file__).parents[2]
OURS = "majl-base"
SEPARATORS = ("mixture", "oracle-mask", OURS, "spleeter", "open-unmix", "demucs", "roformer")
ALONE = ("melodia", "swift", "fcpe", "praat", "crepe_tiny")  # trackers on the mixture
AFTER = ("swift", "fcpe", "praat", "crepe_tiny")  # the same after a separator and on the true vocals
NUM_QUICK = {"stems": 3, "mir1k": 5}  # clips


def parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real-songs", type=Path, metavar="DIR", help="songs as vocals and accompaniment")
    parser.add_argument("--mir1k", type=Path, metavar="DIR", help="MIR-1K")
    parser.add_argument("--weights", action="append", default=[], metavar="NAME=PATH", help="of a separator")
    parser.add_argument("--quick", action="store_true", help="a few clips, drawn by a fixed seed")
    parser.add_argument("--report-only", action="store_true", help="make the card from the existing results")
    parser.add_argument("--results", type=Path, metavar="JSON")
    parser.add_argument("--card", type=Path, metavar="FILE")
    options = parser.parse_args(arguments)
    if not options.report_only and options.real_songs is None and options.mir1k is None:
        parser.error("give --real-songs, --mir1k or both, or --report-only")
    results, card = (ROOT / "runs/rivals_quick.json", ROOT / "runs/rivals_quick.md") if options.quick else (
        ROOT / "model_cards/results/rivals.json", ROOT / "model_cards/rivals.md"
    )  # fmt: skip
    options.results, options.card = options.results or results, options.card or card
    return options


class Sample:
    """A corpus reduced to a few tracks, drawn by a fixed seed; otherwise the corpus itself."""

    def __init__(self, corpus, count: int):
        self.corpus, self.count = corpus, count

    def __getattr__(self, name: str):
        return getattr(self.corpus, name)

    def load(self) -> list:
        tracks = list(self.corpus.load())
        drawn = np.random.default_rng(0).permutation(len(tracks))[: self.count]
        return [tracks[number] for number in sorted(drawn)]


class Remembered:
    """A separator that separates each clip once for all trackers; `saved_s` has the seconds that each call saved."""

    def __init__(self, separator):
        self.separator, self.known, self.saved_s = separator, {}, []
        self.provenance = getattr(separator, "provenance", {})

    def __call__(self, mixture: np.ndarray, sampling_rate: int) -> np.ndarray:
        key = hashlib.sha256(mixture.tobytes()).digest()
        vocals, spent_s = self.known.get(key, (None, 0.0))
        if vocals is None:
            start = time.perf_counter()
            vocals = self.separator(mixture, sampling_rate)
            self.known[key] = vocals, time.perf_counter() - start
        self.saved_s.append(spent_s)
        return vocals


def plan(weights: dict) -> list[tuple[str, tuple[str, ...]]]:
    """Systems, and the kinds of the corpora on which each is measured."""
    heard = ["spleeter", OURS, *weights, "vocals"]
    return [
        *((name, ("stems", "mir1k")) for name in SEPARATORS),
        *((name, ("mir1k",)) for name in ALONE),
        *((f"{separator}-{tracker}", ("mir1k",)) for separator in heard for tracker in AFTER),
    ]


def measure(options: argparse.Namespace) -> None:
    """Measure what is not in the results file yet, and store there why the rest cannot run."""
    from majl_hf.evaluation import CascadeSystem, build_system, evaluate
    from majl_hf.evaluation.registry import weights_by_name
    from majl_hf.evaluation.results import make_run, merge_run, read_results, run_key
    from majl_hf.evaluation.runner import Evaluation, describe_corpus
    from majl_hf.mixing.config import FOLDERS
    from majl_hf.system.files import write_json

    weights = weights_by_name(options.weights)
    corpora = {}
    if options.real_songs is not None:
        corpora["stems"] = FOLDERS["stems"](folder=str(options.real_songs))
    if options.mir1k is not None:
        split = {"split_column": "singer_split", "split_value": "validation"}
        corpora["mir1k"] = FOLDERS["mir1k"](folder=str(options.mir1k), **split)
    if options.quick:
        corpora = {kind: Sample(corpus, NUM_QUICK[kind]) for kind, corpus in corpora.items()}
    limit_of = {kind: NUM_QUICK[kind] if options.quick else None for kind in corpora}
    not_run, separators = {}, {}
    for name, kinds in plan(weights):
        keys = {
            kind: run_key(Evaluation(name, *describe_corpus(corpora[kind]), limit_of[kind], []))
            for kind in kinds
            if kind in corpora
        }
        done = read_results(options.results)["runs"] if options.results.exists() else {}
        if not (pending := [kind for kind, key in keys.items() if key not in done]):
            continue
        try:
            system = build_system(name, weights)
        except (EvaluationError, ImportError) as error:
            not_run[name] = str(error)
            print(f"{name}: not run. {error}", flush=True)
            continue
        separator = None
        if isinstance(system, CascadeSystem) and system.separator is not None:
            heard = name if system.tracker is None else name.rpartition("-")[0]
            separator = system.separator = separators.setdefault(heard, Remembered(system.separator))
        for kind in pending:
            evaluation = evaluate(system, corpora[kind], limit=limit_of[kind])
            if separator is not None:
                saved_s, separator.saved_s = separator.saved_s, []
                pairs = zip(evaluation.items, saved_s, strict=True)
                items = [replace(item, wall_s=item.wall_s + saved) for item, saved in pairs]
                evaluation = replace(evaluation, items=items)
            run = make_run(evaluation, system)
            merge_run(options.results, keys[kind], run)
            means = ", ".join(f"{metric} {facts['mean']:.3f}" for metric, facts in run["metrics"].items())
            print(f"{keys[kind]}: {means}, {run['wall_s']:.0f} s", flush=True)
    if options.results.exists():
        write_json(options.results, read_results(options.results) | {"not_run": not_run})


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    from rivals_card import make_card

    from majl_hf.evaluation.results import read_results
    from majl_hf.system.files import write_atomically

    try:
        if not options.report_only:
            measure(options)
        write_atomically(options.card, make_card(read_results(options.results)))
    except MajlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(options.card)
    return 0


if __name__ == "__main__":
    sys.exit(main())
