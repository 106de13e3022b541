"""Settings of tiny training runs on a CPU, and a tiny corpus in MIR-1K's layout for them."""

from pathlib import Path

import numpy as np
from corpus_files import MIR1K_RATE, sung_note, write_mir1k


def run_values(model, output, *sources: dict, segment_samples: int = 8000, **arguments) -> dict:
    """A training run of two items per step; `arguments` are those that differ."""
    return {
        "model": str(model),
        "threads": 1,
        "data": {"segment_samples": segment_samples, "sources": list(sources)},
        "arguments": {
            "output_dir": str(output),
            "max_steps": 2,
            "per_device_train_batch_size": 2,
            "learning_rate": 1e-3,
            "lr_scheduler_type": "constant",
            "logging_steps": 1,
            "use_cpu": True,
            "disable_tqdm": True,
            **arguments,
        },
    }


def rows_of(folder, **options) -> dict:
    return {"kind": "rows", "folder": str(folder), **options}


def mir1k_of(folder, split: str) -> dict:
    return {"kind": "mir1k", "folder": str(folder), "split_column": "singer_split", "split_value": split}


def write_singers(folder: Path, num_clips: int = 4, seconds: float = 2.0) -> Path:
    """Sung tones over noise, one singer each, two semitones apart; the last one is the validation split."""
    rng, num_samples = np.random.default_rng(0), int(seconds * MIR1K_RATE)
    clips, labels, splits = {}, {}, {}
    for index in range(num_clips):
        name, semitone = f"s{index}_1_01", 57.0 + 2 * index
        vocals = 0.5 * sung_note(440 * 2 ** ((semitone - 69) / 12), num_samples)
        clips[name] = (0.05 * rng.standard_normal(num_samples), vocals)
        labels[name] = np.full(int((seconds - 0.04) / 0.02) + 1, semitone)
        splits[name] = "validation" if index == num_clips - 1 else "train"
    return write_mir1k(folder, clips, labels, splits)
