"""A step is the same however its batch is cut: into processes, into accumulation steps, or not at all."""

import pytest
import torch
from built_corpora import make_rows, write_built
from processes import in_two_processes
from safetensors.torch import load_file, save_file
from training_runs import rows_of, run_values
from transformers import TrainerCallback

from majl_hf.training import TrainingConfig, ValidationConfig, make_trainer
from majl_hf.training.validation import Validation

NOTE_ESTIMATOR = {"hidden_size": 4, "num_mels": 8, "dilations": [1], "dropout": 0.0}


def step(config: dict, output: str) -> tuple[list[dict], dict]:
    """Two steps in double precision, where only what is wrong differs; returns their losses and the validation scores
    afterwards, with the number of clips that this process has scored, and keeps the gradients of the first, as the
    optimiser sees them, in the file `output`."""
    trainer = make_trainer(TrainingConfig.model_validate(config))
    trainer.model.double()
    trainer.balance.double()
    collate = trainer.data_collator
    trainer.data_collator = lambda items: {
        name: value.double() if torch.is_tensor(value) else value for name, value in collate(items).items()
    }

    class Keep(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, **kwargs):
            gradients = {name: p.grad.clone() for name, p in trainer.model.named_parameters()}
            gradients |= {"balance." + name: p.grad.clone() for name, p in trainer.balance.named_parameters()}
            if args.process_index == 0 and state.global_step == 0:
                save_file(gradients, output)

    trainer.add_callback(Keep())
    trainer.train()
    judge = Validation(ValidationConfig.model_validate(config["validation"]))
    scores = judge(trainer.model.float().eval()) | {"num_clips": sum(map(len, judge.clips.values()))}
    return [entry for entry in trainer.state.log_history if "separation_loss" in entry], scores


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Every kind of row, with labels by hand, weak ones, and pseudo labels with confidences on both sides."""
    rows = make_rows({"full": 4, "separation": 2, "pitch": 3, "accompaniment": 1}, duration_s=1.0)
    for number, row in enumerate(row for row in rows if row["label_kind"] == "full"):
        row["notes"] = [{"onset_s": 0.2, "offset_s": 0.3 + 0.1 * number, "midi": 57.0}]
        if number % 2:
            frames = len(row["f0_hz"])
            row |= {"label_kind": "pseudo", "id": f"c/pseudo{number}"}
            row |= {"pitch_confidence": [0.3] * frames, "vocals_confidence": [0.2, 0.9] * (frames // 2)}
    return write_built(tmp_path_factory.mktemp("built"), rows, num_shards=2)


def values(built, model, output, strategy, balance, **arguments) -> dict:
    return {
        **run_values(model, output, rows_of(built), max_grad_norm=0, save_strategy="no", **arguments),
        "model_config_overrides": {"separator_gradient_scale": 0.5, "note_estimator_config": NOTE_ESTIMATOR},
        "weighting": {"strategy": strategy, "warmup_share": 0.0},
        "balancing": {"strategy": balance},
        "validation": {"corpora": [rows_of(built, label_kinds=["full", "separation", "pitch"])]},
    }


@pytest.mark.timeout(600)
@pytest.mark.parametrize("strategy", ["dwhs", "confidence"])
def test_cutting_a_batch_changes_no_gradient(built, tiny_model_folder, tmp_path, strategy):
    def config(name, **arguments):
        return values(built, tiny_model_folder, tmp_path / name, strategy, "uncertainty", **arguments)

    def here(name, **arguments):
        found = step(config(name, **arguments), str(tmp_path / f"{name}.safetensors"))
        return load_file(tmp_path / f"{name}.safetensors"), *found

    whole, whole_losses, whole_scores = here("whole", per_device_train_batch_size=8)
    assert len(whole_losses) == 2 and all(torch.isfinite(gradient).all() for gradient in whole.values())
    parts = ("separator.head.weight", "pitch_estimator.head.weight", "note_estimator.head.weight")
    for name in (*parts, "balance.log_variances"):
        assert whole[name].any()
    cuts = [here("accumulated", per_device_train_batch_size=2, gradient_accumulation_steps=4)]
    if strategy == "dwhs":
        halves = config("processes", per_device_train_batch_size=4)
        (losses, scores), _ = in_two_processes(step, halves, str(tmp_path / "two.safetensors"))
        # Each process has scored half of the clips, and both have the scores of all.
        assert whole_scores.pop("num_clips") == 7 and scores.pop("num_clips") == 4
        assert scores == pytest.approx(whole_scores, abs=1e-3)
        cuts.append((load_file(tmp_path / "two.safetensors"), losses, scores))

    for cut, cut_losses, _ in cuts:
        assert cut.keys() == whole.keys()
        for name, expected in whole.items():
            assert torch.allclose(cut[name], expected, rtol=0, atol=1e-6), name
        for got, expected in zip(cut_losses, whole_losses, strict=True):
            assert got["separation_loss"] == pytest.approx(expected["separation_loss"], rel=1e-4)
            assert got["pitch_loss"] == pytest.approx(expected["pitch_loss"], rel=1e-4)
            assert got["note_loss"] == pytest.approx(expected["note_loss"], rel=1e-4)


@pytest.mark.parametrize(
    ("strategy", "warmup_share", "passes"),
    [("uniform", 0.0, 8), ("confidence", 0.0, 8), ("dwhs", 1.0, 8), ("dwhs", 0.5, 12), ("focal", 0.0, 16)],
)
def test_only_a_strategy_that_looks_costs_another_pass(
    built, tiny_model_folder, tmp_path, strategy, warmup_share, passes
):
    """Two steps of four batches each."""
    arguments = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    config = values(built, tiny_model_folder, tmp_path, strategy, "fixed", **arguments)
    config["weighting"]["warmup_share"] = warmup_share
    trainer = make_trainer(TrainingConfig.model_validate(config))
    counted = []
    trainer.model.register_forward_hook(lambda *_: counted.append(1))
    trainer.train()
    assert trainer.state.global_step == 2 and len(counted) == passes
