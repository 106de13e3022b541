"""A corpus of fully labelled rows with labels taken away, song by song.

Some songs stay as they are ("full"), some lose their pitch ("separation"), the others lose their stems and keep the
mixture ("pitch"). The FLAC bytes of what stays are copied; a mixture is the sum of the stems that are taken away. See
`majl_hf.rows.writing` for the folder; its plan also says which song kept what, seed, shares and minutes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from majl_hf.corpora.tracks import SumPart
from majl_hf.errors import ConfigError, CorpusError
from majl_hf.rows.convert import row_to_track, track_to_row
from majl_hf.rows.index import RowRef, scan
from majl_hf.rows.reading import RowReader, find_row_files
from majl_hf.rows.shards import file_facts
from majl_hf.rows.writing import SHARD_MINUTES, Made, Plan, plan_shards, read_plan, read_splits_by, write_corpus

from .config import ReducedConfig

KINDS = ("full", "separation", "pitch")
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
    """Write the reduced corpus, or finish it, and return what its plan says: made_from, songs and counts.

    Raises:
        ConfigError: `out` has a corpus that was made otherwise.
        CorpusError: rows that are not "full", or that cannot be read.
    """
    out = Path(out)
    files = find_row_files(config.rows, config.split)
    made_from = {
        **config.model_dump(mode="json", exclude={"rows"}),
        "files": [file_facts(file)[:2] for file in files],  # a copy of the same files makes the same corpus
    }
    rows = scan(files)
    if others := [row for row in rows if row.label_kind != "full"]:
        raise CorpusError(
            f"{len(others)} of {len(rows)} rows of {config.rows} are not of the kind 'full', such as {others[0].id} "
            f"({others[0].label_kind}); labels can only be taken from rows that have all of them."
        )
    kinds = assign_songs([row.song for row in rows], config.full_share, config.separation_share, config.seed)
    facts = {"made_from": made_from, "songs": kinds, "counts": {kind: _count(rows, kinds, kind) for kind in KINDS}}

    def make_plan(earlier: Mapping | None) -> Plan:
        if earlier is not None and earlier.get("made_from") != made_from:
            raise ConfigError(
                f"{out} was made from other rows, shares or seed than the configuration says; what was trained on it "
                "cannot be compared with what would be trained now. Choose another `out`."
            )
        shards = plan_shards({"train": rows}, SHARD_MINUTES, lambda row: row.id, made_from)
        stated = read_splits_by(Path(config.rows))
        return Plan("reduced", shards, {row.corpus: stated[row.corpus] for row in rows}, facts)

    def produce(plan: Plan, rows: Sequence[RowRef], tick: Callable[[], None]) -> Iterator[Made]:
        with RowReader() as reader:
            for row in rows:
                yield Made(reduce_row(reader.row(row), kinds[row.song]))

    write_corpus(out, make_plan, produce, wait=True)  # of the same command twice one makes it
    plan = read_plan(out)
    return {name: plan[name] for name in facts}


def _count(rows: Sequence[RowRef], kinds: Mapping[str, str], kind: str) -> dict:
    chosen = [row for row in rows if kinds[row.song] == kind]
    return {
        "songs": sum(value == kind for value in kinds.values()),
        "rows": len(chosen),
        "minutes": round(sum(row.duration_s for row in chosen) / 60, 2),
    }
