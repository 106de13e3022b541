"""A corpus of fully labelled rows with labels taken away, song by song.

    OUT/data/train-00000-of-00001.parquet   rows of `data.schema.ROW_FEATURES`
    OUT/reduced.json                        which song kept what, seed, shares, minutes

Some songs stay as they are ("full"), some lose their pitch ("separation"), the others lose their stems and keep the
mixture ("pitch"). The FLAC bytes of what stays are copied; a mixture is the sum of the stems that are taken away. It is
written beside its place and renamed when it is complete.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from majl_hf.corpora.tracks import SumPart
from majl_hf.errors import ConfigError, CorpusError
from majl_hf.pseudo_labels.sources import find_files, scan
from majl_hf.rows.build import ShardWriter, write_json
from majl_hf.rows.convert import row_to_track, track_to_row
from majl_hf.rows.schema import ROW_FEATURES
from majl_hf.rows.shards import cut_evenly, file_facts, shard_name

from .config import ReducedConfig

FACTS_FILE = "reduced.json"
KINDS = ("full", "separation", "pitch")
SHARD_MINUTES = 10.0
_PITCH_COLUMNS = ("f0_hz", "f0_hop_s", "f0_offset_s", "f0_octave_reliable", "pitch_confidence", "notes")


def assign_songs(songs: Sequence[str], full_share: float, separation_share: float, seed: int) -> dict[str, str]:
    """Song -> "full", "separation" or "pitch"; a function of the set of songs, the shares and the seed.

    Args:
        full_share: of the songs; separation_share: of those that are left. Each kind gets at least one song.

    Raises:
        CorpusError: fewer than three songs.
    """
    ordered = sorted(set(songs))
    if len(ordered) < len(KINDS):
        raise CorpusError(f"There are {len(ordered)} songs; at least {len(KINDS)} are needed, one for each kind.")
    shuffled = [ordered[index] for index in np.random.default_rng(seed).permutation(len(ordered))]
    num_full = min(max(1, round(full_share * len(shuffled))), len(shuffled) - 2)
    num_left = len(shuffled) - num_full
    num_separation = min(max(1, round(separation_share * num_left)), num_left - 1)
    kinds = ["full"] * num_full + ["separation"] * num_separation + ["pitch"] * (num_left - num_separation)
    return dict(sorted(zip(shuffled, kinds, strict=True)))


def reduce_row(row: Mapping, kind: str) -> dict:
    """A "full" row as one of `kind`: without its pitch, or as mixture with its pitch, or as it is.

    Raises:
        CorpusError: audio that cannot be decoded.
    """
    if kind == "full":
        return dict(row)
    if kind == "separation":
        reduced = {**row, **dict.fromkeys(_PITCH_COLUMNS), "label_kind": kind}
        what = "Pitch label removed for an ablation."
    else:
        track = row_to_track(row)
        mixture = SumPart((track.vocals, track.accompaniment))
        reduced = track_to_row(dataclasses.replace(track, mixture=mixture, vocals=None, accompaniment=None))
        what = "Stems replaced by their sum for an ablation."
    reduced["provenance"] = f"{reduced['provenance']} {what}".strip()
    return reduced


def make_reduced_corpus(config: ReducedConfig, out: str | Path) -> dict:
    """Write the reduced corpus, unless it is there, and return the content of its `reduced.json`.

    Raises:
        ConfigError: `out` holds a corpus that was made otherwise.
        CorpusError: rows that are not "full", or that cannot be read.
    """
    out = Path(out)
    files = find_files(config.rows, config.split)
    made_from = {
        **config.model_dump(mode="json", exclude={"rows"}),
        "files": [file_facts(file)[:2] for file in files],  # a copy of the same files makes the same corpus
    }
    if (out / FACTS_FILE).is_file():
        facts = json.loads((out / FACTS_FILE).read_text(encoding="utf-8"))
        if facts["made_from"] != made_from:
            raise ConfigError(
                f"{out} was made from other rows, shares or seed than the configuration says; what was trained on it "
                "cannot be compared with what would be trained now. Choose another `out`."
            )
        return facts
    rows = scan(files)
    if others := [row for row in rows if row.label_kind != "full"]:
        raise CorpusError(
            f"{len(others)} of {len(rows)} rows of {config.rows} are not of the kind 'full', such as {others[0].id} "
            f"({others[0].label_kind}); labels can only be taken from rows that have all of them."
        )
    kinds = assign_songs([row.song for row in rows], config.full_share, config.separation_share, config.seed)
    facts = {
        "made_from": made_from,
        "songs": kinds,
        "counts": {
            kind: {
                "songs": sum(value == kind for value in kinds.values()),
                "rows": sum(kinds[row.song] == kind for row in rows),
                "minutes": round(sum(row.duration_s for row in rows if kinds[row.song] == kind) / 60, 2),
            }
            for kind in KINDS
        },
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".part", dir=out.parent))
    try:
        (part / "data").mkdir()
        total_s = sum(row.duration_s for row in rows)
        groups = cut_evenly(rows, max(1, math.ceil(total_s / (60 * SHARD_MINUTES))))
        schema = ROW_FEATURES.arrow_schema
        for number, group in enumerate(groups):
            with ShardWriter(part / "data" / shard_name("train", number, len(groups)), schema) as writer:
                for row in group:
                    writer.write(pa.Table.from_pylist([reduce_row(row.read(), kinds[row.song])], schema=schema))
        write_json(part / FACTS_FILE, facts)
        try:
            part.rename(out)
        except OSError:
            if not (out / FACTS_FILE).is_file():  # a second command was not faster
                raise
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return facts
