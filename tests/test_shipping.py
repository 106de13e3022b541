"""scripts/ship_checkpoint.py: what becomes part of the package, and what does not."""

import json
import shutil

import pytest
import torch

from majl_hf.checkpoints.loading import checkpoint_sha256
from majl_hf.models.modeling_majl import MajlModel


@pytest.fixture
def shipping(load_script):
    return load_script("ship_checkpoint")


@pytest.fixture
def candidate(tiny_model_folder, tmp_path) -> str:
    """A model that differs from the tiny one."""
    model = MajlModel.from_pretrained(tiny_model_folder)
    with torch.no_grad():
        model.separator.head.bias.add_(0.1)
    model.save_pretrained(tmp_path / "candidate")
    return tmp_path / "candidate"


def write_results(path, *runs) -> None:
    """A results file with `(folder, dataset, SDR)` for each run."""
    path.write_text(json.dumps({"runs": {str(number): {
        "system": {"checkpoint_sha256": checkpoint_sha256(folder)}, "dataset": dataset, "limit": None,
        "metrics": {"sdr_db": {"mean": sdr_db}},
    } for number, (folder, dataset, sdr_db) in enumerate(runs)}}))  # fmt: skip


def test_a_model_becomes_small_and_loads(shipping, tiny_model_folder, tmp_path):
    shipping.ship(tiny_model_folder, tmp_path / "shipped")
    names = {path.name for path in (tmp_path / "shipped").iterdir()}
    assert names == {"config.json", "model.safetensors", "preprocessor_config.json"}
    before, after = MajlModel.from_pretrained(tiny_model_folder), MajlModel.from_pretrained(tmp_path / "shipped")
    assert after.dtype == torch.float32
    for name, tensor in before.state_dict().items():
        assert torch.equal(after.state_dict()[name], tensor.half().to(tensor.dtype))


def test_card_and_licence_stay(shipping, tiny_model_folder, tmp_path):
    target = tmp_path / "shipped"
    shutil.copytree(tiny_model_folder, target)
    for name in ("README.md", "LICENSE"):
        (target / name).write_text(name)
    shipping.ship(tiny_model_folder, target)
    assert [(target / name).read_text() for name in ("README.md", "LICENSE")] == ["README.md", "LICENSE"]


@pytest.mark.parametrize("gain_db, is_shipped", [(0.1, True), (0.0, True), (-0.01, False)])
def test_real_songs_decide(shipping, candidate, tiny_model_folder, tmp_path, gain_db, is_shipped):
    target, results = tmp_path / "shipped", tmp_path / "results.json"
    shutil.copytree(tiny_model_folder, target)
    write_results(
        results, (candidate, "MIR-1K", 99.0), (target, "real_songs", 8.3), (candidate, "real_songs", 8.3 + gain_db)
    )
    if is_shipped:
        shipping.check_real_songs(candidate, target, results)
    else:
        with pytest.raises(ValueError, match=r"8.29 dB on real_songs and the shipped shipped 8.30 dB"):
            shipping.check_real_songs(candidate, target, results)


def test_runs_under_a_condition_do_not_count(shipping, candidate, tiny_model_folder, tmp_path):
    target, results = tmp_path / "shipped", tmp_path / "results.json"
    shutil.copytree(tiny_model_folder, target)
    write_results(results, (target, "real_songs", 8.3), (candidate, "real_songs", 8.4), (candidate, "real_songs", 2.0))
    content = json.loads(results.read_text())
    content["runs"]["2"]["condition"] = "reverb"
    results.write_text(json.dumps(content))
    shipping.check_real_songs(candidate, target, results)


def test_without_results_nothing_is_replaced(shipping, candidate, tiny_model_folder, tmp_path, monkeypatch):
    results = tmp_path / "results.json"
    shutil.copytree(tiny_model_folder, tmp_path / "shipped")
    before = checkpoint_sha256(tmp_path / "shipped")
    write_results(results, (tmp_path / "shipped", "real_songs", 8.3), (candidate, "MIR-1K", 12.0))
    arguments = [str(candidate), "--name", "shipped", "--output", str(tmp_path), "--results", str(results)]
    monkeypatch.setattr("sys.argv", ["ship_checkpoint.py", *arguments])
    with pytest.raises(ValueError, match=r"has no results of .*candidate on real_songs; evaluate it first"):
        shipping.main()
    assert checkpoint_sha256(tmp_path / "shipped") == before
