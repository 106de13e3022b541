"""Sung notes: what a singer would write down of a melody."""

from dataclasses import dataclass

NOTE_KINDS = ("sung", "rap", "speech")


@dataclass(frozen=True)
class SungNote:
    """A note of a melody of one voice.

    Args:
        onset_s, offset_s: Begin and end in seconds from the start of the recording.
        midi: Pitch of its stable part in MIDI semitones with fractions: 69 is 440 Hz, 0.01 is a cent.
        velocity: Loudness among the recording's notes, 1 to 127, as MIDI has it.
        confidence: Probability in [0, 1] that there is such a note.
        kind: One of `NOTE_KINDS`. Notes of rap and speech have a pitch, which is not part of a melody.
        vibrato_hz, vibrato_cents: Rate, and extent from the mean to the extremes; both 0 without vibrato.
        glide_in_cents: Pitch where the note begins, relative to `midi`: negative where it is approached from below.
        glide_out_cents: Pitch where it ends, likewise.
    """

    onset_s: float
    offset_s: float
    midi: float
    velocity: int = 80
    confidence: float = 1.0
    kind: str = "sung"
    vibrato_hz: float = 0.0
    vibrato_cents: float = 0.0
    glide_in_cents: float = 0.0
    glide_out_cents: float = 0.0

    @property
    def duration_s(self) -> float:
        return self.offset_s - self.onset_s
