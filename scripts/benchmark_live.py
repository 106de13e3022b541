"""How good and how fast `majl live` is, beside the whole recording at once.

    python scripts/benchmark_live.py pitch SOLO_VOICE... --output live_pitch.json
    python scripts/benchmark_live.py vocals SONG... --output live_vocals.json

`pitch`: recordings of one voice; their pitch for several look-aheads against that of `majl pitch --solo`. `vocals`:
folders with `vocals.*` and `accompaniment.*`, or MIR-1K's recordings, accompaniment left and voice right; SDR of the
vocals for each setting, and of `majl separate` with and without the refiner. Of each, the first `--seconds`. Run the
same command again to resume.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from majl_hf.audio import read_audio, resample
from majl_hf.checkpoints.loading import load_model
from majl_hf.metrics.melody import melody_scores
from majl_hf.metrics.separation import sdr_db
from majl_hf.metrics.statistics import summarise
from majl_hf.models.live_majl import LIVE_SETTINGS, LivePitch, LiveSeparator
from majl_hf.models.streaming_majl import separate_array
from majl_hf.system.files import write_json

LOOKAHEADS_S = (0.02, 0.04, 0.06, 0.1)
BLOCK_S = 0.01  # as a sound card delivers it


def read(path: Path, rate: int, seconds: float) -> np.ndarray:
    """The start of a recording, `(num_channels, num_samples)` at a rate."""
    samples, own_rate = read_audio(path)
    return resample(samples, own_rate, rate)[:, : round(seconds * rate)]


def measure_pitch(model, path: Path, seconds: float) -> dict:
    """Accuracy for each look-ahead against the whole recording, and milliseconds for a run of the network."""
    rate = model.config.sampling_rate
    voice = read(path, rate, seconds).mean(axis=0, keepdims=True)
    whole = separate_array(model, voice, rate, separate=False).frames
    reference_hz = np.where(whole.voiced, whole.f0_hz, 0.0)
    scores = {}
    for lookahead_s in LOOKAHEADS_S:
        live = LivePitch(model, rate, lookahead_s)
        blocks = np.array_split(voice[0], round(voice.shape[1] / (BLOCK_S * rate)))
        times_ms, parts = [], []
        for number, block in enumerate(blocks):
            started_s = time.perf_counter()
            frames = live.push(block, last=number == len(blocks) - 1)
            if len(frames):
                times_ms.append(1000 * (time.perf_counter() - started_s))
                parts.append(frames)
        frames = type(whole).concatenate(parts)
        scored = melody_scores(whole.times_s, reference_hz, frames.times_s, frames.f0_hz, frames.voiced)
        if scored is not None:
            scores[f"{1000 * lookahead_s:.0f} ms"] = {
                **{key: scored[key] for key in ("rpa", "oa")},
                "voicing": float((frames.voiced == whole.voiced).mean()),
                "run_ms": float(np.median(times_ms)),
                "slow_run_ms": float(np.percentile(times_ms, 95)),
            }
    return scores


def measure_vocals(model, path: Path, seconds: float) -> dict:
    """SDR of each setting and of whole recordings in dB, and the real-time factor of the settings."""
    rate = model.config.sampling_rate
    if path.is_dir():
        vocals, other = (read(next(path.glob(f"{stem}.*")), rate, seconds) for stem in ("vocals", "accompaniment"))
    else:
        other, vocals = np.split(read(path, rate, seconds), 2)
    length = min(vocals.shape[1], other.shape[1])
    vocals, other = vocals[:, :length], other[:, :length]
    mixture = vocals + other
    scores = {}
    for name, setting in LIVE_SETTINGS.items():
        live = LiveSeparator(model, len(mixture), setting)
        started_s = time.perf_counter()
        blocks = np.array_split(mixture, round(length / (0.05 * rate)), axis=1)
        parts = [live.push(block, last=number == len(blocks) - 1)[1] for number, block in enumerate(blocks)]
        elapsed_s = time.perf_counter() - started_s
        scores[name] = {
            "sdr": sdr_db(vocals, np.concatenate(parts, axis=1)),
            "real_time_factor": elapsed_s * rate / length,
        }
    parts = model.parts()
    without_refiner = argparse.Namespace(parts=lambda: dataclasses.replace(parts, refiner=None))
    for name, which in (("whole, without refiner", without_refiner), ("whole", model)):
        scores[name] = {"sdr": sdr_db(vocals, separate_array(which, mixture, rate, read_pitch=False).vocals)}
    return scores


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    measures: dict[str, Callable] = {"pitch": measure_pitch, "vocals": measure_vocals}
    parser.add_argument("what", choices=measures)
    parser.add_argument("recordings", nargs="+", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="majl-base")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    model = load_model(options.model, "cpu", options.threads)
    results = json.loads(options.output.read_text()) if options.output.exists() else {}
    for path in options.recordings:
        key = path.name
        if key not in results:
            results[key] = measures[options.what](model, path, options.seconds)
            write_json(options.output, results)
        print(key, {name: {k: round(v, 3) for k, v in row.items()} for name, row in results[key].items()}, flush=True)
    chosen = [results[path.name] for path in options.recordings]
    for name in dict.fromkeys(name for row in chosen for name in row):
        rows = [row for row in chosen if name in row]
        values = {metric: [row[name][metric] for row in rows] for metric in rows[0][name]}
        if options.what == "vocals":
            values["loss"] = [row["whole"]["sdr"] - row[name]["sdr"] for row in rows]
        summaries = {metric: summarise(of_metric) for metric, of_metric in values.items()}
        texts = [
            f"{metric} {of.mean:.3f}" + ("" if of.low is None else f" [{of.low:.3f}, {of.high:.3f}]")
            for metric, of in summaries.items()
        ]
        print(f"{name} (n = {len(rows)}): {', '.join(texts)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
