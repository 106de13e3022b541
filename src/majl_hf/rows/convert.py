"""Tracks to rows of the schema and back."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from pathlib import PurePosixPath

import numpy as np
import soundfile

from ..corpora.labels import Note, PitchLabel
from ..corpora.tracks import AudioPart, Part, Track
from ..errors import CorpusError, SwappedError
from .schema import AUDIO_COLUMNS
from .swapped import find_swapped

MAX_MIXTURE_ERROR_DB = -40.0  # of mixture - (vocals + accompaniment), relative to the mixture


def track_to_row(track: Track) -> dict:
    """A row of `schema.ROW_FEATURES`: every part decoded, checked and encoded as FLAC.

    FLAC stores integers of full scale 1: 16 bits if the source has no more or is lossy, 24 otherwise. A track that
    exceeds full scale is scaled down as a whole, and the provenance says so. A mixture that is the sum of the other two
    is checked and left out.

    Raises:
        CorpusError: audio that cannot be decoded, NaN, parts that differ in length, a mixture that is not the sum of
            its stems, vocals and accompaniment that are swapped, a label that begins after the recording ends; the
            message names the track or the file.
    """
    label_kind = track.label_kind
    parts = {name: part for name in AUDIO_COLUMNS if (part := getattr(track, name)) is not None}
    num_samples = max(part.num_samples for part in parts.values())
    for name, part in parts.items():
        if part.sampling_rate != track.sampling_rate:
            raise CorpusError(
                f"The {name} of {track.id} has {part.sampling_rate} Hz; all parts need {track.sampling_rate} Hz."
            )
    audio = {name: part.read(0, num_samples) for name, part in parts.items()}
    if len(audio) == len(AUDIO_COLUMNS):
        _check_mixture(track, **audio)
        del audio["mixture"]
    label = track.label
    if label_kind == "full":
        problem = find_swapped(audio["vocals"], audio["accompaniment"], track.sampling_rate, label)
        if problem is not None:
            raise SwappedError(track.id, problem)
    if label is not None and label.times_s[0] > track.duration_s:
        raise CorpusError(f"The label of {track.id} begins at {label.times_s[0]:.2f} s, after its audio has ended.")

    peak = max(float(np.abs(samples).max(initial=0.0)) for samples in audio.values())
    provenance = track.provenance
    if peak > 1.0:
        provenance = f"{provenance} Scaled by {-20 * np.log10(peak):.2f} dB to fit full scale.".strip()
    gain = 1.0 / max(peak, 1.0)
    name = PurePosixPath(track.id).name
    return {
        "id": track.id,
        "corpus": track.corpus,
        "song": track.song,
        "singer": track.singer,
        "label_kind": label_kind,
        "duration_s": num_samples / track.sampling_rate,
        "sampling_rate": track.sampling_rate,
        **dict.fromkeys(AUDIO_COLUMNS),
        **{
            column: {
                "bytes": _encode(samples * gain, track.sampling_rate, parts[column]),
                "path": f"{name}.{column}.flac",
            }
            for column, samples in audio.items()
        },
        "f0_hz": None if label is None else label.f0_hz.astype(np.float32),
        "f0_hop_s": None if label is None else label.hop_s,
        "f0_offset_s": None if label is None else label.offset_s,
        "f0_octave_reliable": None if label is None else label.octave_reliable,
        "pitch_confidence": None if label is None or label.confidence is None else label.confidence.astype(np.float32),
        "vocals_confidence": None if track.vocals_confidence is None else track.vocals_confidence.astype(np.float32),
        "notes": None
        if track.notes is None
        else [{"onset_s": n.onset_s, "offset_s": n.offset_s, "midi": n.midi} for n in track.notes],
        "licence": track.licence,
        "provenance": provenance,
    }


def row_to_track(row: Mapping) -> Track:
    """The track of a row, with parts that read from the row's bytes.

    Raises:
        CorpusError: a column without audio or a broken label; the message names the row.
    """
    parts: dict[str, Part | None] = dict.fromkeys(AUDIO_COLUMNS)
    for column in AUDIO_COLUMNS:
        if row[column] is not None:
            parts[column] = AudioPart.from_bytes(row[column]["bytes"], f"{column} of row {row['id']}")
    label = None
    if row["f0_hz"] is not None:
        label = PitchLabel(
            np.asarray(row["f0_hz"], dtype=np.float64),
            row["f0_hop_s"],
            row["f0_offset_s"],
            None if row["pitch_confidence"] is None else np.asarray(row["pitch_confidence"], dtype=np.float64),
            bool(row["f0_octave_reliable"]),
        )
    notes, vocals_confidence = row["notes"], row["vocals_confidence"]
    return Track(
        id=row["id"],
        corpus=row["corpus"],
        song=row["song"],
        singer=row["singer"],
        duration_s=row["duration_s"],
        sampling_rate=row["sampling_rate"],
        label=label,
        vocals_confidence=None if vocals_confidence is None else np.asarray(vocals_confidence, dtype=np.float64),
        notes=None if notes is None else tuple(Note(n["onset_s"], n["offset_s"], n["midi"]) for n in notes),
        licence=row["licence"],
        provenance=row["provenance"],
        **parts,
    )


def mixture_error_db(mixture: np.ndarray, vocals: np.ndarray, accompaniment: np.ndarray) -> float:
    """Level of mixture minus the sum of its stems, in dB relative to the mixture; -inf where they are equal.

    Args:
        mixture, vocals, accompaniment: shape (num_channels, num_samples).
    """
    error = float(np.sqrt(np.mean(np.square(mixture - vocals - accompaniment))))
    level = float(np.sqrt(np.mean(np.square(mixture))))
    return 20 * math.log10(error / max(level, 1e-12)) if error > 0 else -math.inf


def _check_mixture(track: Track, mixture: np.ndarray, vocals: np.ndarray, accompaniment: np.ndarray) -> None:
    error_db = mixture_error_db(mixture, vocals, accompaniment)
    if error_db > MAX_MIXTURE_ERROR_DB:
        raise CorpusError(
            f"The mixture of {track.id} is not the sum of its vocals and accompaniment: they differ by "
            f"{error_db:.1f} dB relative to it, at most {MAX_MIXTURE_ERROR_DB:.0f} dB is accepted. Remove the mixture, "
            "or correct the stems."
        )


def _encode(audio: np.ndarray, sampling_rate: int, part: Part) -> bytes:
    """FLAC of `(num_channels, num_samples)`; float parts get 24 bits."""
    file = io.BytesIO()
    subtype = "PCM_16" if part.bits <= 16 else "PCM_24"
    soundfile.write(file, audio.T, sampling_rate, format="FLAC", subtype=subtype)
    return file.getvalue()
