"""A song's transcription: what the exporters of `export/` write."""

from dataclasses import dataclass, field

from ..models.decoding_majl import PitchFrames
from ..models.notes_majl import SungNote


@dataclass(frozen=True)
class Tempo:
    """A constant tempo.

    Args:
        bpm: Quarter notes per minute.
        first_beat_s: Time in seconds of a beat, in [0, 60 / bpm).
        is_estimated: Whether it was estimated from the audio; False where the user gave it, or for a default.
    """

    bpm: float = 120.0
    first_beat_s: float = 0.0
    is_estimated: bool = False


@dataclass(frozen=True)
class NoteText:
    """What is sung on a note.

    Args:
        text: A syllable, without blanks or hyphens around it. Empty where there is none, and where the syllable of the
            note before continues.
        begins_word, ends_word: Whether it is the first and the last syllable of its word; a syllable that continues
            over several notes begins the word on its first and ends it on its last one only.
        ends_line: Whether a line of the lyrics ends with this note.
    """

    text: str
    begins_word: bool = True
    ends_word: bool = True
    ends_line: bool = False

    @property
    def continues(self) -> bool:
        """Whether the syllable of the note before continues."""
        return not self.text and not self.begins_word


@dataclass(frozen=True)
class Transcription:
    """Notes, pitch and words of one recording.

    Args:
        notes: In order of onset; no two overlap.
        frames: Pitch of the whole recording.
        duration_s: Length of the recording in seconds.
        texts: One for each note, or None without lyrics.
        tempo: For formats that count in beats.
        title, artist, language: As far as known; language as an ISO 639-1 code.
        audio, vocals, accompaniment: Names of the recording and its stems beside the exported file; None if there are
            none.
        model: Name and revision of the model, for the record.
    """

    notes: tuple[SungNote, ...]
    frames: PitchFrames
    duration_s: float
    texts: tuple[NoteText, ...] | None = None
    tempo: Tempo = field(default_factory=Tempo)
    title: str = ""
    artist: str = ""
    language: str = ""
    audio: str | None = None
    vocals: str | None = None
    accompaniment: str | None = None
    model: str = ""

    def __post_init__(self):
        if self.texts is not None and len(self.texts) != len(self.notes):
            raise ValueError(f"{len(self.texts)} texts were given for {len(self.notes)} notes; one per note is needed.")
