"""Tiny built corpora: made-up tunes as tracks, and folders of Parquet shards as a build writes them."""

import hashlib
import io
import json
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from majl_hf.corpora.labels import Note, PitchLabel
from majl_hf.corpora.tracks import AudioPart, Track
from majl_hf.rows.convert import track_to_row
from majl_hf.rows.schema import ROW_FEATURES

RATE = 8_000


@cache
def tune(seed: int, duration_s: float = 4.0, sampling_rate: int = RATE) -> np.ndarray:
    """A tune of plucked notes, (num_samples,) float32, another one for every seed."""
    rng = np.random.default_rng(seed)
    audio = np.zeros(round(duration_s * sampling_rate))
    for onset in np.arange(0, duration_s, 0.125):
        midi = rng.integers(48, 84)
        first = round(onset * sampling_rate)
        time = np.arange(min(len(audio) - first, sampling_rate // 2)) / sampling_rate
        hz = 440 * 2 ** ((midi - 69) / 12)
        note = sum(np.sin(2 * np.pi * h * hz * time) / h for h in (1, 2, 3, 4) if h * hz < sampling_rate / 2)
        audio[first : first + len(time)] += note * np.exp(-6 * time)
    return (0.5 * audio / np.abs(audio).max()).astype(np.float32)


def part(audio: np.ndarray, sampling_rate: int = RATE) -> AudioPart:
    """`audio` (num_samples,) or (num_channels, num_samples)."""
    file = io.BytesIO()
    soundfile.write(file, audio.T, sampling_rate, format="FLAC", subtype="PCM_16")
    return AudioPart.from_bytes(file.getvalue(), "made up")


def make_track(
    id: str, kind: str = "full", *, song: str = "", singer: str = "", seed: int | None = None, split: str = "", **fields
) -> Track:
    """A track of 4 s whose accompaniment (mixture, solo voice) is `tune(seed)`; None takes a seed from the id."""
    corpus, _, name = id.partition("/")
    seed = int.from_bytes(id.encode()) % 2**32 if seed is None else seed
    main, voice = tune(seed), 0.5 * tune(int.from_bytes(f"voice of {id}".encode()) % 2**32)
    label = PitchLabel(np.full(200, 220.0), 0.02, 0.02)
    parts = {
        "full": {"vocals": part(voice), "accompaniment": part(main), "label": label},
        "separation": {"vocals": part(voice), "accompaniment": part(main)},
        "pitch": {"mixture": part(main), "label": label, "notes": (Note(0.0, 4.0, 57.0),)},
        "vocals": {"vocals": part(main)},
        "accompaniment": {"accompaniment": part(main)},
    }[kind]
    fields = {"licence": "CC0-1.0", "provenance": "Made up."} | fields
    return Track(id, corpus, song or name, singer, len(main) / RATE, RATE, split=split, **parts, **fields)


def write_built(folder: Path, tracks: list[Track], splits_by: tuple[str, ...] | None = None) -> Path:
    """A built corpus with one shard a split and one row group a track."""
    (folder / "data").mkdir(parents=True)
    schema = ROW_FEATURES.arrow_schema
    for split in sorted({track.split or "train" for track in tracks}):
        with pq.ParquetWriter(folder / "data" / f"{split}-00000-of-00001.parquet", schema) as writer:
            for track in (track for track in tracks if (track.split or "train") == split):
                writer.write_table(pa.Table.from_pylist([track_to_row(track)], schema=schema))
    if splits_by is not None:
        stated = {track.corpus: splits_by for track in tracks}
        (folder / "build.json").write_text(json.dumps({"splits_by": stated, "shards": []}))
    return folder


def read_rows(folder: Path) -> dict[str, dict]:
    """id -> the row and its split, of a built or combined corpus."""
    rows = {}
    for path in sorted((folder / "data").glob("*.parquet")):
        for row in pq.ParquetFile(path).read().to_pylist():
            rows[row["id"]] = {**row, "split": path.name.partition("-")[0]}
    return rows


def contents(folder: Path) -> dict[str, str]:
    """Hash of every file, hidden ones included."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
