"""YAML sections about corpora and mixing; unknown keys and impossible values are refused by name."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Literal, Union, get_type_hints

from pydantic import Field, create_model, model_validator

from ..corpora.registry import CORPORA, find_corpus
from ..corpora.tracks import LABEL_KINDS, Track, resolve_folder
from ..system.settings import Section

if TYPE_CHECKING:
    from ..rows.reading import ParquetRows

Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Weight = Annotated[float, Field(ge=0.0)]
_OF_BUILDING = ("corpus", "licence", "split_from")  # options of readers that only matter in rows


class FolderCorpus(Section):
    """A folder as one of `corpora.CORPORA` reads it: `kind` is its name, the other keys are options of its reader."""

    kind: str
    folder: str

    def check(self) -> None:
        """Raise CorpusError unless the folder exists."""
        resolve_folder(self.folder, self.kind)

    def load(self) -> list[Track]:
        load = find_corpus(self.kind).load
        return load(self.folder, **self.model_dump(include=set(_reader_options(load))))

    @property
    def recipes(self) -> tuple[str, ...]:
        """The recipes that its tracks may need, of `tracks.LABEL_KINDS`."""
        return find_corpus(self.kind).label_kinds


class FullOptions(Section):
    """Items with both labels: the clip itself, or its vocals over another accompaniment.

    `weight` is the source's share of the items, relative to the others; 0 keeps it as a pool only.
    `background_probability` is the share of remixed items that are put over music or stems instead of another clip.
    """

    weight: Weight = 1.0
    original_probability: Probability = 0.4
    background_probability: Probability = 0.5


class VocalsOptions(Section):
    """Items of solo voice over music or stems; `labelled_probability` of them take a voice with a label instead."""

    weight: Weight = 1.0
    labelled_probability: Probability = 0.25


class SeparationOptions(Section):
    """Items of real songs: unchanged, or the vocals of one over the accompaniment of another.

    `vocals_weight` is how much these vocals count in the loss: 1 for a studio's stems, less for a teacher's.
    `background_weight` is how often other sources' voices are put over these accompaniments, relative to the other
    backgrounds. Left out, it is 1 for trusted stems, else 0, since a teacher's accompaniment still contains some voice.
    """

    weight: Weight = 1.0
    original_probability: Probability = 0.5
    vocals_weight: Probability = 1.0
    background_weight: Weight | None = None


class AccompanimentOptions(Section):
    """Items without a voice: vocals are zero and every frame is labelled unvoiced, against false alarms."""

    weight: Weight = 1.0
    background_weight: Weight = 1.0


class PitchOptions(Section):
    """Items of mixtures whose vocals are not known, with their pitch label: their `vocals_weight` is 0."""

    weight: Weight = 1.0


class RowsCorpus(Section):
    """A built corpus: a folder or a dataset on the Hub in the schema's layout; see `rows.reading.ParquetRows`.

    `label_kinds` keeps the rows of these kinds; empty keeps all.
    """

    kind: Literal["rows"] = "rows"
    folder: str
    split: str = "train"
    label_kinds: tuple[str, ...] = ()

    @property
    def recipes(self) -> tuple[str, ...]:
        return LABEL_KINDS

    def check(self) -> None:
        """Raise CorpusError unless the split exists."""
        from ..rows.reading import find_row_files

        find_row_files(self.folder, self.split, download=False)

    def on_hub(self) -> tuple[str, str] | None:
        """Id and commit of the dataset on the Hub that is read; None for a folder."""
        from ..rows.reading import find_row_files

        first = find_row_files(self.folder, self.split, download=False)[0]
        found = re.match(r"hf://datasets/([^/@]+/[^/@]+)@([0-9a-f]{40})/", first)
        return found and (found[1], found[2])

    def load(self, download: bool = True, cache_bytes: int | None = None) -> ParquetRows:
        from ..rows.reading import CACHE_BYTES, ParquetRows, find_row_files

        files = find_row_files(self.folder, self.split, download)
        return ParquetRows(files, self.label_kinds, CACHE_BYTES if cache_bytes is None else cache_bytes)


class _Sourced(Section):
    """A corpus as a source: each kind of label has its own recipe with options.

    A recording is drawn in proportion to its duration (a row: to its sampling_weight, if the corpus has that column)
    times its recipe's `weight` times `weight`. "pseudo" rows are separation items whose vocals are weighted by the
    row's vocals_confidence.
    """

    weight: Weight = 1.0
    full: FullOptions = FullOptions()
    separation: SeparationOptions = SeparationOptions()
    vocals: VocalsOptions = VocalsOptions()
    accompaniment: AccompanimentOptions = AccompanimentOptions()
    pitch: PitchOptions = PitchOptions()
    pseudo: SeparationOptions = SeparationOptions(original_probability=0.8, background_weight=0.0)

    def options(self, recipe: str) -> Options:
        return getattr(self, recipe)

    @property
    def is_background(self) -> bool:
        """Whether voices of other sources may be put over its recordings."""
        return any(background_weight(self.options(recipe)) > 0 for recipe in self.recipes)


class FolderSource(FolderCorpus, _Sourced):
    """A folder as a source."""


class RowsSource(RowsCorpus, _Sourced):
    """A built corpus as a source."""


def _reader_options(load: Callable[..., list[Track]]) -> dict[str, tuple]:
    """Type and default of a reader's options by name."""
    types, (_, *options) = get_type_hints(load), inspect.signature(load).parameters.values()
    return {option.name: (types[option.name], option.default) for option in options if option.name not in _OF_BUILDING}


def _of_readers(base: type[FolderCorpus]) -> dict[str, type[FolderCorpus]]:
    """A section for each corpus, with its reader's options as further fields of `base`."""
    return {
        kind: create_model(kind, __base__=base, kind=(Literal[kind], kind), **_reader_options(corpus.load))
        for kind, corpus in CORPORA.items()
    }


Options = FullOptions | SeparationOptions | VocalsOptions | AccompanimentOptions | PitchOptions
FOLDERS = _of_readers(FolderCorpus)
"""The section of each kind of folder: `FOLDERS["mir1k"](folder="...", split_column=...)`."""
Corpus = Annotated[Union[*FOLDERS.values(), RowsCorpus], Field(discriminator="kind")]
Source = Annotated[Union[*_of_readers(FolderSource).values(), RowsSource], Field(discriminator="kind")]


class MixingConfig(Section):
    """How items are drawn.

    Args:
        sources: where audio comes from; also the pools that sources borrow from each other.
        length: items per epoch (and process, if rows are streamed; left out there, one for each of its rows).
        streaming: read rows in the order of the epoch, each once, as `streaming.StreamingMixtureDataset` does; for
            sources of kind "rows" only.
        buffer_mb: MB of rows near a streamed one that it can be mixed with.
        visits: in a streamed epoch every row comes "once", or as often as its weight says ("weighted").
        num_frames: frames of the pitch label; left out, all whose centre `i * hop_s` lies in the segment.
        label_probability: share of the items with a pitch label that keep it. The pitch estimator costs as much as the
            separator and skips items without a label, so this sets its share of the run.
        speed_probability, speed_semitones: vocals (and in original pairs both parts) are played faster or slower, which
            changes pitch and time together, by up to this many semitones.
        doubling_probability, doubling_min_db, doubling_max_db: an instrument doubles the label's melody, at a level
            relative to the vocals' within these limits.
        formant_probability, formant_semitones: the vocals' formants are shifted by up to this many semitones either
            way; pitch and timing stay, as if another singer sang the same. 0 draws nothing.
        equalizer_probability, equalizer_db: each part, vocals and accompaniment, is filtered by a smooth random
            equaliser of up to this many dB, at constant RMS level. 0 draws nothing.
        gain_db: the mixture's level changes by up to this much either way.
        ratio_std_db, ratio_limit_db: vocals to accompaniment in remixes, normal around 0 dB, clipped.
        pan_probability, pan_db: mono sources are panned this far off the centre (level difference of the channels).
        band_limit_probability: how often an accompaniment of wider band than its voice is cut to the voice's band, so
            that neither an empty nor a full upper band reveals whether there is a voice.
        voiced_probability, silence_dbfs: how often a segment whose vocals are below this RMS is drawn again (a few
            times); a separately drawn accompaniment below it always is.
    """

    sources: tuple[Source, ...] = Field(min_length=1)
    length: int | None = Field(default=None, gt=0)
    streaming: bool = False
    buffer_mb: float = Field(default=512.0, gt=0)
    visits: Literal["once", "weighted"] = "once"
    seed: int = Field(default=0, ge=0)
    sampling_rate: int = Field(default=44100, gt=0)
    num_channels: Literal[1, 2] = 2
    segment_samples: int = Field(default=262144, gt=0)
    hop_s: float = Field(default=0.01, gt=0)
    num_frames: int | None = Field(default=None, gt=0)
    label_probability: Probability = 1.0
    speed_probability: Probability = 0.5
    speed_semitones: float = Field(default=4.0, ge=0)
    doubling_probability: Probability = 0.0
    doubling_min_db: float = -20.0
    doubling_max_db: float = 0.0
    formant_probability: Probability = 0.0
    formant_semitones: float = Field(default=3.0, ge=0)
    equalizer_probability: Probability = 0.0
    equalizer_db: float = Field(default=6.0, ge=0)
    gain_db: float = Field(default=12.0, ge=0)
    ratio_std_db: float = Field(default=4.0, ge=0)
    ratio_limit_db: float = Field(default=10.0, ge=0)
    swap_probability: Probability = 0.5
    pan_probability: Probability = 0.3
    pan_db: float = Field(default=3.0, ge=0)
    band_limit_probability: Probability = 0.5
    voiced_probability: Probability = 0.8
    silence_dbfs: float = -45.0

    @model_validator(mode="after")
    def _check_sources(self) -> MixingConfig:
        if not any(source.weight > 0 for source in self.sources):
            raise ValueError("Every source has weight 0; at least one must be above 0 to have something to draw from.")
        if self.streaming and (kinds := sorted({source.kind for source in self.sources} - {"rows"})):
            raise ValueError(
                f"Sources of kind {', '.join(kinds)} cannot be streamed; build them with `majl data build`."
            )
        voices = any(source.weight > 0 and source.recipes == ("vocals",) for source in self.sources)
        if voices and not any(source.is_background for source in self.sources):
            raise ValueError(
                "Solo voices need an accompaniment; add a source of kind 'music' or 'stems' with a "
                "background_weight above 0 (its weight may be 0)."
            )
        return self

    @model_validator(mode="after")
    def _check_doubling(self) -> MixingConfig:
        if self.doubling_min_db > self.doubling_max_db:
            raise ValueError(
                f"doubling_min_db is {self.doubling_min_db} and doubling_max_db is {self.doubling_max_db}; the first "
                "must not be above the second."
            )
        return self

    @property
    def segment_s(self) -> float:
        return self.segment_samples / self.sampling_rate

    @property
    def total_frames(self) -> int:
        """Frames in an item."""
        # The small term includes a centre exactly at the segment's end, despite rounding.
        return self.num_frames or 1 + int(self.segment_s / self.hop_s + 1e-9)


def background_weight(options: Options) -> float:
    """How often such recordings serve as background for other voices, relative to the other backgrounds."""
    weight = getattr(options, "background_weight", 0.0)
    if weight is None:
        return 1.0 if options.vocals_weight == 1.0 else 0.0
    return weight
