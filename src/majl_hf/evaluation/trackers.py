"""Pitch trackers of other packages, run by their own code, each only if its package is installed.

A tracker is called with `(mono (num_samples,), sampling_rate)` and returns a `PitchTrack`: a pitch in every frame, and
apart from it whether the frame is sung. Frame times are the centres of the frames; that they are right to 5 ms is
tested with glides.
"""

from __future__ import annotations

import importlib

import numpy as np
import torch

from ..audio import resample
from ..foreign_parts import swift_detector
from .packages import describe, quiet, require
from .systems import PitchTrack

HOP_S = 0.01
FCPE_THRESHOLD = 0.4  # with the package's default of 0.006 nearly every frame counts as sung
CREPE_RATE, CREPE_BATCH = 16_000, 512
CREPE_HZ = (50.0, 1100.0)  # with the default ceiling of 2006 Hz, the highest bin, the decoder stays there
CREPE_THRESHOLD = 0.21  # with the median over three frames, as the package's page recommends
MELODIA_RATE, MELODIA_HOP = 44_100, 128
PRAAT_HZ = (75.0, 1100.0)  # the default floor; the default ceiling of 600 Hz is for speech


class FcpeTracker:
    """`torchfcpe`'s bundled model: its mel, network and local decoder; a frame is sung if its peak is over 0.4.

    The package returns 0 Hz below its threshold, so the decoder runs with threshold 0 and the peak is compared here.
    Audio beyond full scale is scaled down, because the package would clip it.
    """

    def __init__(self, threshold: float = FCPE_THRESHOLD) -> None:
        require("torchfcpe")
        self.threshold = threshold
        with quiet():
            self.model = importlib.import_module("torchfcpe").spawn_bundled_infer_model(device="cpu")
        self.provenance = describe("tracker", "torchfcpe") | {"tracker_threshold": threshold}

    def __call__(self, mono: np.ndarray, sampling_rate: int) -> PitchTrack:
        audio = torch.from_numpy(mono / max(1.0, float(np.abs(mono).max()))).float()[None, :, None]
        with torch.no_grad(), quiet():
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
        self.provenance = describe("tracker", "swift-f0") | {"tracker_threshold": 0.5}

    def __call__(self, mono: np.ndarray, sampling_rate: int) -> PitchTrack:
        result = self.detector.detect(mono, sampling_rate)
        return PitchTrack(result.timestamps, result.pitch_hz, result.confidence >= 0.5, result.confidence)


class CrepeTracker:
    """torchcrepe with its Viterbi decoder, 50 to 1100 Hz every 10 ms; sung if the median of the periodicity over three
    frames is at least 0.21. Audio is resampled with soxr.

    Args:
        capacity: "full" or "tiny".
    """

    def __init__(self, capacity: str = "full") -> None:
        require("torchcrepe")
        self.capacity, self.package = capacity, importlib.import_module("torchcrepe")
        detail = f"{capacity}, {CREPE_HZ[0]:g} to {CREPE_HZ[1]:g} Hz"
        self.provenance = describe("tracker", "torchcrepe", detail) | {"tracker_threshold": CREPE_THRESHOLD}

    def __call__(self, mono: np.ndarray, sampling_rate: int) -> PitchTrack:
        audio = torch.from_numpy(resample(mono, sampling_rate, CREPE_RATE))[None]
        hop = round(HOP_S * CREPE_RATE)
        before = np.random.get_state()
        np.random.seed(0)  # the package dithers the pitch by up to a bin, with numpy's global generator
        with torch.no_grad(), quiet():
            f0_hz, periodicity = self.package.predict(
                audio, CREPE_RATE, hop, *CREPE_HZ, self.capacity, return_periodicity=True, batch_size=CREPE_BATCH
            )
            periodicity = self.package.filter.median(periodicity, 3)
        np.random.set_state(before)
        f0_hz, periodicity = f0_hz[0].double().numpy(), periodicity[0].double().numpy()
        return PitchTrack(np.arange(len(f0_hz)) * hop / CREPE_RATE, f0_hz, periodicity >= CREPE_THRESHOLD, periodicity)


class PraatTracker:
    """Praat's autocorrelation method (praat-parselmouth), 75 to 1100 Hz every 10 ms, else with its defaults.

    The pitch of the frames that Praat decides to be unvoiced comes from a second pass that admits no such decision.
    """

    def __init__(self) -> None:
        require("parselmouth", "praat-parselmouth")
        self.package = importlib.import_module("parselmouth")
        self.provenance = describe("tracker", "praat-parselmouth", f"{PRAAT_HZ[0]:g} to {PRAAT_HZ[1]:g} Hz")

    def __call__(self, mono: np.ndarray, sampling_rate: int) -> PitchTrack:
        sound = self.package.Sound(np.asarray(mono, dtype=np.float64), sampling_rate)
        floor_hz, ceiling_hz = PRAAT_HZ
        settings = {"time_step": HOP_S, "pitch_floor": floor_hz, "pitch_ceiling": ceiling_hz}
        decided = sound.to_pitch_ac(**settings)
        voiced_hz = decided.selected_array["frequency"]
        guess = sound.to_pitch_ac(**settings, voicing_threshold=0.0, silence_threshold=0.0)
        voiced = voiced_hz > 0
        return PitchTrack(decided.xs(), _filled(np.where(voiced, voiced_hz, guess.selected_array["frequency"])), voiced)


class MelodiaTracker:
    """MELODIA (Salamon and Gómez 2012) as essentia has it: `EqualLoudness`, then `PredominantPitchMelodia` with its
    defaults at 44.1 kHz. It finds the melody of a mixture; what it only guesses counts as not sung.
    """

    def __init__(self) -> None:
        require("essentia")
        importlib.import_module("essentia").log.infoActive = False
        self.package = importlib.import_module("essentia.standard")
        self.provenance = describe("tracker", "essentia", "MELODIA")

    def __call__(self, mono: np.ndarray, sampling_rate: int) -> PitchTrack:
        audio = resample(mono, sampling_rate, MELODIA_RATE)
        melodia = self.package.PredominantPitchMelodia(guessUnvoiced=True, hopSize=MELODIA_HOP)
        f0_hz, confidence = melodia(self.package.EqualLoudness()(audio))
        times_s = np.arange(len(f0_hz)) * MELODIA_HOP / MELODIA_RATE
        return PitchTrack(times_s, _filled(np.asarray(f0_hz, dtype=np.float64)), np.asarray(confidence) > 0)


def _filled(f0_hz: np.ndarray) -> np.ndarray:
    """Frames without a pitch, 0 Hz, get one between those of their neighbours; 100 Hz if there is none at all."""
    frames, known = np.arange(len(f0_hz)), f0_hz > 0
    if not known.any():
        return np.full(len(f0_hz), 100.0)
    return np.exp2(np.interp(frames, frames[known], np.log2(f0_hz[known])))
