"""Measure how fast the training items of a stage are made, and whether memory stays flat. Prints JSON.

    python scripts/experiments/benchmark_loader.py scripts/recipes/majl.yaml --stage stage_1 --workers 2 > loader.json

A loader of `--workers` processes makes `--items` items after the first `--warmup-items`, as the stage mixes them, from
folders or from rows, drawn or streamed. `audio_s_per_s` is seconds of segments per second; to be read beside the
"training" section of `benchmark.py`: a loader should make 5 times what training takes in, or training waits for it.
Memory is that of this process and its workers together, after the warm-up and at the end (Linux only): `resident_mib`
as the system counts it (pages of files included), `private_mib` without what belongs to files. `--items` should be an
epoch or more of the corpus to say that memory is flat over one.
"""

import argparse
import json
import os
import platform
import re
import sys
import time
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import torch
from torch.utils.data import DataLoader

import majl_hf  # noqa: F401  (before transformers)
from majl_hf.errors import MajlError
from majl_hf.mixing.items import JointMixtureDataset, collate
from majl_hf.mixing.streaming import StreamingMixtureDataset
from majl_hf.recipe import load_stage
from majl_hf.system.provenance import code_revision, package_versions
from majl_hf.training.config import TrainingConfig


def memory_mib(pids: list[int]) -> dict[str, float]:
    """Resident and private memory of processes, summed."""
    if sys.platform != "linux":
        return {}
    text = "".join(Path(f"/proc/{pid}/status").read_text() for pid in pids)
    fields = {"resident_mib": "VmRSS", "private_mib": "RssAnon"}
    return {name: sum(map(int, re.findall(rf"{field}:\s+(\d+)", text))) / 1024 for name, field in fields.items()}


def measure(config: TrainingConfig, num_workers: int, num_items: int, num_warmup_items: int) -> dict:
    """One loader from its first batch to its last."""
    batch_size = config.arguments.get("per_device_train_batch_size", 8)
    mixing = config.data.model_copy(update={"length": num_warmup_items + num_items})
    start = time.perf_counter()
    dataset = StreamingMixtureDataset(mixing, batch_size, 0, 1) if mixing.streaming else JointMixtureDataset(mixing)
    open_s = time.perf_counter() - start
    # Persistent workers are still there when the memory is measured at the end.
    options = {"num_workers": num_workers, "persistent_workers": num_workers > 0, "collate_fn": collate}
    iterator = iter(DataLoader(dataset, batch_size=batch_size, **options))
    pids = [os.getpid(), *(worker.pid for worker in getattr(iterator, "_workers", []))]
    for _ in islice(iterator, -(-num_warmup_items // batch_size)):
        pass
    at_start, start = memory_mib(pids), time.perf_counter()
    count = sum(len(batch["ids"]) for batch in iterator)
    wall_s = time.perf_counter() - start
    return {
        "num_workers": num_workers,
        "batch_size": batch_size,
        "segment_samples": mixing.segment_samples,
        "items": count,
        "open_s": open_s,
        "wall_s": wall_s,
        "audio_s_per_s": count * mixing.segment_s / wall_s,
        "at_start": at_start,
        "at_end": memory_mib(pids),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, help="YAML file of a training run")
    parser.add_argument("--stage", help="of several in that file")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--items", type=int, default=800)
    parser.add_argument("--warmup-items", type=int, default=200)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        stage = load_stage(options.config, options.stage)
        result = measure(stage, options.workers, options.items, options.warmup_items)
    except MajlError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    about = {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": platform.machine(), "num_cores": os.cpu_count(), "system": platform.system()},
        "load_average": os.getloadavg() if hasattr(os, "getloadavg") else None,
        "code_revision": code_revision(),
        "packages": package_versions(),
    }
    print(json.dumps(result | about, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
