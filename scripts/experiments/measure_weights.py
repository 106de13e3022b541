"""Measure what DWHS does in stage 2 where the true labels are known: which frames it finds, and how it turns gradients.

    python scripts/experiments/measure_weights.py --run runs/ablation/weights/stage_2/seed-1 --rows runs/data/mir1k \\
        --labelled runs/data/mir1k_reduced --output model_cards/results/weights.json

RUN is a run of ablation_weights.yaml. Its pseudo labels are those of rows whose pitch label was hidden; `--rows` are
the same rows with it. The weights are computed with the model of stage 1, as at the beginning of stage 2, from the
first seconds of each row as recorded. The voicing has learnt from the fully labelled rows of `--labelled`.

    labels       which pseudo labels are wrong, before and after the reading has replaced some; how well confidences,
                 hardness and weights rank right ones above wrong ones, and the share of all weight that wrong ones have
    voicing      errors of "voiced above this posterior" in the reading of the clean vocals
    blame        how well blame ranks frames whose pitch the separation spoils above the others
    gradients    of the weighted losses: norm, and cosine to the gradient of the true labels with equal weights

Writes JSON and, beside it, the same as tables in Markdown. Intervals are 95 % bootstraps over songs.
"""

import argparse
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from markdown_tables import table, with_interval, write_results
from plot_weights import read_item
from pseudo_label_calibration import ranking

from majl_hf import MajlModel
from majl_hf.corpora.tracks import Track
from majl_hf.errors import MajlError
from majl_hf.metrics.statistics import bootstrap_interval
from majl_hf.mixing.clips import evenly_spread
from majl_hf.mixing.config import RowsCorpus
from majl_hf.models.pitch_majl import TOLERANCE_CENTS, cents_between
from majl_hf.models.posteriors_majl import likeliest_pitch
from majl_hf.system.provenance import code_revision, package_versions
from majl_hf.training.voicing import RunningVoicing
from majl_hf.training.weights import Confidence, Dwhs, Evidence, FrameWeights, Uniform, read_evidence

# Name -> strategy, and whether agreement is that of the voicing or of the posteriors as they are.
STRATEGIES: dict[str, tuple[Callable, bool]] = {
    "equal": (Uniform(), False),
    "confidence": (Confidence(), False),
    "dwhs of posteriors as they are": (Dwhs(reread_margin=1.0), False),
    "dwhs without the reading": (Dwhs(reread_margin=1.0), True),
    "dwhs": (Dwhs(), True),
}
THRESHOLDS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.6)
Frames = dict[str, np.ndarray]
Weighed = tuple[FrameWeights, torch.Tensor]


def pairs_of(pseudo: RowsCorpus, truth: RowsCorpus, num_rows: int | None) -> list[tuple[Track, Track]]:
    """Pseudo-labelled rows, evenly spread, each with the same row that has its true label."""
    labelled, complete = pseudo.load(), truth.load()
    numbers = {info.id: number for number, info in enumerate(complete.info)}
    chosen = [track for track in evenly_spread(labelled, num_rows) if track.label is not None]
    if missing := [track.id for track in chosen if track.id not in numbers]:
        raise MajlError(
            f"{truth.folder}, split {truth.split}, has no row {missing[0]!r}; give the rows of the same corpus."
        )
    return [(track, complete[numbers[track.id]]) for track in chosen]


def learn_voicing(model: MajlModel, rows: RowsCorpus) -> RunningVoicing:
    """The voicing after one step on each fully labelled row."""
    voicing = RunningVoicing()
    for track in rows.load():
        batch = read_item(model, track)
        with torch.no_grad():
            output = model(mixture=batch["mixture"])
        read_evidence(model, batch, output.vocals, output.pitch_logits, "clean", voicing)
        voicing.step()
    return voicing


def weigh(model: MajlModel, batch: dict, voicing: RunningVoicing) -> tuple[torch.Tensor, Evidence, dict[str, Weighed]]:
    """The logits of the estimated vocals, the evidence by the voicing, and each strategy's weights and taught pitch."""
    with torch.no_grad():
        output = model(mixture=batch["mixture"])
    found = {}
    for by_voicing, given in ((False, None), (True, voicing)):
        found[by_voicing] = read_evidence(model, batch, output.vocals, output.pitch_logits, "clean", given)
    weighed = {}
    for name, (strategy, by_voicing) in STRATEGIES.items():
        evidence, label_hz = found[by_voicing]
        weights = strategy(evidence)
        weighed[name] = weights, weights.taught_hz(evidence, label_hz)
    return output.pitch_logits, found[True][0], weighed


def read_frames(model: MajlModel, batch: dict, truth_hz: torch.Tensor, song: str, voicing: RunningVoicing) -> Frames:
    """What is known of each frame of one row, arrays of shape (num_frames,)."""
    logits, evidence, weighed = weigh(model, batch, voicing)
    with torch.no_grad():
        grid = model.config.pitch_estimator_config
        clean_hz, clean_peak = likeliest_pitch(model.estimate_pitch(batch["vocals"]), grid)
        estimate_hz, _ = likeliest_pitch(logits, grid)
    values = {
        "truth_hz": truth_hz,
        "label_hz": batch["f0_hz"],
        "taught_hz": weighed["dwhs"][1],
        "clean_hz": clean_hz,
        "clean_peak": clean_peak,
        "estimate_hz": estimate_hz,
        "confidence": evidence.pitch_confidence,
        "error": evidence.separation_error,
        "hardness": weighed["dwhs"][0].hardness,
        "hardness of posteriors as they are": weighed["dwhs of posteriors as they are"][0].hardness,
        "blame": weighed["dwhs"][0].blame,
        **{f"weight of {name}": weights.pitch for name, (weights, _) in weighed.items()},
    }
    return {name: of[0].float().numpy() for name, of in values.items()} | {"song": np.full(len(truth_hz[0]), song)}


def agrees(ours_hz: np.ndarray, truth_hz: np.ndarray) -> np.ndarray:
    """Whether labels (0 where unvoiced) say the same: both unvoiced, or within 50 cents."""
    both = (ours_hz > 0) & (truth_hz > 0)
    same = (ours_hz == 0) & (truth_hz == 0)
    same[both] = cents_between(ours_hz[both], truth_hz[both]) < TOLERANCE_CENTS
    return same


def share(song: np.ndarray, hits: np.ndarray, weights: np.ndarray | None = None) -> dict:
    """The share of the frames' weights that hits have, with its interval over songs."""
    weights = np.ones(len(song)) if weights is None else weights
    songs, number = np.unique(song, return_inverse=True)
    sums, counts = np.bincount(number, weights * hits), np.bincount(number, weights)
    interval = list(bootstrap_interval(sums, counts)) if len(songs) > 1 else None
    return {"mean": float(sums.sum() / counts.sum()), "interval": interval}


def measure_frames(frames: Frames) -> dict:
    """`labels`, `voicing` and `blame`; see this file's docstring."""
    frames = {name: values[frames["confidence"] > 0] for name, values in frames.items()}
    song, is_sung, says_sung = frames["song"], frames["truth_hz"] > 0, frames["label_hz"] > 0
    right = agrees(frames["label_hz"], frames["truth_hz"])
    near = {name: agrees(frames[f"{name}_hz"], frames["truth_hz"])[is_sung] for name in ("clean", "estimate")}
    spoilt = near["clean"] & ~near["estimate"]
    ranked = {"confidence": frames["confidence"]}
    ranked |= {f"1 - {name}": 1.0 - frames[name] for name in frames if name.startswith("hardness")}
    ranked |= {f"weight of {name}": frames[f"weight of {name}"] for name in STRATEGIES if "dwhs " in name}
    taught_right = agrees(frames["taught_hz"], frames["truth_hz"])
    return {
        "num_frames": len(song),
        "num_songs": len(np.unique(song)),
        "labels": {
            "wrong": share(song, ~right),
            "sung, called unvoiced": share(song, is_sung & ~says_sung),
            "unvoiced, called sung": share(song, ~is_sung & says_sung),
            "another pitch": share(song, is_sung & says_sung & ~right),
            "ranking": {name: ranking(values, right) for name, values in ranked.items()},
            "ranking_of_unvoiced_labels": {
                name: ranking(values[~says_sung], right[~says_sung]) for name, values in ranked.items()
            },
            "taught instead": share(song, frames["taught_hz"] != frames["label_hz"]),
            "wrong of what is taught": share(song, ~taught_right),
            "weight_of_wrong": {
                name: share(song, ~(taught_right if name == "dwhs" else right), frames[f"weight of {name}"])
                for name in STRATEGIES
            },
        },
        "voicing": [
            {"above": threshold, "errors": share(song, (frames["clean_peak"] > threshold) != is_sung)}
            for threshold in THRESHOLDS
        ],
        "blame": {
            "spoilt_by_separation": share(song[is_sung], spoilt),
            "ranking": {name: ranking(frames[name][is_sung], spoilt) for name in ("blame", "error", "hardness")},
        },
    }


def gradients(model: MajlModel, batch: dict, weights: FrameWeights, taught_hz: torch.Tensor) -> dict[str, torch.Tensor]:
    """Gradients of the weighted losses as vectors, by "loss, part that it trains"."""
    output = model(mixture=batch["mixture"])
    losses = {
        "separation": model.separation_loss(output.vocals, batch["vocals"], batch["mixture"], weights.separation),
        "pitch": model.pitch_loss(output.pitch_logits, taught_hz, weights.pitch),
    }
    parts = {"separator": model.separator, "pitch estimator": model.pitch_estimator}
    found = {}
    for loss, part in (("separation", "separator"), ("pitch", "separator"), ("pitch", "pitch estimator")):
        of_part = torch.autograd.grad(
            losses[loss], list(parts[part].parameters()), retain_graph=True, allow_unused=True
        )
        found[f"{loss}, {part}"] = torch.cat([gradient.flatten() for gradient in of_part if gradient is not None])
    return found


def measure_gradients(
    model: MajlModel, batches: list[tuple[dict, torch.Tensor]], songs: list[str], voicing: RunningVoicing
) -> dict:
    """Loss, part -> strategy -> `cosine` and `norm` (a ratio) to the gradient of the true labels: means over rows."""
    found: dict[str, dict[str, list]] = {}
    for batch, truth_hz in batches:
        _, _, weighed = weigh(model, batch, voicing)
        of_truth = gradients(model, batch, weighed["equal"][0], truth_hz)
        for name, (weights, taught_hz) in weighed.items():
            for path, ours in gradients(model, batch, weights, taught_hz).items():
                truth = of_truth[path]
                cosine = torch.nn.functional.cosine_similarity(ours, truth, dim=0)
                found.setdefault(path, {}).setdefault(name, []).append(
                    (cosine.item(), (ours.norm() / truth.norm()).item())
                )
    of_song = np.array(songs)
    return {
        path: {
            name: {
                what: share(of_song, values) for what, values in zip(("cosine", "norm"), np.array(rows).T, strict=True)
            }
            for name, rows in of_path.items()
        }
        for path, of_path in found.items()
    }


def as_markdown(result: dict) -> str:
    """The result as tables."""

    def percent(of: dict) -> str:
        return with_interval(of["mean"], *(of["interval"] or (None, None)), 100.0)

    def plain(of: dict) -> str:
        return with_interval(of["mean"], *(of["interval"] or (None, None)), 1.0, ".3f")

    def ranked(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    labels, blame = result["labels"], result["blame"]
    kinds = ("wrong", "sung, called unvoiced", "unvoiced, called sung", "another pitch")
    kinds += ("taught instead", "wrong of what is taught")
    lines = [
        "# What the weights of frames do in stage 2",
        "",
        f"{result['num_frames']} frames of {result['num_songs']} songs of {result['rows']} whose pitch was hidden and "
        f"read from the clean vocals by stage 1, {result['date'][:10]}. Made by "
        "`scripts/experiments/measure_weights.py`. In brackets 95 % bootstrap intervals over songs.",
        "",
        "## Pseudo labels",
        "",
        *table(["frames", "share, %"], [[kind, percent(labels[kind])] for kind in kinds]),
        "",
        "Probability that a right label ranks above a wrong one:",
        "",
        *table(
            ["by", "all labels:", "labels that say unvoiced:"],
            [
                [name, ranked(value), ranked(labels["ranking_of_unvoiced_labels"][name])]
                for name, value in labels["ranking"].items()
            ],
        ),
        "",
        *table(
            ["weights", "share of wrong labels in the sum of all, %"],
            [[name, percent(of)] for name, of in labels["weight_of_wrong"].items()],
        ),
        "",
        "The voicing of the reading: a frame is called sung if its highest posterior is above a threshold.",
        "",
        *table(["above", "wrong, %"], [[row["above"], percent(row["errors"])] for row in result["voicing"]]),
        "",
        "## Blame",
        "",
        f"The pitch of {percent(blame['spoilt_by_separation'])} % of the sung frames is read right from the clean "
        "vocals and wrong from the estimated ones. Probability that such a frame ranks above another: "
        + ", ".join(f"{ranked(value)} ({name})" for name, value in blame["ranking"].items())
        + ".",
        "",
        "## Gradients",
        "",
        "Compared with the gradient that the true labels give with equal weights; means over rows.",
        "",
        *table(
            ["loss, part", "weights", "cosine", "norm, ratio"],
            [
                [path, name, *(plain(of) for of in both.values())]
                for path, of_path in result["gradients"].items()
                for name, both in of_path.items()
            ],
        ),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def measure(run: Path, rows: str, labelled: str, num_rows: int | None, num_gradients: int) -> dict:
    model = MajlModel.from_pretrained(run / "stage_1").eval()
    pseudo = RowsCorpus(folder=str(run / "pseudo_labels"), label_kinds=("pseudo",))
    pairs = pairs_of(pseudo, RowsCorpus(folder=rows, label_kinds=("full",)), num_rows)
    voicing = learn_voicing(model, RowsCorpus(folder=labelled, label_kinds=("full",)))
    batches = [(read_item(model, track), read_item(model, truth)["f0_hz"]) for track, truth in pairs]
    frames = [
        read_frames(model, *of_row, track.song, voicing) for of_row, (track, _) in zip(batches, pairs, strict=True)
    ]
    chosen = range(0, len(pairs), max(1, len(pairs) // num_gradients))
    return {
        "rows": Path(rows).name,
        "run": "/".join(run.parts[-2:]),
        "interval": "95 % percentile bootstrap over songs",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_revision": code_revision(),
        "packages": package_versions(),
        **measure_frames({name: np.concatenate([of[name] for of in frames]) for name in frames[0]}),
        "gradients": measure_gradients(
            model, [batches[n] for n in chosen], [pairs[n][0].song for n in chosen], voicing
        ),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True, metavar="DIR", help="with stage_1 and pseudo_labels")
    parser.add_argument("--rows", required=True, metavar="DIR", help="built corpus with the same rows and their labels")
    parser.add_argument("--labelled", required=True, metavar="DIR", help="corpus of the run, with labels removed")
    parser.add_argument("--clips", type=int, metavar="N", help="use this many, evenly spread; all by default")
    parser.add_argument("--gradients", type=int, default=60, metavar="N", help="clips for the gradients")
    parser.add_argument("--output", type=Path, required=True, metavar="JSON")
    options = parser.parse_args(arguments)
    try:
        result = measure(options.run, options.rows, options.labelled, options.clips, options.gradients)
    except MajlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    write_results(options.output, result, as_markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
