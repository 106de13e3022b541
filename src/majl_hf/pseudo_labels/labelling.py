"""One row in, one pseudo-labelled row out: a pitch for rows with clean vocals, vocals for rows with a pitch.

separation, vocals   f0_hz and pitch_confidence are read from the vocals; the audio stays, byte for byte
pitch                vocals are estimated from the mixture, the accompaniment is the mixture minus the vocals, and the
                     mixture, their sum, is left out; the pitch label and its confidences stay
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from ..corpora.labels import PitchLabel
from ..corpora.tracks import ArrayPart, Track
from ..errors import CorpusError, SwappedError, TeacherError
from ..rows.convert import row_to_track, track_to_row
from .config import LabellingConfig
from .reading import PitchReading, row_confidence, view_agreement, vocals_confidence
from .teachers import PitchTeacher, VocalsTeacher

DIRECTIONS = {"separation": "pitch", "vocals": "pitch", "pitch": "vocals"}
"""What a row of each kind lacks and gets."""
NUM_BINS = 20  # of the histograms over [0, 1]


@dataclass(frozen=True, eq=False)
class PitchOfVocals:
    """A pseudo pitch label: the reading, and for each frame the peak posterior and the agreement of views, shape
    (num_frames,), whose product is its confidence; see `reading`."""

    reading: PitchReading
    peak: np.ndarray
    agreement: np.ndarray

    @property
    def confidence(self) -> np.ndarray:
        return np.clip(self.peak * self.agreement, 0.0, 1.0)


def read_pitch(mono: np.ndarray, sampling_rate: int, teacher: PitchTeacher, config: LabellingConfig) -> PitchOfVocals:
    """Pitch of a clean voice `(num_samples,)`, read unchanged and transposed."""
    reading = teacher.read(mono, sampling_rate)
    views = [teacher.read(mono, sampling_rate, 2.0 ** (n / 12.0)) for n in config.views_semitones]
    return PitchOfVocals(reading, reading.agreement_with(reading.label), view_agreement(reading, views))


def estimate_vocals(
    mixture: np.ndarray,
    sampling_rate: int,
    label: PitchLabel,
    vocals_teacher: VocalsTeacher,
    pitch_teacher: PitchTeacher,
    config: LabellingConfig,
) -> tuple[np.ndarray, np.ndarray]:
    """Vocals of a mixture `(num_channels, num_samples)`, and how far they are trusted in each frame of the label.

    Returns:
        `(vocals, confidence)` of shapes (num_channels, num_samples) and (len(label),).
    """
    vocals = vocals_teacher.separate(mixture, sampling_rate)
    agreement = pitch_teacher.read(vocals.mean(axis=0), sampling_rate).agreement_with(label)
    return vocals, vocals_confidence(agreement, label.confidence, label.hop_s, config.smoothing_s)


def label_row(
    row: Mapping, pitch_teacher: PitchTeacher, vocals_teacher: VocalsTeacher | None, config: LabellingConfig, date: str
) -> tuple[dict | None, dict]:
    """The row with its missing labels.

    Args:
        row: of `schema.ROW_FEATURES`, of a kind in `DIRECTIONS`.
        date: date in the provenance.

    Returns:
        `(row, outcome)`: the row is None if it is dropped. The outcome, ready for JSON, has `id`, `direction`,
        `duration_s`, `confidence` (of the row), `num_frames`, `num_voiced`, `sum_confidence` and `sum_voiced`
        (of frames, and of voiced ones), `num_silenced` (frames below `min_pitch_confidence`), `histogram` and
        `histogram_voiced` (counts of frames in `NUM_BINS` bins of confidence), and `dropped`, a reason or None.

    Raises:
        CorpusError: a teacher returned values that are not finite, or audio that cannot be used; names row and teacher.
    """
    torch.manual_seed(config.seed)  # so that a row does not depend on the rows before it
    direction = DIRECTIONS[row["label_kind"]]
    track = row_to_track(row)
    try:
        if direction == "pitch":
            return _with_pitch(row, track, pitch_teacher, config, date)
        return _with_vocals(row, track, pitch_teacher, vocals_teacher, config, date)
    except TeacherError as error:
        raise CorpusError(
            f"Row {row['id']} cannot be labelled: the teacher {error}. Leave the row out, or use another teacher."
        ) from error


def _with_pitch(row: Mapping, track: Track, teacher: PitchTeacher, config: LabellingConfig, date: str):
    vocals = track.part("vocals")
    mono = vocals.read(0, vocals.num_samples).mean(axis=0)
    result = read_pitch(mono, track.sampling_rate, teacher, config)
    label, confidence = result.reading.label, result.confidence
    kept = np.where(confidence >= config.min_pitch_confidence, confidence, 0.0)
    of_row = row_confidence(confidence, label.f0_hz > 0)
    outcome = _outcome(row, "pitch", confidence, label.f0_hz > 0, of_row, config, int((kept == 0).sum()))
    if outcome["dropped"]:
        return None, outcome
    sentence = (
        f"Pitch read from the vocals by {_name(teacher.facts)}, confidence "
        f"{_certainty_words(result.reading, teacher.facts)}{_views_words(config)}, frames under "
        f"{config.min_pitch_confidence:g} set to 0; rows under {config.min_row_confidence:g} left out, this one "
        f"has {of_row:.3f}; {date}."
    )
    return {
        **row,
        "label_kind": "pseudo",
        "f0_hz": label.f0_hz.astype(np.float32),
        "f0_hop_s": label.hop_s,
        "f0_offset_s": label.offset_s,
        "f0_octave_reliable": True,
        "pitch_confidence": kept.astype(np.float32),
        "provenance": f"{row['provenance'] or ''} {sentence}".strip(),
    }, outcome


def _with_vocals(
    row: Mapping, track: Track, pitch_teacher: PitchTeacher, teacher: VocalsTeacher, config: LabellingConfig, date: str
):
    mixture_part = track.part("mixture")
    mixture = mixture_part.read(0, mixture_part.num_samples)
    label = track.label
    vocals, confidence = estimate_vocals(mixture, track.sampling_rate, label, teacher, pitch_teacher, config)
    known = np.ones(len(label), dtype=bool) if label.confidence is None else label.confidence > 0
    of_row = row_confidence(confidence, (label.f0_hz > 0) & known)
    outcome = _outcome(row, "vocals", confidence, label.f0_hz > 0, of_row, config)
    if outcome["dropped"]:
        return None, outcome
    sentence = (
        f"Vocals estimated from the mixture by {_name(teacher.facts)}, accompaniment = mixture - vocals; confidence of "
        f"the vocals = agreement of the pitch label with the pitch that {_name(pitch_teacher.facts)} reads from them, "
        f"averaged over {config.smoothing_s:g} s; rows under {config.min_row_confidence:g} left out, this one has "
        f"{of_row:.3f}; {date}."
    )
    # With vocals rounded to the mixture's integer steps, the accompaniment is also in these steps: FLAC stores both
    # exactly, and they add up to the mixture bit by bit.
    bits = 16 if mixture_part.bits <= 16 else 24
    vocals = _on_grid(vocals, bits)
    parts = {
        "vocals": ArrayPart(vocals, track.sampling_rate, bits),
        "accompaniment": ArrayPart(mixture - vocals, track.sampling_rate, bits),
    }
    provenance = f"{row['provenance'] or ''} {sentence}".strip()
    try:
        made = track_to_row(dataclasses.replace(track, mixture=None, **parts, provenance=provenance))
    except SwappedError as error:
        outcome["dropped"] = f"the separation failed: {error.problem.partition(':')[0]}"
        return None, outcome
    return {
        **row,
        **{column: made[column] for column in ("mixture", "vocals", "accompaniment", "provenance")},
        "label_kind": "pseudo",
        "vocals_confidence": confidence.astype(np.float32),
    }, outcome


def _on_grid(samples: np.ndarray, bits: int) -> np.ndarray:
    steps = 2.0 ** (bits - 1)
    return (np.clip(np.round(samples * steps), -steps, steps - 1) / steps).astype(np.float32)


def _outcome(
    row: Mapping,
    direction: str,
    confidence: np.ndarray,
    voiced: np.ndarray,
    of_row: float,
    config: LabellingConfig,
    num_silenced: int = 0,
) -> dict:
    dropped = None
    if of_row < config.min_row_confidence:
        dropped = f"its confidence is {of_row:.3f}, under {config.min_row_confidence:g}"
    histograms = [np.histogram(values, NUM_BINS, (0.0, 1.0))[0].tolist() for values in (confidence, confidence[voiced])]
    return {
        "id": row["id"],
        "direction": direction,
        "duration_s": row["duration_s"],
        "confidence": round(of_row, 6),
        "num_frames": len(confidence),
        "num_voiced": int(voiced.sum()),
        "sum_confidence": round(float(confidence.sum()), 3),
        "sum_voiced": round(float(confidence[voiced].sum()), 3),
        "num_silenced": num_silenced,
        "histogram": histograms[0],
        "histogram_voiced": histograms[1],
        "dropped": dropped,
    }


def _name(facts: Mapping) -> str:
    """A teacher in words: `majl-base (weights SHA-256 0123...)`."""
    said = [f"version {facts['version']}"] if facts.get("version") else []
    said += [f"revision {facts['revision']}"] if facts.get("revision") else []
    said += [f"weights SHA-256 {facts['sha256']}"] if facts.get("sha256") else []
    said += [f"threshold {facts['threshold']:g}"] if "threshold" in facts else []
    return f"{facts['id']} ({', '.join(said)})" if said else str(facts["id"])


def _certainty_words(reading: PitchReading, facts: Mapping) -> str:
    if reading.posteriors is not None:
        return "= peak posterior"
    if reading.certainty is not None:
        return f"= its own certainty ({facts['certainty']})" if "certainty" in facts else "= its own certainty"
    return "= its voicing, as it reports no certainty"


def _views_words(config: LabellingConfig) -> str:
    if not config.views_semitones:
        return ""
    views = ", ".join(f"{n:+g}" for n in config.views_semitones)
    return f" x share of agreeing readings of the voice transposed by {views} semitones"
