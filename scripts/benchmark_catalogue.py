"""How fast `majl batch` is, whether its engines agree, and how its memory and time grow with a catalogue.

    python scripts/benchmark_catalogue.py cut SONGS --output pieces
    python scripts/benchmark_catalogue.py engines pieces --output engines.json
    python scripts/benchmark_catalogue.py growth pieces/000.flac --counts 50 500 --output growth.json
    python scripts/benchmark_catalogue.py growth SONG --counts 100000 --model tiny --only f0 --output growth.json

`cut`: pieces of the songs in a folder, in several formats; the last six are five that are broken, each in its own way,
and one that needs much memory. `engines`: the same songs by each engine with each number of workers; equal are results
of which every byte is. `growth`: catalogues of links to one song. Memory is sampled five times a second: of the driver,
and of the largest worker. `--model tiny` is a small network with random weights.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from majl_hf.audio import AUDIO_EXTENSIONS, AudioWriter, read_audio
from majl_hf.system.files import walk, write_json
from majl_hf.system.memory import resident_bytes

FORMATS = {".flac": "flac", ".wav": "wav-16", ".mp3": "mp3", ".m4a": "m4a", ".opus": "opus"}
COVER_BYTES = 200 << 20
RAY_PROCESSES = ("raylet", "gcs_server", "ray::")


def write_large_cover(path: Path, song: Path, size: int = COVER_BYTES) -> None:
    """An mp3 file with a picture of hundreds of megabytes, of which all is a hole in the file."""
    picture = b"\0image/png\0\3\0\x89PNG\r\n\x1a\n"
    in_7_bits = bytes(((len(picture) + size + 10) >> shift) & 127 for shift in (21, 14, 7, 0))
    with open(path, "wb") as file:
        file.write(b"ID3\3\0\0" + in_7_bits + b"APIC" + (len(picture) + size).to_bytes(4, "big") + b"\0\0" + picture)
        file.seek(size, os.SEEK_CUR)
        file.write(song.read_bytes())


def write_broken(folder: Path, song: Path) -> None:
    """Five files that no decoder can read, each for a reason of its own."""
    (folder / "broken_empty.mp3").write_bytes(b"")
    (folder / "broken_text.m4a").write_text("This is not a song.")
    (folder / "broken_header.flac").write_bytes(song.read_bytes()[:30])
    (folder / "broken_zeros.wav").write_bytes(bytes(100_000))
    (folder / "broken_link.flac").symlink_to("nowhere.flac")


def cut(arguments: argparse.Namespace) -> None:
    """Write pieces at random places of songs."""
    output = Path(arguments.output)
    output.mkdir(parents=True)
    random = np.random.default_rng(arguments.seed)
    songs = [parent / name for parent, _, names in walk(Path(arguments.songs)) for name in names]
    songs = [song for song in songs if song.name.endswith(AUDIO_EXTENSIONS)]
    for first, song in enumerate(songs):
        samples, rate = read_audio(song)
        length = min(samples.shape[1], round(arguments.seconds * rate))
        for number in range(first, arguments.count - 6, len(songs)):
            start = random.integers(samples.shape[1] - length + 1)
            extension = list(FORMATS)[number % len(FORMATS)]
            with AudioWriter(output / f"{number:03d}{extension}", rate, len(samples), FORMATS[extension]) as writer:
                writer.write(samples[:, start : start + length])
    write_broken(output, output / "000.flac")
    write_large_cover(output / "memory.mp3", output / "002.mp3")


class Watched:
    """`majl batch` as another process, with the memory of its processes."""

    def __init__(self, arguments: list[str]):
        self.driver_bytes = self.worker_bytes = 0
        command = [sys.executable, "-m", "majl_hf.cli", "batch", *arguments, "--json"]
        started_s = time.monotonic()
        with tempfile.TemporaryFile() as log:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log)
            thread = threading.Thread(target=self._watch, args=(process.pid,), daemon=True)
            thread.start()
            self.summary = json.loads(list(process.stdout)[-1] or b"{}")
            process.wait()
            self.elapsed_s = time.monotonic() - started_s
            if process.returncode not in (0, 1):
                log.seek(0)
                sys.exit(log.read().decode())

    def _watch(self, driver: int) -> None:
        while resident := resident_bytes(driver):
            self.driver_bytes = max(self.driver_bytes, resident)
            for process in _workers_of(driver):
                self.worker_bytes = max(self.worker_bytes, resident_bytes(process))
            time.sleep(0.2)


def _workers_of(driver: int) -> list[int]:
    """Processes below the driver, without those of Ray itself."""
    lines = subprocess.run(["ps", "-e", "-o", "pid=,ppid=,args="], capture_output=True, text=True).stdout.splitlines()
    rows = [(int(pid), int(parent), command) for pid, parent, command in (line.split(None, 2) for line in lines)]
    family = [driver]
    for member in family:
        family += [pid for pid, parent, _ in rows if parent == member]
    return [pid for pid, _, command in rows if pid in family[1:] and not any(name in command for name in RAY_PROCESSES)]


def digest_of(folder: Path) -> dict[str, str]:
    """What a destination contains, apart from times: digests of stems and labels, status and reason of each song."""
    found = {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (folder / "stems").rglob("*.*")
    }
    rows = _rows(folder)
    found |= {f"row {row['name']}": f"{row['status']} {row['input_sha256']}" for row in rows}
    labels = [row for part in (folder / "labels").iterdir() for row in pq.read_table(part).to_pylist()]
    twice = [name for name, count in Counter(row["id"] for row in labels).items() if count > 1]
    found |= {f"labels {row['id']}": hashlib.sha256(repr(row).encode()).hexdigest() for row in labels}
    return found | {"duplicates": str(len(twice) + len(rows) - len({row["name"] for row in rows}))}


def engines(arguments: argparse.Namespace) -> dict:
    """The same songs by each engine and number of workers."""
    results, expected = {}, None
    for engine in arguments.engines:
        for workers in arguments.workers:
            with tempfile.TemporaryDirectory() as folder:
                options = ["--engine", engine, "--workers", str(workers), "--memory-limit", str(arguments.memory_limit)]
                run = Watched([arguments.songs, "-o", folder, "--model", arguments.model, *options])
                found = digest_of(Path(folder))
                failed = [row for row in _rows(Path(folder)) if row["status"] == "failed"]
            expected = found if expected is None else expected
            one = results.get(f"{engine} 1")
            result = {
                "done": run.summary["num_done"],
                "failed": {row["name"]: row["reason"] for row in failed},
                "duplicates": int(found["duplicates"]),
                "differ_from_the_first": sum(found.get(key) != expected.get(key) for key in found | expected),
                "audio_s": run.summary["audio_s"],
                "elapsed_s": round(run.elapsed_s, 1),
                "songs_an_hour": round(3600 * run.summary["num_done"] / run.elapsed_s),
                "driver_mb": run.driver_bytes >> 20,
                "worker_mb": run.worker_bytes >> 20,
            }
            if one:
                result["efficiency"] = round(one["elapsed_s"] / run.elapsed_s / workers, 3)
            results[f"{engine} {workers}"] = result
            print(json.dumps({f"{engine} {workers}": result}, indent=1), flush=True)
    return results


def growth(arguments: argparse.Namespace) -> dict:
    """Catalogues of links to one song: the first run, and one that finds everything done."""
    results = {}
    song = Path(arguments.song).absolute()
    for count in arguments.counts:
        with tempfile.TemporaryDirectory(dir=arguments.scratch) as folder:
            links = Path(folder, "songs")
            links.mkdir()
            for number in range(count):
                (links / f"{number:07d}{song.suffix}").symlink_to(song)
            model = arguments.model if arguments.model != "tiny" else save_tiny(Path(folder, "tiny"))
            options = [str(links), "-o", f"{folder}/out", "--model", model, "--only", arguments.only]
            engine = ["--engine", arguments.engine, "--workers", str(arguments.workers[0])]
            first = Watched([*options, *engine, "--memory-limit", str(arguments.memory_limit)])
            again = Watched(options)
            size = sum(path.stat().st_size for path in Path(folder, "out", "manifest").iterdir())
            result = {
                "done": first.summary["num_done"],
                "elapsed_s": round(first.elapsed_s, 1),
                "driver_mb": first.driver_bytes >> 20,
                "worker_mb": first.worker_bytes >> 20,
                "again_done": again.summary["num_done"],
                "again_s": round(again.elapsed_s, 1),
                "again_driver_mb": again.driver_bytes >> 20,
                "manifest_parts": len(list(Path(folder, "out", "manifest").iterdir())),
                "manifest_bytes_a_song": round(size / count),
            }
        results[str(count)] = result
        print(json.dumps({count: result}, indent=1), flush=True)
    return results


def save_tiny(folder: Path) -> str:
    """Save a small model with random weights; returns its folder."""
    from majl_hf.models.modeling_majl import MajlModel
    from majl_hf.models.tiny_pitch_estimator_majl import TinyPitchEstimator, TinyPitchEstimatorConfig
    from majl_hf.models.tiny_separator_majl import TinySeparator, TinySeparatorConfig

    parts = TinySeparator(TinySeparatorConfig()), TinyPitchEstimator(TinyPitchEstimatorConfig())
    MajlModel.from_parts(*parts).eval().save_pretrained(folder)
    return str(folder)


def _rows(folder: Path) -> list[dict]:
    return [json.loads(line) for part in (folder / "manifest").iterdir() for line in part.read_text().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    pieces = commands.add_parser("cut", help="write pieces of songs")
    pieces.add_argument("songs", help="folder of songs, also in subfolders")
    pieces.add_argument("--output", required=True, help="folder to make")
    pieces.add_argument("--count", type=int, default=200)
    pieces.add_argument("--seconds", type=float, default=10.0, help="of each piece")
    pieces.add_argument("--seed", type=int, default=0)
    compared = commands.add_parser("engines", help="compare engines and numbers of workers")
    compared.add_argument("songs", help="folder of songs")
    compared.add_argument("--engines", nargs="+", default=["local", "ray"])
    grown = commands.add_parser("growth", help="memory and time of larger catalogues")
    grown.add_argument("song")
    grown.add_argument("--counts", nargs="+", type=int, default=[50, 500])
    grown.add_argument("--engine", default="local", choices=["local", "ray"])
    grown.add_argument("--only", default="vocals,accompaniment,f0,notes")
    grown.add_argument("--scratch", help="folder for links and results")
    for measured in (compared, grown):
        measured.add_argument("--workers", nargs="+", type=int, default=[1, 2])
        measured.add_argument("--memory-limit", type=float, default=1.6, help="GiB")
        measured.add_argument("--model", default="majl-base", help="or tiny")
        measured.add_argument("--output", help="JSON file for the results")
    arguments = parser.parse_args()
    if arguments.command == "cut":
        cut(arguments)
        return
    results = engines(arguments) if arguments.command == "engines" else growth(arguments)
    if arguments.output:
        write_json(arguments.output, results)


if __name__ == "__main__":
    main()
