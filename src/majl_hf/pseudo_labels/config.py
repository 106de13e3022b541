"""The settings of pseudo labels: a stage of kind `label` in a recipe."""

from __future__ import annotations

import datetime
from typing import Annotated, Literal

from pydantic import Field, field_validator

from ..mixing.config import RowsCorpus
from ..rows.shards import Split
from ..system.settings import Location, Section

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class LabellingConfig(Section):
    """Settings that affect a row's labels.

    Args:
        views_semitones: transpositions in which the voice is read again; empty leaves agreement out.
        min_pitch_confidence: frames of a pseudo pitch below it keep their pitch and get confidence 0. On MIR-1K about
            half of the frames below 0.4 are right, and 97 % of those above (model_cards/results/pseudo_labels.md).
        min_row_confidence: rows below it are dropped.
        smoothing_s: seconds over which the confidence of vocals is averaged.
        seed: set before each row, for teachers that draw random numbers.
    """

    views_semitones: tuple[Annotated[float, Field(ge=-12.0, le=12.0)], ...] = (-2.0, 2.0)
    min_pitch_confidence: Share = 0.4
    min_row_confidence: Share = 0.5
    smoothing_s: Annotated[float, Field(ge=0.0)] = 0.2
    seed: Annotated[int, Field(ge=0)] = 0

    @field_validator("views_semitones")
    @classmethod
    def _check_views(cls, value):
        if 0.0 in value:
            raise ValueError("a view of 0 semitones agrees with itself; the unchanged voice is always read.")
        return value


class PseudoLabelConfig(LabellingConfig):
    """Which rows get labels, from which teachers, and what is kept.

    Args:
        rows: folder of a built or combined corpus, or a dataset on the Hub.
        splits: splits to label.
        label_kinds: rows that get labels: "separation" and "vocals" (those without a pitch label) get a pitch, "pitch"
            gets vocals. Rows of other kinds are not copied.
        out: folder of the result.
        pitch_teacher: reads pitch, and also judges estimated vocals by their pitch: folder, Hub id
            (`OWNER/NAME[@REVISION]`) or shipped name of a MajlModel or of a single registered pitch estimator; or a
            package's tracker by its name in `teachers.PITCH_PACKAGES`, such as "torchfcpe".
        vocals_teacher: estimates vocals: likewise a MajlModel or a single registered separator, or a name in
            `teachers.VOCALS_PACKAGES`. Left out, rows of kind "pitch" are not labelled.
        shard_minutes: approximate minutes of audio per file; a file is also the unit of work of a process, and the
            unit that is repeated after an interruption.
        batch_size: windows per forward pass; results do not depend on it.
        date: date in the provenance, YYYY-MM-DD; by default the day on which the work began.
    """

    rows: Location
    splits: tuple[Split, ...] = Field(default=("train",), min_length=1)
    label_kinds: tuple[Literal["separation", "vocals", "pitch"], ...] = ("separation", "vocals", "pitch")
    out: Location
    pitch_teacher: Location = "majl-base"
    vocals_teacher: Location | None = "majl-base"
    shard_minutes: Annotated[float, Field(gt=0.0)] = 5.0
    batch_size: Annotated[int, Field(gt=0)] = 1
    date: str | None = None

    @property
    def corpora(self) -> tuple[RowsCorpus, ...]:
        return tuple(RowsCorpus(folder=self.rows, split=split) for split in self.splits)

    @property
    def inputs(self) -> tuple[str | None, ...]:
        """Models and folders that the stage reads."""
        return self.rows, self.pitch_teacher, self.vocals_teacher

    @field_validator("date", mode="before")
    @classmethod
    def _check_date(cls, value):
        if value is None:
            return None
        return datetime.date.fromisoformat(str(value)).isoformat()  # YAML turns such text into dates
