"""Several corpora built and combined from one YAML file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ..errors import MajlError
from ..system.provenance import __version__
from ..system.settings import Section
from .build import BUILD_FILE, SHARD_MINUTES, SPLITS_BY, BuildReport, assign_splits, build_corpus, load_corpus


@dataclass(frozen=True)
class BuildJob:
    """A corpus of the registry, its folder, and the dataset that it becomes.

    Args:
        corpus: name in `corpora.CORPORA`.
        options: for its reader.
        splits: split -> globs on song, singer or name; see `assign_splits`.
        splits_by: see `build_corpus`.
    """

    corpus: str
    source: Path
    out: Path
    options: Mapping[str, Any] = field(default_factory=dict)
    splits: Mapping[str, Sequence[str]] = field(default_factory=dict)
    splits_by: Sequence[str] = SPLITS_BY

    @property
    def name(self) -> str:
        return str(self.options.get("corpus", self.corpus))

    def run(self, **settings) -> BuildReport:
        """Build it; `settings` and errors are those of `build_corpus`."""
        tracks = assign_splits(load_corpus(self.corpus, self.source, **self.options), self.splits)
        if nameless := next((track for track in tracks if not track.licence), None):
            raise MajlError(
                f"{nameless.id} has no licence, which every row states; give one for the corpus (--option licence=..., "
                "an SPDX identifier or words such as 'own recordings, private')."
            )
        return build_corpus(tracks, self.out, splits_by=self.splits_by, **settings)


class CorpusSection(Section):
    """One corpus.

    Args:
        corpus: name in `corpora.CORPORA`, which says how the folder is read.
        folder: where it is.
        name: what it is called in the rows and in the folder of the result; the corpus's own name where left out.
        options: for its reader.
        splits: split -> globs on song, singer or name; what none matches is "train". Left out, the corpus's own.
        splits_by: what the splits keep apart.
    """

    corpus: str
    folder: str
    name: str | None = None
    options: dict[str, Any] = {}
    splits: dict[Literal["train", "validation", "test", "unused"], tuple[str, ...]] = {}
    splits_by: tuple[Literal["song", "singer"], ...] = SPLITS_BY

    def job(self, out: Path) -> BuildJob:
        options = self.options if self.name is None else {**self.options, "corpus": self.name}
        folder = out / (self.name or self.corpus)
        return BuildJob(self.corpus, Path(self.folder).expanduser(), folder, options, self.splits, self.splits_by)


class CombineSection(Section):
    """Options of `combine.combine_corpora`; `sampling` holds the fields of `sampling.SamplingConfig`."""

    splits: dict[str, Literal["train", "validation", "test", "unused"]] = {}
    drop_duplicates: bool = True
    by_audio: bool = True
    on_conflict: Literal["move", "error"] = "move"
    sampling: dict[str, Any] = {}

    @field_validator("sampling")
    @classmethod
    def _check_sampling(cls, sampling: dict[str, Any]) -> dict[str, Any]:
        from .sampling import SamplingConfig

        try:
            SamplingConfig(**sampling)
        except (TypeError, MajlError) as error:
            raise ValueError(str(error)) from error
        return sampling


class PrepareConfig(Section):
    """The YAML file of `majl data prepare`.

    Args:
        out: every corpus becomes the folder `out/NAME`, all together `out/combined`.
        combine: how; null combines nothing.
    """

    out: str
    corpora: tuple[CorpusSection, ...] = Field(min_length=1)
    combine: CombineSection | None = CombineSection()
    shard_minutes: float = Field(default=SHARD_MINUTES, gt=0)

    @model_validator(mode="after")
    def _check_names(self) -> PrepareConfig:
        folders = [job.out for job in self.jobs]
        for folder in folders:
            if folders.count(folder) > 1 or folder == self.combined:
                raise ValueError(f"two results would be {folder}; give one of them another `name`")
        return self

    @property
    def jobs(self) -> list[BuildJob]:
        return [section.job(Path(self.out).expanduser()) for section in self.corpora]

    @property
    def combined(self) -> Path:
        return Path(self.out).expanduser() / "combined"

    def combine_options(self) -> dict[str, Any]:
        """Keyword arguments of `combine_corpora`."""
        from .sampling import SamplingConfig

        sampling = SamplingConfig(**self.combine.sampling)
        return {**self.combine.model_dump(), "sampling": sampling, "shard_minutes": self.shard_minutes}

    def is_combined(self) -> bool:
        """Whether the combined corpus is there and was made from the corpora as they are, in the way asked for."""
        try:
            noted = self._note.read_text(encoding="utf-8")
        except OSError:
            return False
        return noted == self._combined_from() and (self.combined / "combine.json").is_file()

    def note_combined(self) -> None:
        """Remember what the combined corpus was made from."""
        self._note.write_text(self._combined_from(), encoding="utf-8")

    @property
    def _note(self) -> Path:
        return self.combined.parent / ".combined-from"

    def _combined_from(self) -> str:
        state = hashlib.sha256(repr((__version__, self.combine, self.shard_minutes)).encode())
        for job in self.jobs:
            state.update((job.out / BUILD_FILE).read_bytes())
        return state.hexdigest()
