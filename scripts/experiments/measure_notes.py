"""How well notes are found in singing, alone and over music, beside rounding the pitch and beside basic-pitch.

    python scripts/experiments/measure_notes.py --ssvd DIR --accompaniment DIR --output notes.json
    python scripts/experiments/measure_notes.py --ultrastar DIR --output karaoke.json

SSVD's validation recordings (numbers from 1217 on) are transcribed as they are, as solo voices, and over music at 0 dB.
The measures are those of mir_eval.transcription: the F1 of notes whose onset is within 50 ms (or 100 ms) and whose
pitch is within 50 cents of the label's (COnP), and also whose offset is within 20 % of the note's length or 50 ms
(COnPOff). Means over recordings, with 95 % bootstrap intervals. SSVD's labels are sharp by 23 cents and lowered by that
(see `corpora/ssvd.py`); `--as-published` scores against the published ones.

`--ultrastar` compares with the notes that people wrote for karaoke songs, whose octave is unreliable and which are in
whole semitones: the share of the written notes that are found within 100 ms (`found`) and what of our notes is written
(`written`), with the same pitch class within 60 cents; the median distance of their onsets; and the share of the time
inside both that has the same pitch class within 60 cents (`chroma`).

basic-pitch runs where it is installed (`pip install --no-deps basic-pitch` with onnxruntime and resampy or librosa).
"""

import argparse
import itertools
import json
from collections import defaultdict
from functools import partial
from pathlib import Path

import mir_eval
import numpy as np
import soxr

import majl_hf  # noqa: F401  (before transformers)

RATE = 44_100
FIRST_VALIDATION_NUMBER = 1217
SAME_PERFORMANCE = "1311"  # as 313, which is for training
SLIVER_S = 0.1
FOUND_S, CHROMA_SEMITONES = 0.1, 0.6
VALIDATION_SONGS = ("dead_smiling_pirates", "joshua_morin", "pornophonique")


def scores(reference, estimate) -> dict[str, float]:
    """Measures of one recording; notes have `onset_s`, `offset_s` and `midi`."""

    def arrays(notes):
        intervals = np.array([(note.onset_s, note.offset_s) for note in notes]).reshape(-1, 2)
        return intervals, mir_eval.util.midi_to_hz(np.array([note.midi for note in notes]))

    result, sung_min = {}, sum(note.offset_s - note.onset_s for note in reference) / 60
    for onset_ms in (50, 100):
        for name, ratio in (("COnP", None), ("COnPOff", 0.2)):
            f1 = mir_eval.transcription.precision_recall_f1_overlap(
                *arrays(reference), *arrays(estimate), onset_tolerance=onset_ms / 1000, offset_ratio=ratio
            )[2] if len(estimate) else 0.0  # fmt: skip
            result[f"{name}_{onset_ms}"] = float(f1)
    result["notes_ratio"] = len(estimate) / len(reference)
    result["slivers_per_min"] = sum(n.offset_s - n.onset_s < SLIVER_S for n in estimate) / sung_min
    return result


def karaoke_scores(reference, estimate) -> dict[str, float]:
    """Measures of one karaoke song."""
    onsets_s, offsets_s, midi = np.array([(note.onset_s, note.offset_s, note.midi) for note in estimate]).T
    free, errors_s = np.ones(len(estimate), dtype=bool), []
    for note in reference:
        distance_s = np.abs(onsets_s - note.onset_s)
        candidates = free & (distance_s <= FOUND_S) & _same_chroma(midi, note.midi)
        if candidates.any():
            best = int(np.argmin(np.where(candidates, distance_s, np.inf)))
            free[best] = False
            errors_s.append(onsets_s[best] - note.onset_s)
    times_s = np.arange(0.0, offsets_s.max(), 0.01)
    ours = _pitch_at(times_s, onsets_s, offsets_s, midi)
    theirs = _pitch_at(times_s, *np.array([(n.onset_s, n.offset_s, n.midi) for n in reference]).T)
    both = (ours > 0) & (theirs > 0)
    return {
        "found": len(errors_s) / len(reference),
        "written": len(errors_s) / len(estimate),
        "onset_error_ms": 1000 * float(np.median(np.abs(errors_s))),
        "onset_shift_ms": 1000 * float(np.median(errors_s)),
        "chroma": float(_same_chroma(ours[both], theirs[both]).mean()),
        "notes_ratio": len(estimate) / len(reference),
    }


def _same_chroma(midi, other) -> np.ndarray:
    return np.abs((midi - other + 6) % 12 - 6) <= CHROMA_SEMITONES


def _pitch_at(times_s, onsets_s, offsets_s, midi) -> np.ndarray:
    """Pitch of the notes at each time, 0 between them."""
    number = np.searchsorted(onsets_s, times_s, side="right") - 1
    return np.where((number >= 0) & (times_s < offsets_s[number]), midi[number], 0.0)


def rounded(chunks, hop_s: float):
    """Notes as runs of voiced frames of one rounded pitch, as tools without notes make them."""
    from majl_hf.models.decoding_majl import PitchFrames
    from majl_hf.models.notes_majl import SungNote
    from majl_hf.models.pitch_majl import hz_to_midi

    frames = PitchFrames.concatenate([chunk.frames for chunk in chunks])
    midi = np.where(frames.voiced, np.round(hz_to_midi(frames.f0_hz)), 0)
    borders = np.flatnonzero(np.diff(midi, prepend=0, append=0))
    runs = itertools.pairwise(borders)
    return [SungNote(b * hop_s, e * hop_s, midi[b]) for b, e in runs if midi[b] > 0 and (e - b) * hop_s >= 0.05]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="majl-base", help="shipped name, folder or Hub id")
    parser.add_argument("--ssvd", help="folder of SSVD")
    parser.add_argument("--accompaniment", help="folder with music without voices")
    parser.add_argument("--ultrastar", help="folder of karaoke songs")
    parser.add_argument("--conditions", nargs="+", default=["solo", "music"], choices=["solo", "through", "music"])
    parser.add_argument("--as-published", action="store_true", help="pitch of the labels as published")
    parser.add_argument("--limit", type=int, help="only so many recordings")
    parser.add_argument("--output", help="JSON with the measures of each recording")
    options = parser.parse_args()
    if (options.ssvd is None) == (options.ultrastar is None):
        parser.error("give --ssvd, with --accompaniment, or --ultrastar")

    from majl_hf import MajlModel

    model, name = MajlModel.from_pretrained(options.model).eval(), Path(options.model).name
    results = defaultdict(list)
    items = ssvd_items(options) if options.ssvd else ultrastar_items(options.ultrastar)
    basic_pitch = find_basic_pitch()
    for condition, id, mixture, rate, measure in itertools.islice(items, options.limit):
        chunks = transcribe(model, mixture, rate, separate=condition != "solo")
        systems = {
            name: [note for chunk in chunks for note in chunk.notes],
            "rounded f0": rounded(chunks, model.config.frame_hop_s),
        }
        if basic_pitch is not None:
            systems["basic-pitch"] = basic_pitch(np.concatenate([chunk.vocals for chunk in chunks], axis=1), rate)
        for system, notes in systems.items():
            results[condition, system].append({"id": id, **measure(notes)})
    for (condition, system), rows in results.items():
        print(f"\n{condition}, {system}, {len(rows)} recordings")
        print_means(rows)
    if options.output:
        table = [{"condition": c, "system": s, "recordings": rows} for (c, s), rows in results.items()]
        Path(options.output).write_text(json.dumps(table, indent=1) + "\n")


def print_means(rows: list[dict]) -> None:
    from majl_hf.metrics.statistics import estimate

    for name in list(rows[0])[1:]:
        value = estimate(np.array([[row[name] for row in rows]]), [row["id"] for row in rows])
        interval = "" if value.low is None else f" [{value.low:.3f}, {value.high:.3f}]"
        print(f"  {name:16} {value.mean:.3f}{interval}")


def ssvd_items(options):
    """Condition, id, mixture `(1, num_samples)`, its rate and the measures, of each recording in each condition."""
    from majl_hf.corpora.ssvd import load_ssvd

    music = sorted(Path(options.accompaniment).expanduser().rglob("*.ogg"))
    tracks = {track.id.split("/")[-1]: track for track in load_ssvd(options.ssvd, as_published=options.as_published)}
    numbers = [number for number, track in tracks.items() if track.notes and number.isdigit()]
    numbers = [n for n in numbers if int(n) >= FIRST_VALIDATION_NUMBER and n != SAME_PERFORMANCE]
    for position, number in enumerate(numbers):
        track = tracks[number]
        voice = track.part("vocals").read(0, round(track.duration_s * track.sampling_rate)).mean(axis=0)
        voice = soxr.resample(voice, track.sampling_rate, RATE).astype(np.float32)
        for condition in options.conditions:
            mixture = voice if condition != "music" else voice + accompaniment(music, position, voice)
            yield condition, track.id, mixture[None], RATE, partial(scores, track.notes)


def ultrastar_items(folder: str):
    """The same of karaoke songs."""
    from majl_hf.corpora.ultrastar import load_ultrastar

    for track in load_ultrastar(folder):
        if track.id.split("/")[-1].startswith(VALIDATION_SONGS):
            mixture = track.part("mixture").read(0, round(track.duration_s * track.sampling_rate))
            yield "karaoke", track.id, mixture, track.sampling_rate, partial(karaoke_scores, track.notes)


def transcribe(model, mixture: np.ndarray, rate: int, separate: bool) -> list:
    from majl_hf.audio import StreamResampler
    from majl_hf.models.streaming_majl import separate_stream

    options = {"separate": separate, "read_notes": True, "make_resampler": StreamResampler}
    return list(separate_stream(model, [mixture], rate, **options))


def accompaniment(music, number: int, voice: np.ndarray) -> np.ndarray:
    """Music of the voice's length and level: file `number`, from its middle, repeated where it is short."""
    from majl_hf.audio import read_audio

    audio, rate = read_audio(music[number * 7 % len(music)])
    audio = soxr.resample(audio.mean(axis=0), rate, RATE)
    audio = np.resize(np.roll(audio, -len(audio) // 3), len(voice)).astype(np.float32)
    return audio * np.sqrt(np.mean(voice**2) / max(np.mean(audio**2), 1e-12))


def find_basic_pitch():
    """A function from samples at `RATE` to notes, or None where the package is missing."""
    try:
        from basic_pitch.inference import Model, predict
    except ImportError:
        return None
    import tempfile

    import soundfile
    from basic_pitch import ICASSP_2022_MODEL_PATH

    from majl_hf.models.notes_majl import SungNote

    model = Model(Path(ICASSP_2022_MODEL_PATH).with_suffix(".onnx"))

    def transcribe(samples, rate):
        with tempfile.NamedTemporaryFile(suffix=".wav") as file:
            soundfile.write(file.name, samples.T, rate)
            events = predict(file.name, model)[2]
        notes = [SungNote(float(begin), float(end), float(pitch)) for begin, end, pitch, *_ in events]
        return sorted(notes, key=lambda note: note.onset_s)

    return transcribe


if __name__ == "__main__":
    main()
