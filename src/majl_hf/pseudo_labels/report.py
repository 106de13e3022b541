"""Report of pseudo labelling: counts, shares and histograms of confidence, as JSON, text and figure.

Everything is summed over the outcomes in the shards' footers; see `labelling.label_row`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from ..errors import MajlError
from ..rows.writing import PSEUDO_FILE
from ..system.files import write_json
from .labelling import NUM_BINS

PICTURE_FILE = "confidences.png"
_GAINS = {"pitch": "pitch, read from clean vocals", "vocals": "vocals, estimated from mixtures"}


def summarise_outcomes(outcomes: Iterable[Mapping]) -> dict[str, dict]:
    """Direction -> counts of rows and frames, seconds, means and histograms; directions without rows are left out.

    `num_frames` and the fields after it count frames of all rows, even dropped ones, before `min_pitch_confidence`.
    """
    by_direction: dict[str, list[Mapping]] = {}
    for outcome in outcomes:
        by_direction.setdefault(outcome["direction"], []).append(outcome)
    return {direction: _summarise(by_direction[direction]) for direction in _GAINS if direction in by_direction}


def _summarise(outcomes: Sequence[Mapping]) -> dict:
    def total(name: str, rows: Sequence[Mapping] = outcomes) -> float:
        return sum(row[name] for row in rows)

    kept = [outcome for outcome in outcomes if not outcome["dropped"]]
    confidences = [outcome["confidence"] for outcome in outcomes]
    return {
        "num_rows": len(outcomes),
        "num_kept": len(kept),
        "num_dropped": len(outcomes) - len(kept),
        "duration_s": round(total("duration_s"), 3),
        "kept_duration_s": round(total("duration_s", kept), 3),
        "mean_row_confidence": float(np.mean(confidences)),
        "num_frames": total("num_frames"),
        "num_voiced": total("num_voiced"),
        "voiced_share": total("num_voiced") / total("num_frames"),
        "num_silenced_kept": total("num_silenced", kept),
        "num_frames_kept": total("num_frames", kept),
        "mean_frame_confidence": total("sum_confidence") / total("num_frames"),
        "mean_voiced_confidence": total("sum_voiced") / total("num_voiced") if total("num_voiced") else None,
        "histogram_edges": [round(edge, 4) for edge in np.linspace(0.0, 1.0, NUM_BINS + 1)],
        "histogram_frames": np.sum([o["histogram"] for o in outcomes], axis=0).tolist(),
        "histogram_voiced_frames": np.sum([o["histogram_voiced"] for o in outcomes], axis=0).tolist(),
        "histogram_rows": np.histogram(confidences, NUM_BINS, (0.0, 1.0))[0].tolist(),
    }


def make_report(facts: Mapping, outcomes: Sequence[Mapping]) -> dict:
    """The report as a dict for JSON: `facts` of the plan, `directions`, `dropped` (id -> reason), `row_confidence`
    (id -> value) and `card`, the text for the dataset card."""
    directions = summarise_outcomes(outcomes)
    dropped = {outcome["id"]: outcome["dropped"] for outcome in outcomes if outcome["dropped"]}
    return {
        **facts,
        "num_rows": len(outcomes) - len(dropped),
        "duration_s": round(sum(o["duration_s"] for o in outcomes if not o["dropped"]), 3),
        "directions": directions,
        "dropped": dropped,
        "row_confidence": {outcome["id"]: outcome["confidence"] for outcome in outcomes},
        "card": _card(facts, directions, dropped),
    }


def write_report(out: Path, facts: Mapping, outcomes: Sequence[Mapping]) -> list[str]:
    """Write the report and the figure of a folder, from the facts of its plan and the outcomes of all rows.

    Returns:
        What could not be written.

    Raises:
        MajlError: every row was dropped.
    """
    report, messages = make_report(facts, outcomes), []
    if not report["num_rows"]:
        example = next(iter(report["dropped"].items()))
        raise MajlError(
            f"All {len(outcomes)} rows were dropped ({example[0]}: {example[1]}). Lower min_row_confidence, or take "
            "another teacher."
        )
    try:
        plot_confidences(out / PICTURE_FILE, report["directions"], facts)
        report["card"] += f"\n\n![Histograms of the confidences]({PICTURE_FILE})"
    except MajlError as error:
        messages.append(f"No picture: {error}")
    write_json(out / PSEUDO_FILE, report)
    return messages


def read_report(out: Path) -> dict:
    """The report that `write_report` wrote.

    Raises:
        MajlError: the report is missing or cannot be read.
    """
    try:
        return json.loads((out / PSEUDO_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise MajlError(f"{out / PSEUDO_FILE} cannot be read ({error}); make the pseudo labels again.") from error


def plot_confidences(path: Path, directions: Mapping[str, Mapping], facts: Mapping) -> Path:
    """Histograms of frames (all and voiced) and of rows for each direction, with the thresholds, as PNG.

    Raises:
        MajlError: matplotlib is missing.
    """
    try:  # the figure classes alone: no window system, no global state
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MajlError("Drawing needs matplotlib, which is not installed; run: pip install 'majl_hf[plot]'") from error

    figure = Figure(figsize=(10.0, 3.2 * len(directions)), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(directions), 2, squeeze=False)
    for (direction, summary), (of_frames, of_rows) in zip(directions.items(), axes, strict=True):
        edges = np.asarray(summary["histogram_edges"])
        for name, colour, label in (
            ("histogram_frames", "#b9c4d0", "all frames"),
            ("histogram_voiced_frames", "#1f6fb2", "voiced frames"),
        ):
            of_frames.stairs(summary[name], edges, fill=True, color=colour, label=label, alpha=0.85)
        of_rows.stairs(summary["histogram_rows"], edges, fill=True, color="#1f6fb2")
        if direction == "pitch":
            of_frames.axvline(facts["min_pitch_confidence"], color="#c0392b", linestyle="--", label="least")
        of_rows.axvline(facts["min_row_confidence"], color="#c0392b", linestyle="--", label="least")
        for axis, what in ((of_frames, "frames"), (of_rows, "rows")):
            axis.set(xlim=(0.0, 1.0), xlabel="confidence", ylabel=what)
            axis.set_title(f"{_GAINS[direction]}: {what}", loc="left", fontsize=10)
            axis.legend(loc="upper left", fontsize=8)
    figure.savefig(path, format="png", metadata={"Software": None})
    return path


def _card(facts: Mapping, directions: Mapping[str, Mapping], dropped: Mapping[str, str]) -> str:
    lines = [
        f"Rows of another corpus, to which models added missing labels with `majl_hf` {facts['majl_hf']} "
        f"(`majl label`), {facts['date']}. Rows that lacked nothing are not included.",
        "",
    ]
    for role, who in (("pitch_teacher", "Pitch teacher"), ("vocals_teacher", "Vocals teacher")):
        if facts.get(role):
            lines.append(f"- {who}: " + ", ".join(f"{k} `{v}`" for k, v in facts[role].items() if v is not None))
    views = ", ".join(f"{n:+g}" for n in facts["views_semitones"]) or "none"
    lines += [
        f"- **`pitch_confidence`** of a pseudo pitch: peak posterior (or the certainty that the teacher reports) times "
        f"the share of readings of the transposed voice (semitones: {views}) that agree within 50 cents. Frames under "
        f"{facts['min_pitch_confidence']:g} have 0.",
        "- **`vocals_confidence`** of estimated vocals: agreement of the row's own pitch label with the pitch that the "
        f"pitch teacher reads from them, averaged over {facts['smoothing_s']:g} s.",
        f"- A row's confidence is the mean over its voiced frames; rows under {facts['min_row_confidence']:g} were "
        f"dropped: {len(dropped)} of {sum(s['num_rows'] for s in directions.values())}, named in `pseudo_labels.json`.",
        "",
        "| added | rows | kept | minutes kept | voiced frames | mean confidence: frames | voiced frames | rows |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for direction, s in directions.items():
        voiced = "" if s["mean_voiced_confidence"] is None else f"{s['mean_voiced_confidence']:.3f}"
        lines.append(
            f"| {_GAINS[direction]} | {s['num_rows']:,} | {s['num_kept']:,} | {s['kept_duration_s'] / 60:.1f} | "
            f"{100 * s['voiced_share']:.1f} % | {s['mean_frame_confidence']:.3f} | {voiced} | "
            f"{s['mean_row_confidence']:.3f} |"
        )
    return "\n".join(lines)
