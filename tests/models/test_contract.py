"""The contract of every registered separator and pitch estimator; each is built from its preset for tests."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModel

from majl_hf import MajlConfig, MajlModel
from majl_hf.models import backbones_majl
from majl_hf.models.pitch_estimator_majl import PitchEstimator, PitchEstimatorConfig
from majl_hf.models.presets_majl import PRESETS, preset_config, preset_names, register_presets
from majl_hf.models.separator_majl import Separator, SeparatorConfig, SeparatorOutput

SEPARATORS = preset_names("separator", for_tests=True)
PITCH_ESTIMATORS = preset_names("pitch_estimator", for_tests=True)
PARTS = SEPARATORS + PITCH_ESTIMATORS
BOUNDED = [name for name in PARTS if preset_config(name).context is not None]
# Further configs of networks that no preset covers.
VARIANTS = {
    "spleeter-plain": ("spleeter-tiny", {"residual_head": False, "upper_band": False}),
    "spleeter-two-networks": ("spleeter-tiny", {"accompaniment_network": True, "residual_head": False}),
    "resunet-frequency-only": ("resunet-tiny", {"num_time_levels": 0}),
    "hdemucs-stereo": ("hdemucs-tiny", {"num_channels": 2, "sources": ("accompaniment", "vocals")}),
    "convtasnet-stereo": ("convtasnet-tiny", {"num_channels": 2}),
}


def build(name: str):
    """The part, with weights as after some training: no layer is zero, no statistic is a default."""
    preset, overrides = VARIANTS.get(name, (name, {}))
    torch.manual_seed(0)
    part = AutoModel.from_config(preset_config(preset, **overrides))
    with torch.no_grad():
        for key, parameter in part.named_parameters():
            if not parameter.any() or "residual" in key or "upper" in key:
                parameter.add_(0.05 * torch.rand_like(parameter) + 0.01)
        for key, buffer in part.named_buffers():
            if key.endswith("running_mean"):
                buffer.add_(0.01 * torch.randn_like(buffer))
            elif key.endswith("running_var"):
                buffer.mul_(1.1)
    return part.eval()


def example(part, num_samples: int, batch_size: int = 2) -> torch.Tensor:
    """Noise in the layout that the part takes."""
    channels = (part.config.num_channels,) if isinstance(part, Separator) else ()
    return 0.1 * torch.randn(batch_size, *channels, num_samples)


def result(part, waveform: torch.Tensor) -> torch.Tensor:
    """The one tensor that the part returns."""
    output = part(waveform)
    return output.vocals if isinstance(part, Separator) else output.logits


def expected_shape(part, waveform: torch.Tensor) -> tuple:
    config = part.config
    if isinstance(part, Separator):
        return tuple(waveform.shape)
    return waveform.shape[0], 1 + waveform.shape[1] // config.hop_length, config.num_bins


def test_every_registered_part_is_here():
    """A backbone comes with a preset for tests, so that these tests see it."""
    exported = [value for value in vars(backbones_majl).values() if isinstance(value, type)]
    parts = {cls for cls in exported if issubclass(cls, (Separator, PitchEstimator))}
    assert len(parts) == 11
    tested = {PRESETS[name].config_class for name in PARTS}
    assert {cls.config_class for cls in parts} == tested


@pytest.mark.parametrize("name", [*PARTS, *VARIANTS])
@torch.no_grad()
def test_lengths_and_silence(name):
    part = build(name)
    hop = part.config.hop_length
    for num_samples in (1, hop - 1, hop, hop + 1, 4001):
        waveform = example(part, num_samples)
        output = result(part, waveform)
        assert output.shape == expected_shape(part, waveform), num_samples
        assert torch.isfinite(output).all(), num_samples
    assert torch.isfinite(result(part, torch.zeros_like(example(part, 5_000)))).all()


@pytest.mark.parametrize("name", [*PARTS, *VARIANTS])
@torch.no_grad()
def test_alone_or_in_a_batch(name):
    part = build(name)
    batch = example(part, 6_000, batch_size=3)
    batch[1] *= 5
    together = result(part, batch)
    for index in range(3):
        alone = result(part, batch[index : index + 1])
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", [*PARTS, *VARIANTS])
def test_saved_and_loaded_bit_for_bit(name, tmp_path):
    part = build(name)
    waveform = example(part, 4_001)
    with torch.no_grad():
        before = result(part, waveform)
    part.save_pretrained(tmp_path)
    loaded, info = AutoModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values()), info
    state = loaded.state_dict()
    assert state.keys() == part.state_dict().keys() == load_file(tmp_path / "model.safetensors").keys()
    for key, tensor in part.state_dict().items():
        assert torch.equal(tensor, state[key]), key
    with torch.no_grad():
        assert torch.equal(result(loaded.eval(), waveform), before)
    assert type(loaded.config) is type(part.config)
    assert loaded.config.to_diff_dict() == type(part.config)(**loaded.config.to_dict()).to_diff_dict()


@pytest.mark.parametrize("name", PARTS)
def test_weights_that_a_file_lacks_are_drawn(name, tmp_path):
    part = build(name)
    part.save_pretrained(tmp_path)
    kept = dict(list(load_file(tmp_path / "model.safetensors").items())[::2])
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    loaded = AutoModel.from_pretrained(tmp_path)
    for key, tensor in loaded.state_dict().items():
        assert torch.isfinite(tensor).all() and tensor.abs().max() < 1e3, key
        assert key not in kept or torch.equal(tensor, kept[key]), key
        if key.endswith("filters"):
            assert torch.equal(tensor, part.state_dict()[key])


@pytest.mark.parametrize("name", [*PARTS, *VARIANTS])
def test_no_state_beside_the_saved_one(name):
    """Built without memory and filled from a state dict, the part is the same; so is one inside a cascade."""
    part = build(name)
    waveform = example(part, 4_001)
    with torch.device("meta"):
        empty = AutoModel.from_config(part.config)
    assert {parameter.device.type for parameter in empty.parameters()} == {"meta"}
    empty.load_state_dict(part.state_dict(), assign=True)
    if isinstance(part, Separator):
        cascade = MajlModel.from_parts(part, AutoModel.from_config(preset_config("spectrum-tiny")))
        inside = cascade.separator
    else:
        cascade = MajlModel.from_parts(AutoModel.from_config(preset_config("mask-tiny")), part)
        inside = cascade.pitch_estimator
    with torch.no_grad():
        expected = result(part, waveform)
        assert torch.equal(result(empty.eval(), waveform), expected)
        assert inside is part and torch.equal(result(inside, waveform), expected)


@pytest.mark.parametrize("name", [*BOUNDED, "resunet-frequency-only"])
@torch.no_grad()
def test_declared_context_is_what_is_seen(name):
    """One changed sample changes nothing beyond the declared context, and something just inside it."""
    part = build(name).double()
    context, is_separator = part.config.context, isinstance(part, Separator)
    hop = 1 if is_separator else part.config.hop_length
    place = context + 2 * part.config.hop_length + 3
    first = example(part, 2 * place, batch_size=1).double()
    second = first.clone()
    second[..., place] += 10.0
    changed = (result(part, first) - result(part, second))[0].abs()
    changed = changed.amax(dim=0) if is_separator else changed.amax(dim=1)
    moved = torch.nonzero(changed > 0)[:, 0] * hop
    before, behind = place - moved.min(), moved.max() - place
    assert max(before, behind) <= context
    assert context <= 3 * max(before, behind) + 2 * hop
    if not is_separator:  # frame i is centred on sample i * hop_length
        assert abs(before - behind) <= hop


@pytest.mark.parametrize("name", [*BOUNDED, "resunet-frequency-only"])
@torch.no_grad()
def test_declared_alignment_is_what_is_seen(name):
    """A window that starts on the alignment equals a longer one, beyond its context; one between does not."""
    part = build(name).double()
    context, is_separator = part.config.context, isinstance(part, Separator)
    hop = 1 if is_separator else part.config.hop_length
    alignment = part.config.alignment if is_separator else part.config.hop_length
    waveform = example(part, 2 * context + 7 * alignment + 5, batch_size=1).double()
    whole = result(part, waveform)
    whole = whole[0].T if is_separator else whole[0]  # time first
    for start, is_same in ((alignment, True), (3 * alignment, True), (alignment // 2, False)):
        late = result(part, waveform[..., start:])
        late = late[0].T if is_separator else late[0]
        first = -(-(start + context) // hop)  # the first that audio before the window cannot affect
        late = late[first - start // hop :]
        difference = (late - whole[first : first + len(late)]).abs().max()
        assert (difference < 1e-9) == is_same, (start, difference)


@pytest.mark.parametrize("name", [*PARTS, *VARIANTS])
def test_gradients_reach_every_parameter(name):
    part = build(name).train()
    waveform = example(part, 8_000).requires_grad_(not isinstance(part, Separator))
    output = result(part, waveform)
    (output * torch.randn_like(output)).sum().backward()
    sources = getattr(part.config, "sources", None)
    missing = [key for key, p in part.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    assert not missing or (sources and len(sources) > 1), missing
    assert all(torch.isfinite(parameter.grad).all() for parameter in part.parameters() if parameter.grad is not None)
    if waveform.requires_grad:  # the gradient that joint training passes to the separator
        assert torch.isfinite(waveform.grad).all() and waveform.grad.any()


@pytest.mark.parametrize("name", PITCH_ESTIMATORS)
def test_silence_has_a_bounded_gradient(name):
    """The separator gets no infinite gradient where its vocals are silent, and none that dominates all others."""
    part = build(name).train()
    waveform = 0.1 * torch.randn(2, 8_000)
    waveform[0] = 0.0
    waveform.requires_grad_()
    logits = result(part, waveform)
    torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits)).backward()
    silent, sung = waveform.grad.abs().amax(dim=1)
    assert torch.isfinite(silent) and silent <= 1e4 * sung


@pytest.mark.parametrize("name", PARTS)
def test_half_precision_forward_and_backward(name):
    part = build(name).train()
    waveform = example(part, 4_000)
    with torch.autocast("cpu", torch.bfloat16):
        output = result(part, waveform)
    output.float().square().mean().backward()
    assert torch.isfinite(output).all()
    assert all(torch.isfinite(parameter.grad).all() for parameter in part.parameters())
    if isinstance(part, Separator):
        assert output.dtype == torch.float32  # waveforms keep their precision


@pytest.mark.parametrize("separator, pitch_estimator", zip(SEPARATORS, PITCH_ESTIMATORS * 2, strict=False))
def test_cascade_in_half_precision_returns_single_precision(separator, pitch_estimator):
    model = MajlModel(MajlConfig(separator_config=separator, pitch_estimator_config=pitch_estimator)).train()
    mixture = example(model.separator, 4_000)
    f0_hz = torch.full((2, model.num_pitch_frames(4_000)), 220.0)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(mixture, vocals=0.5 * mixture, f0_hz=f0_hz)
    output.loss.backward()
    assert {tensor.dtype for tensor in output.values()} == {torch.float32}
    assert torch.isfinite(output.loss)


@pytest.mark.parametrize("name", PARTS)
@torch.no_grad()
def test_export(name):
    part = build(name)
    waveform = example(part, 2_048, batch_size=1)
    exported = torch.export.export(part, (waveform,), strict=False).module()
    torch.testing.assert_close(exported(waveform)[0], result(part, waveform), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", PARTS)
def test_wrong_shapes_are_named(name):
    part = build(name)
    wrong = torch.zeros(1, 7, 100) if isinstance(part, Separator) else torch.zeros(1, 0)
    with pytest.raises(ValueError, match=rf"{type(part).__name__} needs .*got \(1, "):
        part(wrong)


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_configs_of_their_kind(name):
    preset = PRESETS[name]
    config = preset_config(name, preset.kind)
    assert isinstance(config, preset.config_class) and config.context != 0
    again = type(config)(**{key: value for key, value in config.to_dict().items() if key != "model_type"})
    assert again.to_dict() == config.to_dict()
    try:
        with torch.device("meta"):
            AutoModel.from_config(config)
    except ImportError as error:  # a part of another package
        assert "pip install" in str(error) and config.model_type.startswith("majl-foreign")


def test_presets_by_name():
    config = MajlConfig(
        separator_config="resunet-small", pitch_estimator_config={"preset": "crepe-tiny", "hop_length": 320}
    )
    assert config.separator_config.model_type == "majl-resunet"
    assert config.pitch_estimator_config.channel_multiplier == 4
    assert config.frame_hop_s == 0.02
    assert MajlConfig.from_dict(config.to_dict()).to_dict() == config.to_dict()
    with pytest.raises(ValueError, match=r"no separator preset 'crepe-tiny'.*resunet-small"):
        MajlConfig(separator_config="crepe-tiny")
    with pytest.raises(ValueError, match="num_time_levels 7 with 6 levels"):  # the actual error, not that it is unknown
        MajlConfig(separator_config={"model_type": "majl-resunet", "num_time_levels": 7})
    with pytest.raises(ValueError, match="belongs to ResUNetConfig"):
        register_presets(backbones_majl.CrepeConfig, {"resunet": {}})
    with pytest.raises(ValueError, match="neither"):
        register_presets(MajlConfig, {"majl": {}})


def test_absent_torchaudio_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "torchaudio.models", None)
    with pytest.raises(ImportError, match="pip install torchaudio"):
        AutoModel.from_config(preset_config("convtasnet-tiny"))


@pytest.mark.parametrize("base", [SeparatorConfig, PitchEstimatorConfig])
def test_a_config_without_an_init_of_its_own_keeps_the_bases_arguments(base):
    class Bare(base):
        model_type = f"bare-{base.model_type}"

    class Barer(Bare):
        model_type = f"barer-{base.model_type}"

    for config_class in (Bare, Barer):
        assert config_class().sampling_rate == base().sampling_rate
        config = config_class(sampling_rate=8_000, context=5)
        assert (config.sampling_rate, config.context) == (8_000, 5)
        again = config_class.from_dict(config.to_dict())
        assert (again.sampling_rate, again.context, again.model_type) == (8_000, 5, config_class.model_type)


def test_a_config_may_have_an_init_and_a_model_a_forward_of_its_own(tmp_path):
    class ClassicConfig(SeparatorConfig):
        model_type = "classic"

        def __init__(self, gain=0.5, **kwargs):
            self.gain = gain
            super().__init__(**{"context": 0, **kwargs})

    class Classic(Separator):
        config_class = ClassicConfig

        def __init__(self, config):
            super().__init__(config)
            self.post_init()

        def forward(self, mixture, **kwargs):
            return SeparatorOutput(vocals=self.config.gain * mixture)

    AutoConfig.register("classic", ClassicConfig)
    AutoModel.register(ClassicConfig, Classic)
    model = MajlModel.from_parts(Classic(ClassicConfig(gain=0.25, num_channels=1)), pitch_estimator=None)
    model.config.separator_config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert (loaded.gain, loaded.num_channels, loaded.context) == (0.25, 1, 0)
    assert model.separator(torch.ones(1, 1, 4)).vocals.tolist() == [[[0.25] * 4]]
