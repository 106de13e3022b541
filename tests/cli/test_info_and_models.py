"""`majl info`, `majl models`, and the command as such."""

import json
import subprocess
import sys

import pytest

import majl_hf
from majl_hf import checkpoints
from majl_hf.models.modeling_majl import MajlModel


def test_facts_of_files(majl, song, tmp_path):
    good, bad = song("[a].mp3", 2.0, 2, 44100), tmp_path / "bad.mp3"
    bad.write_text("no song")
    result = majl("info", good, bad)
    assert result.exit_code == 1
    assert "44100" in result.stdout and "2.0" in result.stdout
    assert "bad.mp3" in result.stderr and "not audio" in result.stderr


def test_facts_of_files_as_json(song):
    result = _json("info", song("a.wav", 1.0, 1, 8000))
    (fact,) = result["files"]
    assert (fact["sampling_rate"], fact["num_channels"], fact["num_samples"], fact["duration_s"]) == (
        8000,
        1,
        8000,
        1.0,
    )
    assert result["failures"] == []


def test_facts_of_the_installation(majl):
    facts = _json("info")
    import torch

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
    (fact,) = _json("models")
    assert fact["num_parameters"] == sum(parameter.numel() for parameter in model.parameters())
    assert fact["size_bytes"] == (tmp_path / "model" / "model.safetensors").stat().st_size
    assert (fact["name"], fact["sampling_rate"], fact["num_channels"]) == ("tiny", 16000, 1)
    assert fact["licence"] == "research-only"
    text = majl("models")
    assert text.exit_code == 0 and "research-only" in text.stdout
    (tmp_path / "model" / "config.json").unlink()
    broken = majl("models")
    assert broken.exit_code == 2 and "reinstall" in broken.stderr


def test_the_list_of_parts(majl):
    facts = {fact["name"]: fact for fact in _json("models", "--backbones")}
    assert {"spleeter", "resunet-small", "band-split-small", "hdemucs-small", "convtasnet-small"} <= facts.keys()
    assert {"fcpe", "crepe-tiny", "crepe-full", "rmvpe-small", "harmonic-small"} <= facts.keys()
    assert not any(fact["name"] in ("mask-tiny", "crepe-micro") for fact in facts.values())  # for tests only
    assert facts["crepe-full"]["num_parameters"] == 22_239_976 and facts["crepe-full"]["context_s"] == 0.032
    text = majl("models", "--backbones")
    assert text.exit_code == 0 and "crepe-full" in text.stdout


@pytest.mark.parametrize("verb", ["separate", "pitch", "info", "models"])
def test_every_verb_explains_itself(majl, verb):
    result = majl(verb, "--help", model=None)
    assert result.exit_code == 0 and f"majl {verb}" in result.stdout.replace("root", "majl")


def test_help_needs_no_heavy_library():
    """The command itself, without the rest of the package, imports what draws its help and nothing that computes."""
    code = (
        "import sys, types\n"
        "package = sys.modules['majl_hf'] = types.ModuleType('majl_hf')\n"
        f"package.__path__ = {list(majl_hf.__path__)!r}\n"
        "from majl_hf.cli import app\n"
        "heavy = {'torch', 'transformers', 'numpy', 'soundfile', 'av', 'soxr', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "app(['--help'], prog_name='majl')\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    for word in ("separate", "pitch", "info", "models", "130"):
        assert word in result.stdout


def _json(*arguments):
    from typer.testing import CliRunner

    from majl_hf.cli import app

    result = CliRunner().invoke(app, [*map(str, arguments), "--json"])
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)
