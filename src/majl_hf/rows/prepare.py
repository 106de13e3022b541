"""Several corpora built and combined from one YAML file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from ..errors import BadRecordings, MajlError
from ..system.provenance import __version__
from ..system.settings import Section
from .build import assign_splits, build_corpus, load_corpus
from .combine import CombineOptions
from .shards import Split
from .writing import BUILD_FILE, COMBINE_FILE, SHARD_MINUTES, SPLITS_BY, Written


class BuildJob(Section):
    """One corpus to build.

    Args:
        corpus: name in `corpora.CORPORA`, which says how the folder is read.
        folder: where it is.
        out: folder of the result; in a file of several corpora it is below that of all.
        name: what it is called in the rows and in the folder of the result; default: the corpus's own name.
        options: for its reader.
        splits: split -> globs on song, singer or name; what none matches is "train". Default: the corpus's own.
        splits_by: what the splits keep apart.
    """

    corpus: str
    folder: Path
    out: Path | None = None
    name: str = ""
    options: dict[str, Any] = {}
    splits: dict[Split, tuple[str, ...]] = {}
    splits_by: tuple[Literal["song", "singer"], ...] = SPLITS_BY

    @property
    def title(self) -> str:
        return self.name or str(self.options.get("corpus", self.corpus))

    def run(self, **settings) -> Written:
        """Build it; `settings` and errors are those of `build_corpus`."""
        options = {**self.options, "corpus": self.name} if self.name else self.options
        unreadable: dict[str, str] = {}
        try:
            tracks = load_corpus(self.corpus, self.folder, **options)
        except BadRecordings as error:
            if not error.tracks:
                raise
            tracks, unreadable = error.tracks, error.failures
        licensed = [track for track in tracks if track.licence]
        if not licensed:
            raise MajlError(
                f"{tracks[0].id} has no licence, which every row states; give one for the corpus, an SPDX identifier "
                "or words such as 'own recordings, private': --option licence=... of `majl data build`, "
                "options: {licence: ...} in the file of `majl data prepare`."
            )
        unreadable |= {
            track.id: "It states no licence, which every row needs." for track in tracks if not track.licence
        }
        tracks = assign_splits(licensed, self.splits, unreadable)
        return build_corpus(tracks, self.out, splits_by=self.splits_by, unreadable=unreadable, **settings)


class PrepareConfig(Section):
    """The YAML file of `majl data prepare`.

    Args:
        out: every corpus becomes the folder `out/NAME`, all together `out/combined`.
        combine: how; null combines nothing.
    """

    out: str
    corpora: tuple[BuildJob, ...] = Field(min_length=1)
    combine: CombineOptions | None = CombineOptions()
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
        out = Path(self.out).expanduser()
        return [job.model_copy(update={"out": job.out or out / (job.name or job.corpus)}) for job in self.corpora]

    @property
    def combined(self) -> Path:
        return Path(self.out).expanduser() / "combined"

    def is_combined(self) -> bool:
        """Whether the combined corpus exists and was made from the present corpora with the same settings."""
        try:
            noted = self._note.read_text(encoding="utf-8")
        except OSError:
            return False
        return noted == self._combined_from() and (self.combined / COMBINE_FILE).is_file()

    def note_combined(self) -> None:
        """Record what the combined corpus was made from."""
        self._note.write_text(self._combined_from(), encoding="utf-8")

    @property
    def _note(self) -> Path:
        return self.combined.parent / ".combined-from"

    def _combined_from(self) -> str:
        state = hashlib.sha256(repr((__version__, self.combine, self.shard_minutes)).encode())
        for job in self.jobs:
            state.update((job.out / BUILD_FILE).read_bytes())
        return state.hexdigest()
