"""The decoding of a trained model, chosen on validation clips.

First Viterbi's costs: those with the highest raw pitch accuracy (RPA). Then the voicing calibration: a logistic
regression of "the label is voiced" on each frame's highest pitch logit, so that `voicing` is a probability. Finally the
threshold: the one with the highest overall accuracy (OA).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import torch

from ..audio import StreamResampler
from ..errors import EvaluationError
from ..metrics.melody import melody_scores
from ..mixing.clips import ValidationClip
from ..models.decoding_majl import PitchFrames, decode
from ..models.modeling_majl import MajlModel
from ..models.pitch_majl import sigmoid
from ..models.streaming_majl import separate_stream
from ..system.files import write_atomically

STEP_COSTS = (0.5, 1.0, 1.5, 2.0)
JUMP_COSTS = (6.0, 9.0, 12.0, 16.0)
FLOORS = (1e-3, 1e-2)
RIDGE = 1e-3  # negligible for thousands of frames; keeps the fit finite where the logits separate a few perfectly
THRESHOLDS = np.arange(0.2, 0.81, 0.02)
CALIBRATED = (
    "viterbi_step_cost",
    "viterbi_jump_cost",
    "viterbi_floor",
    "voicing_scale",
    "voicing_bias",
    "voicing_threshold",
)


@torch.inference_mode()
def calibrate(
    model: MajlModel,
    clips: Iterable[ValidationClip],
    *,
    keep_path: bool = False,
    progress: Callable[[float], None] | None = None,
) -> dict:
    """Set the decoding in `model.config` to the best values for the clips.

    Args:
        model: in evaluation mode.
        clips: those without a pitch label, or with one whose octave is unreliable, are left out.
        keep_path: keep Viterbi's costs.
        progress: called with the seconds of audio of each clip that was read.

    Returns:
        `clips`, their number; `before` and `after`, the mean RPA, RCA, OA, VR and VFA; `chosen`, the new values of the
        fields in `CALIBRATED`.

    Raises:
        EvaluationError: no clip is left.
    """
    labels, logits = [], []
    for clip in clips:
        if clip.label is not None and clip.label.octave_reliable:
            chunks = separate_stream(model, [clip.mixture], clip.sampling_rate, make_resampler=StreamResampler)
            labels.append(clip.label)
            logits.append(np.concatenate([chunk.logits for chunk in chunks]))
        if progress is not None:
            progress(clip.mixture.shape[1] / clip.sampling_rate)
    if not labels:
        raise EvaluationError("No clip has a pitch label with a reliable octave; calibration needs some, as in MIR-1K.")
    before = _scores(labels, _decoded(model, logits))
    if not keep_path:
        _choose_path(model, labels, logits)
    _fit_voicing(model, labels, logits)
    _choose_threshold(model, labels, logits)
    return {
        "clips": len(labels),
        "before": before,
        "after": _scores(labels, _decoded(model, logits)),
        "chosen": {name: getattr(model.config, name) for name in CALIBRATED},
    }


def write_calibration(folder: str | Path, chosen: dict) -> None:
    """Write the fields that `calibrate` chose into the folder's config.json; all others stay."""
    path = Path(folder) / "config.json"
    config = {**json.loads(path.read_text(encoding="utf-8")), **chosen}
    write_atomically(path, json.dumps(config, indent=2, sort_keys=True) + "\n")


def _decoded(model: MajlModel, logits: Sequence[np.ndarray]) -> list[PitchFrames]:
    """Every clip's frames, decoded by the model's current config."""
    return [decode(of_clip, model.config) for of_clip in logits]


def _scores(labels, frames: Sequence[PitchFrames]) -> dict[str, float]:
    rows = [
        melody_scores(label.times_s, label.f0_hz, f.times_s, f.f0_hz, f.voiced)
        for label, f in zip(labels, frames, strict=True)
    ]
    return {name: float(np.mean([row[name] for row in rows if row])) for name in ("rpa", "rca", "oa", "vr", "vfa")}


def _choose_path(model: MajlModel, labels, logits) -> None:
    """Set Viterbi's costs to those with the highest RPA."""
    best_rpa, best = -1.0, {}
    for step, jump, floor in itertools.product(STEP_COSTS, JUMP_COSTS, FLOORS):
        costs = {"viterbi_step_cost": step, "viterbi_jump_cost": jump, "viterbi_floor": floor}
        model.config.update(costs)
        rpa = _scores(labels, _decoded(model, logits))["rpa"]
        if rpa > best_rpa:
            best_rpa, best = rpa, costs
    model.config.update(best)


def _fit_voicing(model: MajlModel, labels, logits) -> None:
    """Set scale and bias by logistic regression (Newton's method), on frames that a label covers."""
    peaks, sung = [], []
    for label, of_clip in zip(labels, logits, strict=True):
        f0_hz, weight = label.at(np.arange(len(of_clip)) * model.config.frame_hop_s)
        peaks.append(of_clip.max(axis=1)[weight > 0])
        sung.append(f0_hz[weight > 0] > 0)
    design = np.stack([np.concatenate(peaks), np.ones(sum(map(len, peaks)))], axis=1).astype(np.float64)
    target = np.concatenate(sung).astype(np.float64)
    weights = np.array([1.0, 0.0])
    for _ in range(30):
        probability = sigmoid(design @ weights)
        gradient = design.T @ (probability - target) + RIDGE * weights
        hessian = (design * (probability * (1 - probability))[:, None]).T @ design + RIDGE * np.eye(2)
        weights -= np.linalg.solve(hessian, gradient)
    model.config.update({"voicing_scale": round(float(weights[0]), 4), "voicing_bias": round(float(weights[1]), 4)})


def _choose_threshold(model: MajlModel, labels, logits) -> None:
    """Set the threshold to the one with the highest OA."""
    frames, accuracies = _decoded(model, logits), []
    for threshold in THRESHOLDS:
        for of_clip in frames:
            of_clip.voiced = of_clip.voicing >= threshold
        accuracies.append(_scores(labels, frames)["oa"])
    model.config.voicing_threshold = round(float(THRESHOLDS[int(np.argmax(accuracies))]), 2)
