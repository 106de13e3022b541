"""Corpora, and how their recordings meet in training items.

`labels` pitch curves; `tracks` what every corpus returns; `mir1k`, `stems`, `voices`, `music` one file a corpus;
`config` the YAML section; `segments` signal steps; `transforms` steps of mixing; `mixing` the training dataset,
`streaming` the same from rows in the order of the epoch; `row_tracks` rows of a built corpus; `validation` whole clips.
"""

from .config import (
    Mir1kCorpus,
    Mir1kSource,
    MixingConfig,
    MusicCorpus,
    MusicSource,
    RowsCorpus,
    RowsSource,
    StemsCorpus,
    StemsSource,
    VoicesCorpus,
    VoicesSource,
)
from .labels import Note, PitchLabel, semitones_to_hz
from .mir1k import load_mir1k
from .mixing import JointMixtureDataset, collate
from .music import load_music
from .stems import load_stems
from .streaming import StreamingMixtureDataset
from .tracks import LABEL_KINDS, AudioPart, CorpusError, Part, SumPart, Track
from .validation import ValidationClip, iter_validation_clips
from .voices import load_voices

__all__ = [
    "LABEL_KINDS",
    "AudioPart",
    "CorpusError",
    "JointMixtureDataset",
    "Mir1kCorpus",
    "Mir1kSource",
    "MixingConfig",
    "MusicCorpus",
    "MusicSource",
    "Note",
    "Part",
    "PitchLabel",
    "RowsCorpus",
    "RowsSource",
    "StemsCorpus",
    "StemsSource",
    "StreamingMixtureDataset",
    "SumPart",
    "Track",
    "ValidationClip",
    "VoicesCorpus",
    "VoicesSource",
    "collate",
    "iter_validation_clips",
    "load_mir1k",
    "load_music",
    "load_stems",
    "load_voices",
    "semitones_to_hz",
]
