"""The note estimator: contract, keys of a melody, training, and the engine's windows."""

import numpy as np
import pytest
import torch

from majl_hf import MajlConfig, MajlModel
from majl_hf.models.note_estimator_majl import NoteEstimator, NoteEstimatorConfig
from majl_hf.models.streaming_majl import separate_array, separate_stream

SMALL = {"hidden_size": 8, "num_mels": 12, "dilations": (1, 2), "dropout": 0.0}
RATE, HOP = 16_000, 160


@pytest.fixture
def estimator():
    torch.manual_seed(0)
    return NoteEstimator(NoteEstimatorConfig(**SMALL)).eval()


def small_model(note_estimator=SMALL):
    torch.manual_seed(0)
    parts = {"separator_config": "mask-tiny", "pitch_estimator_config": "spectrum-tiny"}
    return MajlModel(MajlConfig(**parts, note_estimator_config=note_estimator, window_s=0.7, margin_s=0.1)).eval()


def voice(num_frames: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    waveform = 0.1 * torch.randn(2, num_frames * HOP - 1, generator=generator)
    f0_hz = 220 * 2 ** torch.rand(2, num_frames, generator=generator)
    return waveform, f0_hz, torch.rand(2, num_frames, generator=generator)


def test_a_frame_of_evidence_for_every_frame_of_pitch(estimator):
    output = estimator(*voice(150))
    assert all(values.shape == (2, 150) for values in output.to_tuple())
    assert output.deviation_cents.abs().max() <= 150


def test_shapes_that_do_not_fit_are_refused(estimator):
    waveform, f0_hz, confidence = voice(50)
    with pytest.raises(ValueError, match=r"f0 and confidence .* are needed|is needed, but the shapes are"):
        estimator(waveform, f0_hz[:, :-1], confidence)


def test_a_melody_gives_the_same_evidence_in_every_key(estimator):
    waveform, f0_hz, confidence = voice(120)
    for one, other in zip(
        estimator(waveform, f0_hz, confidence).to_tuple(),
        estimator(waveform, 1.7 * f0_hz, confidence).to_tuple(),
        strict=True,
    ):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


def test_it_looks_no_further_than_its_context(estimator):
    """Frames beyond the declared context change nothing; frames within do."""
    reach = -(-estimator.config.context // HOP)
    num_frames = 2 * reach + 100
    one, other = voice(num_frames), voice(num_frames, seed=1)
    middle = num_frames // 2
    changed = [torch.cat([a[:, : (middle + reach) * n], b[:, (middle + reach) * n :]], dim=1)
               for a, b, n in zip(one, other, (HOP, 1, 1), strict=True)]  # fmt: skip
    for before, after in zip(estimator(*one).to_tuple(), estimator(*changed).to_tuple(), strict=True):
        torch.testing.assert_close(before[:, : middle + 1], after[:, : middle + 1], atol=1e-5, rtol=0)
        assert not torch.allclose(before[:, middle + reach :], after[:, middle + reach :])


def test_no_gradient_flows_through_f0(estimator):
    waveform, f0_hz, confidence = voice(50)
    waveform.requires_grad_(), f0_hz.requires_grad_()
    estimator(waveform, f0_hz, confidence).onset.sum().backward()
    assert waveform.grad.abs().sum() > 0 and f0_hz.grad is None


def test_it_learns_where_notes_are():
    """Clicks at which a pitch begins, in 60 steps."""
    torch.manual_seed(0)
    model = small_model()
    num_frames = model.num_pitch_frames(RATE)
    labels = {name: torch.zeros(1, num_frames) for name in ("note_midi", "note_onset", "note_offset")}
    for begin in (10, 30):
        labels["note_onset"][0, begin] = labels["note_offset"][0, begin + 15] = 1.0
        labels["note_midi"][0, begin : begin + 15] = 60.0
    mixture = 0.2 * torch.randn(1, 1, RATE, generator=torch.Generator().manual_seed(0))
    mixture *= torch.nn.functional.interpolate(labels["note_midi"][:, None] / 60 + 0.01, RATE)
    optimizer = torch.optim.Adam(model.note_estimator.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        output = model(mixture=mixture, **labels)
        losses.append(output.note_loss.item())
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
    assert losses[-1] < 0.3 * losses[0]
    assert output.notes.onset[0].argmax() in (10, 30)


def test_frames_without_known_notes_do_not_count():
    model = small_model()
    mixture = 0.1 * torch.randn(1, 1, RATE)
    num_frames = model.num_pitch_frames(RATE)
    ones, weight = torch.ones(1, num_frames), torch.zeros(1, num_frames)
    weight[:, : num_frames // 2] = 1.0
    other = torch.where(weight > 0, ones, 60.0)
    losses = [
        model(mixture, note_midi=60 * midi, note_onset=ones, note_offset=ones, note_weight=weight).note_loss
        for midi in (ones, other)
    ]
    assert torch.equal(*losses)
    unknown = model(mixture, note_midi=ones, note_onset=ones, note_offset=ones, note_weight=0 * weight)
    assert unknown.note_loss == 0


def test_a_model_with_a_note_estimator_survives_saving(tmp_path):
    model = small_model()
    model.save_pretrained(tmp_path)
    loaded = MajlModel.from_pretrained(tmp_path).eval()
    audio = 0.1 * np.random.default_rng(0).standard_normal((1, 2 * RATE)).astype(np.float32)
    one, other = (separate_array(m, audio, RATE, read_notes=True, note_threshold=0.3).notes for m in (model, loaded))
    assert one == other


def test_frames_have_to_be_those_of_the_pitch_estimator():
    with pytest.raises(ValueError, match="need the same frames"):
        small_model({**SMALL, "hop_length": 80})


@pytest.mark.parametrize("note_estimator", [SMALL, None])
@pytest.mark.parametrize("block_length", [1_000, 7_777])
def test_notes_do_not_depend_on_blocks(block_length, note_estimator):
    model = small_model(note_estimator)
    rng = np.random.default_rng(0)
    times_s = np.arange(4 * RATE) / RATE
    song = np.sin(2 * np.pi * 220 * 2 ** (np.floor(2 * times_s) / 12) * times_s) * (times_s % 1.0 < 0.8)
    song = (0.2 * song + 0.01 * rng.standard_normal(len(song))).astype(np.float32)[None]
    options = {"read_notes": True, "separate": False, "note_threshold": 0.3}
    whole = separate_array(model, song, RATE, **options)
    blocks = [song[:, start : start + block_length] for start in range(0, song.shape[1], block_length)]
    chunks = list(separate_stream(model, blocks, RATE, **options))
    assert [note for chunk in chunks for note in chunk.notes] == whole.notes
    assert all(a.offset_s <= b.onset_s for a, b in zip(whole.notes, whole.notes[1:], strict=False))
    assert separate_array(model, song, RATE, separate=False).notes is None
