"""The two modules of the `evaluate` library load from their files and return the same as the plain functions."""

import doctest
from pathlib import Path

import numpy as np
import pytest

import majl_hf.metrics
from majl_hf.errors import EvaluationError
from majl_hf.metrics.melody import melody_scores
from majl_hf.metrics.modules import load_metric
from majl_hf.metrics.separation import separation_scores


@pytest.fixture(scope="module", params=["separation", "melody"])
def metric_name(request):
    return request.param


def test_evaluate_loads_the_folder_without_a_network(metric_name, monkeypatch):
    import evaluate

    def no_network(*arguments, **options):
        raise AssertionError("a metric that ships with the package must not ask the network")

    monkeypatch.setattr("socket.socket.connect", no_network)
    folder = Path(majl_hf.metrics.__file__).parent / f"{metric_name}_metric"
    assert evaluate.load(str(folder)).name == f"{metric_name}_metric"


def test_the_documented_example_runs(metric_name):
    description = load_metric(metric_name).inputs_description
    example = doctest.DocTestParser().get_doctest(description, {}, metric_name, None, 0)
    runner = doctest.DocTestRunner()
    runner.run(example)
    assert runner.failures == 0
    assert runner.tries >= 4


def test_separation_equals_the_plain_functions():
    generator = np.random.default_rng(0)
    references = [generator.standard_normal((2, n)).astype(np.float32) for n in (50, 71)]
    noises = [generator.standard_normal(reference.shape).astype(np.float32) for reference in references]
    estimates = [reference + np.float32(0.1) * noise for reference, noise in zip(references, noises, strict=True)]
    mixtures = [reference + noise for reference, noise in zip(references, noises, strict=True)]
    silent = np.zeros((2, 9), dtype=np.float32)
    result = load_metric("separation").compute(
        predictions=[*estimates, silent], references=[*references, silent], mixtures=[*mixtures, silent + 1]
    )
    rows = [separation_scores(*arrays) for arrays in zip(references, estimates, mixtures, strict=True)]
    assert (result["count"], result["skipped"]) == (2, 1)
    for name in ("sdr_db", "nsdr_db", "si_sdr_db"):
        assert result[name] == pytest.approx(np.mean([row[name] for row in rows]), abs=1e-5)


def test_melody_equals_the_plain_functions():
    generator = np.random.default_rng(1)
    predictions, references, rows = [], [], []
    for num_frames in (30, 47):
        times_s = 0.02 * (np.arange(num_frames) + 1)
        reference = {"times_s": times_s, "f0_hz": generator.uniform(100, 110, num_frames).round(1)}
        reference["f0_hz"][:10] = 0
        estimate = {
            "times_s": np.arange(2 * num_frames) * 0.01,
            "f0_hz": generator.uniform(100, 110, 2 * num_frames),
            "voiced": generator.random(2 * num_frames) < 0.6,
        }
        predictions.append(estimate)
        references.append(reference)
        rows.append(melody_scores(*reference.values(), *estimate.values()))
    result = load_metric("melody").compute(predictions=predictions, references=references)
    assert result["count"] == 2
    for name in ("rpa", "rca", "oa", "vr", "vfa"):
        assert result[name] == pytest.approx(np.mean([row[name] for row in rows]), abs=1e-12)
    assert 0 < result["vfa"] < 1


def test_another_name_is_refused():
    with pytest.raises(EvaluationError, match=r"'accuracy'.*separation, melody"):
        load_metric("accuracy")
