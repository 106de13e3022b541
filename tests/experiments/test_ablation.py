"""A matrix of two rows on a corpus of tones: labels taken away song by song, equal budgets, resume, figures, card."""

import json
import shutil
from pathlib import Path

import ablation.run as ablation_run
import numpy as np
import pytest
import torch
import yaml
from ablation import (
    assign_songs,
    budgets,
    collect_results,
    load_ablation_config,
    make_reduced_corpus,
    plan_run,
    prepare,
    results_path,
    run_matrix,
    write_results,
)
from ablation.config import ReducedConfig
from ablation.timing import estimate_minutes
from built_corpora import make_rows, read_rows, write_built
from safetensors.torch import load_file

from majl_hf.corpora.tracks import AudioPart
from majl_hf.errors import ConfigError, MajlError
from majl_hf.training import make_trainer

ROOT = Path(__file__).parents[2]
SAVE_STEPS = 2


@pytest.fixture(scope="module")
def corpora(tmp_path_factory) -> tuple[str, str]:
    """Eight songs of tones with everything known, and two other ones to judge by."""
    folder = tmp_path_factory.mktemp("corpora")
    rows = make_rows({"full": 10}, duration_s=1.5)
    for row in rows:  # too few voiced frames to tell swapped stems, as which an untrained separator's would be refused
        row["f0_hz"] = np.where(np.arange(len(row["f0_hz"])) % 10 == 5, row["f0_hz"], 0.0).astype(np.float32)
    return str(write_built(folder / "songs", rows[:8], num_shards=2)), str(write_built(folder / "judged", rows[8:]))


def values_of(corpora, out) -> dict:
    songs, judged = corpora
    labelled = {"kind": "rows", "folder": "@reduced", "label_kinds": ["full"]}
    return {
        "name": "tones",
        "title": "Tones",
        "about": "Made up.",
        "out": str(out),
        "seeds": [1],
        "start": {
            "parts": {
                "separator_config": {"model_type": "majl-tiny-separator", "hidden_channels": 8, "num_layers": 1},
                "pitch_estimator_config": {"model_type": "majl-tiny-pitch-estimator", "hidden_channels": 8},
                "window_s": 2.0,
            }
        },
        "corpus": {"rows": songs, "full_share": 0.25, "separation_share": 0.5},
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
                "stages": [
                    {"share": 0.5},
                    {
                        "share": 0.5,
                        "pseudo_labels": {},
                        "train": {
                            "weighting": {"strategy": "dwhs", "warmup_share": 0.0},
                            "data": {"sources": [labelled, {"kind": "rows", "folder": "@pseudo"}]},
                        },
                    },
                ],
            },
            "start": {"title": "as it is", "stages": []},
        },
        "evaluate": {
            "validation": {"kind": "rows", "folder": judged},
            "test": {"kind": "rows", "folder": judged},
        },
        "references": ["naive_joint"],
        "main": "full_majl",
        "target": {"sdr_db": 0.92, "rpa": 0.0271},
    }


def write_config(tmp_path: Path, values: dict) -> Path:
    path = tmp_path / "ablation.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def config_of(corpora, tmp_path: Path, **changes):
    return load_ablation_config(write_config(tmp_path, {**values_of(corpora, tmp_path / "out"), **changes}))


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
    config = ReducedConfig(rows=corpora[0])
    facts = make_reduced_corpus(config, tmp_path / "reduced")
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
    # It is made once, and refused where another one is asked for.
    written = sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "reduced").rglob("*"))
    assert make_reduced_corpus(config, tmp_path / "reduced") == facts
    assert written == sorted((path, path.stat().st_mtime_ns) for path in (tmp_path / "reduced").rglob("*"))
    with pytest.raises(ConfigError, match="was made from other rows"):
        make_reduced_corpus(config.model_copy(update={"seed": 1}), tmp_path / "reduced")
    assert [path.name for path in tmp_path.iterdir()] == ["reduced"]


def test_a_corpus_without_all_labels_is_refused(tmp_path):
    rows = make_rows({"full": 2, "separation": 1}, duration_s=0.5)
    with pytest.raises(MajlError, match=r"1 of 3 rows .*c/separation0 \(separation\)"):
        make_reduced_corpus(ReducedConfig(rows=str(write_built(tmp_path / "rows", rows))), tmp_path / "reduced")


# Budgets


def test_all_rows_spend_the_same(corpora, tmp_path):
    config = config_of(corpora, tmp_path, budget={"steps": 9, "batch_size": 2, "segment_samples": 16000})
    spent = budgets(config, 16000)
    assert spent["naive_joint"].stage_steps == (9,) and spent["full_majl"].stage_steps == (4, 5)
    assert spent["naive_joint"].items == spent["full_majl"].items == 18
    assert spent["naive_joint"].audio_s == spent["full_majl"].audio_s == 18.0
    assert spent["start"].steps == 0
    first, second = plan_run(config, "full_majl", 1).stages
    assert second.training.model == first.training.arguments["output_dir"] == second.pseudo_labels.pitch_teacher
    assert first.training.data.seed != second.training.data.seed
    assert [source.folder for source in second.training.data.sources] == [
        second.pseudo_labels.rows,
        second.pseudo_labels.out,
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda v: v["cells"]["full_majl"]["stages"][1].update(share=0.4), r"full_majl share 0.9 of the budget"),
        (lambda v: v["cells"]["full_majl"]["stages"].reverse(), "first stage of full_majl has pseudo labels"),
        (lambda v: v["cells"]["naive_joint"]["train"].update(arguments={"max_steps": 9}), "sets arguments.max_steps"),
        (lambda v: v["train"]["arguments"].update(gradient_accumulation_steps=2), "arguments.gradient_accumulation"),
        (lambda v: v["train"]["data"].update(segment_samples=8000), "train sets data.segment_samples"),
        (lambda v: v["train"].update(early_stopping_evaluations=1), "sets early_stopping_evaluations"),
        (lambda v: v["budget"].update(steps=1), r"full_majl get \[0, 1\] steps"),
        (lambda v: v.update(main="ful_majl"), "no row 'ful_majl'"),
        (lambda v: v.update(seeds=[1, 1]), "one twice"),
        (lambda v: v["start"].update(model="majl-base"), "either `model` or `parts`"),
    ],
)
def test_mistakes_in_the_file_are_named(corpora, tmp_path, change, message):
    values = values_of(corpora, tmp_path / "out")
    change(values)
    with pytest.raises(ConfigError, match=message):
        load_ablation_config(write_config(tmp_path, values))


def test_mistakes_in_a_row_are_named(corpora, tmp_path):
    values = values_of(corpora, tmp_path / "out")
    values["cells"]["naive_joint"]["train"] = {"data": {"sources": [{"kind": "rows", "folder": "@redused"}]}}
    values["cells"]["full_majl"]["train"] = {"weighting": {"strategy": "dwsh"}}
    values["cells"]["start"] = {"title": "again", "extends": "start"}
    config = load_ablation_config(write_config(tmp_path, values))
    for cell, message in (
        ("naive_joint", "'@redused'"),
        ("full_majl", "stage 1 of .*strategy: .*dwsh"),
        ("start", "extends itself"),
    ):
        with pytest.raises(ConfigError, match=message):
            plan_run(config, cell, 1)


def test_rows_build_on_each_other(corpora, tmp_path):
    cells = values_of(corpora, tmp_path)["cells"]
    cells["third"] = {"title": "third", "extends": "naive_joint", "train": {"arguments": {"learning_rate": 0.1}}}
    training = plan_run(config_of(corpora, tmp_path, cells=cells), "third", 1).stages[0].training
    assert training.weighting.strategy == "uniform" and training.arguments["learning_rate"] == 0.1
    assert training.arguments["save_steps"] == SAVE_STEPS


def test_the_configurations_can_be_read():
    paths = sorted((ROOT / "scripts/experiments/configs").glob("ablation_*.yaml"))
    assert len(paths) >= 5
    for path in paths:
        config = load_ablation_config(path)
        assert config.name == path.stem.removeprefix("ablation_")
        assert len(config.seeds) >= 3
        spent = budgets(config, 16000)  # every row makes a valid training configuration
        assert len({(b.steps, b.items) for b in spent.values() if b.steps}) == 1
        assert config.target == {"sdr_db": 0.92, "rpa": 0.0271}


def test_a_file_extends_another(corpora, tmp_path):
    write_config(tmp_path, values_of(corpora, tmp_path))
    (base,) = tmp_path.glob("*.yaml")
    (tmp_path / "other.yaml").write_text(f"extends: {base.name}\nname: other\ntrain: {{average_decay: 0.5}}\n")
    config, extended = load_ablation_config(base), load_ablation_config(tmp_path / "other.yaml")
    assert extended.name == "other"
    assert extended.train == config.train | {"average_decay": 0.5}
    assert extended.cells == config.cells
    (tmp_path / "circle.yaml").write_text("extends: circle.yaml")
    with pytest.raises(ConfigError, match="extends"):
        load_ablation_config(tmp_path / "circle.yaml")


# The matrix


def score(run, split: str, **scores: list[float]) -> None:
    """Pretend that a run was scored: clips of the songs a, a, b."""
    run.folder.mkdir(parents=True, exist_ok=True)
    items = [
        {"id": f"clip{number}", "song": song, "singer": "x", "duration_s": 60.0}
        | {name: values[number] for name, values in scores.items() if values[number] is not None}
        for number, song in enumerate("aab")
    ]
    run.scores_file(split).write_text(json.dumps({"digest": run.digest, "items": items}))


def test_figures_and_card_of_made_up_scores(corpora, tmp_path, load_script):
    config = config_of(corpora, tmp_path, seeds=[1, 2])
    prepare(config)
    oa = [0.5, 0.5, 0.5]
    score(plan_run(config, "naive_joint", 1), "validation", sdr_db=[1.0, 2.0, 3.0], rpa=[0.5, 0.5, None], oa=oa)
    score(plan_run(config, "naive_joint", 2), "validation", sdr_db=[2.0, 3.0, 4.0], rpa=[0.5, 0.7, None], oa=oa)
    score(plan_run(config, "full_majl", 1), "validation", sdr_db=[2.0, 3.0, 4.0], rpa=[0.5, 0.5, None], oa=oa)
    results = collect_results(config)
    validation = results["splits"]["validation"]
    naive, full = (validation["cells"][cell] for cell in ("naive_joint", "full_majl"))
    assert naive["seeds"] == [1, 2] and full["seeds"] == [1] and "start" not in validation["cells"]
    assert naive["metrics"]["sdr_db"]["mean"] == 2.5 and naive["metrics"]["sdr_db"]["per_seed"] == (2.0, 3.0)
    assert naive["metrics"]["rpa"]["mean"] == pytest.approx(0.55) and naive["metrics"]["rpa"]["num_clips"] == 2
    difference = full["differences"]["naive_joint"]  # of the seed that both have
    assert difference["seeds"] == [1] and difference["sdr_db"]["mean"] == 1.0 and difference["rpa"]["mean"] == 0.0
    assert difference["sdr_db"]["low"] == difference["sdr_db"]["high"] == 1.0
    verdict = validation["verdict"]
    assert verdict["metrics"]["sdr_db"]["met"] and verdict["metrics"]["sdr_db"]["is_sure"]
    assert not verdict["metrics"]["rpa"]["met"] and not verdict["met"]

    script = load_script("experiments/ablate")
    folder, card = tmp_path / "results", tmp_path / "card.md"
    write_results(results_path(folder, "tones"), results)
    write_results(results_path(folder, "other"), {**results, "name": "other", "title": "Others"})
    kept = json.loads(results_path(folder, "tones").read_text(), parse_constant=pytest.fail)  # no NaN in it
    assert kept["splits"]["validation"]["cells"]["naive_joint"]["scores"]["rpa"] == [[0.5, 0.5, None], [0.5, 0.7, None]]
    assert str(tmp_path) not in results_path(folder, "tones").read_text()
    command = [str(tmp_path / "ablation.yaml"), "--results", str(folder), "--card", str(card)]
    assert script.main([*command, "--report-only"]) == 0
    text = card.read_text()
    assert "## Tones" in text and "## Others" in text
    assert "| naive joint | 2 | 2.50 [" in text and "| full MAJL | 1 | 3.00 [" in text
    assert "| full MAJL | +1.00 [+1.00, +1.00] | +0.00 [+0.00, +0.00] | +0.00 [+0.00, +0.00] |" in text
    assert "**Target not met**, full MAJL over naive joint, 1 seed: " in text
    assert "SDR +1.00 dB where +0.92 are asked for (met, also at the interval's lower end)" in text
    assert "RPA +0.00 points where +2.71 are asked for (not met)" in text
    assert "8 steps of 2 items, 16 items" in text and "| full MAJL | 4 + 4 | 16 |" in text

    score(plan_run(config, "full_majl", 2), "validation", sdr_db=[2.0, 3.0, 4.0], rpa=oa, oa=oa)
    path = plan_run(config, "full_majl", 2).scores_file("validation")
    path.write_text(path.read_text().replace("clip0", "clip7"))
    with pytest.raises(MajlError, match="full_majl, seed 2 was scored on other validation clips"):
        collect_results(config)


def test_a_matrix_is_trained_resumed_and_reported(corpora, tmp_path, monkeypatch, interrupt, load_script):
    whole = write_config(tmp_path, values_of(corpora, tmp_path / "whole"))
    script = load_script("experiments/ablate")
    reports = ["--results", str(tmp_path / "results"), "--card", str(tmp_path / "card.md")]
    assert script.main([str(whole), *reports]) == 0
    results = json.loads((tmp_path / "results/ablation_tones.json").read_text())
    assert list(results["splits"]) == ["validation"] and set(results["cells"]) == {"naive_joint", "full_majl", "start"}
    full = results["cells"]["full_majl"]
    assert full["pseudo_rows"][0][1] == {"pitch": 3, "vocals": 3} and full["labelling_s"] > 0 < full["training_s"]
    assert results["cells"]["start"]["steps"] == 0
    assert not list((tmp_path / "whole").rglob("checkpoint-*"))
    assert "### Validation" in (tmp_path / "card.md").read_text()

    # The same in parts: it dies in the middle of the last stage, then the command is given again.
    parts = load_ablation_config(write_config(tmp_path, values_of(corpora, tmp_path / "parts")))
    calls = []

    def dying(training):
        calls.append(training.arguments["output_dir"])
        if len(calls) == 3:
            interrupt(make_trainer(training), 3)
            raise KeyboardInterrupt
        return train(training)

    train = ablation_run.train
    monkeypatch.setattr(ablation_run, "train", dying)
    with pytest.raises(KeyboardInterrupt):
        run_matrix(parts, list(parts.cells), parts.seeds)
    last = plan_run(parts, "full_majl", 1).stages[1].folder
    assert [path.name for path in last.glob("checkpoint-*")] == [f"checkpoint-{SAVE_STEPS}"]
    assert run_matrix(parts, list(parts.cells), parts.seeds, test=True) == []
    assert len(calls) == 4 and calls[2] == calls[3]  # the finished stages are passed over
    assert json.loads((last / "stage.json").read_text())["resumed_at_step"] == SAVE_STEPS
    config = load_ablation_config(write_config(tmp_path, values_of(corpora, tmp_path / "whole")))
    for cell in ("naive_joint", "full_majl"):
        one, other = (plan_run(of, cell, 1) for of in (config, parts))
        for name, expected in load_file(Path(one.model) / "model.safetensors").items():
            assert torch.equal(expected, load_file(Path(other.model) / "model.safetensors")[name]), name
        scores = [json.loads(run.scores_file("validation").read_text())["items"] for run in (one, other)]
        assert scores[0] == scores[1]
    again = collect_results(parts)
    assert set(again["splits"]) == {"validation", "test"}
    expected = results["splits"]["validation"]["cells"]
    assert json.loads(json.dumps(again["splits"]["validation"]["cells"])) == expected

    # Other settings are refused in the same folder; a folder that another process holds is passed over.
    changed = values_of(corpora, tmp_path / "parts")
    changed["cells"]["naive_joint"]["train"]["weighting"]["strategy"] = "focal"
    with pytest.raises(ConfigError, match="was made with other settings"):
        run_matrix(load_ablation_config(write_config(tmp_path, changed)), ["naive_joint"], [1])
    with ablation_run.locked(plan_run(parts, "start", 1).folder) as free:
        assert free
        assert run_matrix(parts, ["start"], [1]) == ["start, seed 1"]


def test_the_plan_is_printed(corpora, tmp_path, load_script, capsys, monkeypatch):
    path = write_config(tmp_path, values_of(corpora, tmp_path / "out"))
    script = load_script("experiments/ablate")
    assert script.main([str(path), "--dry-run", "--cells", "full_majl", "start"]) == 0
    printed = capsys.readouterr().out
    assert "full: 2 songs, 2 rows" in printed and "Equal budgets: yes" in printed
    assert "full_majl: 4 + 4 steps, 16 items" in printed and "naive_joint" not in printed
    assert not (tmp_path / "out/cells").exists()
    config = load_ablation_config(path)
    assert min(estimate_minutes(config, plan_run(config, "naive_joint", 1), num_steps=1)) > 0
    assert script.main([str(path), "--cells", "naiv"]) == 1
    assert "no row 'naiv'" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "out")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert script.main([str(path)]) == 1
    assert "runs in one process" in capsys.readouterr().err
