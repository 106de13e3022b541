"""Run a system over a corpus, whole clips one after the other, and score each.

Conventions
    MIR-1K: mixture = left + right, one channel at 16 kHz, vocals = right channel, melody against the hand labels.
    Stems and stem files: mixture = vocals + accompaniment with all their channels; no melody.
    Rows of a built corpus: by their kind; without stems the mixture alone, and the melody where there is a label.
    A clip on which a system fails stops the run: a mean over the clips that happened to work is not a result. Only a
    silent reference (separation) or one without a voiced frame (melody) is skipped, with its reason.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np

from ..errors import EvaluationError
from ..metrics.melody import melody_scores
from ..metrics.separation import separation_scores
from ..metrics.statistics import Summary, summarise
from ..mixing.clips import ValidationClip, iter_validation_clips
from ..mixing.config import Corpus
from .conditions import CONDITIONS
from .systems import System, SystemOutput

# Name and unit of every score, in the order of the tables.
METRICS: dict[str, tuple[str, str]] = {
    "sdr_db": ("SDR", "dB"),
    "nsdr_db": ("NSDR", "dB"),
    "si_sdr_db": ("SI-SDR", "dB"),
    "rpa": ("RPA", "fraction"),
    "rca": ("RCA", "fraction"),
    "oa": ("OA", "fraction"),
    "vr": ("VR", "fraction"),
    "vfa": ("VFA", "fraction"),
}
SEPARATION_METRICS = ("sdr_db", "nsdr_db", "si_sdr_db")
MELODY_METRICS = ("rpa", "rca", "oa", "vr", "vfa")
OCTAVE_FREE_METRICS = ("rca", "vr", "vfa")  # valid for a label whose octave is unreliable


@dataclass(frozen=True)
class ItemScores:
    """Scores of one clip.

    Args:
        id, song, singer: of the clip in its corpus.
        duration_s: length of the clip.
        wall_s: time that the system took, in seconds.
        scores: by the keys of `METRICS`, without those that are undefined for the system or the reference.
        skipped: "separation" or "melody" -> why the clip does not count there.
    """

    id: str
    song: str
    singer: str
    duration_s: float
    wall_s: float
    scores: dict[str, float]
    skipped: dict[str, str] = field(default_factory=dict)


Observer = Callable[[ValidationClip, SystemOutput, ItemScores], None]


@dataclass(frozen=True)
class Evaluation:
    """One system on one split.

    Args:
        system: name of the system.
        dataset, split: what was read; `protocol`: how, in a sentence.
        limit: number of clips if only the first were read, which makes this a smoke test, not a result; else None.
        condition: one of `CONDITIONS` that the clips went through; None for the clips as they are.
        on_hub: id and commit of the dataset, if it was read from the Hub.
        items: in the corpus's order.
    """

    system: str
    dataset: str
    split: str
    protocol: str
    limit: int | None
    items: list[ItemScores]
    condition: str | None = None
    on_hub: tuple[str, str] | None = None

    def summary(self, seed: int = 0) -> dict[str, Summary]:
        """Summary over the clips for each metric with a finite value for any clip."""
        columns = {name: [item.scores[name] for item in self.items if name in item.scores] for name in METRICS}
        return {name: summarise(values, seed=seed) for name, values in columns.items() if np.isfinite(values).any()}

    def skipped(self, metric: str) -> int:
        """Number of clips that do not count for a metric."""
        group = "separation" if metric in SEPARATION_METRICS else "melody"
        return sum(group in item.skipped for item in self.items)

    @property
    def gnsdr_db(self) -> float | None:
        """Mean NSDR weighted by the clips' lengths, or None without separation."""
        pairs = np.array(
            [(item.scores["nsdr_db"], item.duration_s) for item in self.items if "nsdr_db" in item.scores]
        ).reshape(-1, 2)
        values, durations_s = pairs[np.isfinite(pairs[:, 0])].T
        return float(np.average(values, weights=durations_s)) if len(values) else None


def evaluate(
    system: System,
    corpus: Corpus,
    metrics: Collection[str] = tuple(METRICS),
    *,
    limit: int | None = None,
    condition: str | None = None,
    on_item: Callable[[ItemScores], None] | None = None,
    observe: Observer | None = None,
) -> Evaluation:
    """Score `system` on a corpus.

    Args:
        corpus: a folder or a built corpus, as a section of `mixing.config`.
        metrics: those of `METRICS` to score.
        limit: read only this many clips, the first ones.
        condition: one of `CONDITIONS` that every clip goes through first.
        on_item: called after each clip, for progress.
        observe: called with each clip, the system's output and its scores, such as `Report.observe`.

    Raises:
        CorpusError: the corpus cannot be read. EvaluationError: an unknown metric, or the system returned something
            that cannot be scored.
    """
    if limit is not None and limit < 1:
        raise EvaluationError(f"limit is {limit}; it needs to be at least 1, or left out to read everything.")
    if condition is not None and condition not in CONDITIONS:
        raise EvaluationError(f"There is no condition {condition!r}; there are {', '.join(CONDITIONS)}.")
    dataset, split, protocol = describe_corpus(corpus)
    items = []
    for clip in islice(iter_validation_clips(corpus), limit):
        if condition is not None:
            clip = CONDITIONS[condition](clip)
        items.append(score_clip(system, clip, metrics, observe))
        if on_item is not None:
            on_item(items[-1])
    on_hub = corpus.on_hub() if corpus.kind == "rows" else None
    return Evaluation(system.name, dataset, split, protocol, limit, items, condition, on_hub)


def describe_corpus(corpus: Corpus) -> tuple[str, str, str]:
    """Name, split and protocol of a corpus, as the results state them."""
    name = Path(corpus.folder).resolve().name
    if corpus.kind == "mir1k":
        split = f"{corpus.split_column}={corpus.split_value}" if corpus.split_column else "all"
        return "MIR-1K", split, "whole clips, mixture = left + right at 16 kHz, vocals = right; mean over clips"
    if corpus.kind == "stem-file":
        split = name.removesuffix(".mp4").removesuffix(".stem")
        return corpus.kind, split, "whole file, mixture = sum of the stems, vocals = stream 4, all channels"
    if corpus.kind == "rows":
        return name, corpus.split, "whole rows, mixture = vocals + accompaniment where both are known; mean over rows"
    protocol = "whole songs, mixture = vocals + accompaniment, all channels; mean over songs"
    return name, "+".join(getattr(corpus, "include", ())) or "all", protocol


def score_clip(
    system: System,
    clip: ValidationClip,
    metrics: Collection[str] = tuple(METRICS),
    observe: Observer | None = None,
) -> ItemScores:
    """Run a system on one clip and score every output for which the clip has a reference; `observe` as of `evaluate`.

    Raises:
        EvaluationError: an unknown metric, or an output that cannot be scored; the message names system and clip.
    """
    if unknown := sorted(set(metrics) - METRICS.keys()):
        raise EvaluationError(f"There are no metrics {unknown}; the metrics are {', '.join(METRICS)}.")
    arguments = {"vocals": clip.vocals} if getattr(system, "needs_vocals", False) else {}
    start = time.perf_counter()
    output = system(clip.mixture, clip.sampling_rate, **arguments)
    wall_s = time.perf_counter() - start
    try:
        scores, skipped = _score(clip, output)
    except EvaluationError as error:
        raise EvaluationError(f"System {system.name!r} on clip {clip.id!r}: {error}") from error
    item = ItemScores(
        id=clip.id,
        song=clip.song,
        singer=clip.singer,
        duration_s=clip.mixture.shape[1] / clip.sampling_rate,
        wall_s=wall_s,
        scores={name: value for name, value in scores.items() if name in metrics},
        skipped=skipped,
    )
    if observe is not None:
        observe(clip, output, item)
    return item


def _score(clip: ValidationClip, output: SystemOutput) -> tuple[dict[str, float], dict[str, str]]:
    scores: dict[str, float] = {}
    skipped: dict[str, str] = {}
    if output.vocals is None and output.pitch is None:
        raise EvaluationError("it returned neither vocals nor pitch; it needs to return one of them.")
    if output.vocals is not None and clip.vocals is not None:
        separation = separation_scores(clip.vocals, output.vocals, clip.mixture)
        if separation is None:
            skipped["separation"] = "the reference vocals are silent"
        scores |= separation or {}
    if output.pitch is not None and clip.label is not None:
        label, pitch = clip.label, output.pitch
        melody = melody_scores(label.times_s, label.f0_hz, pitch.times_s, pitch.f0_hz, pitch.voiced)
        if melody is None:
            skipped["melody"] = "the reference has no voiced frame"
        if melody is not None and not label.octave_reliable:
            melody = {name: melody[name] for name in OCTAVE_FREE_METRICS}
        scores |= melody or {}
    return scores, skipped
