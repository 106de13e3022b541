"""Every separator with every pitch estimator: trained with all of MAJL's losses, saved, loaded, run as a pipeline."""

import numpy as np
import pytest
import torch
from corpus_files import MIR1K_RATE as RATE
from training_runs import mir1k_of, run_values, write_singers
from transformers import pipeline

from majl_hf.models.presets_majl import preset_names
from majl_hf.training import TrainingConfig, make_trainer

SEPARATORS = preset_names("separator", for_tests=True)
PITCH_ESTIMATORS = preset_names("pitch_estimator", for_tests=True)
NUM_STEPS = 4


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_singers(tmp_path_factory.mktemp("pairs") / "mir1k", num_clips=3, seconds=1.0)


@pytest.fixture(scope="module")
def mixture():
    times_s = np.arange(RATE // 2) / RATE
    voice = 0.1 * np.sin(2 * np.pi * 220 * times_s) + 0.02 * np.random.default_rng(0).standard_normal(len(times_s))
    return voice.astype(np.float32)


def make_config(separator, pitch_estimator, corpus, folder, **changes) -> TrainingConfig:
    arguments = {"max_steps": NUM_STEPS, "logging_steps": NUM_STEPS, "save_strategy": "no", **changes}
    values = run_values(None, folder / "run", mir1k_of(corpus, "train"), segment_samples=RATE // 2, **arguments)
    values |= {
        "model": None,
        "separator": separator,
        "pitch_estimator": pitch_estimator,
        "model_config_overrides": {"window_s": 2.0},
        "weighting": {"strategy": "dwhs", "warmup_share": 0.0},
    }
    return TrainingConfig.model_validate(values)


@pytest.mark.parametrize("pitch_estimator", PITCH_ESTIMATORS)
@pytest.mark.parametrize("separator", SEPARATORS)
def test_pair(separator, pitch_estimator, corpus, mixture, tmp_path):
    trainer = make_trainer(make_config(separator, pitch_estimator, corpus, tmp_path))
    before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
    trainer.train()
    trainer.save_model(tmp_path / "run")
    (log,) = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert trainer.state.global_step == NUM_STEPS and np.isfinite(log["loss"])
    trained = dict(trainer.model.named_parameters())
    # Hybrid Demucs's attention is scaled by 1e-4: its gradients are too small for so few steps.
    moving = [name for name in trained if not {"query", "key", "query_decay"} & {*name.split(".")}]
    assert not [name for name in moving if torch.equal(trained[name], before[name])]

    song = pipeline("majl-separation-pitch", model=str(tmp_path / "run"))
    loaded = song.model.state_dict()
    assert all(torch.equal(tensor, loaded[name]) for name, tensor in trainer.model.state_dict().items())
    output = song({"array": mixture, "sampling_rate": RATE})
    assert output["vocals"].shape == mixture.shape and np.isfinite(output["vocals"]).all()
    ulp = np.spacing(np.abs(mixture).max())
    assert np.abs(output["vocals"] + output["accompaniment"] - mixture).max() <= ulp
    config = song.model.config.pitch_estimator_config
    assert len(output["f0_hz"]) == 1 + len(mixture) // config.hop_length
    assert np.isfinite(output["f0_hz"]).all() and (output["f0_hz"] > 0).all()


def test_presets_start_from_the_seed(corpus, tmp_path):
    """The same seed gives the same weights, another seed different ones."""
    weights = [
        make_trainer(make_config("mask-tiny", {"preset": "spectrum-tiny"}, corpus, tmp_path, seed=seed)).model
        for seed in (1, 1, 2)
    ]
    first, again, other = (dict(model.named_parameters())["separator.head.weight"] for model in weights)
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert weights[0].config.window_s == 2.0
    data = {"sources": [{"kind": "music", "folder": "x"}]}
    for start in ({}, {"separator": "mask-tiny"}, {"model": "m", "separator": "mask-tiny", "pitch_estimator": "fcpe"}):
        with pytest.raises(ValueError, match="from both `separator` and `pitch_estimator`"):
            TrainingConfig(**start, data=data, arguments={"output_dir": "o", "max_steps": 1})
    with pytest.raises(ValueError, match=r"no pitch estimator preset 'mask-tiny'"):
        make_trainer(make_config("mask-tiny", "mask-tiny", corpus, tmp_path))
