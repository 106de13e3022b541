"""How far separation and pitch depend on how a recording was made: its level, channels, polarity, DC offset, rumble.

    python scripts/experiments/check_recordings.py --mir1k DIR --split-column singer_split --split validation
    python scripts/experiments/check_recordings.py --stems DIR --conditions level-40 left

Each condition changes the mixture of every clip in a way that changes nothing that is heard as music, separates it, and
undoes the change in the vocals. The table states the paired differences to the plain clips with their 95 % intervals
over songs. Scores are those of `majl evaluate`.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import majl_hf  # noqa: F401  (before transformers)

Array = np.ndarray


def gain(db: float) -> "Condition":
    factor = np.float32(10 ** (db / 20))
    return Condition(lambda mixture, vocals, times_s: mixture * factor, lambda vocals: vocals / factor)


def panned(db: float) -> "Condition":
    """The right channel `db` below the left one; -inf for silence."""
    factor = np.float32(10 ** (db / 20))
    return Condition(
        lambda mixture, vocals, times_s: _stereo(mixture) * np.array([[1], [factor]], np.float32),
        lambda vocals: vocals[:1],
    )


def added(signal: Callable[[Array], Array]) -> "Condition":
    return Condition(lambda mixture, vocals, times_s: mixture + signal(times_s).astype(np.float32), lambda v: v)


@dataclass(frozen=True)
class Condition:
    """`change(mixture, vocals, times_s)` makes the recording, `undo(vocals)` the vocals of the plain clip; arrays are
    (num_channels, num_samples)."""

    change: Callable[[Array, Array, Array], Array]
    undo: Callable[[Array], Array]


CONDITIONS = {
    **{f"level{db:+d}": gain(db) for db in (-80, -60, -40, -20, 20, 40, 90)},
    "left": panned(-np.inf),
    **{f"right{db:+d}": panned(db) for db in (-30, -20, -10, 10, 30)},
    "inverted": Condition(
        lambda mixture, vocals, times_s: _stereo(mixture) * np.array([[1], [-1]], np.float32), lambda v: v[:1]
    ),
    "voice-inverted": Condition(
        lambda mixture, vocals, times_s: np.concatenate([_mono(mixture), _mono(mixture) - 2 * _mono(vocals)]),
        lambda v: v[:1],
    ),
    "voice-left": Condition(
        lambda mixture, vocals, times_s: np.concatenate([_mono(vocals), _mono(mixture) - _mono(vocals)]),
        lambda v: v.sum(axis=0, keepdims=True),
    ),
    "dc": added(lambda times_s: np.full(len(times_s), 0.1)),
    "rumble": added(lambda times_s: 0.1 * np.cos(2 * np.pi * 8 * times_s)),
}


def _mono(audio: Array) -> Array:
    return audio.mean(axis=0, keepdims=True)


def _stereo(audio: Array) -> Array:
    return np.repeat(_mono(audio), 2, axis=0)


class ChangedSystem:
    """A system that is given changed mixtures and whose vocals are changed back."""

    needs_vocals = True

    def __init__(self, system, condition: Condition | None, name: str):
        self.system, self.condition, self.name = system, condition, name

    def __call__(self, mixture, sampling_rate, vocals):
        if self.condition is None:
            return self.system(mixture, sampling_rate)
        changed = self.condition.change(mixture, vocals, np.arange(mixture.shape[1]) / sampling_rate)
        output = self.system(changed.astype(np.float32), sampling_rate)
        undone = self.condition.undo(output.vocals)
        return replace(output, vocals=np.broadcast_to(undone, mixture.shape) if len(undone) < len(mixture) else undone)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="majl-base", help="shipped name, folder or Hub id")
    parser.add_argument("--mir1k", help="folder of MIR-1K")
    parser.add_argument("--split-column", help="column of clips.csv")
    parser.add_argument("--split", help="its value")
    parser.add_argument("--stems", help="folder of songs as vocals and accompaniment; scored as mono")
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
    metrics = ("sdr_db", "rpa")
    plain = evaluate(ChangedSystem(system, None, "plain"), corpus, limit=options.limit)
    songs = [item.song for item in plain.items]

    def scores(evaluation, metric):
        return np.array([[item.scores.get(metric, np.nan) for item in evaluation.items]])

    means = ", ".join(f"{metric} {np.nanmean(scores(plain, metric)):.3f}" for metric in metrics)
    print(f"{Path(options.model).name} on {len(songs)} clips of {Path(corpus.folder).name}, plain: {means}", flush=True)
    print("| condition | SDR, dB | RPA, points |\n|---|---:|---:|", flush=True)
    for name in options.conditions:
        changed = evaluate(ChangedSystem(system, CONDITIONS[name], name), corpus, limit=options.limit)
        cells = []
        for metric, scale in (("sdr_db", 1), ("rpa", 100)):
            difference = estimate(scale * (scores(changed, metric) - scores(plain, metric)), songs)
            mean = "-" if difference.mean is None else f"{difference.mean:+.2f}"
            interval = "" if difference.low is None else f" [{difference.low:+.2f}, {difference.high:+.2f}]"
            cells.append(mean + interval)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
