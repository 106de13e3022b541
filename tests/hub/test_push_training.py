"""A training run pushes its checkpoints by the Trainer's own options, from the run's YAML file."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from built_corpora import make_rows, write_built
from huggingface_hub import ModelCard
from local_hub import TOKEN
from training_runs import rows_of, run_values

ROOT = Path(__file__).parents[2]
LOAD = """
from majl_hf import MajlFeatureExtractor, MajlModel
model = MajlModel.from_pretrained(arguments["repo_id"])
result = [sum(p.double().sum().item() for p in model.parameters()),
          MajlFeatureExtractor.from_pretrained(arguments["repo_id"]).sampling_rate]
"""


@pytest.mark.timeout(900)
def test_two_steps_are_pushed(hub, hub_client, tiny_model_folder, tmp_path):
    rows = write_built(tmp_path / "rows", make_rows({"full": 2, "accompaniment": 1}, duration_s=1.0))
    pushed = {"push_to_hub": True, "hub_model_id": "tester/trained", "hub_private_repo": True}
    config = run_values(tiny_model_folder, tmp_path / "run", rows_of(rows), save_steps=1, **pushed)
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(config))
    process = subprocess.run(
        [sys.executable, str(ROOT / "scripts/train.py"), str(path)],
        env=hub.environment(tmp_path / "home"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert TOKEN not in process.stdout + process.stderr

    repository, files = hub.repositories["models", "tester/trained"], hub.files("models", "tester/trained")
    assert repository.private
    titles = [commit.title for commit in repository.commits.values()]
    assert any(title.startswith("Training in progress, step") for title in titles) and "Model save" in titles
    assert files["model.safetensors"] == (tmp_path / "run/model.safetensors").read_bytes()
    assert {"config.json", "preprocessor_config.json", "modeling_majl.py", "README.md"} <= files.keys()
    assert not [name for name, content in files.items() if TOKEN.encode() in content]
    assert ModelCard(files["README.md"].decode()).data.library_name == "transformers"
    here = hub_client.run(LOAD, repo_id=str(tmp_path / "run"))
    assert hub_client.run(LOAD, repo_id="tester/trained") == here and here[1] == 16_000
