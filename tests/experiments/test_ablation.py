"""A matrix of two variants on a corpus of tones: labels removed song by song, equal budgets, resume, figures, card."""

import json
from pathlib import Path

import ablation.run as ablation_run
import numpy as np
import pytest
import torch
import yaml
from ablation.config import AblationConfig, plan_run
from ablation.reduced import ReducedConfig, assign_songs, make_reduced_corpus
from ablation.results import collect_results, write_results
from ablation.run import read_record, run_matrix
from built_corpora import make_rows, read_rows, write_built
from safetensors.torch import load_file

from majl_hf.corpora.tracks import AudioPart
from majl_hf.errors import ConfigError, MajlError
from majl_hf.system.settings import load_settings, merged
from majl_hf.training import make_trainer

ROOT = Path(__file__).parents[2]
SAVE_STEPS = 2


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> tuple[str, str]:
    """Eight fully labelled songs of tones, and two others for validation."""
    folder = tmp_path_factory.mktemp("corpora")
    rows = make_rows({"full": 10}, duration_s=1.5)
    for row in rows:  # too few voiced frames for the check that would refuse an untrained separator's stems as swapped
        row["f0_hz"] = np.where(np.arange(len(row["f0_hz"])) % 10 == 5, row["f0_hz"], 0.0).astype(np.float32)
    return str(write_built(folder / "songs", rows[:8], num_shards=2)), str(write_built(folder / "judged", rows[8:]))


def values_of(corpora, out) -> dict:
    songs, judged = corpora
    labelled = {"kind": "rows", "folder": f"{out}/reduced", "label_kinds": ["full"]}
    return {
        "name": "tones",
        "title": "Tones",
        "about": "Made up.",
        "out": str(out),
        "seeds": [1],
        "start": {
            "separator": {"model_type": "majl-tiny-separator", "hidden_channels": 8, "num_layers": 1},
            "pitch_estimator": {"model_type": "majl-tiny-pitch-estimator", "hidden_channels": 8},
        },
        "corpus": {"rows": songs, "out": f"{out}/reduced", "full_share": 0.25, "separation_share": 0.5},
        "budget": {"steps": 8, "batch_size": 2, "segment_samples": 16000},
        "train": {
            "threads": 1,
            "average_decay": 0.9,
            "data": {"sources": [labelled]},
            "arguments": {
                "use_cpu": True,
                "learning_rate": 1e-3,
                "logging_steps": 1,
                "save_steps": SAVE_STEPS,
                "disable_tqdm": True,
            },
        },
        "pseudo_labels": {"views_semitones": [], "min_pitch_confidence": 0.0, "min_row_confidence": 0.0},
        "cells": {
            "naive_joint": {"title": "naive joint", "train": {"weighting": {"strategy": "uniform"}}},
            "full_majl": {
                "title": "full MAJL",
                "stages": {
                    "stage_1": {},
                    "pseudo": {"kind": "label"},
                    "stage_2": {
                        "weighting": {"strategy": "dwhs", "warmup_share": 0.0},
                        "data": {"sources": [labelled, {"kind": "rows", "folder": "@pseudo"}]},
                    },
                },
            },
        },
        "evaluate": {
            "validation": {"kind": "rows", "folder": judged},
            "test": {"kind": "rows", "folder": judged},
        },
        "references": ["naive_joint"],
        "main": "full_majl",
        "target": {"sdr_db": 0.92, "rpa": 0.0271},
    }


def load(values: dict, path: Path) -> AblationConfig:
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return load_settings(path, AblationConfig)


@pytest.fixture
def values(corpora, tmp_path) -> dict:
    return values_of(corpora, tmp_path / "out")


# The reduced corpus


def test_songs_are_assigned_by_share_and_seed():
    songs = [f"song{number}" for number in range(20)]
    kinds = assign_songs(songs * 3, 0.25, 0.5, seed=3)
    assert sorted(kinds) == sorted(songs)
    assert [list(kinds.values()).count(kind) for kind in ("full", "separation", "pitch")] == [5, 8, 7]
    assert kinds == assign_songs(songs[::-1], 0.25, 0.5, seed=3) != assign_songs(songs, 0.25, 0.5, seed=4)
    assert sorted(assign_songs(songs[:3], 0.01, 0.01, seed=0).values()) == ["full", "pitch", "separation"]
    with pytest.raises(MajlError, match="There are 2 songs"):
        assign_songs(songs[:2], 0.5, 0.5, seed=0)


def test_labels_are_taken_away(corpora, tmp_path):
    config = ReducedConfig(rows=corpora[0], out=str(tmp_path / "reduced"))
    facts = make_reduced_corpus(config)
    before, after = read_rows(Path(corpora[0])), read_rows(tmp_path / "reduced")
    assert after.keys() == before.keys()
    assert {row["song"]: row["label_kind"] for row in after.values()} == facts["songs"]
    assert {kind: count["songs"] for kind, count in facts["counts"].items()} == {"full": 2, "separation": 3, "pitch": 3}
    for id, row in after.items():
        old, kind = before[id], row["label_kind"]
        stems = [row[name] for name in ("vocals", "accompaniment")]
        if kind == "full":
            assert row == old
            continue
        assert row["provenance"] != old["provenance"]
        if kind == "separation":
            assert stems == [old["vocals"], old["accompaniment"]] and row["mixture"] is None
            assert row["f0_hz"] is row["f0_hop_s"] is row["pitch_confidence"] is None
        else:
            assert stems == [None, None] and row["f0_hz"] == old["f0_hz"]
            mixture, *parts = (
                AudioPart.from_bytes(audio["bytes"], id).read(0, 24000)
                for audio in (row["mixture"], old["vocals"], old["accompaniment"])
            )
            assert np.array_equal(mixture, sum(parts))
    # It is made once, and refused if other settings are requested.
    written = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "reduced").rglob("*"))
    assert make_reduced_corpus(config) == facts
    assert written == sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "reduced").rglob("*"))
    with pytest.raises(ConfigError, match="was made from other rows"):
        make_reduced_corpus(config.model_copy(update={"seed": 1}))
    assert [path.name for path in tmp_path.iterdir()] == ["reduced"]


def test_a_corpus_without_all_labels_is_refused(tmp_path):
    rows = make_rows({"full": 2, "separation": 1}, duration_s=0.5)
    config = ReducedConfig(rows=str(write_built(tmp_path / "rows", rows)), out=str(tmp_path / "reduced"))
    with pytest.raises(MajlError, match=r"1 of 3 rows .*c/separation0 \(separation\)"):
        make_reduced_corpus(config)


# Budgets


def test_all_rows_spend_the_same(values, tmp_path):
    values["budget"]["steps"] = 9
    config = load(values, tmp_path / "run.yaml")
    naive, full = (config.spent(cell, 16000) for cell in ("naive_joint", "full_majl"))
    assert naive == full | {"stage_steps": [9]} and full["stage_steps"] == [4, 5]
    assert (full["steps"], full["items"], full["audio_s"]) == (9, 18, 18.0)
    first, labels, second = plan_run(config, "full_majl", 1).stages.values()
    assert second.model == first.out == labels.pitch_teacher and first.separator == config.start["separator"]
    assert first.data.seed == first.arguments["seed"] == 1 != second.data.seed
    assert [source.folder for source in second.data.sources] == [labels.rows, labels.out]
    assert [stage.arguments["max_steps"] for stage in (first, second)] == [4, 5]


def of_naive(train: dict) -> dict:
    return {"cells": {"naive_joint": {"train": train}}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cells": {"full_majl": {"stages": {"pseudo": {"kind": "train"}}}}}, "stage 'pseudo'.*kind: unknown key"),
        (
            {"cells": {"full_majl": {"stages": {"stage_1": {"kind": "label"}}}}},
            "stage 'stage_1': pitch_teacher: .*None",
        ),
        (of_naive({"arguments": {"max_steps": 9}}), "sets arguments.max_steps"),
        (of_naive({"model": "majl-base", "separator": "x"}), "sets separator"),
        ({"train": {"arguments": {"gradient_accumulation_steps": 2}}}, "sets arguments.gradient_accumulation_steps"),
        ({"train": {"data": {"segment_samples": 8000}}}, "sets data.segment_samples"),
        ({"train": {"early_stopping_evaluations": 1}}, "sets early_stopping_evaluations"),
        ({"budget": {"steps": 1}}, "stage 'stage_1': arguments: max_steps is 0"),
        ({"main": "ful_majl"}, "no variant 'ful_majl'"),
        ({"seeds": [1, 1]}, "one twice"),
        ({"start": {"model": "majl-base"}}, "starts from `model`, or else from both"),
        (of_naive({"data": {"sources": [{"kind": "rows", "folder": "@redused"}]}}), "'@redused'; .* are none"),
        ({"cells": {"full_majl": {"train": {"weighting": {"strategy": "dwsh"}}}}}, "stage 'stage_1'.*strategy: .*dwsh"),
        ({"cells": {"naive_joint": {"extends": "naive_joint"}}}, "extends itself"),
        ({"cells": {"start": {"title": "as it is", "stages": {}}}}, "trains nothing"),
    ],
)
def test_mistakes_are_named(values, tmp_path, change, message):
    with pytest.raises(ConfigError, match=message):
        config = load(merged(values, change), tmp_path / "run.yaml")
        run_matrix(config, list(config.cells), config.seeds)
    assert not (tmp_path / "out").exists()


def test_rows_build_on_each_other(values, tmp_path):
    values["cells"]["third"] = {
        "title": "third",
        "extends": "naive_joint",
        "train": {"arguments": {"learning_rate": 0.1}},
    }
    (training,) = plan_run(load(values, tmp_path / "run.yaml"), "third", 1).stages.values()
    assert training.weighting.strategy == "uniform" and training.arguments["learning_rate"] == 0.1
    assert training.arguments["save_steps"] == SAVE_STEPS


def test_the_configurations_can_be_read():
    paths = sorted((ROOT / "scripts/experiments/configs").glob("ablation_*.yaml"))
    configs = {path.stem.removeprefix("ablation_"): load_settings(path, AblationConfig) for path in paths}
    assert len(configs) >= 5
    for name, config in configs.items():
        assert config.name == name and len(config.seeds) >= 3
        for cell in config.cells:
            plan_run(config, cell, config.seeds[0])  # every variant makes valid stages
            assert config.spent(cell, 16000)["steps"] in (0, config.budget.steps)
        expected = {"sdr_db": 0.15, "rpa": 0.0} if name == "weights" else {"sdr_db": 0.92, "rpa": 0.0271}
        assert config.target == expected
    small, extending = configs["small"], configs["small_long"]
    assert extending.train == merged(small.train, {"arguments": {"save_steps": 500}}) != small.train
    assert extending.cells["full_majl"] == small.cells["full_majl"]


# The matrix


def score(run, **scores: list[float]) -> None:
    """Pretend that a run was scored on validation: clips of the songs a, a, b."""
    run.folder.mkdir(parents=True, exist_ok=True)
    items = [
        {"id": f"clip{number}", "song": song, "singer": "x", "duration_s": 60.0}
        | {name: values[number] for name, values in scores.items() if values[number] is not None}
        for number, song in enumerate("aab")
    ]
    run.file.write_text(json.dumps(read_record(run) | {"scores": {"validation": items}}))


def test_figures_and_card_of_made_up_scores(values, tmp_path, load_script):
    values["seeds"] = [1, 2]
    config = load(values, tmp_path / "run.yaml")
    make_reduced_corpus(config.corpus)
    oa = [0.5, 0.5, 0.5]
    score(plan_run(config, "naive_joint", 1), sdr_db=[1.0, 2.0, 3.0], rpa=[0.5, 0.5, None], oa=oa)
    score(plan_run(config, "naive_joint", 2), sdr_db=[2.0, 3.0, 4.0], rpa=[0.5, 0.7, None], oa=oa)
    score(plan_run(config, "full_majl", 1), sdr_db=[2.0, 3.0, 4.0], rpa=[0.5, 0.5, None], oa=oa)
    results = collect_results(config)
    validation = results["splits"]["validation"]
    naive, full = (validation["cells"][cell] for cell in ("naive_joint", "full_majl"))
    assert naive["seeds"] == [1, 2] and full["seeds"] == [1]
    assert naive["metrics"]["sdr_db"]["mean"] == 2.5 and naive["metrics"]["sdr_db"]["per_seed"] == (2.0, 3.0)
    assert naive["metrics"]["rpa"]["mean"] == pytest.approx(0.55) and naive["metrics"]["rpa"]["num_clips"] == 2
    difference = full["differences"]["naive_joint"]  # of the seed that both have
    assert difference["seeds"] == [1] and difference["sdr_db"]["mean"] == 1.0 and difference["rpa"]["mean"] == 0.0
    assert difference["sdr_db"]["low"] == difference["sdr_db"]["high"] == 1.0
    verdict = validation["verdict"]
    assert verdict["metrics"]["sdr_db"]["met"] and verdict["metrics"]["sdr_db"]["is_sure"]
    assert not verdict["metrics"]["rpa"]["met"] and not verdict["met"]

    folder, card = tmp_path / "results", tmp_path / "card.md"
    path = write_results(config, folder)
    kept = json.loads(path.read_text(), parse_constant=pytest.fail)  # no NaN in it
    assert kept["splits"]["validation"]["cells"]["naive_joint"]["scores"]["rpa"] == [[0.5, 0.5, None], [0.5, 0.7, None]]
    assert str(tmp_path) not in path.read_text()
    (folder / "ablation_other.json").write_text(json.dumps({**results, "name": "other", "title": "Others"}))
    script = load_script("experiments/ablate")
    command = [str(tmp_path / "run.yaml"), "--results", str(folder), "--card", str(card)]
    assert script.main([*command, "--report-only"]) == 0
    text = card.read_text()
    assert "## Tones" in text and "## Others" in text
    assert "| naive joint | 2 | 2.50 [" in text and "| full MAJL | 1 | 3.00 [" in text
    assert "| full MAJL | +1.00 [+1.00, +1.00] | +0.00 [+0.00, +0.00] | +0.00 [+0.00, +0.00] |" in text
    assert "**Target not met**, full MAJL over naive joint, 1 seed: " in text
    assert "SDR +1.00 dB where +0.92 are required (met, also at the interval's lower end)" in text
    assert "RPA +0.00 points where +2.71 are required (not met)" in text
    assert "8 steps of 2 items, 16 items" in text and "| full MAJL | 4 + 4 | 16 |" in text

    run = plan_run(config, "full_majl", 2)
    score(run, sdr_db=[2.0, 3.0, 4.0], rpa=oa, oa=oa)
    run.file.write_text(run.file.read_text().replace("clip0", "clip7"))
    with pytest.raises(MajlError, match="full_majl, seed 2 was scored on other validation clips"):
        collect_results(config)


def test_a_matrix_is_trained_resumed_and_reported(
    corpora, tmp_path, monkeypatch, interrupt, load_script, tiny_model_folder
):
    def values_at(folder: str) -> dict:
        values = values_of(corpora, tmp_path / folder) | {"start": {"model": tiny_model_folder}}
        return merged(values, {"cells": {"start": {"title": "as it is", "stages": {}}}})

    whole = load(values_at("whole"), tmp_path / "whole.yaml")
    reports = ["--results", str(tmp_path / "results"), "--card", str(tmp_path / "card.md")]
    assert load_script("experiments/ablate").main([str(tmp_path / "whole.yaml"), *reports]) == 0
    results = json.loads((tmp_path / "results/ablation_tones.json").read_text())
    assert list(results["splits"]) == ["validation"] and set(results["cells"]) == {"naive_joint", "full_majl", "start"}
    full = results["cells"]["full_majl"]
    assert full["pseudo_rows"] == [[{"pitch": 3, "vocals": 3}]] and full["labelling_s"] > 0 < full["training_s"]
    assert results["cells"]["start"]["steps"] == 0
    assert not list((tmp_path / "whole").rglob("checkpoint-*"))
    assert "### Validation" in (tmp_path / "card.md").read_text()

    # The same in parts: it stops in the middle of the last stage, then the command is run again.
    parts = load(values_at("parts"), tmp_path / "parts.yaml")
    calls = []

    def dying(training):
        calls.append(training.out)
        if len(calls) == 3:
            interrupt(make_trainer(training), 3)
            raise KeyboardInterrupt
        return train(training)

    train = ablation_run.train
    monkeypatch.setattr(ablation_run, "train", dying)
    with pytest.raises(KeyboardInterrupt):
        run_matrix(parts, list(parts.cells), parts.seeds)
    run = plan_run(parts, "full_majl", 1)
    assert [path.name for path in (run.folder / "stage_2").glob("checkpoint-*")] == [f"checkpoint-{SAVE_STEPS}"]
    assert run_matrix(parts, list(parts.cells), parts.seeds, test=True) == []
    assert len(calls) == 4 and calls[2] == calls[3]  # the finished stages are skipped
    assert read_record(run)["stages"]["stage_2"]["resumed_from"] == f"checkpoint-{SAVE_STEPS}"
    for cell in ("naive_joint", "full_majl"):
        one, other = (plan_run(config, cell, 1) for config in (whole, parts))
        expected, got = (load_file(Path(run.model) / "model.safetensors") for run in (one, other))
        assert all(torch.equal(expected[name], got[name]) for name in expected)
        assert read_record(one)["scores"]["validation"] == read_record(other)["scores"]["validation"]
    again = collect_results(parts)
    assert set(again["splits"]) == {"validation", "test"}
    expected = results["splits"]["validation"]["cells"]
    assert json.loads(json.dumps(again["splits"]["validation"]["cells"])) == expected

    # Other settings are refused in the same folder; a folder that another process has locked is skipped.
    changed = merged(values_at("parts"), of_naive({"weighting": {"strategy": "focal"}}))
    with pytest.raises(ConfigError, match="was made with other settings"):
        run_matrix(load(changed, tmp_path / "changed.yaml"), ["naive_joint"], [1])
    with ablation_run.locked(plan_run(parts, "start", 1).folder) as free:
        assert free
        assert run_matrix(parts, ["start"], [1]) == ["start, seed 1"]


def test_stages_that_variants_share_are_made_once(values, tmp_path, monkeypatch):
    other = merged(values["cells"]["full_majl"], {"stages": {"stage_2": {"weighting": {"strategy": "focal"}}}})
    values["cells"]["focal"] = other
    values["cells"]["views"] = merged(other, {"stages": {"pseudo": {"views_semitones": [1.0]}}})
    config = load(values, tmp_path / "run.yaml")
    made = []

    def make(stage) -> dict:
        out = Path(stage.out)
        out.mkdir(parents=True)
        (out / "model").write_text(stage.out)
        made.append("/".join(out.parts[-3:]))
        return {"training_s": 1.0}

    for name in ("_train", "_label"):
        monkeypatch.setattr(ablation_run, name, make)
    monkeypatch.setattr(ablation_run, "_score", lambda run, corpus: [])
    run_matrix(config, ["full_majl", "focal", "views"], [1, 2])
    of_seeds = ("full_majl/{}/stage_1", "full_majl/{}/pseudo", "full_majl/{}/stage_2", "focal/{}/stage_2")
    of_seeds += ("views/{}/pseudo", "views/{}/stage_2")  # other settings, in that stage or in one before
    assert made == [stage.format(f"seed-{seed}") for seed in (1, 2) for stage in of_seeds]
    copied, original = (plan_run(config, cell, 1) for cell in ("focal", "full_majl"))
    assert read_record(copied)["stages"]["pseudo"] == read_record(original)["stages"]["pseudo"]
    assert (copied.folder / "pseudo/model").read_text() == str(original.folder / "pseudo")


def test_the_plan_is_printed(values, tmp_path, load_script, capsys, monkeypatch):
    path, script = tmp_path / "run.yaml", load_script("experiments/ablate")
    load(values, path)
    assert script.main([str(path), "--dry-run", "--cells", "full_majl"]) == 0
    printed = capsys.readouterr().out
    assert "full: 2 songs, 2 rows" in printed
    assert "full_majl: 4 + 4 steps, 16 items" in printed and "naive_joint" not in printed
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["reduced"]
    assert script.main([str(path), "--cells", "naiv"]) == 1
    assert "no variant 'naiv'" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert script.main([str(path)]) == 1
    assert "runs in one process" in capsys.readouterr().err
