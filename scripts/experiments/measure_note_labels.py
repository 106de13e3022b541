"""Measure how far pitch labels made from notes can be trusted: where the confidences in `corpora/notes.py` come from.

    python scripts/experiments/measure_note_labels.py ssvd "$MAJL_DATA/ssvd" --limit 15
    python scripts/experiments/measure_note_labels.py ssvd "$MAJL_DATA/ssvd" --as-published \
        --exclude '121[7-9]' '12[2-9]?' '1[3-9]??' '[2-9]???'
    python scripts/experiments/measure_note_labels.py ultrastar "$MAJL_DATA/ultrastar" --vocals SEPARATED \
        --seconds 60 --delay-ms 100

An independent tracker (swift-f0, `pip install swift-f0`) reads the vocals: the corpus's own, or NAME.vocals.* in the
folder SEPARATED, as `majl separate` writes them. A frame in a note is confirmed if the tracker finds it voiced and
within 50 cents of the note (modulo an octave where the label's octave is unreliable), a frame in a gap if it finds it
unvoiced. Prints the shares of frames by distance to the nearest border of a note, with 95 % bootstrap intervals over
recordings, the agreement of pitches when the label is shifted in time, and for each recording the shift that agrees
best and how many cents the label is above the sung pitch. The corrections in `corpora/ssvd.py` and
`corpora/ultrastar.py` are medians of these over training recordings: `--exclude` leaves the others out.
"""

import argparse
import itertools
from dataclasses import replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import numpy as np

from majl_hf.corpora.ssvd import load_ssvd
from majl_hf.corpora.tracks import AudioPart, Track, find_audio
from majl_hf.corpora.ultrastar import load_ultrastar
from majl_hf.evaluation.trackers import SwiftTracker
from majl_hf.metrics.statistics import bootstrap_interval
from majl_hf.mixing.clips import evenly_spread
from majl_hf.models.pitch_majl import OCTAVE_CENTS, TOLERANCE_CENTS

READERS = {"ssvd": load_ssvd, "ultrastar": partial(load_ultrastar, delay_s=0.0)}
EDGES_S = (0.0, 0.02, 0.05, 0.1, np.inf)  # of the bins of distance
SHIFTS_S = np.arange(-20, 21) * 0.01
MAX_CENTS = 300  # beyond, the tracker follows something else
SETTLED_S = 0.1  # distance from a note's borders beyond which its pitch is steady
DRAWS = 1000


def cents_above(label_hz: np.ndarray, tracker_hz: np.ndarray, octave_reliable: bool) -> np.ndarray:
    """How far the label is above the tracker; NaN where either is 0."""
    both = (label_hz > 0) & (tracker_hz > 0)
    cents = OCTAVE_CENTS * np.log2(np.where(both, label_hz, 1.0) / np.where(both, tracker_hz, 1.0))
    if not octave_reliable:
        cents = (cents + OCTAVE_CENTS / 2) % OCTAVE_CENTS - OCTAVE_CENTS / 2
    return np.where(both, cents, np.nan)


def measure(
    track: Track, vocals: AudioPart, tracker: SwiftTracker, delay_s: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Counts of a recording whose label is delayed.

    Returns:
        `(frames, shifts, cents)`: frames of shape (in note or gap, bin, confirmed or all), shifts of shape (shift, same
        pitch or both voiced), cents that the label is above the sung pitch, median over the middle of notes.
    """
    heard = tracker(vocals.read(0, vocals.num_samples).mean(axis=0), vocals.sampling_rate)
    times_s, tracker_hz = heard.times_s - delay_s, np.where(heard.voiced, heard.f0_hz, 0.0)

    def compared(shift_s: float) -> np.ndarray:
        return cents_above(track.label.at(times_s - shift_s)[0], tracker_hz, track.label.octave_reliable)

    label_hz, confidence = track.label.at(times_s)
    borders_s = np.array([border for note in track.notes for border in (note.onset_s, note.offset_s)])
    distance_s = np.abs(times_s[:, None] - borders_s).min(axis=1)
    bins = np.digitize(distance_s, EDGES_S[1:-1])
    cents = compared(0.0)
    same = np.where(label_hz > 0, np.abs(cents) <= TOLERANCE_CENTS, tracker_hz == 0)
    frames = np.zeros((2, len(EDGES_S) - 1, 2), dtype=np.int64)
    for kind, inside in enumerate((label_hz > 0, label_hz == 0)):
        for number in range(len(EDGES_S) - 1):
            chosen = (confidence > 0) & inside & (bins == number)
            frames[kind, number] = (same & chosen).sum(), chosen.sum()
    shifted = [np.abs(compared(shift_s)) for shift_s in SHIFTS_S]
    shifts = np.array([((cents <= TOLERANCE_CENTS).sum(), np.isfinite(cents).sum()) for cents in shifted])
    settled = cents[distance_s >= SETTLED_S]
    return frames, shifts, float(np.median(settled[np.abs(settled) <= MAX_CENTS]))


def median(values: np.ndarray) -> str:
    """The median of one value per recording with its interval."""
    drawn = np.median(np.random.default_rng(0).choice(values, (DRAWS, len(values))), axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{np.median(values):.1f} [{low:.1f}, {high:.1f}], from {min(values):.1f} to {max(values):.1f}"


def share(counts: np.ndarray) -> str:
    """`counts` (recordings, 2), hits and all: the share over all with its interval."""
    hits, total = counts.sum(axis=0)
    if total == 0:
        return "no frames"
    low, high = bootstrap_interval(counts[:, 0], counts[:, 1])
    return f"{hits / total:.3f} [{low:.3f}, {high:.3f}] of {total}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", choices=sorted(READERS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vocals", type=Path, help="folder with NAME.vocals.* of each recording")
    parser.add_argument("--exclude", nargs="+", default=[], metavar="GLOB", help="names of recordings to leave out")
    parser.add_argument("--as-published", action="store_true", help="SSVD's notes without this package's correction")
    parser.add_argument("--limit", type=int, help="use this many recordings, evenly spread over the corpus")
    parser.add_argument("--seconds", type=float, default=np.inf, help="of each recording")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="of the labels, which are read as written")
    args = parser.parse_args()

    sources = []
    for track in READERS[args.corpus](args.folder, **({"as_published": True} if args.as_published else {})):
        name = track.id.partition("/")[2]
        if track.label is None or any(fnmatch(name, pattern) for pattern in args.exclude):
            continue
        paths = find_audio(args.vocals, [f"{name}.vocals"]) if args.vocals else []
        if paths or args.vocals is None:
            sources.append((track, AudioPart.open(paths[0]) if paths else track.part("vocals")))
    sources, tracker, counts, duration_s = evenly_spread(sources, args.limit), SwiftTracker(), [], 0.0
    for track, vocals in sources:
        seconds = min(args.seconds, track.duration_s)
        num_samples = min(vocals.num_samples, round(seconds * vocals.sampling_rate))
        counts.append(measure(track, replace(vocals, num_samples=num_samples), tracker, args.delay_ms / 1000))
        duration_s += seconds
    frames, shifts, cents = (np.stack(group) for group in zip(*counts, strict=True))

    print(f"{len(sources)} recordings, {duration_s / 60:.1f} min")
    for kind, title in enumerate(("in a note, same pitch", "in a gap, unvoiced")):
        for number, (low, high) in enumerate(itertools.pairwise(EDGES_S)):
            distance = f"{low * 1000:.0f} to {high * 1000:.0f} ms"
            print(f"{title}, {distance} off a border: {share(frames[:, kind, number])}")
    for number in range(0, len(SHIFTS_S), 2):
        print(f"label {SHIFTS_S[number] * 1000:+4.0f} ms, same pitch of both voiced: {share(shifts[:, number])}")
    agreement = shifts[:, :, 0] / np.maximum(shifts[:, :, 1], 1)
    best_ms = 1000 * SHIFTS_S[agreement.argmax(axis=1)]
    unshifted = agreement[:, len(SHIFTS_S) // 2]
    for number, (track, _) in enumerate(sources):
        print(
            f"{track.id}: {unshifted[number]:.3f}, best {agreement[number].max():.3f} at {best_ms[number]:+.0f} ms; "
            f"{cents[number]:.0f} cents above what is sung"
        )
    print(f"best shift, ms, median over recordings: {median(best_ms)}")
    print(f"cents above what is sung, median over recordings: {median(cents)}")


if __name__ == "__main__":
    main()
