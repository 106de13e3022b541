"""Draw the weights that DWHS gives to a recording: where the separation is blamed, and where the pitch is hard.

    python scripts/experiments/plot_weights.py --rows runs/data/mir1k --split validation --output weights.png

Three pictures of one recording (of `--row`, or the one with the most blame among the first `--search`): the estimated
vocals with the label, the agreement of the label with the pitch read from the estimated and from the clean vocals, and
the weights of both losses. Prints the shares of frames that are blamed on the separation and that are hard.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from majl_hf import MajlModel
from majl_hf.corpora.tracks import Track
from majl_hf.errors import MajlError
from majl_hf.export.plot import HIGHEST_HZ, LOWEST_HZ, log_spectrogram_db
from majl_hf.mixing.config import RowsCorpus
from majl_hf.mixing.segments import read_segment, to_channels
from majl_hf.mixing.transforms import FrameLabels
from majl_hf.training.weights import Dwhs, Evidence, FrameWeights, read_evidence


def read_item(model: MajlModel, track: Track, start_s: float, duration_s: float) -> dict[str, torch.Tensor]:
    """The batch of one item that a stretch of a track with stems and a pitch label is, unchanged."""
    config = model.config
    num_samples = round(min(duration_s, track.duration_s - start_s) * config.sampling_rate)
    parts = {
        name: to_channels(
            read_segment(track.part(name), start_s, num_samples, config.sampling_rate, 1.0)[0], config.num_channels
        )
        for name in ("vocals", "accompaniment")
    }
    times_s = start_s + np.arange(model.num_pitch_frames(num_samples)) * config.frame_hop_s
    frames = FrameLabels.unknown(len(times_s))
    frames.write(slice(None), track, times_s)
    item = {"mixture": parts["vocals"] + parts["accompaniment"], "vocals": parts["vocals"], **vars(frames)}
    return {name: torch.from_numpy(np.asarray(values, dtype=np.float32))[None] for name, values in item.items()}


@torch.no_grad()
def weigh(model: MajlModel, batch: dict[str, torch.Tensor]) -> tuple[np.ndarray, Evidence, FrameWeights]:
    """Estimated vocals `(num_channels, num_samples)`, the evidence and the weights."""
    output = model(mixture=batch["mixture"])
    evidence, _ = read_evidence(model, batch, output.vocals, output.pitch_logits, "clean")
    return output.vocals[0].numpy(), evidence, Dwhs()(evidence)


def draw(path: Path, model: MajlModel, title: str, batch, vocals: np.ndarray, evidence: Evidence, weights) -> None:
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MajlError("Drawing needs matplotlib, which is not installed; run: pip install 'majl_hf[plot]'") from error
    figure = Figure(figsize=(13, 8), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1, 1))
    rate = model.config.sampling_rate
    f0_hz = batch["f0_hz"][0].numpy()
    times_s = np.arange(len(f0_hz)) * model.config.frame_hop_s
    limits = (np.log2(LOWEST_HZ), np.log2(HIGHEST_HZ))
    levels_db = log_spectrogram_db(vocals.mean(axis=0), rate)
    extent = (0.0, vocals.shape[1] / rate, *limits)
    top.imshow(levels_db, origin="lower", aspect="auto", cmap="magma", vmin=-65, vmax=0, extent=extent)
    curve = np.where(f0_hz > 0, np.log2(np.maximum(f0_hz, 1.0)), np.nan)
    top.plot(times_s, curve, color="#35e0ff", linewidth=1.5, label="label")
    ticks_hz = (100, 200, 400, 800, 1600)
    top.set_yticks(np.log2(ticks_hz), [str(hz) for hz in ticks_hz])
    top.set(ylim=limits, ylabel="Hz")
    top.set_title(f"{title}: estimated vocals", loc="left", parse_math=False)
    for values, name, colour in (
        (evidence.agreement_clean, "agreement with the clean vocals", "#2a9d4e"),
        (evidence.agreement_estimate, "with the estimated vocals", "#d1495b"),
    ):
        middle.plot(times_s, values[0], color=colour, linewidth=1.2, label=name)
    middle.set(ylim=(-0.02, 1.02), ylabel="agreement")
    for values, name, colour in (
        (weights.separation, "separation", "#d1495b"),
        (weights.pitch, "pitch", "#3066be"),
    ):
        bottom.plot(times_s, values[0], color=colour, linewidth=1.2, label=f"weight of the {name} loss")
    bottom.fill_between(times_s, 0, weights.blame[0], color="#d1495b", alpha=0.25, label="blame")
    bottom.fill_between(times_s, 0, weights.hardness[0], color="#3066be", alpha=0.2, label="hardness")
    bottom.set(xlabel="time in s", ylabel="weight", ylim=(0, None), xlim=(0.0, times_s[-1]))
    for axes in (top, middle, bottom):
        axes.legend(loc="upper right", fontsize=9, ncols=2)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="majl-base", help="shipped name, folder or Hub id")
    parser.add_argument("--rows", required=True, metavar="DIR", help="built corpus with rows of kind full")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--row", help="id of the row; left out, the one with the most blame")
    parser.add_argument("--search", type=int, default=20, help="rows to look at, evenly spread")
    parser.add_argument("--start-s", type=float, default=0.0)
    parser.add_argument("--duration-s", type=float, default=15.0)
    parser.add_argument("--output", type=Path, required=True, metavar="PNG")
    options = parser.parse_args()

    model = MajlModel.from_pretrained(options.model).eval()
    tracks = RowsCorpus(folder=options.rows, split=options.split, label_kinds=("full",)).load()
    ids = [info.id for info in tracks.info]
    if options.row is not None and options.row not in ids:
        parser.error(f"{options.rows}, split {options.split}, has no row {options.row!r}; say {ids[0]!r}.")
    chosen = np.unique(np.linspace(0, len(ids) - 1, min(options.search, len(ids))).round().astype(int))
    indices = chosen if options.row is None else [ids.index(options.row)]
    worst, blamed, hard, count = None, 0, 0, 0
    for index in indices:
        batch = read_item(model, tracks[int(index)], options.start_s, options.duration_s)
        vocals, evidence, weights = weigh(model, batch)
        labelled = evidence.pitch_confidence > 0
        count += int(labelled.sum())
        blamed += int((weights.blame[labelled] > 0.5).sum())
        hard += int((weights.hardness[labelled] > 0.5).sum())
        mean = float(weights.blame[labelled].mean())
        if worst is None or mean > worst[0]:
            worst = (mean, ids[int(index)], batch, vocals, evidence, weights)
    print(f"{count} frames of {len(indices)} rows: blame above 0.5 in {blamed / count:.1%}, "
          f"hardness above 0.5 in {hard / count:.1%}")  # fmt: skip
    draw(options.output, model, *worst[1:])
    print(f"{worst[1]}, mean blame {worst[0]:.3f} -> {options.output}")


if __name__ == "__main__":
    main()
