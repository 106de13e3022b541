"""Stage-1 training on a tiny corpus: it learns, resumes bit for bit, freezes what it should, and names what broke."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file
from training_runs import mir1k_of, run_values, write_singers
from typer.testing import CliRunner

from majl_hf import MajlConfig, MajlModel
from majl_hf.errors import ConfigError, NonFiniteLossError
from majl_hf.mixing.config import FOLDERS, RowsCorpus, Source
from majl_hf.models.backbones_majl import FcpeConfig, SpleeterConfig, SpleeterSeparator
from majl_hf.models.tiny_pitch_estimator_majl import TinyPitchEstimator, TinyPitchEstimatorConfig
from majl_hf.models.tiny_separator_majl import TinySeparator, TinySeparatorConfig
from majl_hf.recipe import check, load_recipe, load_stage
from majl_hf.training import TrainingConfig, make_trainer, parameter_groups, train
from majl_hf.training import validation as validation_module
from majl_hf.training.config import BalancingConfig, ValidationConfig, WeightingConfig
from majl_hf.training.run import last_checkpoint, training_arguments
from majl_hf.training.trainer import DwhsTrainer

ROOT = Path(__file__).parents[2]
CONFIGS = sorted(path for path in (ROOT / "scripts/recipes").glob("majl*.yaml"))
BASE_LIKE = {
    "separator_config": SpleeterConfig(hidden_channels=(4, 8, 72), residual_head=True, upper_band=True),
    "pitch_estimator_config": FcpeConfig(hidden_size=32, num_layers=2),
    "separator_gradient_scale": 0.5,
}
TINY = {"separator_config": TinySeparatorConfig(), "pitch_estimator_config": TinyPitchEstimatorConfig()}


@pytest.fixture(scope="module")
def config_file(tmp_path_factory, tiny_model_folder):
    folder = tmp_path_factory.mktemp("training")
    write_singers(folder / "mir1k")
    corpus = "${TINY_CORPUS}/mir1k"
    values = {
        **run_values(
            tiny_model_folder,
            "${TINY_CORPUS}/run",
            mir1k_of(corpus, "train"),
            segment_samples=16_000,
            max_steps=8,
            save_steps=4,
        ),
        "model_config_overrides": {"window_s": 2.0},
        "learning_rates": {"separator": 3e-3, "pitch_estimator": 3e-3},
        "validation": {"corpora": [mir1k_of(corpus, "validation")], "max_clip_s": 1.0},
    }
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


@pytest.fixture(autouse=True)
def _corpus_folder(monkeypatch, config_file):
    monkeypatch.setenv("TINY_CORPUS", str(config_file.parent))


def configured(config_file, tmp_path, **arguments):
    return load_stage(config_file).with_arguments(output_dir=str(tmp_path / "run"), **arguments)


def state_of(folder) -> dict[str, torch.Tensor]:
    return load_file(Path(folder) / "model.safetensors")


def test_losses_fall_and_are_logged_apart(config_file, tmp_path):
    trainer = train(configured(config_file, tmp_path, max_steps=60))
    logs = [entry for entry in trainer.state.log_history if "separation_loss" in entry]
    assert len(logs) == 60
    for name in ("loss", "separation_loss", "pitch_loss"):
        values = np.array([entry[name] for entry in logs])
        assert np.isfinite(values).all()
        assert values[-15:].mean() < 0.8 * values[:5].mean(), name


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {
            "weighting": WeightingConfig(strategy="dwhs", warmup_share=0.25),
            "balancing": BalancingConfig(strategy="dynamic_average", options={"window": 2}),
            "average_decay": 0.9,
        },
        {"balancing": BalancingConfig(strategy="uncertainty")},
    ],
    ids=["plain", "dwhs", "uncertainty"],
)
def test_resumed_equals_uninterrupted(config_file, tmp_path, interrupt, changes):
    def config(folder):
        return configured(config_file, folder).model_copy(update=changes)

    whole = tmp_path / "whole"
    train(config(whole))
    parts = tmp_path / "parts"
    interrupt(make_trainer(config(parts)), 6)
    assert (parts / "run/checkpoint-4").is_dir() and not (parts / "run/checkpoint-8").exists()
    # A kill in the middle of writing leaves a checkpoint like this one.
    shutil.copytree(parts / "run/checkpoint-4", parts / "run/checkpoint-5")
    (parts / "run/checkpoint-5/trainer_state.json").write_text('{"global_step": 5, "log_hist')
    assert last_checkpoint(parts / "run") == str(parts / "run/checkpoint-4")
    train(config(parts))
    expected, got = state_of(whole / "run"), state_of(parts / "run")
    assert expected.keys() == got.keys()
    for name in expected:
        assert torch.equal(expected[name], got[name]), name
    assert not torch.equal(state_of(parts / "run/checkpoint-4")["separator.head.weight"], got["separator.head.weight"])


def test_the_average_is_judged_and_kept(config_file, tmp_path):
    """The average of weights that moved little from the start is nearer to it than they are."""
    config = configured(config_file, tmp_path, max_steps=3).model_copy(update={"average_decay": 0.99})
    trainer = train(config)
    start, kept = state_of(config.model), state_of(tmp_path / "run")
    last = state_of(tmp_path / "run/checkpoint-3")
    name = "separator.head.weight"
    assert 0 < (kept[name] - start[name]).norm() < (last[name] - start[name]).norm()
    assert torch.equal(kept[name], trainer.average.module.state_dict()[name])


def test_a_run_ends_when_nothing_improves(config_file, tmp_path):
    steps = {"eval_strategy": "steps", "eval_steps": 1, "save_steps": 1, "max_steps": 8, "load_best_model_at_end": True}
    config = configured(config_file, tmp_path, **steps)
    rates = {"separator": 1e-12, "pitch_estimator": 1e-12}
    config = config.model_copy(update={"learning_rates": rates, "early_stopping_evaluations": 2})
    trainer = train(config)
    assert trainer.state.global_step == 3  # the first evaluation is the best, two more are not better
    assert trainer.state.best_model_checkpoint.endswith("checkpoint-1")


def test_a_custom_score(config_file, tmp_path):
    config = configured(config_file, tmp_path)
    own = {"mir1k_sdr_db": 2.0, "mir1k_rpa": 5.0, "mir1k_sdr_db_worst_quarter": 0.5}
    validation = config.validation.model_copy(update={"score": own})
    metrics = make_trainer(config.model_copy(update={"validation": validation})).evaluate()
    expected = 2 * metrics["eval_mir1k_sdr_db"] + 5 * metrics["eval_mir1k_rpa"]
    expected += 0.5 * metrics["eval_mir1k_sdr_db_worst_quarter"]
    assert metrics["eval_score"] == pytest.approx(expected)
    validation = config.validation.model_copy(update={"score": {"mir1k_rpm": 1.0}})
    with pytest.raises(ValueError, match=r"names \['mir1k_rpm'\]; what is measured is .*mir1k_rpa"):
        make_trainer(config.model_copy(update={"validation": validation})).evaluate()


@pytest.mark.parametrize("sdr_db, worst", [([9.0, 1.0, 4.0, 3.0, 8.0], 2.0), ([5.0], 5.0), ([4.0, 3.0, 2.0, 1.0], 1.0)])
def test_the_worst_quarter_of_a_corpus(monkeypatch, sdr_db, worst):
    monkeypatch.setattr(validation_module, "MajlSystem", lambda *arguments: None)
    monkeypatch.setattr(validation_module, "score_clip", lambda system, clip: SimpleNamespace(scores=clip))
    judged = validation_module.Validation(ValidationConfig(score={"songs_sdr_db_worst_quarter": 1.0}))
    judged._clips = {"songs": [{"sdr_db": value} for value in sdr_db] + [{"rpa": 0.5}]}
    metrics = judged(None)
    assert metrics["songs_sdr_db_worst_quarter"] == metrics["score"] == worst
    assert metrics["songs_sdr_db"] == pytest.approx(np.mean(sdr_db))


def test_a_part_can_be_frozen(config_file, tmp_path):
    config = configured(config_file, tmp_path, max_steps=2)
    config = config.model_copy(update={"learning_rates": {"separator": 0.0, "pitch_estimator": 1e-3}})
    train(config)
    before, after = state_of(config.model), state_of(tmp_path / "run")
    for name in before:
        is_frozen = name.startswith("separator")
        assert torch.equal(before[name], after[name]) == is_frozen, name


def test_learning_rates_by_name(tiny_model_folder):
    model = MajlModel.from_pretrained(tiny_model_folder)
    groups = parameter_groups(model, {"separator": 1e-3, "separator.head": 5e-3, "pitch_estimator": 0.0}, 7e-4, 0.1)
    by_parameter = {id(p): group for group in groups for p in group["params"]}
    assert by_parameter[id(model.separator.head.weight)]["lr"] == 5e-3
    assert by_parameter[id(model.separator.head.bias)]["weight_decay"] == 0.0
    assert by_parameter[id(model.separator.layers[0].weight)]["lr"] == 1e-3
    assert by_parameter[id(model.separator.layers[0].weight)]["weight_decay"] == 0.1
    assert not any(parameter.requires_grad for parameter in model.pitch_estimator.parameters())
    with pytest.raises(ValueError, match=r"'seperator'.*pitch_estimator.head"):
        parameter_groups(model, {"seperator": 1e-3}, 1e-3, 0.0)


def test_validation_scores_whole_clips(config_file, tmp_path):
    trainer = make_trainer(configured(config_file, tmp_path))
    metrics = trainer.evaluate()
    assert {"eval_mir1k_sdr_db", "eval_mir1k_rpa", "eval_mir1k_oa", "eval_score"} <= metrics.keys()
    expected = metrics["eval_mir1k_sdr_db"] + 10 * metrics["eval_mir1k_oa"]
    assert metrics["eval_score"] == pytest.approx(expected)


def test_non_finite_loss_names_the_items(config_file, tmp_path):
    trainer = make_trainer(configured(config_file, tmp_path))
    with torch.no_grad():
        trainer.model.separator.head.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"step 0 .*s\d_1_01"):
        trainer.train()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.replace("TINY_CORPUS", "NOT_SET_ANYWHERE"), "environment variable NOT_SET_ANYWHERE"),
        (lambda text: text.replace("segment_samples", "segment_sample"), "segment_sample"),
        (
            lambda text: text.replace("learning_rates", "learning_rate"),
            r"run.yaml: learning_rate: unknown key; allowed are model,.* arguments\.$",
        ),
        (
            lambda text: text.replace("kind: mir1k", "kind: mir2k"),
            r"yaml: data.sources.0.kind: got 'mir2k'; allowed are 'mir1k',.*'rows'\.$",
        ),
        (lambda text: text.replace("save_steps: 4", "save_step: 4"), "arguments: TrainingArguments has no save_step"),
        (lambda text: text.replace("output_dir", "run_name"), "output_dir is missing"),
        (
            lambda text: text.replace("lr_scheduler_type: constant", "lr_scheduler_type: constnt"),
            "arguments: .*constnt",
        ),
        (lambda text: text + "average_decay: 1.0", "average_decay: .*less than 1, got 1.0"),
        (lambda text: text + "stages: [one]", "maps the name of each stage"),
        (lambda text: text + "stages: {}", "stages: got {}; it maps the name of each stage"),
        (lambda text: text + "stages: {1: {}}", "maps the name of each stage"),
        (lambda text: text + "stages: {one: {kind: [train]}}", r"stage one: kind: got \['train'\]; allowed are train"),
        (lambda text: text + "stages: {one: {extends: [two]}}", r"extends: got \['two'\]; allowed are one"),
        (lambda text: text + "extends: run.yaml", "extends itself|which extends it"),
        (lambda text: text + "extends: ../{parent}/run.yaml", "which extends it"),
        (lambda text: text + "extends:", "extends: got None; give the name of a file"),
        (lambda text: text + "extends: 3", "extends: got 3; give the name of a file"),
        (lambda text: text + "threads: 2", r"line \d+ gives the key 'threads' a second time"),
        (lambda text: text + "weighting: {strategy: dwhs, strategy: focal}", "gives the key 'strategy' a second time"),
        (lambda text: text + "kind: tarin", "kind: got 'tarin'; allowed are train, label, merge, calibrate"),
        (lambda text: text.replace("max_steps: 8", "max_steps: 0"), "max_steps is 0"),
        (lambda text: text.replace("max_steps: 8", "max_steps:"), r"arguments\.max_steps: .*integer, got None"),
        (lambda text: text.replace("max_steps: 8", "max_steps: 1.5"), r"arguments\.max_steps: .*integer.*, got 1\.5"),
        (lambda text: text.replace("output_dir: ${TINY_CORPUS}/run", "output_dir: 7"), r"output_dir: .*string, got 7"),
        (lambda text: text.replace("learning_rate: 0.001", "learning_rate: fast"), r"arguments\.learning_rate.*'fast'"),
        (lambda text: text + "weighting: {strategy: dwsh}", "'dwhs'"),
        (lambda text: text + "weighting: {strategy: dwhs, options: {alfa: 1}}", "alfa"),
        (lambda text: text + "balancing: {strategy: fixed, options: {window: 1}}", "window"),
        (lambda text: text.replace("window_s", "window_seconds"), r"window_seconds.*MajlConfig does not have"),
        (lambda text: text.replace("window_s: 2.0", "separator_gradient_rule: mean"), "'mean'.*'project'"),
        (
            lambda text: text.replace("  corpora:\n", "  corpora:\n  - {kind: stems, folder: other/mir1k}\n"),
            r"validation\.corpora: the folders other/mir1k, .*/mir1k have the same name",
        ),
    ],
)
def test_mistakes_in_the_file_are_named(config_file, tmp_path, change, message):
    path = tmp_path / "run.yaml"
    path.write_text(change(config_file.read_text()).replace("{parent}", tmp_path.name))
    with pytest.raises(ConfigError, match=message):
        make_trainer(load_stage(path))


@pytest.mark.parametrize("number", ["1e1", "'10'", "10.0", "1.0e+1"])
def test_numbers_are_read_however_they_are_written(config_file, tmp_path, number):
    path = tmp_path / "run.yaml"
    text = config_file.read_text().replace("max_steps: 8", f"max_steps: {number}")
    path.write_text(text.replace("learning_rate: 0.001", "learning_rate: 1e-3"))
    arguments = load_stage(path).arguments
    assert arguments["max_steps"] == 10 and isinstance(arguments["max_steps"], int)
    assert arguments["learning_rate"] == 1e-3 and arguments["save_steps"] == 4


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_shipped_configurations_are_valid(path, monkeypatch, tmp_path):
    """Without the corpora: every section is read, the arguments fit each other and the models."""
    warm_start = tmp_path / "runs/pretrained/majl-warm-start"
    MajlConfig.from_pretrained("majl-base", refiner_config=None).save_pretrained(warm_start)
    for corpus in (*FOLDERS.values(), *get_args(get_args(Source)[0]), RowsCorpus):
        monkeypatch.setattr(corpus, "check", lambda self: None)
    monkeypatch.setattr("majl_hf.recipe.check_teacher", lambda role, name: None)
    for name in ("MAJL_DATA", "MAJL_MUSIC"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    stages = load_recipe(path)
    for name, config in stages.items():
        if isinstance(config, TrainingConfig):
            assert config.arguments["use_cpu"] == (name != "joint")  # made for a GPU, and says so
            arguments = training_arguments(config.with_arguments(use_cpu=True))  # else half precision needs a GPU
            assert arguments.max_steps > 0 and arguments.device.type == "cpu"
    check(path, stages)
    check(path, load_recipe(path, max_steps=20))
    # Every stage takes what an earlier one has made.
    made = ["runs/pretrained", "runs/data", "runs/teacher", str(tmp_path)]
    for stage in stages.values():
        values = stage.model_dump(mode="json", exclude={"out", "arguments", "validation"})
        needed = [value for value in _strings(values) if value.startswith("runs/")]
        assert all(any(value.startswith(folder) for folder in made) for value in needed), (needed, made)
        made.append(stage.out)


def _strings(value):
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)
    elif isinstance(value, str):
        yield value


@pytest.mark.parametrize("config", [BASE_LIKE, TINY], ids=["spleeter + fcpe", "tiny"])
def test_half_precision_gives_nearly_the_same_gradients(config):
    torch.manual_seed(0)
    model = MajlModel(MajlConfig(**config)).train()
    with torch.no_grad():
        for parameter in model.parameters():  # also of the heads that start at zero
            parameter.add_(0.02 * torch.randn_like(parameter))
    mixture = 0.1 * torch.randn(2, model.config.num_channels, 3 * model.config.sampling_rate // 10)
    f0_hz = torch.full((2, model.num_pitch_frames(mixture.shape[-1])), 220.0)
    gradients = []
    for in_half in (False, True):
        model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=in_half):
            output = model(mixture=mixture, vocals=0.5 * mixture, f0_hz=f0_hz)
        assert output.vocals.dtype == output.pitch_logits.dtype == output.loss.dtype == torch.float32
        output.loss.backward()
        gradients.append([parameter.grad.flatten() for parameter in model.parameters()])
    for single, half in zip(*gradients, strict=True):
        assert torch.isfinite(half).all()
        assert torch.linalg.vector_norm(half - single) <= 0.2 * torch.linalg.vector_norm(single) + 1e-6
    single, half = (torch.cat(parts) for parts in gradients)
    assert torch.linalg.vector_norm(half - single) <= 0.03 * torch.linalg.vector_norm(single)


def test_a_run_in_half_precision_learns(config_file, tmp_path):
    trainer = train(configured(config_file, tmp_path, bf16=True, max_steps=8))
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    assert all(parameter.dtype == torch.float32 for parameter in trainer.model.parameters())


def test_the_script_trains_and_the_result_loads(config_file, tmp_path, load_script):
    path = tmp_path / "run.yaml"
    path.write_text(config_file.read_text().replace("${TINY_CORPUS}/run", str(tmp_path / "run")))
    result = CliRunner().invoke(load_script("train").app, [str(path), "--max-steps", "2"])
    assert result.exit_code == 0, result.output
    assert isinstance(MajlModel.from_pretrained(tmp_path / "run-trial"), MajlModel) and not (tmp_path / "run").exists()
    state = json.loads((tmp_path / "run-trial/checkpoint-2/trainer_state.json").read_text())
    assert state["global_step"] == 2


def test_items_are_read_in_order(config_file, tmp_path):
    """So that a resumed run continues with the next items."""
    trainer = make_trainer(configured(config_file, tmp_path))
    assert isinstance(trainer, DwhsTrainer)
    batches = [batch["ids"] for batch in trainer.get_train_dataloader()]
    expected = [trainer.train_dataset[index]["id"] for index in range(len(trainer.train_dataset))]
    assert [item for batch in batches for item in batch] == expected


def test_a_refiner_is_added_to_a_trained_model(tmp_path, config_file):
    model = MajlModel.from_parts(TinySeparator(TinySeparatorConfig()), TinyPitchEstimator(TinyPitchEstimatorConfig()))
    model.save_pretrained(tmp_path / "model")
    values = yaml.safe_load(config_file.read_text()) | {
        "model": str(tmp_path / "model"),
        "model_config_overrides": {
            "refiner_config": {"n_fft": 512, "hop_length": 128, "num_bins": 64, "hidden_channels": 4},
            "window_s": 2.0,
        },
        "learning_rates": {"separator": 0, "pitch_estimator": 0, "refiner": 1e-2},
    }
    values["arguments"]["output_dir"] = str(tmp_path / "out")
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(values))
    trainer = train(load_stage(path))
    trained = MajlModel.from_pretrained(trainer.args.output_dir)
    assert trained.config.refiner_config.sampling_rate == model.config.sampling_rate and trained.config.window_s == 2.0
    for name, weight in trained.state_dict().items():
        if not name.startswith("refiner."):
            assert torch.equal(weight, model.state_dict()[name])
    assert trained.refiner.head.weight.any()

    values["model"] = trainer.args.output_dir  # and training continues from there
    values["arguments"]["output_dir"] = str(tmp_path / "more")
    values["model_config_overrides"] = {"refiner_config": {"num_bins": 64}}
    path.write_text(yaml.safe_dump(values))
    again = make_trainer(load_stage(path)).model
    assert torch.equal(again.refiner.head.weight, trained.refiner.head.weight)


def test_overrides_reach_the_parts(tmp_path, config_file):
    separator = SpleeterSeparator(SpleeterConfig(n_fft=256, hop_length=64, num_mask_bins=64, hidden_channels=[2, 3, 4]))
    model = MajlModel.from_parts(separator, TinyPitchEstimator(TinyPitchEstimatorConfig()))
    model.save_pretrained(tmp_path / "model")
    values = yaml.safe_load(config_file.read_text()) | {"model": str(tmp_path / "model")}

    def trained_model(overrides):
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(values | {"model_config_overrides": overrides}))
        return make_trainer(load_stage(path)).model

    changed = trained_model({"separator_config": {"decoder_dropout": 0.25}, "window_s": 2.0})
    assert changed.separator.vocals.up[0].dropout.p == 0.25
    assert changed.config.separator_config.decoder_dropout == 0.25 and changed.config.window_s == 2.0
    for name, weight in changed.state_dict().items():
        assert torch.equal(weight, model.state_dict()[name])
    with pytest.raises(ValueError, match="decoder_drop_out"):
        trained_model({"separator_config": {"decoder_drop_out": 0.25}})
    values["model"], values["separator"], values["pitch_estimator"] = None, "spleeter-small", "harmonic-small"
    new = trained_model({"separator_config": {"decoder_dropout": 0.25}})
    assert new.separator.vocals.up[0].dropout.p == 0.25
