"""UltraStar songs: mixtures whose lead vocals are written as notes in a karaoke text file.

Conventions
    One folder per song, anywhere below the given one, with the text file and its audio (any format that `majl` reads).
    `#NAME:value` lines: TITLE, ARTIST, MP3 (or AUDIO), BPM, GAP in milliseconds; decimals with a point or a comma.
    `: start length pitch text` is a note, in beats and semitones above MIDI 60; `*` a golden note, treated the same.
    `F` freestyle, `R` and `G` rap: a syllable without a pitch. `-` ends a line of text, `E` the song.
    `P1`, `P2` and `P3` (both) begin the parts of a duet.
    A beat is a quarter of a beat of BPM: second = beat / BPM / 4 * 60 + GAP / 1000.

Traps
    The game compares pitches modulo an octave, so the octave is unreliable. Pitches are whole semitones, although the
    recording may be tuned otherwise. Backing vocals and ad libs are not written down, so gaps between notes may be
    sung. The audio often has another extension than the one in the text file. Old files are in Windows-1252. The notes
    are early: a pitch tracker on separated vocals agrees best with all of seven songs by one artist when they are
    delayed by 80 to 110 ms, by 100 in the median (95 % interval 80 to 100; scripts/experiments/measure_note_labels.py),
    so frame labels are delayed by `delay_s`. A note begins before its pitch is reached: the onsets that
    `evidence_of_pitch` and a note estimator find in the separated vocals of eight songs are most often 30 ms after the
    written ones (-10 to 30 ms from song to song), so `notes` are delayed by that.
    Where the two voices of a duet differ, the pitch is unknown (see `notes`).
    Files with `#RELATIVE:YES` restart beats in each line, and `B` lines change the tempo: both are refused.

Licence
    That of the songs, from `#LICENSE` or the first Creative Commons URL in `license.txt` beside the song, where the
    licence of the music takes precedence over those of pictures and text.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..audio import AUDIO_EXTENSIONS
from ..errors import CorpusError
from .labels import Note
from .notes import KARAOKE_NOTES, check_notes, notes_to_label
from .tracks import AudioPart, Track, files_below, is_video, read_recordings, resolve_folder

CITATION = "UltraStar song files; title, artist and licence are each song's own."
BASE_MIDI = 60
DELAY_S, NOTE_DELAY_S = 0.1, 0.03
_PITCHED, _UNPITCHED = ":*", "FRG"
_HEADER = re.compile(r"#\s*([^:#]+?)\s*:(.*)")
_NOTE = re.compile(r"([:*FRG])\s*(-?\d+)\s+(\d+)\s+(-?\d+)(?:\s|$)")
_CREATIVE_COMMONS = re.compile(
    r"creativecommons\.org/(licenses/([a-z-]+)/(\d\.\d)|publicdomain/zero/1\.0)", re.IGNORECASE
)


@dataclass(frozen=True)
class UltraStarSong:
    """The content of a song's text file: `header` by upper-case name, notes in order of onset, and the stretches
    (start_s, end_s) of syllables without a pitch."""

    header: dict[str, str]
    notes: tuple[Note, ...]
    unpitched: tuple[tuple[float, float], ...]


def load_ultrastar(folder: str | Path, delay_s: float = DELAY_S, corpus: str = "ultrastar") -> list[Track]:
    """Tracks of a folder of UltraStar songs, sorted by path.

    Args:
        folder: `~` and environment variables are expanded.
        delay_s: delay of the frame labels relative to what is written.

    Raises:
        BadRecordings: songs without audio, or whose notes cannot be read or do not fit the audio; the others are in it.
        CorpusError: no song.
    """
    root = resolve_folder(folder, "UltraStar")
    paths = [path for path in sorted(files_below(root)) if path.suffix == ".txt" and _is_song(path)]
    if not paths:
        raise CorpusError(f"No UltraStar song (a text file with #TITLE and #BPM lines) in {root}.")
    songs_in = Counter(path.parent for path in paths)
    names = {}
    for path in paths:
        is_alone = songs_in[path.parent] == 1 and path.parent != root
        names[path] = (path.parent if is_alone else path.with_suffix("")).relative_to(root).as_posix()
    songs = {name: path for path, name in names.items()}
    return read_recordings(corpus, songs, lambda path: _track(names[path], path, delay_s, corpus))


def read_song(path: Path) -> UltraStarSong:
    """Read a song's text file.

    Raises:
        CorpusError: missing or invalid BPM or GAP, relative beats, changes of tempo, a line that does not follow the
            format; the message names the file and the line.
    """
    header: dict[str, str] = {}
    beats: list[tuple[str, int, int, int]] = []
    for number, line in enumerate(_read_text(path).splitlines(), start=1):
        line = line.strip()
        if match := _HEADER.match(line):
            header.setdefault(match[1].upper(), match[2].strip())
        elif match := _NOTE.match(line):
            beats.append((match[1], *map(int, match.groups()[1:])))
        elif line.upper() == "E":
            break
        elif line.startswith("B"):
            raise CorpusError(
                f"{path}, line {number} changes the tempo ({line!r}), which is not supported; remove the song."
            )
        elif line and not line.startswith("-") and not re.fullmatch(r"P\s*[1-9]", line):
            raise CorpusError(f"{path}, line {number} is {line!r}, which is not a line of an UltraStar song.")
    if header.get("RELATIVE", "").upper() in ("YES", "TRUE", "1"):
        raise CorpusError(f"{path} counts beats from the start of each line (#RELATIVE); convert it to absolute beats.")
    bpm, gap_s = _decimal(path, header, "BPM"), _decimal(path, header, "GAP", default=0.0) / 1000
    if not bpm > 0:
        raise CorpusError(f"{path} has #BPM:{header['BPM']}; a number above 0 is needed.")
    beat_s = 60 / bpm / 4
    # Both singers of a duet may have the same note, which is kept once.
    notes, unpitched = set(), set()
    for kind, start, length, pitch in beats:
        onset_s, offset_s = start * beat_s + gap_s, (start + length) * beat_s + gap_s
        if kind in _PITCHED and length > 0:  # games show notes of length 0, but they cannot be sung
            notes.add(Note(onset_s, offset_s, float(BASE_MIDI + pitch)))
        elif kind in _UNPITCHED:
            unpitched.add((onset_s, offset_s))
    return UltraStarSong(
        header, tuple(sorted(notes, key=lambda note: (note.onset_s, note.midi))), tuple(sorted(unpitched))
    )


def _track(name: str, path: Path, delay_s: float, corpus: str) -> Track:
    song = read_song(path)
    mixture = AudioPart.open(_audio(path, song.header))
    notes = check_notes(song.notes, mixture.duration_s, path)
    sung = _delayed(notes, delay_s)
    unpitched = [(start_s + delay_s, end_s + delay_s) for start_s, end_s in song.unpitched]
    artist, title = song.header.get("ARTIST", ""), song.header.get("TITLE", "")
    return Track.of(
        corpus,
        name,
        song=f"{artist} - {title}".strip(" -") or name,
        singer=artist,
        mixture=mixture,
        label=notes_to_label(sung, mixture.duration_s, KARAOKE_NOTES, octave_reliable=False, unknown=unpitched),
        notes=_delayed(notes, NOTE_DELAY_S),
        licence=_licence(path, song.header),
        provenance=f"{title or name} by {artist or 'unknown'}; pitch from an UltraStar text file, octave unreliable, "
        f"delayed by {delay_s * 1000:.0f} ms.",
    )


def _delayed(notes: Sequence[Note], delay_s: float) -> tuple[Note, ...]:
    return tuple(replace(note, onset_s=note.onset_s + delay_s, offset_s=note.offset_s + delay_s) for note in notes)


def _is_song(path: Path) -> bool:
    try:
        lines = _read_text(path).splitlines()[:50]
    except OSError:  # reported when it is read
        return True
    return any(
        match and match[1].upper() in ("TITLE", "ARTIST", "BPM", "MP3", "AUDIO") for match in map(_HEADER.match, lines)
    )


def _read_text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", errors="replace")  # only affects the lyrics


def _decimal(path: Path, header: dict[str, str], name: str, default: float | None = None) -> float:
    text = header.get(name)
    if not text and default is not None:
        return default
    try:
        return float((text or "").replace(",", "."))
    except ValueError:
        raise CorpusError(f"{path} has #{name}:{text}; a number is needed.") from None


def _audio(path: Path, header: dict[str, str]) -> Path:
    """The file that the header names, or one that only differs from it in the extension."""
    named = header.get("MP3") or header.get("AUDIO")
    if not named:
        raise CorpusError(f"{path} names no audio (#MP3 or #AUDIO); add the line.")
    exact = path.parent / re.split(r"[\\/]", named)[-1]  # always beside the text file
    if exact.suffix.lower() in AUDIO_EXTENSIONS and exact.is_file():
        return exact
    found = list(_same_stem(exact))
    found = [other for other in found if not is_video(other)] or found
    if len(found) != 1:
        raise CorpusError(
            f"{path} needs the audio {exact}, or the same with another extension; "
            + (f"{[other.name for other in found]} exist: keep one." if found else "there is none.")
        )
    return found[0]


def _same_stem(path: Path) -> Iterator[Path]:
    for other in sorted(path.parent.glob("*")):
        if other.suffix.lower() in AUDIO_EXTENSIONS and other.stem.casefold() == path.stem.casefold():
            yield other


def _licence(path: Path, header: dict[str, str]) -> str:
    """SPDX identifier of the first Creative Commons licence named; empty if there is none."""
    beside = path.parent / "license.txt"
    text = header.get("LICENSE", "") + "\n" + (_read_text(beside) if beside.is_file() else "")
    match = _CREATIVE_COMMONS.search(text)
    if match is None:
        return ""
    return f"CC-{match[2].upper()}-{match[3]}" if match[2] else "CC0-1.0"
