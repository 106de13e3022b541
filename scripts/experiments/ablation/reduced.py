"""A corpus of fully labelled rows with labels removed, song by song.

Some songs stay unchanged ("full"), some lose their pitch ("separation"), the others lose their stems and keep the
mixture ("pitch"). The FLAC bytes of what stays are copied; a mixture is the sum of the removed stems. See
`majl_hf.rows.writing` for the folder; its plan also says which song kept what, seed, shares and minutes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from majl_hf.corpora.tracks import SumPart
from majl_hf.errors import ConfigError, CorpusError
from majl_hf.rows.convert import row_to_track, track_to_row
from majl_hf.rows.index import RowRef, scan
from majl_hf.rows.reading import RowReader, find_row_files
from majl_hf.rows.shards import file_facts
from majl_hf.rows.writing import SHARD_MINUTES, Made, Plan, plan_shards, read_splits_by, write_corpus
from majl_hf.system.settings import Section

KINDS = ("full", "separation", "pitch")
Share = Annotated[float, Field(gt=0, lt=1)]
_PITCH_COLUMNS = ("f0_hz", "f0_hop_s", "f0_offset_s", "f0_octave_reliable", "pitch_confidence", "notes")


class ReducedConfig(Section):
    """How labels are removed from a corpus of "full" rows.

    Args:
        rows: folder of a built corpus; its split `split` is used.
        out: folder of the result.
        full_share: share of songs that keep everything.
        separation_share: share of the other songs that keep their stems and lose the pitch; the rest keeps the mixture
            and the pitch.
        seed: of the assignment of songs, which all variants and seeds of a matrix share.
    """

    rows: str
    out: str
    split: str = "train"
    full_share: Share = 0.25
    separation_share: Share = 0.5
    seed: int = Field(default=0, ge=0)


def assign_songs(songs: Sequence[str], full_share: float, separation_share: float, seed: int) -> dict[str, str]:
    """Song -> "full", "separation" or "pitch"; a function of the set of songs, the shares and the seed.

    Args:
        full_share, separation_share: as in `ReducedConfig`. Each kind gets at least one song.

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
    """A "full" row as one of `kind`: without its pitch, or as mixture with its pitch, or unchanged.

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


def make_reduced_corpus(config: ReducedConfig) -> dict:
    """Write the reduced corpus, or resume writing it.

    Returns:
        `songs` (song -> kind) and `counts` (kind -> songs, rows and minutes).

    Raises:
        ConfigError: `out` contains a corpus made with other settings.
        CorpusError: rows that are not "full", or that cannot be read.
    """
    files = find_row_files(config.rows, config.split)
    rows = scan(files)
    if others := [row for row in rows if row.label_kind != "full"]:
        raise CorpusError(
            f"{len(others)} of {len(rows)} rows of {config.rows} are not of the kind 'full', such as {others[0].id} "
            f"({others[0].label_kind}); labels can only be removed from rows that have all of them."
        )
    kinds = assign_songs([row.song for row in rows], config.full_share, config.separation_share, config.seed)
    counts = {}
    for kind in KINDS:
        durations_s = [row.duration_s for row in rows if kinds[row.song] == kind]
        num_songs = list(kinds.values()).count(kind)
        counts[kind] = {"songs": num_songs, "rows": len(durations_s), "minutes": round(sum(durations_s) / 60, 2)}
    made_from = {
        **config.model_dump(mode="json", exclude={"rows", "out"}),
        "files": [file_facts(file)[:2] for file in files],  # a copy of the same files makes the same corpus
    }

    def make_plan(earlier: Mapping | None) -> Plan:
        if earlier is not None and earlier.get("made_from") != made_from:
            raise ConfigError(f"{config.out} was made from other rows, shares or seed. Choose another `corpus.out`.")
        shards = plan_shards({"train": rows}, SHARD_MINUTES, lambda row: row.id, made_from)
        stated = read_splits_by(Path(config.rows))
        splits_by = {row.corpus: stated[row.corpus] for row in rows}
        return Plan("reduced", shards, splits_by, {"made_from": made_from, "songs": kinds, "counts": counts})

    def produce(plan: Plan, rows: Sequence[RowRef], tick: Callable[[], None]) -> Iterator[Made]:
        with RowReader() as reader:
            for row in rows:
                yield Made(reduce_row(reader.row(row), kinds[row.song]))

    write_corpus(Path(config.out), make_plan, produce, wait=True)  # a second process of the same command waits
    return {"songs": kinds, "counts": counts}
