"""Measure how far pitch labels made from notes can be trusted: where the confidences in `data/notes.py` come from.

    python scripts/experiments/measure_note_labels.py ssvd "$MAJL_DATA/ssvd" --limit 15
    python scripts/experiments/measure_note_labels.py ssvd "$MAJL_DATA/ssvd" --as-published \
        --exclude '121[7-9]' '12[2-9]?' '1[3-9]??' '[2-9]???'
    python scripts/experiments/measure_note_labels.py ultrastar "$MAJL_DATA/ultrastar" --vocals SEPARATED --delay-ms 100

An independent tracker (swift-f0, `pip install swift-f0`) reads the vocals: the corpus's own, or NAME.vocals.* in the
folder SEPARATED, as `majl separate` writes them. A frame in a note is confirmed where the tracker finds it voiced and
within 50 cents of the note (modulo an octave where the label's octave is unreliable), a frame in a gap where it finds
it unvoiced. Printed are shares of frames by distance to the nearest border of a note, with 95 % intervals from drawing
the recordings again 1,000 times, the agreement of pitches when the label is shifted in time, and of each recording the
shift that agrees best and how many cents the label is above what is sung. The corrections in `data/ssvd.py` and
`data/ultrastar.py` are medians of these over training recordings: `--exclude` leaves the others out.
"""

import argparse
import itertools
from dataclasses import replace
from fnmatch import fnmatch
from functools import partial
from pathlib import Path

import numpy as np
import swift_f0

from majl_hf.corpora.ssvd import load_ssvd
from majl_hf.corpora.tracks import AudioPart, Track, find_audio
from majl_hf.corpora.ultrastar import load_ultrastar

READERS = {"ssvd": load_ssvd, "ultrastar": partial(load_ultrastar, delay_s=0.0)}
EDGES_S = (0.0, 0.02, 0.05, 0.1, np.inf)  # of the bins of distance
SHIFTS_S = np.arange(-20, 21) * 0.01
TOLERANCE_CENTS = 50
MAX_CENTS = 300  # beyond, the tracker follows something else
SETTLED_S = 0.1  # from the borders of a note on, its pitch is held
DRAWS = 1000


def vocals_of(track: Track, folder: Path | None, seconds: float) -> AudioPart:
    """The first seconds of the track's own vocals, or of those that were separated from it."""
    name = track.id.partition("/")[2]
    vocals = track.part("vocals") if folder is None else AudioPart.open(find_audio(folder, [f"{name}.vocals"])[0])
    return replace(vocals, num_samples=min(vocals.num_samples, round(seconds * vocals.sampling_rate)))


def cents_above(label_hz: np.ndarray, tracker_hz: np.ndarray, octave_reliable: bool) -> np.ndarray:
    """How far the label is above the tracker; NaN where either is 0."""
    both = (label_hz > 0) & (tracker_hz > 0)
    cents = 1200 * np.log2(np.where(both, label_hz, 1.0) / np.where(both, tracker_hz, 1.0))
    if not octave_reliable:
        cents = (cents + 600) % 1200 - 600
    return np.where(both, cents, np.nan)


def confirmed(label_hz: np.ndarray, tracker_hz: np.ndarray, octave_reliable: bool) -> np.ndarray:
    """Where two pitches are the same; False where either is 0."""
    return np.abs(cents_above(label_hz, tracker_hz, octave_reliable)) <= TOLERANCE_CENTS


def measure(
    track: Track, vocals: AudioPart, tracker: swift_f0.SwiftF0, delay_s: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Counts of a recording whose label is delayed.

    Returns:
        `(frames, shifts, cents)`: frames of shape (in note or gap, bin, confirmed or all), shifts of shape (shift, same
        pitch or both voiced), cents that the label is above what is sung, median over the middle of notes.
    """
    audio = vocals.read(0, vocals.num_samples).mean(axis=0)
    result = tracker.detect(audio, vocals.sampling_rate)
    times_s = result.timestamps - delay_s
    tracker_hz = np.where(result.confidence >= 0.5, result.pitch_hz, 0.0)

    label_hz, confidence = track.label.at(times_s)
    known = confidence > 0
    borders_s = np.sort([border for note in track.notes for border in (note.onset_s, note.offset_s)])
    distance_s = np.abs(times_s[:, None] - borders_s).min(axis=1)
    bins = np.digitize(distance_s, EDGES_S[1:-1])
    same = np.where(label_hz > 0, confirmed(label_hz, tracker_hz, track.label.octave_reliable), tracker_hz == 0)
    frames = np.zeros((2, len(EDGES_S) - 1, 2), dtype=np.int64)
    for kind, inside in enumerate((label_hz > 0, label_hz == 0)):
        for number in range(len(EDGES_S) - 1):
            chosen = known & inside & (bins == number)
            frames[kind, number] = (same & chosen).sum(), chosen.sum()

    shifts = np.zeros((len(SHIFTS_S), 2), dtype=np.int64)
    for number, shift_s in enumerate(SHIFTS_S):
        shifted_hz, _ = track.label.at(times_s - shift_s)
        shifts[number] = (
            confirmed(shifted_hz, tracker_hz, track.label.octave_reliable).sum(),
            ((shifted_hz > 0) & (tracker_hz > 0)).sum(),
        )
    cents = cents_above(label_hz, tracker_hz, track.label.octave_reliable)[distance_s >= SETTLED_S]
    return frames, shifts, float(np.median(cents[np.abs(cents) <= MAX_CENTS]))


def median(values: list[float], rng: np.random.Generator) -> str:
    """The median of one value a recording with its interval."""
    drawn = np.median(rng.choice(values, (DRAWS, len(values))), axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    return f"{np.median(values):.1f} [{low:.1f}, {high:.1f}], from {min(values):.1f} to {max(values):.1f}"


def share(counts: np.ndarray, rng: np.random.Generator) -> str:
    """`counts` (recordings, 2), hits and all: the share over all with its interval."""
    if counts[:, 1].sum() == 0:
        return "no frames"
    drawn = counts[rng.integers(len(counts), size=(DRAWS, len(counts)))].sum(axis=1)
    low, high = np.percentile(drawn[:, 0] / np.maximum(drawn[:, 1], 1), [2.5, 97.5])
    total = counts.sum(axis=0)
    return f"{total[0] / total[1]:.3f} [{low:.3f}, {high:.3f}] of {total[1]}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", choices=sorted(READERS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--vocals", type=Path, help="folder with NAME.vocals.* of each recording")
    parser.add_argument("--exclude", nargs="+", default=[], metavar="GLOB", help="names of recordings to leave out")
    parser.add_argument("--as-published", action="store_true", help="SSVD's notes without this package's correction")
    parser.add_argument("--limit", type=int, help="take this many recordings, evenly over the corpus")
    parser.add_argument("--seconds", type=float, default=np.inf, help="of each recording")
    parser.add_argument("--delay-ms", type=float, default=0.0, help="of the labels, which are read as written")
    args = parser.parse_args()

    options = {"as_published": True} if args.as_published else {}
    tracks = [track for track in READERS[args.corpus](args.folder, **options) if track.label is not None]
    tracks = [t for t in tracks if not any(fnmatch(t.id.partition("/")[2], pattern) for pattern in args.exclude)]
    if args.vocals is not None:
        tracks = [t for t in tracks if find_audio(args.vocals, include=[f"{t.id.partition('/')[2]}.vocals"])]
    if args.limit:
        tracks = [tracks[number] for number in np.linspace(0, len(tracks) - 1, args.limit).round().astype(int)]
    tracker = swift_f0.SwiftF0(threads=1, spin=False)
    counts = []
    for track in tracks:
        vocals = vocals_of(track, args.vocals, min(args.seconds, track.duration_s))
        counts.append(measure(track, vocals, tracker, args.delay_ms / 1000))
    frames, shifts, cents = (np.stack(group) for group in zip(*counts, strict=True))

    rng = np.random.default_rng(0)
    minutes = sum(min(track.duration_s, args.seconds) for track in tracks) / 60
    print(f"{len(tracks)} recordings, {minutes:.1f} min")
    for kind, title in enumerate(("in a note, same pitch", "in a gap, unvoiced")):
        for number, (low, high) in enumerate(itertools.pairwise(EDGES_S)):
            print(
                f"{title}, {low * 1000:.0f} to {high * 1000:.0f} ms off a border: {share(frames[:, kind, number], rng)}"
            )
    zero = int(np.flatnonzero(SHIFTS_S == 0)[0])
    for number in range(0, len(SHIFTS_S), 2):
        print(f"label {SHIFTS_S[number] * 1000:+4.0f} ms, same pitch of both voiced: {share(shifts[:, number], rng)}")
    agreement = shifts[:, :, 0] / np.maximum(shifts[:, :, 1], 1)
    best_ms = 1000 * SHIFTS_S[agreement.argmax(axis=1)]
    for number, track in enumerate(tracks):
        print(
            f"{track.id}: {agreement[number, zero]:.3f}, best {agreement[number].max():.3f} at "
            f"{best_ms[number]:+.0f} ms; {cents[number]:.0f} cents above what is sung"
        )
    print(f"best shift, ms, median over recordings: {median(best_ms.tolist(), rng)}")
    print(f"cents above what is sung, median over recordings: {median(cents.tolist(), rng)}")


if __name__ == "__main__":
    main()
