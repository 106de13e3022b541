"""Measure how fast training items are made, and whether memory stays flat, and keep the figures in a JSON file.

    python scripts/experiments/benchmark_loader.py --output OUT.json --rows corpora/combined --workers 1 2
        items from the rows of a built corpus, drawn by weight ("rows") and in the order of the epoch ("streaming")
    python scripts/experiments/benchmark_loader.py --output OUT.json --config RUN.yaml --workers 1 2
        items from folders, as that configuration mixes them ("folders"); with `--rows`, all three

Every measurement is a process of its own with a loader of N worker processes, which share nothing with it but the
batches. `audio_s_per_s` is seconds of segments per second after the first `--warmup-items`; to be read beside the
"training" section of `benchmark.py`: a loader should make 5 times what training takes in, or training waits for it.
Memory is that of the process and its workers together, after the warm-up and at the end: `resident_mib` as the system
counts it (pages of files included), `private_mib` without what belongs to files (Linux only; null elsewhere).
`--items` should be an epoch or more of the corpus to say that memory is flat over one. OUTPUT keeps the sections that
this run did not measure.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path


def memory_mib(pids: list[int]) -> dict[str, float | None]:
    """Resident and private memory of processes, summed."""
    totals = {"VmRSS": 0.0, "RssAnon": 0.0}
    for pid in pids:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:
            return {"resident_mib": None, "private_mib": None}
        for line in lines:
            name, _, value = line.partition(":")
            if name in totals:
                totals[name] += int(value.split()[0]) / 1024
    return {"resident_mib": totals["VmRSS"], "private_mib": totals["RssAnon"]}


def make_dataset(kind: str, options: dict):
    from majl_hf.mixing.config import MixingConfig
    from majl_hf.mixing.items import JointMixtureDataset
    from majl_hf.mixing.streaming import StreamingMixtureDataset

    values = {"length": options["items"], "segment_samples": options["segment_samples"], "sampling_rate": 44100}
    if kind == "folders":
        from majl_hf.recipe import load_recipe

        data = next(iter(load_recipe(options["config"]).values())).data  # of the first stage
        return JointMixtureDataset(data.model_copy(update=values))
    values["sources"] = [{"kind": "rows", "folder": options["rows"], "split": options["split"]}]
    if kind == "rows":
        return JointMixtureDataset(MixingConfig(**values))
    return StreamingMixtureDataset(MixingConfig(**values, streaming=True), options["batch_size"], 0, 1)


def measure(kind: str, num_workers: int, options: dict) -> dict:
    """One loader from its first batch to its last."""
    import torch
    from torch.utils.data import DataLoader

    import majl_hf  # noqa: F401  (first: prepares what transformers imports)
    from majl_hf.mixing.items import collate

    torch.set_num_threads(1)
    start = time.perf_counter()
    dataset = make_dataset(kind, options)
    open_s = time.perf_counter() - start
    batch_size = options["batch_size"]
    loader = DataLoader(dataset, batch_size=batch_size, num_workers=num_workers, collate_fn=collate)
    iterator = iter(loader)
    pids = [os.getpid(), *(worker.pid for worker in getattr(iterator, "_workers", []))]
    num_warmup = -(-options["warmup_items"] // batch_size)
    for _ in range(num_warmup):
        next(iterator)
    at_start, start = memory_mib(pids), time.perf_counter()
    memory, count, every = [], 0, max(1, (len(dataset) // batch_size) // 20)
    for number, batch in enumerate(iterator):
        count += len(batch["ids"])
        # The workers end with their last batch, so what is measured last is before that.
        if number % every == 0 and all(pid == pids[0] or Path(f"/proc/{pid}").exists() for pid in pids):
            memory.append(memory_mib(pids))
    wall_s = time.perf_counter() - start
    segment_s = dataset.config.segment_s
    return {
        "num_workers": num_workers,
        "items": count,
        "open_s": open_s,
        "wall_s": wall_s,
        "audio_s_per_s": count * segment_s / wall_s,
        "at_start": at_start,
        "at_end": memory[-2] if len(memory) > 1 else memory[-1] if memory else at_start,
        "over_time_mib": [round(entry["resident_mib"] or 0.0, 1) for entry in memory],
    }


def call(kind: str, num_workers: int, options: dict) -> dict:
    """`measure` in a process of its own.

    Raises:
        RuntimeError: it failed; with the end of what it printed.
    """
    command = [sys.executable, __file__, "--call", json.dumps([kind, num_workers, options])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    if process.returncode:
        raise RuntimeError(f"Measuring {kind} failed:\n{process.stderr[-2000:]}")
    return json.loads(process.stdout.splitlines()[-1])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", help="YAML file of a training run on folders")
    parser.add_argument("--rows", metavar="DIR", help="built corpus, a folder or a dataset on the Hub")
    parser.add_argument("--split", default="train")
    parser.add_argument("--workers", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--items", type=int, default=1000)
    parser.add_argument("--warmup-items", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--segment-samples", type=int, default=262144)
    parser.add_argument("--output", type=Path, metavar="JSON")
    parser.add_argument("--call", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.call:
        print(json.dumps(measure(*json.loads(options.call))))
        return 0
    if options.output is None or not (options.config or options.rows):
        parser.error("--output and one of --config and --rows are needed")
    if min(options.items - options.warmup_items, options.batch_size, options.segment_samples) < 1:
        parser.error("--items needs to be above --warmup-items, and --batch-size and --segment-samples at least 1")

    values = {name: getattr(options, name) for name in ("config", "rows", "split", "items", "warmup_items")}
    values |= {"batch_size": options.batch_size, "segment_samples": options.segment_samples}
    kinds = ["folders"] * bool(options.config) + ["rows", "streaming"] * bool(options.rows)
    load_average = os.getloadavg() if hasattr(os, "getloadavg") else None
    measured: dict[str, list[dict]] = {}
    try:
        for kind in kinds:
            for num_workers in options.workers:
                run = call(kind, num_workers, values)
                measured.setdefault(kind, []).append(run)
                first, last = run["at_start"]["resident_mib"], run["at_end"]["resident_mib"]
                memory = "" if first is None else f", {first:.0f} MiB at the start, {last:.0f} at the end"
                print(f"{kind}, {num_workers} workers: {run['audio_s_per_s']:.1f} s of audio per second{memory}")
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    from majl_hf.system.provenance import code_revision, package_versions

    results = json.loads(options.output.read_text(encoding="utf-8")) if options.output.exists() else {}
    results["loader"] = {
        "results": measured,
        "segment_samples": options.segment_samples,
        "batch_size": options.batch_size,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": platform.machine(), "num_cores": os.cpu_count(), "system": platform.system()},
        "load_average": load_average,
        "python": platform.python_version(),
        "code_revision": code_revision(),
        "packages": package_versions(),
    }
    options.output.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
