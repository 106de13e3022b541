"""Does the pitch of a corpus land where its label says? An independent tracker listens to the vocals of its rows.

    python scripts/experiments/check_alignment.py runs/data/mir1k --clips 100 --output alignment.json

For `--clips` rows, evenly spread over all that have vocals and a pitch label, prints the raw pitch accuracy (RPA) of
swift-f0 (`pip install --no-deps swift-f0`) or another tracker against the label, as it stands and moved by whole label
frames either way. A label that is right scores highest where it stands.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from majl_hf.corpora.tracks import Track
from majl_hf.errors import MajlError
from majl_hf.evaluation.packages import FcpeTracker, SwiftTracker
from majl_hf.evaluation.systems import PitchTrack
from majl_hf.metrics.melody import melody_scores
from majl_hf.metrics.statistics import summarise
from majl_hf.rows.convert import row_to_track

TRACKERS = {"swift-f0": SwiftTracker, "torchfcpe": FcpeTracker}
SHIFTS = (-2, -1, 0, 1, 2)  # label frames


def labelled_tracks(folder: Path, max_clips: int) -> Iterator[Track]:
    """Tracks with vocals and label, evenly spread over the rows of all splits."""
    from datasets import concatenate_datasets, load_dataset

    rows = concatenate_datasets(list(load_dataset(str(folder)).values()))
    columns = rows.select_columns(["label_kind", "f0_hop_s"])
    usable = [
        i for i, row in enumerate(columns) if row["f0_hop_s"] is not None and row["label_kind"] in ("full", "vocals")
    ]
    if not usable:
        raise MajlError(f"{folder} has no row with vocals and a pitch label; give a corpus that has.")
    chosen = np.unique(np.linspace(0, len(usable) - 1, min(max_clips, len(usable))).round().astype(int))
    for index in chosen:
        yield row_to_track(rows[usable[index]])


def shifted_rpa(track: Track, tracker: Callable[[np.ndarray, int], PitchTrack]) -> dict[int, float] | None:
    """RPA by the number of frames that the label is moved later; None without a voiced frame."""
    vocals = track.part("vocals")
    estimate = tracker(vocals.read(0, vocals.num_samples).mean(axis=0), track.sampling_rate)
    label, rpa = track.label, {}
    for shift in SHIFTS:
        times_s = label.times_s + shift * label.hop_s
        inside = times_s >= 0
        scores = melody_scores(times_s[inside], label.f0_hz[inside], estimate.times_s, estimate.f0_hz, estimate.voiced)
        if scores is None:
            return None
        rpa[shift] = scores["rpa"]
    return rpa


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="built corpus, see `majl data build`")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--tracker", choices=TRACKERS, default="swift-f0")
    parser.add_argument("--output", type=Path, metavar="JSON")
    options = parser.parse_args(arguments)
    try:
        tracker = TRACKERS[options.tracker]()
        rows = [shifted_rpa(track, tracker) for track in labelled_tracks(options.folder, options.clips)]
    except MajlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = [row for row in rows if row is not None]
    summaries = {shift: summarise([row[shift] for row in rows], num_resamples=10_000) for shift in SHIFTS}
    for shift, summary in summaries.items():
        interval = "" if summary.low is None else f" [{100 * summary.low:.2f}, {100 * summary.high:.2f}]"
        print(f"label moved by {shift:+d} frames: RPA {100 * summary.mean:.2f}{interval}, {summary.count} clips")
    if options.output:
        result = {
            "folder": options.folder.name,
            "tracker": tracker.provenance,
            "count": len(rows),
            "rpa": {f"{s:+d}": {"mean": m.mean, "low": m.low, "high": m.high} for s, m in summaries.items()},
        }
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    best = max(summaries, key=lambda shift: summaries[shift].mean)
    if best != 0:
        print(f"error: the labels fit best when moved by {best:+d} frames", file=sys.stderr)
    return int(best != 0)


if __name__ == "__main__":
    sys.exit(main())
