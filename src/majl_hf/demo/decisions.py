"""What is decided about a song after the networks have run, so that it can be decided again at once: which frames are
sung, and where notes begin and end."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from ..errors import MajlError
from ..models.note_decoding_majl import NoteDecoder
from ..models.notes_majl import SungNote
from ..notes.transcription import Transcription
from .voicing import decide_voiced

if TYPE_CHECKING:
    from ..models.configuration_majl import MajlConfig
    from .separation import SeparatedSong

NOTE_SETTINGS = ("note_threshold", "min_note_s")
MOST_KEPT = 8  # decisions on notes per song


@dataclass(frozen=True)
class Settings:
    """Settings with the names and meanings that they have in the model's config, in whole hundredths, which limits the
    number of different files per song."""

    voicing_threshold: float
    note_threshold: float
    min_note_s: float

    @classmethod
    def of_model(cls, config: "MajlConfig") -> "Settings":
        return cls(0.5, 0.5, 0.0).changed({name: getattr(config, name) for name in cls.__dataclass_fields__})

    def changed(self, values: Mapping[str, float]) -> "Settings":
        """These settings with other values for some of them; other keys are ignored.

        Raises:
            MajlError: a value that is not between 0 and 1.
        """
        new = {name: float(values[name]) for name in self.__dataclass_fields__ if name in values}
        for name, value in new.items():
            if not 0.0 <= value <= 1.0:
                raise MajlError(f"{name} is {value}; it must be between 0 and 1.")
            new[name] = round(value, 2) if name == "min_note_s" else min(max(round(value, 2), 0.01), 0.99)
        return replace(self, **new)

    def named(self, names: tuple[str, ...]) -> dict[str, float]:
        """Some of the settings."""
        return {name: value for name, value in asdict(self).items() if name in names}


def decide_notes(song: "SeparatedSong", settings: Settings) -> tuple[SungNote, ...]:
    """The song's notes, decoded from its evidence; the latest decisions are kept."""
    key = (settings.note_threshold, settings.min_note_s)
    if key not in song.decided:
        decoder = NoteDecoder(song.config, *key)
        while len(song.decided) >= MOST_KEPT:
            song.decided.pop(next(iter(song.decided)), None)
        song.decided[key] = tuple(decoder.push(song.evidence, last=True))
    return song.decided[key]


def transcribe(song: "SeparatedSong", settings: Settings) -> Transcription:
    """The song's transcription, which names the downloads beside it."""
    voiced = decide_voiced(song.frames.voicing, song.config.voicing_policy, settings.voicing_threshold)
    return Transcription(
        decide_notes(song, settings),
        replace(song.frames, voiced=voiced),
        song.duration_s,
        title=song.name,
        audio=song.file_name,
        vocals=f"{song.name}.vocals.flac",
        accompaniment=f"{song.name}.accompaniment.flac",
    )
