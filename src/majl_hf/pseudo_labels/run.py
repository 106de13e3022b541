"""Pseudo labels for a whole corpus, shared by processes, resumed where it was stopped.

    OUT/build.json                          the plan, written before anything else
    OUT/data/SPLIT-00000-of-00003.parquet   rows of `data.schema.ROW_FEATURES`, label kind "pseudo"
    OUT/pseudo_labels.json                  teachers, settings, date, counts, histograms, what was dropped and why
    OUT/confidences.png, OUT/README.md      histograms (where matplotlib is installed), dataset card

The files of the plan that are not there yet are dealt out to the processes in turn. Each appears whole or not at all,
and its content depends on the plan alone, so a run that was killed does only what is missing, with any number of
processes, and ends with the same bytes. All processes need to see one file system.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import torch

from ..rows.build import ShardWriter, alone_in
from ..rows.schema import ROW_FEATURES
from ..system.provenance import __version__
from .config import LabellingConfig, PseudoLabelConfig
from .labelling import DIRECTIONS, label_row
from .plan import PlannedShard, is_finished, plan_shards, read_plan, select_rows, settle_date, write_plan
from .report import read_report, write_report
from .sources import SourceRow
from .teachers import (
    PitchTeacher,
    VocalsTeacher,
    describe_pitch_teacher,
    describe_vocals_teacher,
    load_pitch_teacher,
    load_vocals_teacher,
)

_PATIENCE = timedelta(days=14)  # a process waits for the slowest one


@dataclass(frozen=True)
class PseudoLabelReport:
    """What a run ended with.

    Args:
        out: folder of the result.
        num_rows, duration_s: of the rows that are in it, seconds.
        dropped: id of a row that is not -> reason.
        report: content of `pseudo_labels.json`.
        num_processes: that this run had.
        messages: what could not be done, such as the picture.
    """

    out: Path
    num_rows: int
    duration_s: float
    dropped: dict[str, str]
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
    """Label the rows that the config asks for, or finish that; called alike by every process of the run.

    Processes are those of `accelerate.PartialState`. Where a process group is there already, such as a trainer's, its
    own timeout says how long a process waits for the slowest one.

    Args:
        overwrite: allow other settings, teachers or rows than those of labels that are in `config.out`; files that both
            have in common are kept.
        progress: called after each row with the seconds of audio that this process has done, and its total.
        pitch_teacher, vocals_teacher: instead of those that the config names, such as functions.

    Raises:
        CorpusError: rows that cannot be read, no row to label, a teacher that returned what is not finite (names the
            row); files that are finished stay.
        ConfigError: a teacher that is not there.
        MajlError: `out` holds something else or was made otherwise, is being written by another run, or every row was
            dropped.
    """
    from accelerate import PartialState

    state = PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)
    out = Path(config.out).expanduser()
    if vocals_teacher is not None:
        config = config.model_copy(update={"vocals_teacher": vocals_teacher.facts["id"]})

    with alone_in(out) if state.is_main_process else contextlib.nullcontext():
        selected, not_labelled = select_rows(config)
        if state.is_main_process:
            facts = {
                "majl_hf": __version__,
                "date": settle_date(config, out),
                **_describe_teachers(config, selected, pitch_teacher, vocals_teacher),
                **config.model_dump(include=set(LabellingConfig.model_fields)),
            }
            shards = plan_shards(selected, facts, config.shard_minutes)
            write_plan(config, out, shards, facts, not_labelled, overwrite)
        state.wait_for_everyone()
        facts, shards = read_plan(out, selected)
        messages: list[str] = []
        if not is_finished(out):
            todo = [shard for shard in shards if not shard.is_done(out)]
            state.wait_for_everyone()  # all have seen the same files before the first one is written
            mine = todo[state.process_index :: state.num_processes]
            if mine:
                _label_shards(out, mine, config, facts["date"], state.device, progress,
                              pitch_teacher, vocals_teacher)  # fmt: skip
            state.wait_for_everyone()
            if state.is_main_process:
                _, messages = write_report(out, shards, facts)
            state.wait_for_everyone()
        report = read_report(out)
    return PseudoLabelReport(
        out, report["num_rows"], report["duration_s"], report["dropped"], report, state.num_processes, tuple(messages)
    )


def _describe_teachers(
    config: PseudoLabelConfig,
    selected: dict[str, list[SourceRow]],
    pitch_teacher: PitchTeacher | None,
    vocals_teacher: VocalsTeacher | None,
) -> dict:
    """What the plan says of both teachers; of one that no row needs, None."""
    pitch = pitch_teacher.facts if pitch_teacher else describe_pitch_teacher(config.pitch_teacher)
    vocals = None
    if any(DIRECTIONS[row.label_kind] == "vocals" for rows in selected.values() for row in rows):
        vocals = vocals_teacher.facts if vocals_teacher else describe_vocals_teacher(config.vocals_teacher)
    return {"pitch_teacher": pitch, "vocals_teacher": vocals}


def _label_shards(
    out: Path,
    shards: Sequence[PlannedShard],
    config: PseudoLabelConfig,
    date: str,
    device: torch.device,
    progress: Callable[[float, float], None] | None,
    pitch_teacher: PitchTeacher | None,
    vocals_teacher: VocalsTeacher | None,
) -> None:
    """Write the files of this process, one after the other."""
    rows = [row for shard in shards for row in shard.rows]
    pitch_teacher = pitch_teacher or load_pitch_teacher(config.pitch_teacher, config.batch_size, device)
    if vocals_teacher is None and any(DIRECTIONS[row.label_kind] == "vocals" for row in rows):
        vocals_teacher = load_vocals_teacher(config.vocals_teacher, config.batch_size, device)
    done_s, total_s = 0.0, sum(row.duration_s for row in rows)
    schema = ROW_FEATURES.arrow_schema
    for shard in shards:
        outcomes = []
        with ShardWriter(out / shard.file, schema) as writer:
            for source in shard.rows:
                row, outcome = label_row(source.read(), pitch_teacher, vocals_teacher, config, date)
                outcomes.append(outcome)
                if row is not None:
                    writer.write(pa.Table.from_pylist([row], schema=schema))
                done_s += source.duration_s
                if progress is not None:
                    progress(done_s, total_s)
            left_out = {outcome["id"]: outcome["dropped"] for outcome in outcomes if outcome["dropped"]}
            writer.describe({"fingerprint": shard.fingerprint, "left_out": left_out, "outcomes": outcomes})
