"""Tiny built corpora: made-up tracks and rows, and folders of Parquet shards as a build writes them."""

import hashlib
import io
import json
from collections import defaultdict
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
from majl_hf.rows.shards import shard_name

RATE, TONE_RATE = 8_000, 16_000  # of tunes, and of tones


@cache
def tune(seed: int, duration_s: float = 4.0, sampling_rate: int = RATE) -> np.ndarray:
    """A tune of plucked notes, (num_samples,) float32, different for each seed."""
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


def make_track(id: str, kind: str = "full", *, seed: int | None = None, **fields) -> Track:
    """A track of 4 s whose accompaniment (mixture, solo voice) is `tune(seed)`; None takes a seed from the id."""
    corpus, _, name = id.partition("/")
    seed = int.from_bytes(id.encode()) % 2**32 if seed is None else seed
    main, voice = part(tune(seed)), part(0.5 * tune(int.from_bytes(f"voice of {id}".encode()) % 2**32))
    label = PitchLabel(np.full(200, 220.0), 0.02, 0.02)
    parts = {
        "full": {"vocals": voice, "accompaniment": main, "label": label},
        "separation": {"vocals": voice, "accompaniment": main},
        "pitch": {"mixture": main, "label": label, "notes": (Note(0.0, 4.0, 57.0),)},
        "vocals": {"vocals": main},
        "accompaniment": {"accompaniment": main},
    }[kind]
    return Track.of(corpus, name, **{"licence": "CC0-1.0", "provenance": "Made up.", **parts, **fields})


def make_tone(kind: str, number: int, duration_s: float = 3.0) -> Track:
    """`c/KIND0` and so on: every part is a tone of a different frequency; "pitch" and "full" are labelled, the first as
    octave-unreliable."""
    time_s = np.arange(round(duration_s * TONE_RATE)) / TONE_RATE
    hz, levels = 220.0 + 10 * number, {"mixture": 0.2, "vocals": 0.3, "accompaniment": 0.1}
    names = {"full": ("vocals", "accompaniment"), "separation": ("vocals", "accompaniment"), "pitch": ("mixture",)}
    parts = {}
    for name in names.get(kind, (kind,)):
        part_hz = 1500.0 + 50 * number if name == "accompaniment" else hz
        parts[name] = part(levels[name] * np.sin(2 * np.pi * part_hz * time_s), TONE_RATE)
    label = None
    if kind in ("pitch", "full"):
        label = PitchLabel(np.full(round(duration_s / 0.01), hz), 0.01, octave_reliable=kind == "full")
    name = f"{kind}{number}"
    return Track.of("c", name, song=f"song-{name}", label=label, licence="CC0-1.0", **parts)


def make_rows(counts: dict[str, int], duration_s: float = 3.0) -> list[dict]:
    """Rows of tones, this many of each kind; see `make_tone`."""
    return [track_to_row(make_tone(kind, n, duration_s)) for kind, count in counts.items() for n in range(count)]


def write_built(
    folder: Path,
    items: list[Track | dict],
    *,
    num_shards: int = 1,
    plain: bool = True,
    group_size: int = 1,
    splits_by: tuple[str, ...] | None = None,
) -> Path:
    """A built corpus of tracks, or of rows for "train".

    Args:
        num_shards: of each split.
        plain: audio columns are neither compressed nor dictionary encoded.
        group_size: rows per row group.
        splits_by: what the plan says; None writes none.
    """
    by_split: dict[str, list[dict]] = defaultdict(list)
    for item in items:
        if isinstance(item, Track):
            by_split[item.split or "train"].append(track_to_row(item))
        else:
            by_split["train"].append(item)
    schema = ROW_FEATURES.arrow_schema
    for name in sorted({name for rows in by_split.values() for row in rows for name in row} - set(schema.names)):
        schema = schema.append(pa.field(name, pa.float32()))
    (folder / "data").mkdir(parents=True)
    for split, rows in by_split.items():
        for shard in range(num_shards):
            options = {"use_dictionary": False, "compression": "NONE", "write_statistics": shard == 0} if plain else {}
            table = pa.Table.from_pylist(rows[shard::num_shards], schema=schema)
            path = folder / "data" / shard_name(split, shard, num_shards)
            pq.write_table(table, path, row_group_size=group_size, **options)
    if splits_by is not None:
        stated = {row["corpus"]: splits_by for rows in by_split.values() for row in rows}
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
