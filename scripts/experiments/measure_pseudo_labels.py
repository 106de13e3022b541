"""Measure the quality of pseudo labels, and how well their confidences predict errors, on labelled data.

    python scripts/experiments/measure_pseudo_labels.py --rows runs/data/mir1k --split validation --clips 20 \\
        --output model_cards/results/pseudo_labels.json

Takes fully labelled rows (label kind "full"), hides their labels and labels them as `majl label` would:

    pitch    read from the clean vocals by each of --pitch-teachers: accuracy of frames by their confidence
    vocals   estimated from the mixture by each of --vocals-teachers, judged by the human pitch label through --guide:
             SDR of each second by its confidence

Writes JSON and, beside it, the same as tables in Markdown. Intervals are 95 % bootstraps over songs. A checkpoint does
better on the singers that it was trained on, so only validation rows give unbiased figures; test rows are for the final
report and are refused here.
"""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from markdown_tables import table, with_interval, write_results
from pseudo_label_calibration import (
    bins_of,
    calibration_curve,
    calibration_error,
    kept_above,
    rank_correlation,
    ranking,
)

import majl_hf  # noqa: F401  (before transformers)
from majl_hf.corpora.tracks import Track
from majl_hf.errors import MajlError
from majl_hf.metrics.melody import melody_scores
from majl_hf.metrics.separation import sdr_db
from majl_hf.metrics.statistics import summarise
from majl_hf.mixing.clips import evenly_spread
from majl_hf.models.pitch_majl import TOLERANCE_CENTS, cents_between
from majl_hf.pseudo_labels.config import LabellingConfig
from majl_hf.pseudo_labels.labelling import estimate_vocals, read_pitch
from majl_hf.pseudo_labels.teachers import PitchTeacher, VocalsTeacher, load_pitch_teacher, load_vocals_teacher
from majl_hf.rows.reading import ParquetRows, find_row_files
from majl_hf.system.provenance import code_revision, package_versions

SETTINGS = LabellingConfig()
THRESHOLDS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
QUIET_DBFS = -45.0  # seconds whose true vocals are below this have no meaningful SDR
Frames = dict[str, np.ndarray]


def choose_tracks(folder: str, split: str, num_clips: int | None) -> list[Track]:
    """Tracks of rows of kind "full", evenly spread over the split."""
    if split == "test":
        raise MajlError("Test rows are for the final report; measure on --split validation.")
    return evenly_spread(ParquetRows(find_row_files(folder, split), ["full"]), num_clips)


def pitch_frames(track: Track, teacher: PitchTeacher) -> tuple[Frames, dict | None]:
    """Confidences and correctness at the frames of the true label, and the clip's melody scores."""
    vocals = track.part("vocals")
    result = read_pitch(vocals.read(0, vocals.num_samples).mean(axis=0), track.sampling_rate, teacher, SETTINGS)
    reading, label = result.reading, track.label
    nearest = reading.nearest(label.times_s)
    near = cents_between(reading.f0_hz[nearest], label.f0_hz) < TOLERANCE_CENTS
    is_voiced, called_voiced = label.f0_hz > 0, reading.voiced[nearest]
    frames = {
        "confidence": result.confidence[nearest],
        "peak": result.peak[nearest],
        "agreement": result.agreement[nearest],
        "voiced": is_voiced,
        "pitch_right": near,
        "right": np.where(is_voiced, called_voiced & near, ~called_voiced),
        "song": np.full(len(label), track.song),
    }
    times_s = np.maximum(reading.label.times_s, 0.0)
    return frames, melody_scores(label.times_s, label.f0_hz, times_s, reading.f0_hz, reading.voiced)


def vocals_seconds(track: Track, teacher: VocalsTeacher, guide: PitchTeacher) -> tuple[Frames, float]:
    """Confidence and energies of every second whose true vocals can be heard, and the clip's SDR in dB."""
    num_samples, rate = track.part("vocals").num_samples, track.sampling_rate
    truth, accompaniment = (track.part(name).read(0, num_samples) for name in ("vocals", "accompaniment"))
    vocals, confidence = estimate_vocals(truth + accompaniment, rate, track.label, teacher, guide, SETTINGS)
    num_seconds = num_samples // rate

    def energy(signal: np.ndarray) -> np.ndarray:
        """Energy of each second."""
        whole = signal[:, : num_seconds * rate].reshape(len(signal), num_seconds, rate)
        return np.square(whole, dtype=np.float64).sum(axis=(0, 2))

    second = track.label.times_s.clip(min=0.0).astype(int)
    num_frames, sums = (np.bincount(second, weights, num_seconds)[:num_seconds] for weights in (None, confidence))
    heard = (energy(truth) > 10 ** (QUIET_DBFS / 10) * len(truth) * rate) & (num_frames > 0)
    seconds = {
        "confidence": sums[heard] / num_frames[heard],
        "signal": energy(truth)[heard],
        "error": np.maximum(energy(truth - vocals)[heard], 1e-20),
        "song": np.full(heard.sum(), track.song),
    }
    return seconds, sdr_db(truth, vocals)


def joined(parts: list[Frames]) -> Frames:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def measure_pitch(tracks: list[Track], teacher: PitchTeacher) -> dict:
    measured = [pitch_frames(track, teacher) for track in tracks]
    frames, scores = joined([frames for frames, _ in measured]), [s for _, s in measured if s is not None]
    if not scores:
        raise MajlError("None of the clips has a voiced frame; take more clips.")
    voiced = {name: values[frames["voiced"]] for name, values in frames.items()}
    factors = ("confidence", "peak", "agreement")
    return {
        "teacher": teacher.facts,
        "scores": {name: summarise([s[name] for s in scores]).to_dict() for name in scores[0]},
        "num_frames": len(frames["voiced"]),
        "num_voiced": len(voiced["voiced"]),
        "overall_accuracy": calibration_curve(frames["confidence"], frames["right"], frames["song"]),
        "pitch_accuracy_of_voiced": calibration_curve(voiced["confidence"], voiced["pitch_right"], voiced["song"]),
        "kept_above": kept_above(frames["confidence"], frames["right"], frames["song"], THRESHOLDS),
        "calibration_error": calibration_error(frames["confidence"], frames["right"]),
        # To compare the product with its factors: probability that it is higher in a right frame than in a wrong one.
        "ranking": {name: ranking(frames[name], frames["right"]) for name in factors},
        "ranking_of_voiced": {name: ranking(voiced[name], voiced["right"]) for name in factors},
    }


def measure_vocals(tracks: list[Track], teacher: VocalsTeacher, guide: PitchTeacher) -> dict:
    measured = [vocals_seconds(track, teacher, guide) for track in tracks]
    seconds = joined([seconds for seconds, _ in measured])
    confidence, signal, error, song = seconds.values()
    if not len(song):
        raise MajlError(f"None of the clips has a second of vocals above {QUIET_DBFS:g} dBFS; take more clips.")
    of_seconds_db = 10 * np.log10(signal / error)
    curve = calibration_curve(confidence, of_seconds_db, song)
    signals, errors = (np.bincount(bins_of(confidence), energy) for energy in (signal, error))
    for row, number in zip(curve, np.unique(bins_of(confidence)), strict=True):
        row["pooled_sdr_db"] = float(10 * np.log10(signals[number] / errors[number]))
    return {
        "teacher": teacher.facts,
        "guide": guide.facts,
        "clip_sdr_db": summarise([sdr for _, sdr in measured]).to_dict(),
        "num_seconds": len(of_seconds_db),
        "sdr_of_seconds_db": curve,
        "kept_above": kept_above(confidence, of_seconds_db, song, THRESHOLDS),
        "rank_correlation": rank_correlation(confidence, of_seconds_db),
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
        rpa, oa, vfa = (_summary(pitch["scores"][metric], 100, ".1f", " %") for metric in ("rpa", "oa", "vfa"))
        lines += [
            "",
            f"## Pitch read from the clean vocals by {name}",
            "",
            f"RPA {rpa}, OA {oa}, false alarms {vfa} (mean over clips). Confidence = certainty x agreement of views "
            f"({views} semitones). Expected calibration error {pitch['calibration_error']:.3f}. A right frame has more "
            "confidence than a wrong one with probability "
            + ", ".join(f"{value:.3f} ({what})" for what, value in pitch["ranking"].items() if value is not None)
            + ".",
            "",
        ]
        of_voiced = {row["low"]: [row["count"], _row(row, 100)] for row in pitch["pitch_accuracy_of_voiced"]}
        lines += table(
            ["confidence", "frames:", "overall accuracy, %", "voiced frames:", "pitch accuracy, %"],
            [
                [_bin(row), row["count"], _row(row, 100), *of_voiced.get(row["low"], [0, ""])]
                for row in pitch["overall_accuracy"]
            ],
        )
        lines += ["", *_kept(pitch["kept_above"], "frames", "overall accuracy, %", 100, ".1f")]
    for name, vocals in result["vocals"].items():
        sdr, correlation = _summary(vocals["clip_sdr_db"], 1, ".2f", " dB"), vocals["rank_correlation"]
        lines += [
            "",
            f"## Vocals estimated from the mixture by {name}, judged by the pitch that {vocals['guide']['id']} reads",
            "",
            f"SDR {sdr} (mean over clips). {vocals['num_seconds']} seconds whose true vocals are above "
            f"{QUIET_DBFS:g} dBFS."
            + ("" if correlation is None else f" Rank correlation of confidence and SDR {correlation:.2f}."),
            "",
        ]
        column = "mean SDR of a second, dB"
        lines += table(
            ["confidence", "seconds:", column, "SDR of all of them together, dB:"],
            [
                [_bin(row), row["count"], _row(row, 1, ".2f"), f"{row['pooled_sdr_db']:.2f}"]
                for row in vocals["sdr_of_seconds_db"]
            ],
        )
        lines += ["", *_kept(vocals["kept_above"], "seconds", column, 1, ".2f")]
    return "\n".join(lines) + "\n"


def _kept(rows: list[dict], what: str, mean: str, scale: float, form: str) -> list[str]:
    """The table of what is kept by each threshold."""
    return table(
        ["kept above", f"share of {what}, %:", mean],
        [[f"{row['threshold']:.1f}", f"{100 * row['share']:.1f}", _row(row, scale, form)] for row in rows],
    )


def _bin(row: dict) -> str:
    return f"{row['low']:.1f} to {row['high']:.1f}"


def _row(row: dict, scale: float, form: str = ".1f") -> str:
    return with_interval(row["mean"], *(row["interval"] or (None, None)), scale, form)


def _summary(summary: dict, scale: float, form: str, unit: str) -> str:
    return with_interval(summary["mean"], summary["low"], summary["high"], scale, form, unit)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", required=True, help="built corpus with rows of kind 'full'")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--clips", type=int, help="use this many, evenly spread over the split; all by default")
    parser.add_argument("--pitch-teachers", nargs="*", default=["majl-base"], metavar="NAME")
    parser.add_argument("--vocals-teachers", nargs="*", default=["majl-base"], metavar="NAME")
    parser.add_argument("--guide", default="majl-base", metavar="NAME", help="pitch teacher that judges vocals")
    parser.add_argument("--note", default="", help="a sentence for the result, such as a teacher's training data")
    parser.add_argument("--output", type=Path, required=True, metavar="JSON")
    options = parser.parse_args(arguments)
    try:
        tracks = choose_tracks(options.rows, options.split, options.clips)
        pitch, vocals = {}, {}
        for name in options.pitch_teachers:
            print(f"pitch by {name}", file=sys.stderr, flush=True)
            teacher = load_pitch_teacher(name)
            pitch[teacher.facts["id"]] = measure_pitch(tracks, teacher)
        for name in options.vocals_teachers:
            print(f"vocals by {name}", file=sys.stderr, flush=True)
            teacher = load_vocals_teacher(name)
            vocals[teacher.facts["id"]] = measure_vocals(tracks, teacher, load_pitch_teacher(options.guide))
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
        "settings": {"views_semitones": list(SETTINGS.views_semitones), "smoothing_s": SETTINGS.smoothing_s},
        "note": options.note,
        "interval": "95 % percentile bootstrap over songs; of scores over clips",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "code_revision": code_revision(),
        "packages": package_versions(),
        "pitch": pitch,
        "vocals": vocals,
    }
    write_results(options.output, result, as_markdown(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
