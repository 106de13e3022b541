"""Check that a corpus's pitch labels are aligned in time, by an independent tracker on the vocals of its rows.

    python scripts/experiments/check_alignment.py runs/data/mir1k --clips 100 --output alignment.json

For `--clips` rows, evenly spread over all that have vocals and a pitch label, prints the raw pitch accuracy (RPA) of
swift-f0 (`pip install --no-deps swift-f0`) against the label, unchanged and shifted by whole label frames either way.
A correct label scores highest unchanged; otherwise the exit code is 1.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from markdown_tables import with_interval

from majl_hf.corpora.tracks import Track
from majl_hf.errors import MajlError
from majl_hf.evaluation.systems import PitchTrack
from majl_hf.evaluation.trackers import SwiftTracker
from majl_hf.metrics.melody import melody_scores
from majl_hf.metrics.statistics import summarise
from majl_hf.mixing.clips import evenly_spread
from majl_hf.rows.index import scan_folders
from majl_hf.rows.reading import RowReader
from majl_hf.system.files import write_json

SHIFTS = (-2, -1, 0, 1, 2)  # label frames


def shifted_rpa(track: Track, tracker: Callable[[np.ndarray, int], PitchTrack]) -> dict[int, float] | None:
    """RPA by the number of frames by which the label is delayed; None without a voiced frame."""
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
    parser.add_argument("--output", type=Path, metavar="JSON")
    options = parser.parse_args(arguments)
    try:
        labelled = [row for row in scan_folders(options.folder) if row.has_labelled_vocals]
        if not labelled:
            raise MajlError(f"{options.folder} has no row with vocals and a pitch label; give another corpus.")
        tracker = SwiftTracker()
        with RowReader() as reader:
            rows = [shifted_rpa(reader.track(row), tracker) for row in evenly_spread(labelled, options.clips)]
    except MajlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    rows = [row for row in rows if row is not None]
    rpa = {shift: summarise([row[shift] for row in rows]) for shift in SHIFTS}
    for shift, summary in rpa.items():
        text = with_interval(summary.mean, summary.low, summary.high, 100, ".2f")
        print(f"label moved by {shift:+d} frames: RPA {text}, {summary.count} clips")
    if options.output:
        values = {f"{shift:+d}": {"mean": s.mean, "low": s.low, "high": s.high} for shift, s in rpa.items()}
        facts = {"folder": options.folder.name, "tracker": tracker.provenance, "count": len(rows)}
        write_json(options.output, {**facts, "rpa": values})
    best = max(rpa, key=lambda shift: rpa[shift].mean)
    if best != 0:
        print(f"error: the labels fit best when moved by {best:+d} frames", file=sys.stderr)
    return int(best != 0)


if __name__ == "__main__":
    sys.exit(main())
