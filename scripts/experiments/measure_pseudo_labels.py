"""How good are pseudo labels, and are their confidences worth anything? Measured where the truth is known.

    python scripts/experiments/measure_pseudo_labels.py --rows runs/data/mir1k --split validation --clips 20 \\
        --output model_cards/results/pseudo_labels.json

Takes rows that have everything (label kind "full"), hides what they know and labels them as `majl label` would:

    pitch    read from the clean vocals by each of --pitch-teachers: accuracy of frames by their confidence
    vocals   estimated from the mixture by each of --vocals-teachers, judged by the human pitch label through --guide:
             SDR of each second by its confidence

Writes JSON and, beside it, the same as tables in markdown. Intervals are 95 % bootstraps over songs. A checkpoint knows
the singers that it was trained on, so figures are honest on validation rows only; test rows are for the final report
and are refused here.
"""

import argparse
import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from pseudo_label_calibration import calibration_curve, calibration_error, kept_above, rank_correlation, ranking

import majl_hf  # noqa: F401  (before transformers)
from majl_hf.corpora.tracks import Track
from majl_hf.errors import MajlError
from majl_hf.metrics.melody import melody_scores
from majl_hf.metrics.statistics import summarise
from majl_hf.models.pitch_majl import cents_between
from majl_hf.pseudo_labels.config import LabellingConfig
from majl_hf.pseudo_labels.labelling import estimate_vocals, read_pitch
from majl_hf.pseudo_labels.teachers import PitchTeacher, VocalsTeacher, load_pitch_teacher, load_vocals_teacher
from majl_hf.rows.reading import ParquetRows, find_row_files
from majl_hf.system.provenance import code_revision, package_versions

RIGHT_CENTS = 50.0
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
QUIET_DBFS = -45.0  # seconds whose true vocals are below have no SDR worth the name
Frames = dict[str, np.ndarray]


def choose_tracks(folder: str, split: str, num_clips: int | None) -> list[Track]:
    """Tracks of rows of kind "full", evenly spread over the split."""
    if split == "test":
        raise MajlError("Test rows are for the final report; measure on --split validation.")
    rows = ParquetRows(find_row_files(folder, split), ["full"])
    chosen = np.linspace(0, len(rows) - 1, min(num_clips or len(rows), len(rows))).round().astype(int)
    return [rows[number] for number in np.unique(chosen)]


def pitch_frames(track: Track, teacher: PitchTeacher, settings: LabellingConfig) -> tuple[Frames, dict | None]:
    """Confidences and rightness at the frames of the true label, and the clip's melody scores."""
    vocals = track.part("vocals")
    result = read_pitch(vocals.read(0, vocals.num_samples).mean(axis=0), track.sampling_rate, teacher, settings)
    reading, label = result.reading, track.label
    nearest = reading.nearest(label.times_s)
    near = cents_between(reading.f0_hz[nearest], label.f0_hz) < RIGHT_CENTS
    is_voiced, called_voiced = label.f0_hz > 0, reading.voiced[nearest]
    times_s = reading.offset_s + reading.hop_s * np.arange(len(reading))
    frames = {
        "confidence": result.confidence[nearest],
        "peak": result.peak[nearest],
        "agreement": result.agreement[nearest],
        "voiced": is_voiced,
        "pitch_right": near,
        "right": np.where(is_voiced, called_voiced & near, ~called_voiced),
        "song": np.full(len(label), track.song),
    }
    scores = melody_scores(label.times_s, label.f0_hz, np.maximum(times_s, 0.0), reading.f0_hz, reading.voiced)
    return frames, scores


def vocals_seconds(
    track: Track, teacher: VocalsTeacher, guide: PitchTeacher, settings: LabellingConfig
) -> tuple[Frames, float]:
    """Confidence and energies of every second whose true vocals can be heard, and the clip's SDR in dB."""
    num_samples, rate = track.part("vocals").num_samples, track.sampling_rate
    truth, accompaniment = (track.part(name).read(0, num_samples) for name in ("vocals", "accompaniment"))
    vocals, confidence = estimate_vocals(truth + accompaniment, rate, track.label, teacher, guide, settings)
    second = (track.label.times_s.clip(min=0.0)).astype(int)
    rows = []
    for number in range(num_samples // rate):
        part = slice(number * rate, (number + 1) * rate)
        signal = float(np.square(truth[:, part]).sum())
        error = float(np.square(truth[:, part] - vocals[:, part]).sum())
        level_dbfs = 10 * np.log10(max(signal / truth[:, part].size, 1e-20))
        if level_dbfs > QUIET_DBFS and (second == number).any():
            rows.append((float(confidence[second == number].mean()), signal, max(error, 1e-20)))
    columns = np.array(rows, dtype=np.float64).reshape(-1, 3)
    frames = dict(zip(("confidence", "signal", "error"), columns.T, strict=True))
    frames["song"] = np.full(len(columns), track.song)
    sdr_db = 10 * np.log10(np.square(truth).sum() / max(float(np.square(truth - vocals).sum()), 1e-20))
    return frames, float(sdr_db)


def joined(parts: list[Frames]) -> Frames:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def measure_pitch(tracks: list[Track], teacher: PitchTeacher, settings: LabellingConfig) -> dict:
    measured = [pitch_frames(track, teacher, settings) for track in tracks]
    frames, scores = joined([frames for frames, _ in measured]), [s for _, s in measured if s is not None]
    if not scores:
        raise MajlError("None of the clips has a voiced frame; take more clips.")
    voiced, song = frames["voiced"], frames["song"]
    right = frames["right"].astype(float)
    return {
        "teacher": teacher.facts,
        "scores": {name: summarise([s[name] for s in scores]).to_dict() for name in scores[0]},
        "num_frames": len(voiced),
        "num_voiced": int(voiced.sum()),
        "overall_accuracy": calibration_curve(frames["confidence"], right, song),
        "pitch_accuracy_of_voiced": calibration_curve(
            frames["confidence"][voiced], frames["pitch_right"][voiced].astype(float), song[voiced]
        ),
        "kept_above": kept_above(frames["confidence"], right, song, THRESHOLDS),
        "calibration_error": calibration_error(frames["confidence"], right),
        # Is the product better than its factors? Probability that a right frame has more of it than a wrong one.
        "ranking": {name: ranking(frames[name], frames["right"]) for name in ("confidence", "peak", "agreement")},
        "ranking_of_voiced": {
            name: ranking(frames[name][voiced], frames["right"][voiced]) for name in ("confidence", "peak", "agreement")
        },
    }


def measure_vocals(tracks: list[Track], teacher: VocalsTeacher, guide: PitchTeacher, settings: LabellingConfig) -> dict:
    measured = [vocals_seconds(track, teacher, guide, settings) for track in tracks]
    seconds = joined([seconds for seconds, _ in measured])
    if not len(seconds["song"]):
        raise MajlError(f"None of the clips has a second of vocals above {QUIET_DBFS:g} dBFS; take more clips.")
    sdr_db = 10 * np.log10(seconds["signal"] / seconds["error"])
    curve = calibration_curve(seconds["confidence"], sdr_db, seconds["song"])
    for row in curve:
        upper = np.inf if row["high"] >= 1.0 else row["high"]
        chosen = (seconds["confidence"] >= row["low"]) & (seconds["confidence"] < upper)
        row["pooled_sdr_db"] = float(10 * np.log10(seconds["signal"][chosen].sum() / seconds["error"][chosen].sum()))
    return {
        "teacher": teacher.facts,
        "guide": guide.facts,
        "clip_sdr_db": summarise([sdr for _, sdr in measured]).to_dict(),
        "num_seconds": len(sdr_db),
        "sdr_of_seconds_db": curve,
        "kept_above": kept_above(seconds["confidence"], sdr_db, seconds["song"], THRESHOLDS),
        "rank_correlation": rank_correlation(seconds["confidence"], sdr_db),
    }


def as_markdown(result: dict) -> str:
    """The result as tables."""
    lines = [
        "# Pseudo labels where the truth is known",
        "",
        f"{result['num_clips']} clips of {result['num_songs']} songs by {result['num_singers']} singers "
        f"({', '.join(result['singers'])}), {result['duration_s']:.0f} s of {result['rows']}, split "
        f"`{result['split']}`, {result['date'][:10]}. Made by "
        "`scripts/experiments/measure_pseudo_labels.py`. In brackets 95 % bootstrap intervals over songs (of means "
        "over clips: over clips).",
        *(["", result["note"]] if result["note"] else []),
    ]
    views = ", ".join(f"{n:+g}" for n in result["settings"]["views_semitones"])
    for name, pitch in result["pitch"].items():
        scores = pitch["scores"]
        lines += [
            "",
            f"## Pitch read from the clean vocals by {name}",
            "",
            f"RPA {_percent(scores['rpa'])}, OA {_percent(scores['oa'])}, false alarms {_percent(scores['vfa'])} (mean "
            f"over clips). Confidence = certainty x agreement of views ({views} semitones). Expected calibration error "
            f"{pitch['calibration_error']:.3f}. A right frame has more confidence than a wrong one with probability "
            + ", ".join(f"{value:.3f} ({what})" for what, value in pitch["ranking"].items() if value is not None)
            + ".",
            "",
            "| confidence | frames | overall accuracy, % | voiced frames | pitch accuracy, % |",
            "|---|---:|---|---:|---|",
        ]
        of_voiced = {row["low"]: row for row in pitch["pitch_accuracy_of_voiced"]}
        for row in pitch["overall_accuracy"]:
            voiced = of_voiced.get(row["low"])
            cells = [str(voiced["count"]), _interval(voiced, 100)] if voiced else ["0", ""]
            lines.append(f"| {_bin(row)} | {row['count']} | {_interval(row, 100)} | {cells[0]} | {cells[1]} |")
        lines += ["", "| kept above | share of frames, % | overall accuracy, % |", "|---|---:|---|"]
        lines += [
            f"| {row['threshold']:.1f} | {100 * row['share']:.1f} | {_interval(row, 100)} |"
            for row in pitch["kept_above"]
        ]
    for name, vocals in result["vocals"].items():
        sdr, correlation = vocals["clip_sdr_db"], vocals["rank_correlation"]
        lines += [
            "",
            f"## Vocals estimated from the mixture by {name}, judged by the pitch that {vocals['guide']['id']} reads",
            "",
            f"SDR {sdr['mean']:.2f} dB"
            + ("" if sdr["low"] is None else f" [{sdr['low']:.2f}, {sdr['high']:.2f}]")
            + f" (mean over clips). {vocals['num_seconds']} seconds whose true vocals are above {QUIET_DBFS:g} dBFS."
            + ("" if correlation is None else f" Rank correlation of confidence and SDR {correlation:.2f}."),
            "",
            "| confidence | seconds | mean SDR of a second, dB | SDR of all of them together, dB |",
            "|---|---:|---|---:|",
        ]
        lines += [
            f"| {_bin(row)} | {row['count']} | {_interval(row, 1, 2)} | {row['pooled_sdr_db']:.2f} |"
            for row in vocals["sdr_of_seconds_db"]
        ]
        lines += ["", "| kept above | share of seconds, % | mean SDR of a second, dB |", "|---|---:|---|"]
        lines += [
            f"| {row['threshold']:.1f} | {100 * row['share']:.1f} | {_interval(row, 1, 2)} |"
            for row in vocals["kept_above"]
        ]
    return "\n".join(lines) + "\n"


def _bin(row: dict) -> str:
    return f"{row['low']:.1f} to {row['high']:.1f}"


def _interval(row: dict, scale: float, digits: int = 1) -> str:
    mean = f"{scale * row['mean']:.{digits}f}"
    if row["interval"] is None:
        return mean
    low, high = (scale * value for value in row["interval"])
    return f"{mean} [{low:.{digits}f}, {high:.{digits}f}]"


def _percent(summary: dict) -> str:
    interval = "" if summary["low"] is None else f" [{100 * summary['low']:.1f}, {100 * summary['high']:.1f}]"
    return f"{100 * summary['mean']:.1f} %{interval}"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", required=True, help="built corpus with rows of kind 'full'")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--clips", type=int, help="take this many, evenly spread over the split; all by default")
    parser.add_argument("--pitch-teachers", nargs="*", default=["majl-base"], metavar="NAME")
    parser.add_argument("--vocals-teachers", nargs="*", default=["majl-base"], metavar="NAME")
    parser.add_argument("--guide", default="majl-base", metavar="NAME", help="pitch teacher that judges vocals")
    parser.add_argument("--views", nargs="*", type=float, default=[-2.0, 2.0], metavar="SEMITONES")
    parser.add_argument("--smoothing-s", type=float, default=0.2)
    parser.add_argument("--note", default="", help="a sentence that goes into the result, such as what a teacher knew")
    parser.add_argument("--output", type=Path, required=True, metavar="JSON")
    options = parser.parse_args(arguments)
    settings = LabellingConfig(views_semitones=tuple(options.views), smoothing_s=options.smoothing_s)
    try:
        tracks = choose_tracks(options.rows, options.split, options.clips)
        pitch, vocals = {}, {}
        for name in options.pitch_teachers:
            teacher = load_pitch_teacher(name)
            print(f"pitch by {name}", file=sys.stderr, flush=True)
            pitch[teacher.facts["id"]] = measure_pitch(tracks, teacher, settings)
        guide = load_pitch_teacher(options.guide) if options.vocals_teachers else None
        for name in options.vocals_teachers:
            teacher = load_vocals_teacher(name)
            print(f"vocals by {name}", file=sys.stderr, flush=True)
            vocals[teacher.facts["id"]] = measure_vocals(tracks, teacher, guide, settings)
    except MajlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    singers = sorted({track.singer for track in tracks if track.singer})
    result = {
        "rows": Path(options.rows).name,
        "split": options.split,
        "num_clips": len(tracks),
        "num_songs": len({track.song for track in tracks}),
        "num_singers": len(singers),
        "singers": singers,
        "duration_s": round(sum(track.duration_s for track in tracks), 3),
        "settings": {"views_semitones": list(settings.views_semitones), "smoothing_s": settings.smoothing_s},
        "note": options.note,
        "interval": "95 % percentile bootstrap over songs; of scores over clips",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_revision": code_revision(),
        "packages": package_versions(),
        "pitch": pitch,
        "vocals": vocals,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    text = as_markdown(result)
    options.output.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
