"""`majl info`, `majl models`, and the command as such."""

import json

import pytest
import torch

from majl_hf import checkpoints
from majl_hf.models.modeling_majl import MajlModel


def test_facts_of_files(majl, song, tmp_path):
    good, bad = song("[a].mp3", 2.0, 2, 44100), tmp_path / "bad.mp3"
    bad.write_text("no song")
    result = majl("info", good, bad)
    assert result.exit_code == 1
    assert "44100" in result.stdout and "2.0" in result.stdout
    assert "bad.mp3" in result.stderr and "not audio" in result.stderr


def test_facts_of_files_as_json(majl, song):
    (result,) = majl("info", song("a.wav", 1.0, 1, 8000), "--json").json
    (fact,) = result["files"]
    numbers = [fact[name] for name in ("sampling_rate", "num_channels", "num_samples", "duration_s")]
    assert numbers == [8000, 1, 8000, 1.0] and result["failures"] == []


def test_facts_of_the_installation(majl):
    (facts,) = majl("info", "--json").json
    assert facts["versions"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    assert "cpu" in facts["devices"]
    text = majl("info")
    assert text.exit_code == 0 and "transformers" in text.stdout


def test_the_list_of_models(majl, tiny_model_folder, tmp_path, monkeypatch):
    model = MajlModel.from_pretrained(tiny_model_folder)
    model.save_pretrained(tmp_path / "model")
    card = "---\nlicense: other\nlicense_name: research-only\n---\n# A model\nlicense: not this\n"
    (tmp_path / "model" / "README.md").write_text(card)
    monkeypatch.setattr(checkpoints, "SHIPPED", {"tiny": str(tmp_path / "model")})
    ((fact,),) = majl("models", "--json").json
    assert fact["num_parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert fact["size_bytes"] == (tmp_path / "model" / "model.safetensors").stat().st_size
    assert (fact["name"], fact["sampling_rate"], fact["num_channels"]) == ("tiny", 16000, 1)
    assert fact["licence"] == "research-only" and fact["has_note_estimator"] is False
    text = majl("models")
    assert text.exit_code == 0 and "research-only" in text.stdout and "from pitch" in text.stdout

    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps({**config, "note_estimator_config": {}}))
    assert majl("models", "--json").json[0][0]["has_note_estimator"] is True
    assert "network" in majl("models").stdout
    (tmp_path / "model" / "config.json").unlink()
    broken = majl("models")
    assert broken.exit_code == 2 and "reinstall" in broken.stderr


def test_the_list_of_parts(majl):
    facts = {fact["name"]: fact for fact in majl("models", "--backbones", "--json").json[0]}
    assert {"spleeter", "resunet-small", "band-split-small", "hdemucs-small", "convtasnet-small"} <= facts.keys()
    assert {"fcpe", "crepe-tiny", "crepe-full", "rmvpe-small", "harmonic-small"} <= facts.keys()
    assert not any(fact["name"] in ("mask-tiny", "crepe-micro") for fact in facts.values())  # for tests only
    assert facts["crepe-full"]["num_parameters"] == 22_239_976 and facts["crepe-full"]["context_s"] == 0.032
    text = majl("models", "--backbones")
    assert text.exit_code == 0 and "crepe-full" in text.stdout


@pytest.mark.parametrize("verb", ["separate", "pitch", "transcribe", "info", "models"])
def test_every_verb_explains_itself(majl, verb):
    result = majl(verb, "--help", model=None)
    assert result.exit_code == 0 and f"majl {verb}" in result.stdout.replace("root", "majl")
