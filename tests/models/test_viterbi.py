"""Viterbi's algorithm: the exact path, ties included, for pieces of any size."""

import numpy as np
import pytest

from majl_hf.models import viterbi_majl
from majl_hf.models.viterbi_majl import MERGE_INTERVAL, Viterbi

NUM_BINS = 120


def plain_path(emissions: np.ndarray, step_cost: float, jump_cost: float) -> np.ndarray:
    """Viterbi in its plain form."""
    bins = np.arange(emissions.shape[1])
    cost = np.minimum(np.abs(bins[:, None] - bins) * step_cost, jump_cost)
    scores, origins = emissions[0], []
    for emission in emissions[1:]:
        candidates = scores[:, None] - cost
        origins.append(candidates.argmax(axis=0))
        scores = candidates.max(axis=0) + emission
    path = [int(scores.argmax())]
    for origin in reversed(origins):
        path.append(int(origin[path[-1]]))
    return np.array(path[::-1])


def random_emissions(num_frames: int) -> np.ndarray:
    return np.log(np.random.default_rng(1).random((num_frames, NUM_BINS)) ** 8 + 0.01)


def notes(num_frames: int) -> np.ndarray:
    """Clear notes, with rests in which all bins are alike."""
    rng = np.random.default_rng(2)
    frames = np.arange(num_frames)
    centres = rng.integers(20, 100, num_frames // 50 + 1)[frames // 50] + 2 * np.sin(frames / 5)
    bumps = np.exp(-0.5 * ((np.arange(NUM_BINS) - centres[:, None]) / 1.3) ** 2)
    return np.log(np.where((frames % 50 < 30)[:, None], bumps, 0.001 * rng.random(bumps.shape)) + 0.01)


def whole_numbers(num_frames: int) -> np.ndarray:
    """Scores without rounding, in which many paths are equally good."""
    return np.random.default_rng(3).integers(-3, 0, (num_frames, NUM_BINS)).astype(float)


@pytest.mark.parametrize("make", [random_emissions, notes, whole_numbers])
@pytest.mark.parametrize(("step_cost", "jump_cost"), [(0.25, 4.0), (1.0, 1.0), (0.5, 1000.0), (0.0, 2.0)])
def test_the_path_is_the_exact_one(make, step_cost, jump_cost):
    emissions = make(3 * MERGE_INTERVAL)
    path = Viterbi(NUM_BINS, step_cost, jump_cost).push(emissions, last=True)
    assert np.array_equal(path, plain_path(emissions, step_cost, jump_cost))


@pytest.mark.parametrize("block", [1, 50, MERGE_INTERVAL])
def test_pieces_of_any_size_give_the_same_path(block):
    emissions = notes(1000)
    viterbi = Viterbi(NUM_BINS, 0.25, 4.0)
    parts = [viterbi.push(emissions[i : i + block]) for i in range(0, 1000, block)]
    path = np.concatenate([*parts, viterbi.push(emissions[:0], last=True)])
    assert sum(map(len, parts)) > 500
    assert np.array_equal(path, plain_path(emissions, 0.25, 4.0))


def test_a_path_may_be_empty_or_one_frame_long():
    assert len(Viterbi(NUM_BINS, 0.25, 4.0).push(np.zeros((0, NUM_BINS)), last=True)) == 0
    assert Viterbi(NUM_BINS, 0.25, 4.0).push(np.eye(NUM_BINS)[[7]], last=True).tolist() == [7]


@pytest.mark.parametrize("make", [random_emissions, notes, whole_numbers])
def test_compiled_and_plain_scores_are_the_same_bits(make, monkeypatch):
    pytest.importorskip("numba")
    scores = []
    for compile_from in (0, 1_000_000):
        monkeypatch.setattr(viterbi_majl, "COMPILE_FROM", compile_from)
        viterbi = Viterbi(NUM_BINS, 0.3, 4.0)
        for start in range(0, 200, 50):
            viterbi.push(make(200)[start : start + 50])
        scores.append(viterbi.scores[:200])
    assert np.array_equal(*scores)
