"""The corpora this package reads, by name: `CORPORA["mir1k"].load(folder)`.

Each module documents its corpus; this one collects what dataset cards and `majl data list` need.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import CorpusError
from . import folder, medleydb, mir1k, mir_st500, musdb18, ssvd, ultrastar
from .tracks import Track


@dataclass(frozen=True)
class Corpus:
    """A corpus, or a kind of folder.

    Args:
        name: key in `CORPORA`; readers take another name as `corpus`, to distinguish folders of the same kind.
        title: one line for display.
        load: `load(folder, **options) -> list[Track]`; its docstring lists the options.
        label_kinds: those of its tracks, from `tracks.LABEL_KINDS`.
        licence: SPDX identifier, or a description if there is none; empty if each folder has its own.
        citation: BibTeX or a sentence; empty if there is nothing to cite.
        redistributable: whether datasets built from it may be redistributed; also False if that is unknown.
        splits: where the tracks' splits come from, in a sentence.
        homepage: where to get it; empty for the user's own recordings.
    """

    name: str
    title: str
    load: Callable[..., list[Track]]
    label_kinds: tuple[str, ...]
    licence: str = ""
    citation: str = ""
    redistributable: bool = False
    splits: str = "none published: all tracks are for training by default"
    homepage: str = ""

    @property
    def documentation(self) -> str:
        """Layout, units, traps and licence, then the options of `load`; empty under python -OO."""
        return "\n\n".join(filter(None, map(inspect.getdoc, (inspect.getmodule(self.load), self.load))))


def find_corpus(name: str) -> Corpus:
    """The corpus called `name`.

    Raises:
        CorpusError: there is no such corpus; the message lists all corpora.
    """
    if name not in CORPORA:
        raise CorpusError(f"There is no corpus {name!r}; the corpora are {', '.join(sorted(CORPORA))}.")
    return CORPORA[name]


CORPORA: dict[str, Corpus] = {
    corpus.name: corpus
    for corpus in (
        Corpus(
            name="mir1k",
            title="MIR-1K",
            load=mir1k.load_mir1k,
            label_kinds=("full",),
            licence=mir1k.LICENCE,
            citation=mir1k.CITATION,
            splits="the column singer_split of clips.csv, by singer and accompaniment; split_from selects another",
            homepage="http://mirlab.org/dataset/public/",
        ),
        Corpus(
            name="medleydb",
            title="MedleyDB, vocals and accompaniment with the melody's pitch",
            load=medleydb.load_medleydb,
            label_kinds=("full", "separation"),
            licence=medleydb.LICENCE,
            citation=medleydb.CITATION,
            redistributable=True,  # non-commercially and under the same licence
            homepage="https://medleydb.weebly.com",
        ),
        Corpus(
            name="musdb18",
            title="MUSDB18",
            load=musdb18.load_musdb18,
            label_kinds=("separation",),
            licence=musdb18.LICENCE,
            citation=musdb18.CITATION,
            splits="the published 86 train, 14 validation and 50 test songs",
            homepage="https://doi.org/10.5281/zenodo.1117372",
        ),
        Corpus(
            name="musdb18_hq",
            title="MUSDB18-HQ",
            load=musdb18.load_musdb18_hq,
            label_kinds=("separation",),
            licence=musdb18.LICENCE,
            citation=musdb18.HQ_CITATION,
            splits="the published 86 train, 14 validation and 50 test songs",
            homepage="https://doi.org/10.5281/zenodo.3338373",
        ),
        Corpus(
            name="mir_st500",
            title="MIR-ST500",
            load=mir_st500.load_mir_st500,
            label_kinds=("pitch",),
            licence=mir_st500.LICENCE,
            citation=mir_st500.CITATION,
            splits="the published one: songs 1 to 400 train, 401 to 500 test",
            homepage="https://github.com/york135/singing_transcription_ICASSP2021",
        ),
        Corpus(
            name="ultrastar",
            title="UltraStar karaoke songs",
            load=ultrastar.load_ultrastar,
            label_kinds=("pitch",),
            citation=ultrastar.CITATION,
        ),
        Corpus(
            name="ssvd",
            title="SSVD, sight-singing with notes",
            load=ssvd.load_ssvd,
            label_kinds=("vocals",),
            licence=ssvd.LICENCE,
            citation=ssvd.CITATION,
            homepage="https://github.com/itec-hust/Sight-Singing-Vocal-Data",
        ),
        Corpus(
            name="stems",
            title="Songs as vocals and accompaniment",
            load=folder.load_stems,
            label_kinds=("separation",),
        ),
        Corpus(
            name="stem-file",
            title="One .stem.mp4 file",
            load=musdb18.load_stem_file,
            label_kinds=("separation",),
            licence=musdb18.LICENCE,
        ),
        Corpus(
            name="voices",
            title="Solo vocals without labels",
            load=folder.load_voices,
            label_kinds=("vocals",),
        ),
        Corpus(
            name="music",
            title="Music without vocals",
            load=folder.load_music,
            label_kinds=("accompaniment",),
        ),
        Corpus(
            name="folder",
            title="Own songs with any of stems, mixtures, f0 and notes",
            load=folder.load_folder,
            label_kinds=("full", "separation", "pitch", "vocals"),
        ),
    )
}
