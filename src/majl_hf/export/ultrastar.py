"""A transcription as an UltraStar song, version 1.1.0 of the format, as karaoke games and editors read it.

Conventions
    #BPM is the tempo times a power of two, in (200, 400], so a beat lasts 37 to 75 ms; #GAP is a beat of the tempo near
    the first note. Times are rounded to beats and pitches to semitones from C4; a song of which every sung note is more
    than two octaves from C4 is transposed by octaves. Between two notes there is a rest of a beat at least. Notes
    that are too close for this are merged (`note_grid.py`), and #COMMENT says how many.
    `:` is a sung note, `R` rap, `F` speech, which gives no points. `~` continues a syllable, and a blank ends a word.
    Without lyrics each note is `~ `: editors put the same on a note without text, games show no wrong words, and the
    blank keeps the notes from being read as one long syllable.
    Lines end where those of the lyrics do and at rests; lines that are too long to read are divided between words.
"""

from pathlib import PureWindowsPath
from statistics import median
from typing import TYPE_CHECKING

from ..errors import MajlError
from .note_grid import GridNote, place_on_grid
from .texts import TOOL, one_line, text_width

if TYPE_CHECKING:
    from ..notes.transcription import Transcription

VERSION = "1.1.0"
SLOWEST_BPM = 200.0  # exclusive: programs double a slower tempo
BASE_MIDI = 60
FARTHEST_SEMITONES = 24
KINDS = {"sung": ":", "rap": "R", "speech": "F"}
CONTINUES = "~"
LINE_REST_S = 1.0  # a rest between words that ends a line
MAX_LINE_WIDTH = 48  # letters; East Asian ones count twice
MAX_LINES = 5000  # UltraStar Deluxe reads no more
LANGUAGES = {
    "ar": "Arabic", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English",
    "es": "Spanish", "et": "Estonian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian",
    "hu": "Hungarian", "id": "Indonesian", "is": "Icelandic", "it": "Italian", "ja": "Japanese", "ko": "Korean",
    "la": "Latin", "nl": "Dutch", "no": "Norwegian", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian",
    "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sr": "Serbian", "sv": "Swedish", "th": "Thai", "tr": "Turkish",
    "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip


def ultrastar(transcription: "Transcription") -> bytes:
    """Content of the text file.

    Raises:
        MajlError: no notes, no name of the audio, a file name that the format cannot express, or more lines than games
            read.
    """
    if not transcription.notes:
        raise MajlError("There are no notes, and karaoke games refuse a song without any; choose another format.")
    bpm = _bpm(transcription.tempo.bpm)
    beat_s = 15 / bpm
    first_s, phase_s = transcription.notes[0].onset_s, transcription.tempo.first_beat_s
    gap_ms = max(round(1000 * (phase_s + round((first_s - phase_s) / beat_s) * beat_s)), 0)
    notes = place_on_grid(transcription, gap_ms / 1000, beat_s, rest_steps=1)
    lines = _lines(notes, beat_s)
    if len(lines) > MAX_LINES:
        raise MajlError(
            f"The song has {len(lines)} lines; UltraStar Deluxe reads {MAX_LINES} at most. Divide the recording."
        )

    shift = _octave_shift(notes)
    body = []
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        body += [_note_line(note, shift) for note in line]
        if following is not None:
            body.append(f"- {_line_break(line[-1].end, following[0].start, beat_s)}")
    header = _header(transcription, _comment(transcription, notes, shift), bpm, gap_ms)
    text = "".join(f"#{name}:{value}\n" for name, value in header.items() if value) + "\n".join([*body, "E"]) + "\n"
    return text.encode()


def _header(transcription: "Transcription", comment: str, bpm: float, gap_ms: int) -> dict[str, str]:
    if not transcription.audio:
        raise MajlError("An UltraStar song names its audio; give the transcription the name of the audio file.")
    audio = _file_reference(transcription.audio)
    return {
        "VERSION": VERSION,
        "TITLE": one_line(transcription.title) or "Unknown title",
        "ARTIST": one_line(transcription.artist) or "Unknown artist",
        "LANGUAGE": LANGUAGES.get(transcription.language.lower(), ""),
        "MP3": audio,
        "AUDIO": audio,
        "VOCALS": _file_reference(transcription.vocals),
        "INSTRUMENTAL": _file_reference(transcription.accompaniment),
        "BPM": f"{bpm:.3f}",
        "GAP": str(gap_ms),
        "END": str(round(1000 * transcription.duration_s)),
        "CREATOR": TOOL,
        "COMMENT": comment,
    }


def _comment(transcription: "Transcription", notes: list[GridNote], shift: int) -> str:
    parts = [TOOL, transcription.model and f"model {one_line(transcription.model)}"]
    if shift:
        parts.append(f"transposed by {shift:+d} semitones")
    if merged := sum(note.num_notes for note in notes if note.num_notes > 1):
        parts.append(f"{merged} short notes merged into {sum(note.num_notes > 1 for note in notes)}")
    if transcription.texts is None:
        parts.append("without lyrics")
    return "; ".join(part for part in parts if part)


def _file_reference(name: str | None) -> str:
    """The name as it is; empty if there is no such file."""
    name = name or ""
    if one_line(name) != name or PureWindowsPath(name).anchor:
        raise MajlError(
            f"The file name {name!r} cannot be written in an UltraStar song; rename the file, so that its name is "
            "relative and has no line breaks, no blanks at its ends and only Unicode characters."
        )
    return name


def _bpm(tempo_bpm: float) -> float:
    """The tempo times a power of two in (200, 400], rounded to what the header can express."""
    while tempo_bpm <= SLOWEST_BPM:
        tempo_bpm *= 2
    while tempo_bpm > 2 * SLOWEST_BPM:
        tempo_bpm /= 2
    return max(round(tempo_bpm, 3), SLOWEST_BPM + 0.001)


def _octave_shift(notes: list[GridNote]) -> int:
    """Semitones, whole octaves, that bring the median to within half an octave of C4; 0 unless all notes are out."""
    pitches = [round(note.midi) - BASE_MIDI for note in notes if note.kind == "sung"]
    if not pitches or min(map(abs, pitches)) <= FARTHEST_SEMITONES:
        return 0
    return -12 * round(median(pitches) / 12)


def _note_line(note: GridNote, shift: int) -> str:
    pitch = round(note.midi) - BASE_MIDI + shift
    text = (note.text or CONTINUES) + " " * note.ends_word
    return f"{KINDS[note.kind]} {note.start} {note.end - note.start} {pitch} {text}"


def _lines(notes: list[GridNote], beat_s: float) -> list[list[GridNote]]:
    lines: list[list[GridNote]] = []
    line: list[GridNote] = []
    for note, following in zip(notes, [*notes[1:], None], strict=True):
        line.append(note)
        if (
            following is None
            or note.ends_line
            or (note.ends_word and (following.start - note.end) * beat_s >= LINE_REST_S)
        ):
            lines += _divided(line)
            line = []
    return lines


def _divided(line: list[GridNote]) -> list[list[GridNote]]:
    """The line, or parts of readable width: divided between words, where the longest rest is, not too near an end."""
    widths = [_width(note) for note in line]
    total = sum(widths)
    if total <= MAX_LINE_WIDTH:
        return [line]
    # Of each place between two words: is it in the middle half, the rest, and the distance from the middle.
    best = None
    before = 0
    for index in range(1, len(line)):
        before += widths[index - 1]
        if line[index - 1].ends_word:
            off_centre = abs(before - total / 2)
            rank = (off_centre <= total / 4, line[index].start - line[index - 1].end, -off_centre)
            best = max(best or (rank, index), (rank, index))
    if best is None:
        return [line]
    return _divided(line[: best[1]]) + _divided(line[best[1] :])


def _width(note: GridNote) -> int:
    return text_width(note.text or CONTINUES) + note.ends_word


def _line_break(end: int, start: int, beat_s: float) -> int:
    """The beat at which the next line appears; `end` and `start` of the notes before and after it."""
    rest_s = (start - end) * beat_s
    if rest_s >= 4:
        return end + round(2 / beat_s)
    if rest_s >= 2:
        return end + round(1 / beat_s)
    return max(end, start - min(max((start - end) // 4, 2), 4))
