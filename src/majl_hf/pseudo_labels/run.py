"""Pseudo labels for a whole corpus, made by several processes, resumable after an interruption.

    OUT/build.json                          the plan, written before anything else
    OUT/data/SPLIT-00000-of-00003.parquet   rows of `rows.schema.ROW_FEATURES`, label kind "pseudo"
    OUT/pseudo_labels.json                  teachers, settings, date, counts, histograms, what was dropped and why
    OUT/confidences.png, OUT/README.md      histograms (where matplotlib is installed), dataset card

The plan contains everything on which a file's content depends: rows, teachers, settings and the date, which is set once
and then read from the plan. See `rows.writing`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import torch

from ..errors import CorpusError
from ..rows.index import RowRef, origins, scan
from ..rows.reading import RowReader, find_row_files
from ..rows.writing import Made, Plan, Team, plan_shards, read_splits_by, write_corpus
from ..system.provenance import __version__
from .config import LabellingConfig, PseudoLabelConfig
from .labelling import DIRECTIONS, label_row
from .report import read_report, write_report
from .teachers import PitchTeacher, VocalsTeacher, describe_teacher, load_pitch_teacher, load_vocals_teacher

ORIGIN = "pseudo_labels"  # in the plan
_PATIENCE = timedelta(days=14)  # a process waits for the slowest one


@dataclass(frozen=True)
class PseudoLabelReport:
    """Result of a run.

    Args:
        out: folder of the result.
        report: content of `pseudo_labels.json`; see `report.make_report`.
        num_processes: number of processes of this run.
        messages: what could not be done, such as the figure.
    """

    out: Path
    report: dict
    num_processes: int = 1
    messages: tuple[str, ...] = ()


def run_pseudo_labels(
    config: PseudoLabelConfig,
    *,
    overwrite: bool = False,
    progress: Callable[[float, float], None] | None = None,
    pitch_teacher: PitchTeacher | None = None,
    vocals_teacher: VocalsTeacher | None = None,
) -> PseudoLabelReport:
    """Label the rows that the config selects, or resume doing so; every process of the run calls this alike.

    Processes are those of `accelerate.PartialState`. If a process group exists already, such as a trainer's, its
    timeout limits how long a process waits for the slowest one.

    Args:
        overwrite: allow other settings, teachers or rows than those of existing labels in `config.out`; files that do
            not change are kept.
        progress: called after each row with the seconds of audio that this process has done, and its total.
        pitch_teacher, vocals_teacher: instead of those that the config names, such as functions.

    Raises:
        CorpusError: rows that cannot be read, no row to label, a teacher that returned values that are not finite
            (names the row); finished files stay.
        ConfigError: a teacher that does not exist.
        MajlError: `out` contains something else or was made with other settings, is being written by another run, or
            every row was dropped.
    """
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)
    out = Path(config.out).expanduser()
    if vocals_teacher is not None:
        config = config.model_copy(update={"vocals_teacher": vocals_teacher.facts["id"]})
    messages: list[str] = []

    def make_plan(earlier: Mapping | None) -> Plan:
        selected, not_labelled = select_rows(config)
        rows = [row for of_split in selected.values() for row in of_split]

        def facts_of(role: str, teacher: PitchTeacher | VocalsTeacher | None) -> dict:
            return describe_teacher(role, getattr(config, role)) if teacher is None else teacher.facts

        facts = {
            "majl_hf": __version__,
            "date": config.date or (earlier or {}).get("date") or datetime.now(UTC).date().isoformat(),
            "pitch_teacher": facts_of("pitch_teacher", pitch_teacher),
            "vocals_teacher": facts_of("vocals_teacher", vocals_teacher) if _lack_vocals(rows) else None,
            **config.model_dump(include=set(LabellingConfig.model_fields)),
        }
        places = origins(rows)
        shards = plan_shards(selected, config.shard_minutes, lambda row: places[row.id], facts)
        stated = read_splits_by(Path(config.rows).expanduser())
        splits_by = {row.corpus: stated[row.corpus] for row in rows}
        return Plan(ORIGIN, shards, splits_by, {**facts, "not_labelled": dict(sorted(not_labelled.items()))})

    def produce(plan: Plan, rows: Sequence[RowRef], tick: Callable[[], None]) -> Iterator[Made]:
        pitch = pitch_teacher or load_pitch_teacher(config.pitch_teacher, config.batch_size, state.device)
        vocals = vocals_teacher
        if vocals is None and _lack_vocals(rows):
            vocals = load_vocals_teacher(config.vocals_teacher, config.batch_size, state.device)
        done_s, total_s = 0.0, sum(row.duration_s for row in rows)
        with RowReader() as reader:
            for row in rows:
                labelled, outcome = label_row(reader.row(row), pitch, vocals, config, plan.facts["date"])
                done_s += row.duration_s
                if progress is not None:
                    progress(done_s, total_s)
                yield Made(labelled, outcome["dropped"], outcome)

    def conclude(plan: Plan, footers: Sequence[Mapping]) -> None:
        outcomes = [outcome for footer in footers for outcome in footer["outcomes"]]
        messages.extend(write_report(out, plan.facts, outcomes))

    team = Team(state.process_index, state.num_processes, state.wait_for_everyone)
    write_corpus(out, make_plan, produce, overwrite=overwrite, conclude=conclude, team=team)
    return PseudoLabelReport(out, read_report(out), state.num_processes, tuple(messages))


def select_rows(config: PseudoLabelConfig) -> tuple[dict[str, list[RowRef]], dict[str, int]]:
    """The rows to label by split, and the number of other rows by kind.

    Raises:
        CorpusError: no row to label.
    """
    wanted = {kind for kind in config.label_kinds if DIRECTIONS[kind] == "pitch" or config.vocals_teacher is not None}
    selected: dict[str, list[RowRef]] = {}
    others: Counter[str] = Counter()
    for split in config.splits:
        for row in scan(find_row_files(config.rows, split)):
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


def _lack_vocals(rows: Iterable[RowRef]) -> bool:
    """Whether any of the rows needs vocals."""
    return any(DIRECTIONS[row.label_kind] == "vocals" for row in rows)
