"""A built corpus for tests: rows of every label kind as Parquet in the layout of `majl data build`."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import soundfile

from majl_hf.corpora.labels import PitchLabel
from majl_hf.corpora.tracks import AudioPart, Track
from majl_hf.rows.convert import track_to_row
from majl_hf.rows.schema import ROW_FEATURES

RATE = 16000
CARD = "---\nconfigs:\n- config_name: default\n  data_files:\n  - {split: train, path: data/train-*.parquet}\n---\n"
PARTS = {
    "full": ("vocals", "accompaniment"),
    "separation": ("vocals", "accompaniment"),
    "pitch": ("mixture",),
    "vocals": ("vocals",),
    "accompaniment": ("accompaniment",),
}
LEVELS = {"mixture": 0.2, "vocals": 0.3, "accompaniment": 0.1}


def make_track(folder: Path, kind: str, number: int, duration_s: float = 3.0) -> Track:
    """Every part a tone of its own frequency; "pitch" and "full" rows are labelled, the first as octave-unreliable."""
    name = f"{kind}{number}"
    parts = {}
    for part in PARTS[kind]:
        time_s = np.arange(round(duration_s * RATE)) / RATE
        frequency_hz = 220.0 + 10 * number if part != "accompaniment" else 1500.0 + 50 * number
        path = folder / f"{name}.{part}.wav"
        soundfile.write(path, LEVELS[part] * np.sin(2 * np.pi * frequency_hz * time_s), RATE, subtype="PCM_16")
        parts[part] = AudioPart.open(path)
    label = None
    if kind in ("pitch", "full"):
        f0_hz = np.full(round(duration_s / 0.01), 220.0 + 10 * number)
        label = PitchLabel(f0_hz, 0.01, octave_reliable=kind == "full")
    return Track(f"c/{name}", "c", f"song-{name}", "", duration_s, RATE, label=label, licence="CC0-1.0", **parts)


def write_built(folder: Path, rows: list[dict], num_shards: int = 2, plain: bool = True, group_size: int = 1) -> Path:
    """`plain` audio columns are neither compressed nor dictionary encoded."""
    schema = ROW_FEATURES.arrow_schema
    for name in sorted({name for row in rows for name in row} - set(schema.names)):
        schema = schema.append(pa.field(name, pa.float32()))
    (folder / "data").mkdir(parents=True)
    for shard in range(num_shards):
        table = pa.Table.from_pylist(rows[shard::num_shards], schema=schema)
        options = {"use_dictionary": False, "compression": "NONE", "write_statistics": shard == 0} if plain else {}
        path = folder / "data" / f"train-{shard:05d}-of-{num_shards:05d}.parquet"
        pq.write_table(table, path, row_group_size=group_size, **options)
    (folder / "README.md").write_text(CARD)
    return folder


def make_rows(folder: Path, counts: dict[str, int], duration_s: float = 3.0) -> list[dict]:
    folder.mkdir(parents=True, exist_ok=True)
    return [
        track_to_row(make_track(folder, kind, number, duration_s))
        for kind, count in counts.items()
        for number in range(count)
    ]
