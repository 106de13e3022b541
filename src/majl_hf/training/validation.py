"""Validation during training: whole clips through the same engine that users run."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from ..errors import ConfigError
from ..evaluation.runner import score_clip
from ..evaluation.systems import MajlSystem
from ..mixing.clips import ValidationClip, evenly_spread, loudest_part, whole_clip
from ..mixing.streaming import process_rank
from .config import ValidationConfig


class Validation:
    """Mean scores over validation clips.

    Args:
        config: The corpora and how much of them is read. Each process decodes its share of the clips once, keeps it,
            and scores it; all processes return the scores of all clips.

    Raises:
        CorpusError: a corpus is not there.

    Calling it with a model returns, for each corpus, `FOLDER_METRIC` (such as `mir1k_sdr_db`), the mean of the worst
    quarter of its clips as `FOLDER_sdr_db_worst_quarter`, and `score`: the sum that the configuration defines, or else
    the mean SDR in dB over the corpora plus ten times their mean overall accuracy. One percentage point of accuracy
    then counts like 0.1 dB; both are about the improvement from one checkpoint to the next.
    """

    def __init__(self, config: ValidationConfig):
        for corpus in config.corpora:
            corpus.check()  # its clips are only read at the first evaluation, which may come after hours
        self.config = config
        self._clips: dict[str, list[ValidationClip]] | None = None

    @property
    def clips(self) -> dict[str, list[ValidationClip]]:
        """This process's share: every `world_size`-th clip of each corpus, from `rank` on."""
        if self._clips is None:
            self._clips = {Path(corpus.folder).name: self._selection(corpus) for corpus in self.config.corpora}
        return self._clips

    def _selection(self, corpus) -> list[ValidationClip]:
        tracks = evenly_spread(corpus.load(), self.config.max_clips)
        rank, world_size = process_rank()
        return [_shortened(whole_clip(track), self.config.max_clip_s) for track in tracks[rank::world_size]]

    def __call__(self, model) -> dict[str, float]:
        system = MajlSystem(model, "validation")
        metrics: dict[str, float] = {}
        for corpus, clips in self.clips.items():
            scores = _of_all_processes([score_clip(system, clip).scores for clip in clips])
            for name in sorted(set().union(*scores)):
                metrics[f"{corpus}_{name}"] = float(np.mean([score[name] for score in scores if name in score]))
            if sdr_db := sorted(score["sdr_db"] for score in scores if "sdr_db" in score):
                worst = sdr_db[: -(-len(sdr_db) // 4)]
                metrics[f"{corpus}_sdr_db_worst_quarter"] = float(np.mean(worst))
        metrics["score"] = self._score(metrics)
        return metrics

    def _score(self, metrics: dict[str, float]) -> float:
        factors = self.config.score
        if missing := sorted(factors.keys() - metrics.keys()):
            raise ConfigError(f"validation.score names {missing}; what is measured is {sorted(metrics)}.")
        if factors:
            return sum(factor * metrics[name] for name, factor in factors.items())
        sdr = [value for name, value in metrics.items() if name.endswith("_sdr_db") and not name.endswith("si_sdr_db")]
        accuracy = [value for name, value in metrics.items() if name.endswith("_oa")]
        return float(np.mean(sdr) if sdr else 0.0) + 10.0 * float(np.mean(accuracy) if accuracy else 0.0)


def _of_all_processes(share: list) -> list:
    """The shares of all processes in the clips' order, so that the mean is the same for any number of processes."""
    world_size = process_rank()[1]
    if world_size == 1:
        return share
    shares: list = [None] * world_size
    torch.distributed.all_gather_object(shares, share)
    return [item for round_ in itertools.zip_longest(*shares) for item in round_ if item is not None]


def _shortened(clip: ValidationClip, max_s: float) -> ValidationClip:
    """`max_s` seconds of the clip where its vocals are loudest, since a song may begin with minutes without vocals."""
    num_samples = int(max_s * clip.sampling_rate)
    if clip.mixture.shape[1] <= num_samples:
        return clip
    first = 0 if clip.vocals is None else loudest_part(clip.vocals, num_samples)
    part = slice(first, first + num_samples)
    start_s = first / clip.sampling_rate
    return replace(
        clip,
        mixture=clip.mixture[:, part],
        vocals=None if clip.vocals is None else clip.vocals[:, part],
        label=None if clip.label is None else clip.label.between(start_s, start_s + max_s),
    )
