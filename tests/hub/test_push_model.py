"""A model goes to the Hub and comes back: by id, by revision, offline, without the package; failed uploads resume."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from hub_client import ClientError, refused
from huggingface_hub import ModelCard, parse_eval_result_entries
from local_hub import TOKEN
from without_package import WITHOUT_PACKAGE

# The sum of a model's output for a fixed input, which distinguishes sets of weights.
FINGERPRINT = """
import torch
from majl_hf import MajlModel, load_model
load = load_model if "name" in arguments else MajlModel.from_pretrained
torch.manual_seed(0)
with torch.no_grad():
    output = load(**arguments).eval().cpu()(0.1 * torch.randn(1, 1, 4000))
result = [output.vocals.double().sum().item(), output.pitch_logits.double().sum().item()]
"""
LOAD = """
from majl_hf import MajlModel
MajlModel.from_pretrained(**arguments)
"""
MAJL = """
import os
from typer.testing import CliRunner
from majl_hf.cli import app
os.environ.pop("HF_TOKEN") if arguments.get("logged_out") else None
try:
    outcome = CliRunner().invoke(app, arguments["line"])
finally:
    os.environ["HF_TOKEN"] = arguments["token"]
result = [outcome.exit_code, outcome.stdout, outcome.stderr]
"""


def push(client, source, repo_id="tester/model", licence="cc-by-nc-4.0", **options):
    return client.push("model", source, repo_id, licence=licence, **options)


def majl(client, *line, logged_out=False):
    return client.run(MAJL, line=[str(word) for word in line], logged_out=logged_out, token=TOKEN)


def uploads(hub):
    return [request for request in hub.requests if request.startswith("PUT /lfs/")]


@pytest.fixture(scope="module")
def other_model(tiny_model_folder, tmp_path_factory):
    from majl_hf import MajlModel

    model = MajlModel.from_pretrained(tiny_model_folder)
    for parameter in model.parameters():
        parameter.data.mul_(0.9)
    folder = tmp_path_factory.mktemp("other")
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def song(tmp_path):
    path = tmp_path / "song.wav"
    soundfile.write(path, 0.1 * np.sin(np.arange(16_000) * 0.09), 16_000)
    return path


def test_what_is_uploaded(hub, hub_client, tiny_model_folder):
    report = push(hub_client, tiny_model_folder)
    assert TOKEN not in hub_client.output
    repository, files = hub.repositories["models", "tester/model"], hub.files("models", "tester/model")
    assert repository.private and report["private"] and repository.branches["main"] == report["commit"]
    assert {path: len(content) for path, content in files.items() if path != ".gitattributes"} == report["files"]
    assert {"config.json", "preprocessor_config.json", "model.safetensors", "README.md"} < report["files"].keys()
    with open(f"{tiny_model_folder}/model.safetensors", "rb") as file:
        assert files["model.safetensors"] == file.read()
    config = json.loads(files["config.json"])
    assert {"AutoConfig", "AutoModel"} <= config["auto_map"].keys()
    assert "custom_pipelines" not in config  # else transformers runs the repository's code even with this package
    code = {path.removesuffix(".py") for path in files if path.endswith(".py")}
    needed = {"modeling_majl", "pipeline_majl", "feature_extraction_majl", "streaming_majl"}
    assert needed <= code
    imported = re.findall(r"^\s*from \.(\w+) import", b"\n".join(files.values()).decode("utf-8", "replace"), re.M)
    assert set(imported) <= code  # all of this package's files that it needs were uploaded
    assert not [path for path in files if path.endswith((".bin", ".pt", ".pkl", ".pickle"))]
    assert not [path for path, content in files.items() if tiny_model_folder.encode() in content]
    data = ModelCard(files["README.md"].decode()).data
    assert (data.library_name, data.pipeline_tag, data.license) == ("transformers", "audio-to-audio", "cc-by-nc-4.0")


def test_the_handler_of_an_endpoint_goes_with_its_wheel(hub, hub_client, tiny_model_folder, tmp_path):
    endpoint = Path(__file__).parents[2] / "deployment/endpoint"
    push(hub_client, tiny_model_folder, "tester/endpoint", endpoint=str(endpoint))
    files = hub.files("models", "tester/endpoint")
    assert files["handler.py"] == (endpoint / "handler.py").read_bytes() and "requirements.txt" in files
    assert len([path for path in files if path.endswith(".whl")]) == 1
    with pytest.raises(ClientError, match=r"no handler\.py and no requirements\.txt"):
        push(hub_client, tiny_model_folder, "tester/endpoint", endpoint=str(tmp_path))


@pytest.mark.timeout(900)
def test_comes_back_by_id_by_revision_and_offline(hub, hub_client, tiny_model_folder, other_model, tmp_path, song):
    first = push(hub_client, tiny_model_folder, "tester/there")
    push(hub_client, other_model, "tester/there", revision="v2")
    expected = hub_client.run(FINGERPRINT, pretrained_model_name_or_path=str(tiny_model_folder))
    changed = hub_client.run(FINGERPRINT, pretrained_model_name_or_path=str(other_model))
    assert expected != changed
    name = {"pretrained_model_name_or_path": "tester/there"}
    assert hub_client.run(FINGERPRINT, **name) == expected
    assert hub_client.run(FINGERPRINT, **name, revision="v2") == changed
    assert hub_client.run(FINGERPRINT, name="tester/there@v2") == changed
    assert hub_client.run(FINGERPRINT, **name, revision=first["commit"]) == expected

    # Another process with the same cache and no network; it runs the card's example unchanged.
    card = hub.files("models", "tester/there")["README.md"].decode()
    block = re.search(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL).group(1)
    assert 'model="tester/there"' in block
    hub.requests.clear()
    environment = hub.environment(hub_client.environment["HF_HOME"]) | {"HF_HUB_OFFLINE": "1"}
    process = subprocess.run(
        [sys.executable, "-c", f"{block}\nprint(len(song['f0_hz']))"],
        env=environment,
        cwd=song.parent,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert process.stdout.splitlines()[-1] == "51"
    assert hub.requests == []


@pytest.mark.timeout(900)
def test_loads_where_the_package_is_not(hub, hub_client, tiny_model_folder, tmp_path):
    push(hub_client, tiny_model_folder, "tester/door")
    card = hub.files("models", "tester/door")["README.md"].decode()
    block = re.findall(r"^```python\n(.*?)^```$", card, re.MULTILINE | re.DOTALL)[1]
    check = """
import numpy
song = separate({"array": numpy.zeros(4000, "float32"), "sampling_rate": 16_000})
modules = {type(part).__module__.split(".")[0] for part in (model, separate)}
print(*modules, "majl_hf" in sys.modules, len(song["vocals"]), len(song["f0_hz"]))
"""
    process = subprocess.run(
        [sys.executable, "-c", WITHOUT_PACKAGE + block + check],
        env=hub.environment(tmp_path / "home"),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    assert process.stdout.splitlines()[-1] == "transformers_modules False 4000 13"


def test_files_of_an_earlier_upload_that_are_gone_are_removed(hub, hub_client, tiny_model_folder):
    push(hub_client, tiny_model_folder, "tester/again")
    repository = hub.repositories["models", "tester/again"]
    old = {"model-00001-of-00002.safetensors": b"old", "old_majl.py": b"", "notes.txt": b"kept"}
    repository.add_commit("main", "by hand", hub.files("models", "tester/again") | old)
    push(hub_client, tiny_model_folder, "tester/again")
    assert old.keys() & hub.files("models", "tester/again").keys() == {"notes.txt"}


def test_results_go_along_if_they_are_of_these_weights(hub, hub_client, tiny_model_folder, tmp_path):
    from majl_hf.checkpoints.loading import checkpoint_sha256

    metric = {"name": "SDR", "unit": "dB", "mean": 7.25, "median": 7.0, "low": 6.5, "high": 8.0, "count": 3}
    run = {
        "system": {"name": "trial", "kind": "model", "checkpoint_sha256": checkpoint_sha256(tiny_model_folder)},
        "dataset": "MIR-1K", "split": "singer_split=test", "protocol": "whole clips", "limit": None,
        "date": "2026-11-28",
        "interval": "95% bootstrap", "metrics": {"sdr_db": metric | {"skipped": 0, "non_finite": 0}}, "items": [],
    }  # fmt: skip
    results = tmp_path / "measured.json"
    on_hub = {"dataset": "songs", "split": "test", "on_hub": {"id": "tester/songs", "revision": "01" * 20}}
    results.write_text(json.dumps({"runs": {"a": run, "b": run | on_hub, "c": run | on_hub | {"limit": 3}}}))
    push(hub_client, tiny_model_folder, "tester/measured", results=str(results))
    files = hub.files("models", "tester/measured")
    assert json.loads(files["results.json"])["runs"]["a"]["metrics"]["sdr_db"]["mean"] == 7.25
    card = ModelCard(files["README.md"].decode())
    assert "| measured | 7.25 [6.50, 8.00] | 3 | 0 |" in card.text
    assert [(r.metric_value, r.metric_args["interval"]) for r in card.data.eval_results] == 2 * [(7.25, [6.5, 8.0])]
    # Of what has no id on the Hub, and of trials, the Hub gets no entry.
    assert [path for path in files if path.startswith(".eval_results/")] == [".eval_results/tester--songs.yaml"]
    (entry,) = parse_eval_result_entries(yaml.safe_load(files[".eval_results/tester--songs.yaml"]))
    assert (entry.dataset_id, entry.dataset_revision, entry.task_id) == ("tester/songs", "01" * 20, "test_sdr")
    assert (entry.value, entry.date) == (7.25, "2026-11-28")
    assert entry.source_url.endswith("/tester/measured/blob/main/results.json")
    assert entry.notes.startswith("SDR in dB [6.50, 8.00], split test, 3 clips") and "not a registered" in entry.notes

    run["system"]["checkpoint_sha256"] = "00"
    results.write_text(json.dumps({"runs": {"a": run}}))
    with pytest.raises(ClientError, match=r"PushError: .*has no figure of these weights \(SHA-256"):
        push(hub_client, tiny_model_folder, "tester/other", results=str(results))
    assert ("models", "tester/other") not in hub.repositories


def test_an_interrupted_upload_resumes(hub, hub_client, tiny_model_folder):
    hub.fail("PUT /lfs/", times=1)  # in the middle of the weights
    hub.fail("POST /api/models/.*/commit/", times=1)  # at the very end
    report = push(hub_client, tiny_model_folder, "tester/broken-off")
    assert hub.repositories["models", "tester/broken-off"].branches["main"] == report["commit"]
    assert len(uploads(hub)) == 2  # one failed, one complete; not again after the commit that failed
    assert sum("/commit/" in request for request in hub.requests) == 2


def test_a_push_given_again_sends_only_what_is_missing(hub, hub_client, tiny_model_folder):
    hub.fail("POST /api/models/.*/commit/", 503)
    with pytest.raises(
        ClientError, match=r"PushError: The upload to tester/late failed. The Hub answers 503: it is down"
    ):
        push(hub_client, tiny_model_folder, "tester/late")
    assert sum("/commit/" in request for request in hub.requests) == 3  # it was tried more than once
    assert list(hub.files("models", "tester/late")) == [".gitattributes"]  # nothing half written
    hub.recover()
    hub.requests.clear()
    report = push(hub_client, tiny_model_folder, "tester/late")
    assert uploads(hub) == [] and len(hub.files("models", "tester/late")) == len(report["files"]) + 1


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "the token is missing, wrong or expired"), (403, "Use one with write access"), (404, "there is no model")],
)
def test_a_hub_that_refuses(hub, hub_client, tiny_model_folder, status, advice):
    hub.fail("POST /api/models/.*/preupload/", status)
    with pytest.raises(
        ClientError, match=rf"PushError: The upload to tester/x failed. The Hub answers {status}: .*{advice}"
    ):
        push(hub_client, tiny_model_folder, "tester/x")
    assert TOKEN not in hub_client.output
    assert sum("/preupload/" in request for request in hub.requests) == 1  # trying again would not help


def test_private_is_not_put_into_a_public_repository(hub, hub_client, tiny_model_folder):
    push(hub_client, tiny_model_folder, "tester/open", private=False)
    assert not hub.repositories["models", "tester/open"].private
    count = len(hub.repositories["models", "tester/open"].commits)
    with pytest.raises(ClientError, match="tester/open exists and is public"):
        push(hub_client, tiny_model_folder, "tester/open")
    assert len(hub.repositories["models", "tester/open"].commits) == count


def test_command_line(hub, hub_client, tiny_model_folder, tmp_path, song):
    code, out, _ = majl(hub_client, "push", "model", "tester/cli", tiny_model_folder, "--licence", "mit", "--dry-run")
    assert code == 0 and re.search(r"^model\.safetensors +[\d,]+ bytes$", out, re.MULTILINE)
    assert "would go to the private model tester/cli" in out and hub.requests == []
    code, out, _ = majl(hub_client, "push", "model", "tester/cli", tiny_model_folder, "--licence", "mit",
                        "--base-model", "tester/base", "--dataset", "tester/songs", "--json")  # fmt: skip
    data = ModelCard(hub.files("models", "tester/cli")["README.md"].decode()).data
    assert (data.base_model, data.datasets) == (["tester/base"], ["tester/songs"])
    assert code == 0 and json.loads(out)["commit"] == hub.repositories["models", "tester/cli"].branches["main"]
    code, _, err = majl(hub_client, "push", "model", "tester/cli", tiny_model_folder, "--base-model", "tester/base")
    assert code == 2 and "--licence" in err
    code, out, err = majl(hub_client, "separate", song, "-o", tmp_path / "out", "-m", "tester/cli")
    assert code == 0, err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "song.vocals.wav", "song.accompaniment.wav", "song.f0.csv",
    }  # fmt: skip


def separate_fails(hub_client, song, match, model="tester/none", **options):
    code, out, err = majl(hub_client, "separate", song, "-o", song.parent / "out", "-m", model, **options)
    assert code == 2 and out == "" and re.search(match, " ".join(err.split())), err
    assert "Traceback" not in err and TOKEN not in err


def test_a_model_that_cannot_be_had(hub, hub_client, song):
    """The command line explains the Hub's error; from Python the errors are transformers' own, which name the model."""
    separate_fails(
        hub_client, song, "'tester/none' cannot be loaded: The Hub answers 404: there is no model tester/none"
    )
    separate_fails(hub_client, song, "The Hub answers 401: the token is missing", logged_out=True)
    with pytest.raises(
        ClientError, match="OSError: tester/none is not a local folder and is not a valid model identifier"
    ):
        hub_client.run(LOAD, pretrained_model_name_or_path="tester/none")

    hub.fail(".*", 503)
    separate_fails(hub_client, song, "The Hub answers 503: it is down or overloaded. Try again")
    with pytest.raises(ClientError, match="OSError: We couldn't connect to 'http://127"):
        hub_client.run(LOAD, pretrained_model_name_or_path="tester/none")
    hub.recover()
    hub.fail(".*")
    separate_fails(hub_client, song, "The Hub cannot be reached: check the connection")


def test_pickled_weights_are_not_loaded(hub, hub_client, tiny_model_folder, song):
    push(hub_client, tiny_model_folder, "tester/pickled")
    files = dict(hub.files("models", "tester/pickled"))
    files["pytorch_model.bin"] = files.pop("model.safetensors")
    hub.repositories["models", "tester/pickled"].add_commit("main", "pickled", files)
    separate_fails(hub_client, song, "does not appear to have a file named model.safetensors", model="tester/pickled")
    assert not [request for request in hub.requests if "pytorch_model" in request]


def test_what_is_no_model_is_refused(tiny_model_folder, tmp_path):
    refused("model", "nowhere", "nowhere is neither a shipped name", licence="mit")
    refused("model", tiny_model_folder, "is 'model'; it must be OWNER/NAME", repo_id="model", licence="mit")
    refused("model", tiny_model_folder, "is 'me/a b', which the Hub does not allow", repo_id="me/a b", licence="mit")
    refused("model", tiny_model_folder, r"There is no card .*README.md, and a model needs one. Give a licence")
    (tmp_path / "card.md").write_text("---\nlibrary_name: transformers\n---\n# A model")
    refused("model", tiny_model_folder, "names no licence", card=tmp_path / "card.md")
    (tmp_path / "card.md").write_text("---\nlicense: other\nlicense_link: LICENSE\n---\n# A model")
    refused("model", tiny_model_folder, "refers to LICENSE for its licence", card=tmp_path / "card.md")
    refused("model", tiny_model_folder, "'a b' is not the id of a model or dataset", licence="mit", base_models=["a b"])


def test_weights_that_are_not_whole_are_refused(tiny_model_folder, tmp_path):
    from safetensors.torch import load_file, save_file

    for name in ("config.json", "model.safetensors"):
        shutil.copy(f"{tiny_model_folder}/{name}", tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    state.pop(next(name for name in state if name.endswith("weight")))
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    refused("model", tmp_path, r"do not fit its config.json: \{'missing_keys'", licence="mit")
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    refused("model", tmp_path, "cannot be loaded, so it is not uploaded", licence="mit")
