"""Separates songs and reads their sung pitch with onnxruntime, numpy and soundfile.

    python DIR separate SONG... -o OUT      NAME.vocals.wav, NAME.accompaniment.wav, NAME.f0.csv
    python DIR pitch SONG... -o OUT         NAME.f0.csv

This file is `__main__.py` of a folder that `majl export onnx` wrote; the engine beside it is that of majl_hf.
Exit codes: 0 all good; 1 at least one file failed, the others are done; 2 wrong usage; 130 stopped by Ctrl-C.
"""

import argparse
import contextlib
import math
import os
import secrets
import sys
import time
from pathlib import Path

import numpy as np

try:
    from majl_onnx.onnx_majl import OnnxModel
    from majl_onnx.resampling_majl import ResampleStream
    from majl_onnx.streaming_majl import separate_stream
except ModuleNotFoundError:  # imported as part of the package
    from ..models.onnx_majl import OnnxModel
    from ..models.resampling_majl import ResampleStream
    from ..models.streaming_majl import separate_stream

# Extension, soundfile's container and sample format.
FORMATS = {
    "wav-float": (".wav", "WAV", "FLOAT"),
    "wav-24": (".wav", "WAV", "PCM_24"),
    "wav-16": (".wav", "WAV", "PCM_16"),
    "flac": (".flac", "FLAC", "PCM_24"),
}
BLOCK_SAMPLES = 1 << 17
MAX_PHASES = 2000  # of the resampler's kernel, which is a table


class ChannelsResampler:
    """Resamples a stream `(num_channels, num_samples)` from one rate in Hz to another."""

    def __init__(self, orig_rate: int, target_rate: int, num_channels: int):
        divisor = math.gcd(orig_rate, target_rate)
        if max(orig_rate, target_rate) // divisor > MAX_PHASES:
            raise ValueError(
                f"The rate of {orig_rate} Hz has no simple ratio to the model's, {target_rate} Hz; resample the "
                "recording first, such as to 44100 Hz."
            )
        self.channels = [ResampleStream(orig_rate, target_rate) for _ in range(num_channels)]

    def push(self, block: np.ndarray, last: bool = False) -> np.ndarray:
        return np.stack([stream.push(row, last) for stream, row in zip(self.channels, block, strict=True)])


class Outputs:
    """The files of one song: all appear, or none. `files` are their paths by "vocals", "accompaniment" and "f0"."""

    def __init__(self, files: dict[str, Path], overwrite: bool, unvoiced_as_zero: bool):
        self.files, self.overwrite, self.unvoiced_as_zero = files, overwrite, unvoiced_as_zero
        self.hidden = {what: path.parent / f".majl-{secrets.token_hex(8)}.part" for what, path in files.items()}
        self.open_files = {}
        self.num_clipped = 0
        for path in files.values():
            if path.exists() and not overwrite:
                raise ValueError(f"{path} exists; use --overwrite to replace it.")

    def start(self, sampling_rate: int, num_channels: int, format: str) -> None:
        import soundfile

        _, container, subtype = FORMATS[format]
        for what, path in self.hidden.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if what == "f0":
                self.open_files[what] = path.open("w", encoding="ascii", newline="\n")
                self.open_files[what].write("time_s,f0_hz,voicing,confidence\n")
            else:
                self.open_files[what] = soundfile.SoundFile(
                    path, "w", sampling_rate, num_channels, subtype, format=container
                )
        self.limit = np.inf if subtype == "FLOAT" else 1.0

    def write(self, chunk) -> None:
        for what, file in self.open_files.items():
            if what != "f0":
                samples = getattr(chunk, what)
                self.num_clipped += int((np.abs(samples) > self.limit).sum())
                file.write(samples.T)
                continue
            frames = chunk.frames
            f0_hz = np.where(frames.voiced | (not self.unvoiced_as_zero), frames.f0_hz, 0.0)
            for time_s, hz, voicing, confidence in zip(
                frames.times_s, f0_hz, frames.voicing, frames.confidence, strict=True
            ):
                seconds = f"{time_s:.6f}".removesuffix("000")
                file.write(f"{seconds},{hz:.3f},{voicing:.4f},{confidence:.4f}\n")

    def commit(self) -> None:
        for file in self.open_files.values():
            file.close()
        for what, path in self.files.items():
            if path.exists() and not self.overwrite:
                raise ValueError(f"{path} exists; use --overwrite to replace it.")
            os.replace(self.hidden[what], path)

    def discard(self) -> None:
        for file in self.open_files.values():
            with contextlib.suppress(Exception):
                file.close()
        for path in self.hidden.values():
            path.unlink(missing_ok=True)


def blocks_of(file):
    while len(block := file.read(BLOCK_SAMPLES, dtype="float32", always_2d=True)):
        yield np.ascontiguousarray(block.T)


def process(song: Path, files: dict[str, Path], model: OnnxModel, options: argparse.Namespace) -> str:
    """Write the results of one song; returns what was done.

    Raises:
        ValueError, OSError: in words for users.
    """
    import soundfile

    if not song.is_file():
        raise ValueError("there is no such file")
    outputs = Outputs(files, options.overwrite, options.unvoiced_as_zero)
    started_s = time.monotonic()
    try:
        file = soundfile.SoundFile(song)
    except soundfile.LibsndfileError as error:
        raise ValueError(
            f"{error.error_string} soundfile reads wav, flac, ogg and mp3; convert other files first."
        ) from error
    with file, contextlib.ExitStack() as stack:
        if file.channels > 2:
            raise ValueError(f"It has {file.channels} channels; mix it down to two first.")
        stack.callback(outputs.discard)
        outputs.start(file.samplerate, file.channels, options.format)
        num_samples = 0
        for chunk in separate_stream(
            model,
            blocks_of(file),
            file.samplerate,
            make_resampler=ChannelsResampler,
            separate=not options.solo,
            read_pitch="f0" in files,
        ):
            outputs.write(chunk)
            num_samples += chunk.mixture.shape[1]
            show_progress(song, num_samples / file.samplerate, len(file) / file.samplerate)
        outputs.commit()
    elapsed_s, duration_s = time.monotonic() - started_s, num_samples / file.samplerate
    clipped = f"; {outputs.num_clipped} samples beyond full scale were clipped" if outputs.num_clipped else ""
    return f"{duration_s:.1f} s in {elapsed_s:.1f} s{clipped}"


def show_progress(song: Path, done_s: float, total_s: float) -> None:
    if sys.stderr.isatty():
        print(f"\r{song.name}: {done_s:.0f} of {total_s:.0f} s", end="\r", file=sys.stderr, flush=True)


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python DIR", description="Vocals, accompaniment and the sung pitch of songs, with onnxruntime."
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, what in (("separate", "Vocals, accompaniment and pitch of songs."), ("pitch", "The sung pitch, as CSV.")):
        sub = verbs.add_parser(verb, help=what, description=what)
        sub.add_argument("songs", nargs="+", type=Path, metavar="SONG", help="wav, flac, ogg or mp3")
        sub.add_argument("-o", "--output", required=True, type=Path, metavar="OUT", help="folder for the results")
        sub.add_argument("--overwrite", action="store_true", help="replace existing results")
        sub.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all cores)")
        sub.add_argument("--unvoiced-as-zero", action="store_true", help="write 0 Hz in frames that are not sung")
        if verb == "separate":
            sub.add_argument("--format", choices=FORMATS, default="wav-float", help="of the audio")
            sub.add_argument("--stem", choices=("vocals", "accompaniment"), help="write only this stem")
            sub.set_defaults(solo=False)
        else:
            sub.add_argument("--solo", action="store_true", help="the input is a solo voice: do not separate it")
            sub.set_defaults(format="wav-float")
    options = parser.parse_args(arguments)
    if options.threads is not None and options.threads < 1:
        parser.error("--threads needs to be at least 1")
    if options.output.exists() and not options.output.is_dir():
        parser.error(f"{options.output} is not a folder")
    return options


def results_of(song: Path, options: argparse.Namespace) -> dict[str, Path]:
    if options.verb == "pitch":
        return {"f0": options.output / f"{song.stem}.f0.csv"}
    extension = FORMATS[options.format][0]
    stems = (options.stem,) if options.stem else ("vocals", "accompaniment")
    files = {stem: options.output / f"{song.stem}.{stem}{extension}" for stem in stems}
    return files if options.stem else {**files, "f0": options.output / f"{song.stem}.f0.csv"}


def main(arguments: list[str] | None = None, folder: Path | None = None) -> int:
    options = parsed(arguments)
    try:
        model = OnnxModel(folder or Path(__file__).parent, options.threads)
    except (ValueError, ModuleNotFoundError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    failed, written = 0, {}
    for song in options.songs:
        files = results_of(song, options)
        try:
            if same := [path for path in files.values() if path in written]:
                raise ValueError(f"{same[0]} is the result of {written[same[0]]} already; use another --output.")
            facts = process(song, files, model, options)
            written |= dict.fromkeys(files.values(), song)
            print(f"{song}: {facts} -> {', '.join(str(path) for path in files.values())}")
        except KeyboardInterrupt:
            print("stopped", file=sys.stderr)
            return 130
        except MemoryError:
            failed += 1
            print(f"failed: {song}: not enough memory", file=sys.stderr)
        except (ValueError, OSError, RuntimeError) as error:
            failed += 1
            print(f"failed: {song}: {error}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
