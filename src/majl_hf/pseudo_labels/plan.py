"""The plan of a folder of pseudo labels: which rows stand in which file, and what decides about their content.

It is written as `build.json` before anything else, in the layout of `majl data build`, so that `majl data check` holds
the folder to it. It does not depend on the number of processes. A file's fingerprint is of everything that its content
depends on: rows, teachers, settings, date. The date is taken once and then read from the plan.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ..errors import ConfigError, CorpusError, MajlError
from ..rows.build import (
    BUILD_FILE,
    SPLITS_BY,
    read_build,
    read_splits_by,
    remove_leftovers,
    schema_digest,
    shard_facts,
    write_json,
)
from ..rows.shards import SPLITS, cut_evenly, file_facts, shard_name
from ..system.provenance import __version__
from .config import PseudoLabelConfig
from .labelling import DIRECTIONS
from .sources import SourceRow, find_files, scan

_FORMAT = 1
_KEY = "pseudo_labels"


@dataclass(frozen=True)
class PlannedShard:
    """A file of the result, `file` relative to its folder, and the rows that it is made from."""

    file: str
    split: str
    fingerprint: str
    rows: tuple[SourceRow, ...]

    @property
    def duration_s(self) -> float:
        return sum(row.duration_s for row in self.rows)

    def is_done(self, out: Path) -> bool:
        """Whether the file is there, whole and made as this plan says."""
        facts = shard_facts(out / self.file)
        return facts is not None and facts["fingerprint"] == self.fingerprint


def select_rows(config: PseudoLabelConfig) -> tuple[dict[str, list[SourceRow]], dict[str, int]]:
    """The rows to label by split, and how many of other kinds there are by kind.

    Raises:
        CorpusError: no row to label.
    """
    wanted = {kind for kind in config.label_kinds if DIRECTIONS[kind] == "pitch" or config.vocals_teacher is not None}
    selected: dict[str, list[SourceRow]] = {}
    others: Counter[str] = Counter()
    for split in config.splits:
        if split not in SPLITS:
            raise ConfigError(f"pseudo_labels.splits names {split!r}; use {', '.join(SPLITS)}.")
        for row in scan(find_files(config.rows, split)):
            if row.label_kind in wanted and not (row.label_kind == "vocals" and row.has_pitch):
                selected.setdefault(split, []).append(row)
            else:
                others[row.label_kind] += 1
    if not selected:
        raise CorpusError(
            f"{config.rows} has no row to label in {', '.join(config.splits)}: it needs rows of kind "
            f"{', '.join(sorted(wanted))}, and has {dict(others) or 'none'}."
        )
    return selected, dict(others)


def plan_shards(selected: Mapping[str, list[SourceRow]], facts: Mapping, shard_minutes: float) -> list[PlannedShard]:
    """Cut the rows of every split into files of about `shard_minutes`; `facts` are what labels depend on."""
    shards = []
    for split, rows in selected.items():
        duration_s = sum(row.duration_s for row in rows)
        groups = cut_evenly(rows, max(1, math.ceil(duration_s / (60 * shard_minutes))))
        for number, group in enumerate(groups):
            made_from = [file_facts(path) for path in sorted({row.path for row in group})]
            content = json.dumps([_FORMAT, facts, made_from, [row.id for row in group]], sort_keys=True)
            fingerprint = hashlib.sha256(content.encode()).hexdigest()[:32]
            shards.append(
                PlannedShard(f"data/{shard_name(split, number, len(groups))}", split, fingerprint, tuple(group))
            )
    return shards


def settle_date(config: PseudoLabelConfig, out: Path) -> str:
    """The date that the labels state: the config's, that of the plan in `out`, or today's (UTC)."""
    earlier = read_build(out) or {}
    return config.date or earlier.get(_KEY, {}).get("date") or datetime.now(UTC).date().isoformat()


def write_plan(
    config: PseudoLabelConfig,
    out: Path,
    shards: list[PlannedShard],
    facts: Mapping,
    not_labelled: Mapping[str, int],
    overwrite: bool,
) -> None:
    """Write `build.json`, or find that it is there already; what belongs to no plan is removed.

    Raises:
        MajlError: the folder holds something else, or labels that were made otherwise and `overwrite` is not allowed.
    """
    splits_by = read_splits_by(Path(config.rows).expanduser())
    corpora = sorted({row.corpus for shard in shards for row in shard.rows})
    plan = {
        "format": _FORMAT,
        "majl_hf": __version__,
        "schema": schema_digest(),
        "splits_by": {corpus: list(splits_by.get(corpus, splits_by.get("", SPLITS_BY))) for corpus in corpora},
        "shards": [
            {"file": s.file, "split": s.split, "fingerprint": s.fingerprint, "ids": [row.id for row in s.rows]}
            for s in shards
        ],
        _KEY: {**facts, "not_labelled": dict(sorted(not_labelled.items()))},
    }
    plan = json.loads(json.dumps(plan))  # as it will be read
    earlier = read_build(out)
    if earlier is None:
        strangers = sorted(path.name for path in out.iterdir() if not path.name.startswith(".") and path.name != "data")
        strangers += sorted(f"data/{path.name}" for path in (out / "data").glob("[!.]*"))
        if strangers:
            raise MajlError(f"{out} holds {strangers[0]} but no {BUILD_FILE}. Choose another folder for pseudo labels.")
    elif _KEY not in earlier:
        raise MajlError(f"{out} holds a corpus of another origin. Choose another folder for pseudo labels.")
    elif any(earlier.get(key) != value for key, value in plan.items()):
        if not overwrite:
            raise MajlError(
                f"{out} was made otherwise ({_difference(earlier, plan)}). Allow overwriting (--overwrite), or choose "
                "another folder."
            )
    elif earlier.get("finished"):
        return
    remove_leftovers(out, [shard.file for shard in shards])
    (out / "README.md").unlink(missing_ok=True)
    write_json(out / BUILD_FILE, {**plan, "finished": False})


def read_plan(out: Path, selected: Mapping[str, list[SourceRow]]) -> tuple[dict, list[PlannedShard]]:
    """The facts and files of the plan in `out`, for a process that did not write it."""
    plan = read_build(out)
    rows = {row.id: row for of_split in selected.values() for row in of_split}
    missing = [id for shard in plan["shards"] for id in shard["ids"] if id not in rows]
    if missing:
        raise CorpusError(f"Row {missing[0]} of the plan is not among the rows of this process; all need the same.")
    shards = [
        PlannedShard(s["file"], s["split"], s["fingerprint"], tuple(rows[id] for id in s["ids"]))
        for s in plan["shards"]
    ]
    return plan[_KEY], shards


def finish_plan(out: Path, left_out: Mapping[str, str]) -> None:
    """Note that all is done, and which rows were dropped, by id and reason."""
    write_json(out / BUILD_FILE, {**read_build(out), "left_out": dict(left_out), "finished": True})


def is_finished(out: Path) -> bool:
    """Whether the plan in `out` has been carried out."""
    return bool((read_build(out) or {}).get("finished"))


def _difference(earlier: Mapping, plan: Mapping) -> str:
    old, new = earlier[_KEY], plan[_KEY]
    for key in new:
        if old.get(key) != new[key]:
            return f"{key} {json.dumps(old.get(key))}, now {json.dumps(new[key])}"
    for key in ("majl_hf", "schema", "splits_by"):
        if earlier.get(key) != plan[key]:
            return f"{key} {earlier.get(key)}, now {plan[key]}"
    if [shard["ids"] for shard in earlier["shards"]] != [shard["ids"] for shard in plan["shards"]]:
        return "other rows, or cut into other files"
    return "the files with the rows have changed"
