"""Built corpora joined into one, without duplicates, songs or singers on both sides of a split; with row weights.

    OUT/data/SPLIT-00000-of-00003.parquet   the rows unchanged, plus `sampling_weight`; one row group per recording
    OUT/README.md                           dataset card
    OUT/combine.json                        what was included, dropped and moved, and why; the plan of the files

Splits
    Every row keeps its corpus's split unless a rule says otherwise. A row of train whose song, singer or audio is also
    in validation or test is moved to "unused"; a song or singer that is in both validation and test is an error. Within
    one corpus only what its own splits keep apart (`splits_by` of its plan) is kept apart.

Conventions
    A song that two corpora have in common is kept once; see `duplicates`.
    Rows of train are stored in an order that depends on their ids only and mixes the corpora, so that a streaming
    shuffle of limited reach also mixes them. The result depends on the inputs and options alone. Two passes are made
    over the audio, one recording at a time; the landmarks of all recordings stay in memory, about 10 MB per hour.
    The output folder appears only when everything is done. Until then finished files are in a hidden folder beside it,
    `.NAME.part`: landmarks of the input files in `fingerprints`, the output in `result`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import shutil
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import pyarrow as pa

from ..errors import CorpusError, MajlError
from ..system.files import replace_folder
from ..system.provenance import __version__
from ..system.settings import Section
from .duplicates import Links, Song, find_duplicates, fold_name, fold_singer, group_songs, link_by_audio
from .index import Amounts, RowRef, origins, scan_folders
from .reading import RowReader
from .sampling import SamplingConfig, sampling_weights
from .schema import COMBINED_FEATURES
from .shards import SPLITS, Split
from .writing import (
    COMBINE_FILE,
    SHARD_MINUTES,
    Made,
    Plan,
    Shard,
    alone_in,
    plan_shards,
    read_splits_by,
    write_corpus,
)

HELD_OUT = ("test", "validation")


class CombineOptions(Section):
    """How corpora are joined.

    Args:
        splits: rules, glob on the id -> split; the first match decides. Other rows keep their corpus's split.
        drop_duplicates: keep only one copy of a song that corpora have in common.
        by_audio: compare recordings by fingerprint as well as by name.
        on_conflict: "move" rows of train that share a song, a singer or audio with validation or test to "unused", or
            raise an "error".
        sampling: shares in training; in the other splits every second has the same weight.
    """

    splits: dict[str, Split] = {}
    drop_duplicates: bool = True
    by_audio: bool = True
    on_conflict: Literal["move", "error"] = "move"
    sampling: SamplingConfig = SamplingConfig()


@dataclass
class CombineReport:
    """What `combine_corpora` did.

    Args:
        out: the combined folder.
        amounts: what is in it, by split, corpus and label kind.
        dropped: a dict for each row that was left out: id, corpus, split, label_kind, because ("name" or "audio"), of
            (the id of a row that was kept instead).
        moved: a dict for each row of train that is now unused: id, corpus, because ("song", "singer" or "audio"), of
            (an id in validation or test).
        held_out_audio: a dict for each pair of songs in validation and test that share audio: validation, test (an id
            each). They are left unchanged, because published splits have such pairs.
    """

    out: Path
    amounts: Amounts = field(default_factory=Amounts)
    dropped: list[dict[str, str]] = field(default_factory=list)
    moved: list[dict[str, str]] = field(default_factory=list)
    held_out_audio: list[dict[str, str]] = field(default_factory=list)

    @property
    def num_rows(self) -> int:
        return self.amounts.total().num_rows

    @property
    def duration_s(self) -> float:
        return self.amounts.total().duration_s


def combine_corpora(
    folders: Sequence[str | Path],
    out: str | Path,
    options: CombineOptions | None = None,
    *,
    shard_minutes: float = SHARD_MINUTES,
    num_processes: int = 1,
    overwrite: bool = False,
    progress: Callable[[float], None] | None = None,
) -> CombineReport:
    """Join folders that `build_corpus` (or this function) wrote into a new one; the inputs are not changed.

    Args:
        folders: the corpora; of duplicates that are otherwise equal, the one in the earlier corpus is kept.
        out: appears only when everything is done.
        shard_minutes: approximate minutes of audio per file.
        num_processes: of fingerprinting.
        overwrite: replace an existing combined corpus.
        progress: called often with the seconds of audio just done; every row counts once when it is fingerprinted and
            once when it is written, or found to be done. If it raises, the work ends; the next call resumes it.

    Raises:
        CorpusError: no rows, a broken file, an id twice, a rule that matches nothing, a song or singer in both
            validation and test, a conflict where on_conflict is "error".
        MajlError: the folder exists already or is being made by another process.
    """
    options = options or CombineOptions()
    folders, out = [Path(folder) for folder in folders], Path(out)
    _check_out(out, folders, overwrite)
    rows = _apply_rules(scan_folders(*folders), options.splits)
    songs = group_songs(rows)
    seconds = 0.0

    def advance(duration_s: float) -> None:
        nonlocal seconds
        seconds += duration_s
        if progress is not None:
            progress(seconds)

    part = out.parent / f".{out.name}.part"
    with alone_in(part):
        links = link_by_audio(rows, songs, part / "fingerprints", num_processes, advance) if options.by_audio else {}
        report = CombineReport(out, dropped=find_duplicates(songs, links) if options.drop_duplicates else [])
        dropped = {row["id"] for row in report.dropped}
        kept = [row for row in rows if row.id not in dropped]
        stated = {folder: read_splits_by(folder) for folder in folders}
        splits_by = {row.corpus: stated[row.folder][row.corpus] for row in rows}
        report.moved = _find_conflicts(kept, songs, links, splits_by, report.held_out_audio)
        if report.moved and options.on_conflict == "error":
            _refuse(
                "rows of train share a song, a singer or audio with validation or test. Give rules that put them on "
                "one side, or let them be moved to 'unused'",
                [f"{row['id']}: same {row['because']} as {row['of']}" for row in report.moved],
            )
        moved = {row["id"] for row in report.moved}
        kept = [dataclasses.replace(row, split="unused") if row.id in moved else row for row in kept]
        report.amounts = Amounts(kept)
        weights = _weigh(kept, options.sampling)
        facts = {
            "inputs": _describe_inputs(folders, rows),
            "options": options.model_dump(mode="json"),
            "amounts": report.amounts.as_list(),
            "dropped": report.dropped,
            "moved": report.moved,
            "held_out_audio": report.held_out_audio,
        }
        plan = Plan("combine", _plan(kept, weights, shard_minutes), splits_by, facts, COMBINED_FEATURES.arrow_schema)
        fingerprinted_s = seconds
        write_corpus(
            part / "result",
            lambda earlier: plan,
            lambda plan, rows, tick: _weighted_rows(rows, weights),
            plan_file=COMBINE_FILE,
            overwrite=True,
            progress=progress and (lambda done_s, total_s: progress(fingerprinted_s + done_s)),
        )
        replace_folder(part / "result", out)
        shutil.rmtree(part / "fingerprints", ignore_errors=True)
    with contextlib.suppress(OSError):  # another command has started using it
        part.rmdir()
    return report


def _check_out(out: Path, folders: Sequence[Path], overwrite: bool) -> None:
    if not folders:
        raise MajlError("No corpus was given to combine; give folders made by `majl data build`.")
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise MajlError(f"One of the folders {[str(folder) for folder in folders]} is given twice.")
    if out.resolve() in {folder.resolve() for folder in folders}:
        raise MajlError(f"{out} is one of the corpora to combine; choose another folder for the result.")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        if not overwrite:
            raise MajlError(f"{out} exists already; allow overwriting, or choose another folder.")
        if not (out / COMBINE_FILE).is_file():
            raise MajlError(f"{out} is not a combined corpus ({COMBINE_FILE} is missing), so it is not overwritten.")


def _apply_rules(rows: Sequence[RowRef], splits: Mapping[str, str]) -> list[RowRef]:
    """The rows with their splits by the rules."""
    used, ruled = set(), []
    for row in rows:
        pattern = next((pattern for pattern in splits if fnmatchcase(row.id, pattern)), None)
        used.add(pattern)
        ruled.append(row if pattern is None else dataclasses.replace(row, split=splits[pattern]))
    if unused := [pattern for pattern in splits if pattern not in used]:
        raise CorpusError(
            f"The rules {unused} apply to no row. Correct them (they are globs on ids such as {rows[0].id!r}, and "
            "the first match decides), or leave them out."
        )
    return ruled


def _keys(row: RowRef) -> list[tuple]:
    """What must not be in two splits: the row's song and singer, by name, or by number within the corpus."""
    keys = []
    if row.song and row.label_kind != "accompaniment":
        keys.append(("song", fold_name(row.song) or (row.corpus, row.song)))
    elif row.song:
        keys.append(("song", (row.corpus, row.song)))
    singer = fold_singer(row.singer)
    if singer:
        keys.append(("singer", singer))
    elif row.singer and fold_name(row.singer) == "":
        keys.append(("singer", (row.corpus, row.singer)))
    return keys


class _HeldOut:
    """Songs and singers of validation and test, and what each corpus's own splits keep apart."""

    def __init__(self, rows: Sequence[RowRef], splits_by: Mapping[str, Sequence[str]]) -> None:
        self._splits_by = splits_by
        self._ids: dict[tuple, dict[tuple[str, str], str]] = defaultdict(dict)  # key -> (split, corpus) -> an id
        for row in rows:
            if row.split in HELD_OUT:
                for key in _keys(row):
                    self._ids[key].setdefault((row.split, row.corpus), row.id)

    def clash(self, row: RowRef, splits: Sequence[str]) -> tuple[str, str] | None:
        """Which key of a row, "song" or "singer", is also in one of `splits`, and an id there; None if neither is."""
        for key in _keys(row):
            for (split, corpus), id in self._ids.get(key, {}).items():
                if split in splits and (corpus != row.corpus or key[0] in self._splits_by[corpus]):
                    return key[0], id
        return None


def _find_conflicts(
    rows: Sequence[RowRef],
    songs: Sequence[Song],
    links: Links,
    splits_by: Mapping[str, Sequence[str]],
    held_out_audio: list[dict[str, str]],
) -> list[dict[str, str]]:
    """Rows of train that share something with validation or test, as in `CombineReport.moved`; fills `held_out_audio`.

    Raises:
        CorpusError: validation and test share a song or singer.
    """
    held_out = _HeldOut(rows, splits_by)
    clashes = [(row.id, held_out.clash(row, ("test",))) for row in rows if row.split == "validation"]
    if clashes := [(id, *clash) for id, clash in clashes if clash is not None]:
        _refuse(
            "rows of validation share a song or singer with test. Give rules (glob on the id -> split) that put them "
            "on one side",
            [f"{id} is in validation and {other} in test, but their {key} is the same" for id, key, other in clashes],
        )
    heard = _shared_audio(rows, songs, links, held_out_audio)
    moved = []
    for row in rows:
        found = held_out.clash(row, HELD_OUT) or heard.get(row.id) if row.split == "train" else None
        if found is not None:
            moved.append({"id": row.id, "corpus": row.corpus, "because": found[0], "of": found[1]})
    return sorted(moved, key=lambda row: row["id"])


def _shared_audio(
    rows: Sequence[RowRef], songs: Sequence[Song], links: Links, held_out_audio: list[dict[str, str]]
) -> dict[str, tuple[str, str]]:
    """Id of a recording of train whose audio is also in validation or test -> ("audio", an id there)."""
    present = {row.id for row in rows}
    heard: dict[str, tuple[str, str]] = {}
    for numbers, ids in links.items():
        pair = [songs[number] for number in numbers]
        if any(song[0].id not in present for song in pair):
            continue
        for (song, id), (other, other_id) in (zip(pair, ids, strict=True), zip(pair[::-1], ids[::-1], strict=True)):
            splits = song[0].split, other[0].split
            if splits[0] == "train" and splits[1] in HELD_OUT:
                for row in song:
                    heard.setdefault(row.id, ("audio", other_id))
            elif splits == ("validation", "test"):
                held_out_audio.append({"validation": id, "test": other_id})
    held_out_audio.sort(key=lambda pair: tuple(pair.values()))
    return heard


def _refuse(what: str, lines: Sequence[str], limit: int = 20) -> None:
    more = [f"  and {len(lines) - limit} more"] if len(lines) > limit else []
    raise CorpusError("\n".join([f"{len(lines)} {what}:", *(f"  {line}" for line in lines[:limit]), *more]))


def _weigh(rows: Sequence[RowRef], sampling: SamplingConfig) -> dict[str, float]:
    weights: dict[str, float] = {}
    for split in SPLITS:
        chosen = [row for row in rows if row.split == split]
        values = sampling_weights(chosen, sampling if split == "train" else SamplingConfig(tempering=1.0))
        weights |= zip((row.id for row in chosen), values.tolist(), strict=True)
    return weights


def _plan(rows: Sequence[RowRef], weights: Mapping[str, float], shard_minutes: float) -> list[Shard]:
    by_split = {split: sorted((r for r in rows if r.split == split), key=lambda row: row.id) for split in SPLITS}
    by_split["train"].sort(key=lambda row: hashlib.sha256(row.id.encode()).digest())
    places = origins(rows)
    return plan_shards(by_split, shard_minutes, lambda row: [weights[row.id], places[row.id]], __version__)


def _weighted_rows(rows: Sequence[RowRef], weights: Mapping[str, float]) -> Iterator[Made]:
    with RowReader() as reader:
        for row in rows:
            weight = pa.array([weights[row.id]], type=pa.float32())
            columns = [*reader.table(row).columns, weight]
            yield Made(pa.Table.from_arrays(columns, schema=COMBINED_FEATURES.arrow_schema))


def _describe_inputs(folders: Sequence[Path], rows: Sequence[RowRef]) -> list[dict]:
    inputs = []
    for folder in folders:
        own = [row for row in rows if row.folder == folder]
        corpora = Counter(row.corpus for row in own)
        duration_s = round(sum(row.duration_s for row in own), 3)
        inputs.append({"corpora": dict(sorted(corpora.items())), "duration_s": duration_s})
    return inputs
