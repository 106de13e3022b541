"""Weights of frames: agreement against a loop, blame and hardness by hand, each term's switch, the strategies."""

import numpy as np
import pytest
import torch

from majl_hf.models.losses_majl import frame_means
from majl_hf.models.pitch_estimator_majl import PitchEstimatorConfig
from majl_hf.models.posteriors_majl import agreement, likeliest_octave, moving_average
from majl_hf.training.weights import STRATEGIES, Dwhs, Evidence, Focal, HardestShare

GRID = PitchEstimatorConfig(first_bin_hz=55.0, bin_cents=25.0, num_bins=150)


def evidence(estimate, clean, pitch=None, vocals=None, by_hand=True, voiced=None, error=None, certainty=None):
    clean, estimate = torch.tensor([clean]), torch.tensor([estimate])
    ones = torch.ones_like(clean)
    return Evidence(
        estimate,
        clean,
        ones if error is None else torch.tensor([error]),
        ones if pitch is None else torch.tensor([pitch]),
        ones if vocals is None else torch.tensor([vocals]),
        torch.full_like(clean, by_hand, dtype=torch.bool),
        torch.ones_like(clean, dtype=torch.bool) if voiced is None else torch.tensor([voiced]),
        torch.full_like(clean, 440.0),
        torch.zeros_like(clean) if certainty is None else torch.tensor([certainty]),
    )


@pytest.mark.parametrize("octave_reliable", [True, False])
def test_agreement_equals_the_definition(octave_reliable):
    generator = np.random.default_rng(0)
    posteriors = generator.random((1, 40, GRID.num_bins))
    f0_hz = np.where(generator.random((1, 40)) < 0.3, 0.0, 55 * 2 ** (generator.random((1, 40)) * 3))
    expected = np.zeros((1, 40))
    for frame in range(40):
        label = f0_hz[0, frame]
        if label == 0:
            expected[0, frame] = 1 - posteriors[0, frame].max()
            continue
        for bin in range(GRID.num_bins):
            distance = GRID.bin_cents * bin - 1200 * np.log2(label / 55)
            if not octave_reliable:
                distance = min((distance + 1200 * k for k in range(-5, 6)), key=abs)
            if abs(distance) <= 50:
                expected[0, frame] = max(expected[0, frame], posteriors[0, frame, bin])
    measured = agreement(torch.tensor(posteriors), torch.tensor(f0_hz), torch.full((1, 40), octave_reliable), GRID)
    assert np.allclose(measured.numpy(), expected)


def test_an_octave_error_disagrees_unless_octaves_are_unreliable():
    posteriors = torch.zeros(2, 1, GRID.num_bins)
    posteriors[:, 0, 48] = 0.9  # 110 Hz
    f0_hz = torch.tensor([[220.0], [220.0]])
    measured = agreement(posteriors, f0_hz, torch.tensor([[True], [False]]), GRID)
    assert measured[:, 0].tolist() == pytest.approx([0.0, 0.9])


def test_smoothing_averages_what_there_is():
    values = torch.tensor([[3.0, 0.0, 0.0, 9.0, 1.0]])
    assert torch.allclose(moving_average(values, 3), torch.tensor([[1.5, 1.0, 3.0, 10 / 3, 5.0]]))
    assert torch.equal(moving_average(values, 1), values)


def test_what_the_separation_spoils_teaches_the_pitch_less_and_hard_frames_more():
    weights = Dwhs(smoothing_frames=1)(evidence(estimate=[0.2, 0.9, 0.9], clean=[0.9, 0.9, 0.2]))
    assert weights.pitch[0].tolist() == pytest.approx([1.1 * 0.3, 1.1, 1.8])


def test_frames_of_larger_error_cost_more_than_others_of_the_item():
    known = evidence([0.9] * 4, [0.9] * 4, vocals=[1.0, 0.5, 1.0, 0.0], error=[0.2, 0.4, 0.6, 9.0])
    linear = Dwhs(smoothing_frames=1, error_exponent=1.0)(known)
    assert linear.separation[0].tolist() == pytest.approx([0.5, 0.5 * 1.0, 1.5, 0.0])
    assert Dwhs(smoothing_frames=1)(known).separation[0].tolist() == pytest.approx([0.25, 0.5 * 1.0, 2.25, 0.0])
    without = Dwhs(smoothing_frames=1, error_exponent=0.0)(known)
    assert without.separation[0].tolist() == pytest.approx([1.0, 0.5, 1.0, 0.0])


def test_errors_are_averaged_around_frames():
    error = torch.arange(10.0)[None]
    assert frame_means(error, 3, 4.0).tolist() == [[0.5, 3.5, 7.5]]  # samples 0 to 1, 2 to 5, 6 to 9
    assert frame_means(error, 5, 3.0).tolist() == [[0.5, 3.0, 6.0, 8.5, 0.0]]  # the last frame is behind the end


def test_false_alarms_can_still_be_taught():
    known = evidence([0.4, 0.4], [0.9, 0.9], voiced=[True, False])
    assert Dwhs(smoothing_frames=1)(known).pitch[0].tolist() == pytest.approx([1.1 * 0.5, 1.1 * 0.5])
    taught = Dwhs(smoothing_frames=1, blame_discount_unvoiced=0.0)(known)
    assert taught.pitch[0].tolist() == pytest.approx([1.1 * 0.5, 1.1])


def test_disagreement_is_noise_where_the_label_is_not_human():
    weights = Dwhs(smoothing_frames=1)(evidence([0.9, 0.4], [0.9, 0.4], by_hand=False))
    assert weights.pitch[0].tolist() == pytest.approx([0.9, 0.4])
    weights = Dwhs(smoothing_frames=1, noise=False)(evidence([0.9, 0.4], [0.9, 0.4], by_hand=False))
    assert weights.pitch[0].tolist() == pytest.approx([1.0, 1.0])


def test_wrong_pseudo_labels_are_read_again():
    told = {"estimate": [0.2] * 4, "clean": [0.2] * 4, "vocals": [1.0, 0.5, 1.0, 0.0], "pitch": [0.4] * 4}
    certainty = [0.9, 0.9, 0.25, 0.9]  # where it is no surer than the label, or where vocals are not trusted, it stays
    weights = Dwhs(smoothing_frames=1)(evidence(**told, certainty=certainty, by_hand=False))
    assert weights.reread[0].tolist() == [True, True, False, False]
    assert weights.pitch[0].tolist() == pytest.approx([0.9, 0.45, 0.4 * 0.2, 0.4 * 0.2])
    for options, by_hand in (({"reread_margin": 1.0}, False), ({}, True)):
        weights = Dwhs(smoothing_frames=1, **options)(evidence(**told, certainty=certainty, by_hand=by_hand))
        assert not weights.reread.any()


def test_a_probability_of_voicing_makes_agreement_one():
    posteriors = torch.zeros(1, 3, GRID.num_bins)
    posteriors[0, :, 48] = 0.2  # 110 Hz
    posteriors[0, 1, 60] = 0.1  # 131 Hz
    label = torch.tensor([[110.0, 110.0 * 2 ** (300 / 1200), 0.0]]), torch.ones(1, 3, dtype=torch.bool), GRID
    assert agreement(posteriors, *label)[0].tolist() == pytest.approx([0.2, 0.1, 0.8])
    voicing = torch.full((1, 3), 0.9)
    assert agreement(posteriors, *label, voicing)[0].tolist() == pytest.approx([0.9, 0.45, 0.1])


@pytest.mark.parametrize(
    ("switched_off", "separation", "pitch"),
    [
        ({"error_exponent": 0.0}, 1.0, 1.1 * 0.5),
        ({"hard_gain": 0.0}, 2.25, 0.5),
        ({"blame_discount": 0.0}, 2.25, 1.1),
        ({"error_exponent": 0.0, "hard_gain": 0.0, "blame_discount": 0.0}, 1.0, 1.0),
        ({"largest": 1.2}, 1.2, 1.1 * 0.5),
        ({"smallest": 0.8}, 2.25, 0.8),
        ({"blame_discount_unvoiced": 0.0}, 2.25, 1.1 * 0.5),
    ],
)
def test_each_term_can_be_switched_off(switched_off, separation, pitch):
    weights = Dwhs(smoothing_frames=1, **switched_off)(evidence([0.4] * 2, [0.9] * 2, error=[1.5, 0.5]))
    assert weights.separation[0, 0].item() == pytest.approx(separation)
    assert weights.pitch[0, 0].item() == pytest.approx(pitch)


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_is_not_known_weighs_nothing(name):
    known = evidence([0.3, 0.6, 0.9], [0.8, 0.5, 0.9], pitch=[0.0, 1.0, 0.5], vocals=[1.0, 0.0, 0.5])
    weights = STRATEGIES[name]()(known)
    assert weights.separation.shape == weights.pitch.shape == (1, 3)
    assert weights.pitch[0, 0] == 0 and weights.separation[0, 1] == 0
    assert (weights.separation >= 0).all() and torch.isfinite(weights.pitch).all()


def test_focal_and_hardest_look_at_the_estimate():
    known = evidence([0.9, 0.1, 0.5, 0.3], [1.0, 1.0, 1.0, 1.0], pitch=[1.0, 1.0, 1.0, 0.0])
    assert Focal(exponent=2.0)(known).pitch[0].tolist() == pytest.approx([0.01, 0.81, 0.25, 0.0])
    assert HardestShare(share=0.34)(known).pitch[0].tolist() == [0.0, 1.0, 0.0, 0.0]
    assert HardestShare(share=1.0)(known).pitch[0].tolist() == [1.0, 1.0, 1.0, 0.0]


def test_a_label_without_octave_teaches_the_likeliest_one():
    posteriors = torch.zeros(1, 4, GRID.num_bins)
    posteriors[0, :, 49] = 0.9  # 25 cents above 110 Hz
    f0_hz = torch.tensor([[220.0, 220.0, 0.0, 440.0]])
    taught = likeliest_octave(posteriors, f0_hz, torch.tensor([[True, False, False, False]]), GRID)
    above_hz = 110.0 * 2 ** (25 / 1200)
    assert taught[0].tolist() == pytest.approx([220.0, above_hz, 0.0, above_hz])


def test_frames_without_a_label_put_no_blame_on_their_neighbours():
    weights = Dwhs(smoothing_frames=3)(evidence([0.9, 0.0, 0.9], [0.9, 1.0, 0.9], pitch=[1.0, 0.0, 1.0]))
    assert weights.blame[0].tolist() == [0.0, 0.0, 0.0]
