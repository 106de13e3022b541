"""Choose a model's decoding on validation clips, and write it into its config.

    python scripts/calibrate.py runs/majl-base --mir1k "$MAJL_DATA/mir1k" --split validation

First Viterbi's costs: those with the highest raw pitch accuracy (RPA). Then the voicing calibration: a logistic
regression of "the label says sung" on each frame's highest pitch logit, so that `voicing` is a probability. Last the
threshold with the highest overall accuracy (OA). Prints the scores before and after; `--dry-run` writes nothing.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import torch

from majl_hf import MajlModel
from majl_hf.audio import StreamResampler
from majl_hf.metrics.melody import melody_scores
from majl_hf.mixing.clips import ValidationClip, iter_validation_clips
from majl_hf.mixing.config import Mir1kCorpus
from majl_hf.models.decoding_majl import PitchFrames, decode
from majl_hf.models.streaming_majl import separate_stream

STEP_COSTS = (0.5, 1.0, 1.5, 2.0)
JUMP_COSTS = (6.0, 9.0, 12.0, 16.0)
FLOORS = (1e-3, 1e-2)
THRESHOLDS = np.arange(0.2, 0.81, 0.02)


def clip_logits(model: MajlModel, clip: ValidationClip) -> np.ndarray:
    """Pitch logits `(num_frames, num_bins)` of a whole clip, as users' files get them."""
    chunks = separate_stream(model, [clip.mixture], clip.sampling_rate, make_resampler=StreamResampler)
    return np.concatenate([chunk.logits for chunk in chunks])


def decoded(model: MajlModel, logits: list[np.ndarray]) -> list[PitchFrames]:
    """Every clip's frames by the model's present config."""
    return [decode(clip_logits, model.config) for clip_logits in logits]


def scores(clips: list[ValidationClip], frames: list[PitchFrames]) -> dict[str, float]:
    """Mean RPA, RCA, OA, VR and VFA over the clips."""
    rows = [
        melody_scores(clip.label.times_s, clip.label.f0_hz, f.times_s, f.f0_hz, f.voiced)
        for clip, f in zip(clips, frames, strict=True)
    ]
    return {name: float(np.mean([row[name] for row in rows if row])) for name in ("rpa", "rca", "oa", "vr", "vfa")}


def choose_path(model: MajlModel, clips, logits) -> None:
    """Set Viterbi's costs to those with the highest RPA."""
    best = None
    for step, jump, floor in itertools.product(STEP_COSTS, JUMP_COSTS, FLOORS):
        model.config.update({"viterbi_step_cost": step, "viterbi_jump_cost": jump, "viterbi_floor": floor})
        rpa = scores(clips, decoded(model, logits))["rpa"]
        print(f"step {step:4} jump {jump:4} floor {floor:5}: RPA {100 * rpa:.2f}")
        if best is None or rpa > best[0]:
            best = (rpa, step, jump, floor)
    model.config.update({"viterbi_step_cost": best[1], "viterbi_jump_cost": best[2], "viterbi_floor": best[3]})


def fit_voicing(model: MajlModel, clips, logits) -> None:
    """Set scale and bias by logistic regression (Newton's method), on frames that a label covers."""
    peaks, sung = [], []
    for clip, clip_logit in zip(clips, logits, strict=True):
        times_s = np.arange(len(clip_logit)) * model.config.frame_hop_s
        f0_hz, weight = clip.label.at(times_s)
        peaks.append(clip_logit.max(axis=1)[weight > 0])
        sung.append(f0_hz[weight > 0] > 0)
    design = np.stack([np.concatenate(peaks), np.ones(sum(map(len, peaks)))], axis=1).astype(np.float64)
    target = np.concatenate(sung).astype(np.float64)
    weights = np.array([1.0, 0.0])
    for _ in range(30):
        probability = 1 / (1 + np.exp(-design @ weights))
        gradient = design.T @ (probability - target)
        hessian = (design * (probability * (1 - probability))[:, None]).T @ design
        weights -= np.linalg.solve(hessian, gradient)
    model.config.update({"voicing_scale": round(float(weights[0]), 4), "voicing_bias": round(float(weights[1]), 4)})


def choose_threshold(model: MajlModel, clips, logits) -> None:
    """Set the threshold to the one with the highest OA."""
    frames, accuracies = decoded(model, logits), []
    for threshold in THRESHOLDS:
        for clip_frames in frames:
            clip_frames.voiced = clip_frames.voicing >= threshold
        accuracies.append(scores(clips, frames)["oa"])
    model.config.voicing_threshold = round(float(THRESHOLDS[int(np.argmax(accuracies))]), 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="folder of the model")
    parser.add_argument("--mir1k", required=True, help="folder in MIR-1K's layout")
    parser.add_argument("--split-column", default="singer_split")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--keep-path", action="store_true", help="leave Viterbi's costs as they are")
    parser.add_argument("--dry-run", action="store_true", help="write nothing")
    arguments = parser.parse_args()

    model = MajlModel.from_pretrained(arguments.model).eval()
    corpus = Mir1kCorpus(folder=arguments.mir1k, split_column=arguments.split_column, split_value=arguments.split)
    clips = list(iter_validation_clips(corpus))
    with torch.inference_mode():
        logits = [clip_logits(model, clip) for clip in clips]

    report = {"clips": len(clips), "before": scores(clips, decoded(model, logits))}
    if not arguments.keep_path:
        choose_path(model, clips, logits)
    fit_voicing(model, clips, logits)
    choose_threshold(model, clips, logits)
    names = ("viterbi_step_cost", "viterbi_jump_cost", "viterbi_floor", "voicing_scale", "voicing_bias")
    chosen = {name: getattr(model.config, name) for name in (*names, "voicing_threshold")}
    print(json.dumps({**report, "after": scores(clips, decoded(model, logits)), "chosen": chosen}, indent=2))
    if not arguments.dry_run:
        path = arguments.model / "config.json"
        config = {**json.loads(path.read_text()), **chosen}
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
