"""Training directly from rows: Trainer and Accelerate use each process's share, resume, and need little memory."""

import io
import re
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from built_corpora import TONE_RATE, make_rows, write_built
from processes import in_a_process, in_two_processes
from safetensors.torch import load_file
from torch.utils.data import DataLoader
from training_runs import rows_of, run_values

from majl_hf.mixing.items import JointMixtureDataset, collate
from majl_hf.mixing.streaming import StreamingMixtureDataset
from majl_hf.training import TrainingConfig, make_trainer, train

COUNTS = {"full": 3, "separation": 2, "pitch": 3, "vocals": 2, "accompaniment": 2}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return write_built(tmp_path_factory.mktemp("built"), make_rows(COUNTS, duration_s=1.0), num_shards=2)


def values(built, model, output, streaming=True, **arguments) -> dict:
    source = rows_of(built, vocals={"labelled_probability": 0.0})
    values = run_values(model, output, source, segment_samples=4000, **{"max_steps": 4, "save_steps": 2, **arguments})
    values["data"]["streaming"] = streaming
    return values


def ids(trainer) -> list[str]:
    return [id for batch in trainer.get_train_dataloader() for id in batch["ids"]]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("num_workers", [0, 1])
def test_training_from_rows_learns_and_reads_in_order(built, tiny_model_folder, tmp_path, streaming, num_workers):
    config = values(built, tiny_model_folder, tmp_path, streaming, max_steps=2, dataloader_num_workers=num_workers)
    trainer = train(TrainingConfig.model_validate(config))
    assert trainer.state.global_step == 2
    before, after = (load_file(Path(folder) / "model.safetensors") for folder in (tiny_model_folder, tmp_path))
    assert not torch.equal(before["separator.head.weight"], after["separator.head.weight"])
    trainer = make_trainer(TrainingConfig.model_validate(config))
    dataset = trainer.train_dataset
    expected = list(dataset) if streaming else [dataset[index] for index in range(len(dataset))]
    assert isinstance(dataset, StreamingMixtureDataset) == streaming
    assert ids(trainer) == [item["id"] for item in expected] and len(expected) == 4


def test_a_resumed_streaming_run_is_the_uninterrupted_one(built, tiny_model_folder, tmp_path, interrupt):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    accumulation = {"gradient_accumulation_steps": 2, "max_steps": 8, "save_steps": 5}  # 32 items, 12 rows per pass
    train(TrainingConfig.model_validate(values(built, tiny_model_folder, whole, **accumulation)))
    config = TrainingConfig.model_validate(values(built, tiny_model_folder, parts, **accumulation))
    interrupt(make_trainer(config), 6)
    trainer = train(config)
    assert trainer.state.global_step == 8
    expected, got = (load_file(folder / "model.safetensors") for folder in (whole, parts))
    assert all(torch.equal(expected[name], got[name]) for name in expected)


def train_and_record(config: dict) -> tuple[int, int, list[str]]:
    """Number of processes, number of steps, and the items that this one was given."""
    trainer = make_trainer(TrainingConfig.model_validate(config))
    compute_loss, used = trainer.compute_loss, []

    def recording(model, inputs, *args, **kwargs):
        used.extend(inputs["ids"])
        return compute_loss(model, inputs, *args, **kwargs)

    trainer.compute_loss = recording
    trainer.train()
    return trainer.args.world_size, trainer.state.global_step, used


def test_two_training_processes_see_other_rows(built, tiny_model_folder, tmp_path):
    config = values(built, tiny_model_folder, tmp_path / "run", max_steps=3, save_strategy="no")
    results = in_two_processes(train_and_record, config)
    assert [(world_size, steps) for world_size, steps, _ in results] == [(2, 3), (2, 3)]
    rows = [
        [id.removeprefix("unknown+").removeprefix("silence+").split("@")[0] for id in used] for _, _, used in results
    ]
    # 12 rows, 3 steps of 2 items in 2 processes: one pass, each row once.
    assert len(rows[0]) == len(rows[1]) == 6 and not set(rows[0]) & set(rows[1])
    assert sorted(rows[0] + rows[1]) == sorted(f"c/{kind}{n}" for kind, count in COUNTS.items() for n in range(count))


def grown_mib(values: dict) -> float:
    """Growth of this process's resident memory by 40 items, after the first 8."""
    data = TrainingConfig.model_validate(values).data.model_copy(update={"length": 48})
    dataset = StreamingMixtureDataset(data, 2, 0, 1) if data.streaming else JointMixtureDataset(data)
    batches, memory = iter(DataLoader(dataset, batch_size=2, collate_fn=collate)), []
    for count in (4, 20):
        assert len([batch["ids"] for batch in islice(batches, count)]) == count
        memory.append(int(re.search(r"VmRSS:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
    return memory[1] - memory[0]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
@pytest.mark.parametrize("streaming", [False, True])
def test_memory_stays_flat(tmp_path, streaming):
    """24 songs of two times 4 MB of FLAC, read more than once: memory grows by less than two of them."""
    row = make_rows({"full": 1})[0]
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 120 * TONE_RATE)
    file = io.BytesIO()
    soundfile.write(file, noise, TONE_RATE, format="FLAC", subtype="PCM_16")
    assert len(file.getvalue()) > 3_000_000
    parts = {name: {"bytes": file.getvalue(), "path": "x.flac"} for name in ("vocals", "accompaniment")}
    songs = [{**row, **parts, "id": f"c/song{number}", "duration_s": 120.0} for number in range(24)]
    built = write_built(tmp_path / "built", songs)
    assert in_a_process(grown_mib, values(built, "unread", tmp_path / "out", streaming)) < 16
