"""Plot the weights that DWHS gives to a recording: where the separation is blamed, and where the pitch is hard.

    python scripts/experiments/plot_weights.py --rows runs/data/mir1k --split validation --output weights.png

Three plots of the first seconds of one recording (of `--row`, or the one with the most blame among twenty that are
evenly spread over the split): the estimated vocals with the label, the agreement of the label with the pitch read from
the estimated and from the clean vocals, and the weights of both losses. Prints the shares of frames that are blamed on
the separation and that are hard. Needs matplotlib: pip install 'majl_hf[plot]'
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from majl_hf import MajlModel
from majl_hf.corpora.tracks import Track
from majl_hf.export.spectrogram import HIGHEST_HZ, LOWEST_HZ, log_spectrogram_db
from majl_hf.mixing.clips import evenly_spread
from majl_hf.mixing.config import RowsCorpus
from majl_hf.mixing.segments import read_segment, to_channels
from majl_hf.mixing.transforms import FrameLabels
from majl_hf.training.weights import Dwhs, Evidence, FrameWeights, read_evidence

NUM_SEARCHED = 20  # rows
DURATION_S = 15.0  # of a row
RED, BLUE, GREEN, CYAN = "#d1495b", "#3066be", "#2a9d4e", "#35e0ff"


def read_item(model: MajlModel, track: Track) -> dict[str, torch.Tensor]:
    """A batch of one item: the unchanged start of a track with stems and a pitch label."""
    config = model.config
    num_samples = round(min(DURATION_S, track.duration_s) * config.sampling_rate)
    vocals, accompaniment = (
        to_channels(read_segment(track.part(name), 0.0, num_samples, config.sampling_rate, 1.0)[0], config.num_channels)
        for name in ("vocals", "accompaniment")
    )
    times_s = np.arange(model.num_pitch_frames(num_samples)) * config.frame_hop_s
    frames = FrameLabels.unknown(len(times_s))
    frames.write(slice(None), track, times_s)
    item = {"mixture": vocals + accompaniment, "vocals": vocals, **vars(frames)}
    return {name: torch.from_numpy(np.asarray(values, dtype=np.float32))[None] for name, values in item.items()}


@torch.no_grad()
def weigh(model: MajlModel, batch: dict[str, torch.Tensor]) -> tuple[np.ndarray, Evidence, FrameWeights]:
    """Estimated vocals `(num_channels, num_samples)`, the evidence and the weights."""
    output = model(mixture=batch["mixture"])
    evidence, _ = read_evidence(model, batch, output.vocals, output.pitch_logits, "clean")
    return output.vocals[0].numpy(), evidence, Dwhs()(evidence)


def draw(path: Path, model: MajlModel, title: str, f0_hz: np.ndarray, vocals: np.ndarray, evidence, weights) -> None:
    figure = Figure(figsize=(13, 8), dpi=120, layout="constrained")
    top, middle, bottom = figure.subplots(3, 1, sharex=True, height_ratios=(2, 1, 1))
    rate, times_s = model.config.sampling_rate, np.arange(len(f0_hz)) * model.config.frame_hop_s
    limits = (np.log2(LOWEST_HZ), np.log2(HIGHEST_HZ))
    levels_db, extent = log_spectrogram_db(vocals.mean(axis=0), rate), (0.0, vocals.shape[1] / rate, *limits)
    top.imshow(levels_db, origin="lower", aspect="auto", cmap="magma", vmin=-65, vmax=0, extent=extent)
    curve = np.where(f0_hz > 0, np.log2(np.maximum(f0_hz, 1.0)), np.nan)
    top.plot(times_s, curve, color=CYAN, linewidth=1.5, label="label")
    ticks_hz = (100, 200, 400, 800, 1600)
    top.set_yticks(np.log2(ticks_hz), [str(hz) for hz in ticks_hz])
    top.set(ylim=limits, ylabel="Hz")
    top.set_title(f"{title}: estimated vocals", loc="left", parse_math=False)
    for axes, values, name, colour in (
        (middle, evidence.agreement_clean, "agreement with the clean vocals", GREEN),
        (middle, evidence.agreement_estimate, "with the estimated vocals", RED),
        (bottom, weights.separation, "weight of the separation loss", RED),
        (bottom, weights.pitch, "weight of the pitch loss", BLUE),
    ):
        axes.plot(times_s, values[0], color=colour, linewidth=1.2, label=name)
    middle.set(ylim=(-0.02, 1.02), ylabel="agreement")
    bottom.fill_between(times_s, 0, weights.blame[0], color=RED, alpha=0.25, label="blame")
    bottom.fill_between(times_s, 0, weights.hardness[0], color=BLUE, alpha=0.2, label="hardness")
    bottom.set(xlabel="time in s", ylabel="weight", ylim=(0, None), xlim=(0.0, times_s[-1]))
    for axes in (top, middle, bottom):
        axes.legend(loc="upper right", fontsize=9, ncols=2)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="majl-base", help="shipped name, folder or Hub id")
    parser.add_argument("--rows", required=True, metavar="DIR", help="built corpus with rows of kind full")
    parser.add_argument("--split", default="validation")
    parser.add_argument("--row", help="id of the row; default: the one with the most blame")
    parser.add_argument("--output", type=Path, required=True, metavar="PNG")
    options = parser.parse_args()

    model = MajlModel.from_pretrained(options.model).eval()
    tracks = RowsCorpus(folder=options.rows, split=options.split, label_kinds=("full",)).load()
    chosen = evenly_spread(tracks, NUM_SEARCHED)
    if options.row is not None:
        chosen = [tracks[number] for number, info in enumerate(tracks.info) if info.id == options.row]
        if not chosen:
            parser.error(f"{options.rows}, split {options.split}, has no row {options.row!r}; try {tracks[0].id!r}.")
    found, blame, hardness = [], [], []
    for track in chosen:
        batch = read_item(model, track)
        vocals, evidence, weights = weigh(model, batch)
        labelled = evidence.pitch_confidence > 0
        blame.append(weights.blame[labelled])
        hardness.append(weights.hardness[labelled])
        found.append((track.id, batch["f0_hz"][0].numpy(), vocals, evidence, weights))
    shares = [float((torch.cat(values) > 0.5).float().mean()) for values in (blame, hardness)]
    print(f"{sum(map(len, blame))} frames of {len(chosen)} rows: blame above 0.5 in {shares[0]:.1%}, "
          f"hardness above 0.5 in {shares[1]:.1%}")  # fmt: skip
    means = [float(values.mean()) for values in blame]
    worst = int(np.argmax(means))
    draw(options.output, model, *found[worst])
    print(f"{found[worst][0]}, mean blame {means[worst]:.3f} -> {options.output}")


if __name__ == "__main__":
    main()
