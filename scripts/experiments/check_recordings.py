"""How far separation and pitch depend on how a recording was made and what it went through.

    python scripts/experiments/check_recordings.py --mir1k DIR --split-column singer_split --split validation
    python scripts/experiments/check_recordings.py --stems DIR --conditions level-40 left mp3

The table states the paired differences to the plain clips with their 95 % intervals over songs, for each condition of
`majl_hf.evaluation.conditions`. Scores are those of `majl evaluate`.
"""

import argparse
from pathlib import Path

import numpy as np

import majl_hf  # noqa: F401  (before transformers)
from majl_hf.evaluation.conditions import CONDITIONS

METRICS = {"sdr_db": ("SDR, dB", 1), "rpa": ("RPA, points", 100)}  # heading and factor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="majl-base", help="shipped name, folder or Hub id")
    parser.add_argument("--mir1k", help="folder of MIR-1K")
    parser.add_argument("--split-column", help="column of clips.csv")
    parser.add_argument("--split", help="its value")
    parser.add_argument("--stems", help="folder of songs as vocals and accompaniment")
    parser.add_argument("--limit", type=int, help="only so many clips")
    parser.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=list(CONDITIONS), metavar="NAME")
    options = parser.parse_args()
    if (options.mir1k is None) == (options.stems is None):
        parser.error("give --mir1k or --stems")

    from majl_hf.evaluation import MajlSystem, evaluate
    from majl_hf.metrics.statistics import estimate
    from majl_hf.mixing.config import FOLDERS

    if options.mir1k is not None:
        values = {"split_column": options.split_column, "split_value": options.split}
        corpus = FOLDERS["mir1k"](folder=options.mir1k, **values)
    else:
        corpus = FOLDERS["stems"](folder=options.stems)
    system = MajlSystem.from_pretrained(options.model)
    plain = evaluate(system, corpus, METRICS, limit=options.limit)
    metrics = [name for name in METRICS if any(name in item.scores for item in plain.items)]
    songs = [item.song for item in plain.items]

    def scores(evaluation, metric):
        return np.array([[item.scores.get(metric, np.nan) for item in evaluation.items]])

    means = ", ".join(f"{metric} {np.nanmean(scores(plain, metric)):.3f}" for metric in metrics)
    print(f"{Path(options.model).name} on {len(songs)} clips of {Path(corpus.folder).name}, plain: {means}", flush=True)
    headings = [heading for heading, _ in map(METRICS.get, metrics)]
    print(f"| condition | {' | '.join(headings)} |\n|---|{'---:|' * len(metrics)}", flush=True)
    for name in options.conditions:
        changed = evaluate(system, corpus, metrics, limit=options.limit, condition=name)
        cells = []
        for metric in metrics:
            difference = estimate(METRICS[metric][1] * (scores(changed, metric) - scores(plain, metric)), songs)
            mean = "-" if difference.mean is None else f"{difference.mean:+.2f}"
            interval = "" if difference.low is None else f" [{difference.low:+.2f}, {difference.high:+.2f}]"
            cells.append(mean + interval)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
