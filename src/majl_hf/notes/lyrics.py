"""Lyrics that the user brings: plain text, LRC, or JSON with times of words.

Conventions
    Plain text: one line of the song a line, blank lines between verses. Headings in square brackets ("[Chorus]") are
    left out, words in parentheses are kept.
    LRC: `[mm:ss.xx]` in front of a line, several of them where it is repeated; `<mm:ss.xx>` or `[mm:ss.xx]` in front of
    a word or syllable; a time without text ends the line before it. `[ti:]`, `[ar:]` and `[la:]` are title, artist and
    language; a positive `[offset:]`, in milliseconds, makes the words appear sooner.
    JSON: what transcribing programs write: `segments` with `words`, `word_segments`, `chunks` with `timestamp`, or a
    list of words. A word without times is between its neighbours. A segment is a line. Where words begin with a blank,
    as in Whisper, those without one belong to the word before.
    Text is UTF-8, or UTF-16 with a byte order mark.

Traps
    Whisper writes words where nobody sings, punctuation alone ("!!!!") among them; the latter is left out here, the
    former when the words are laid on notes. In WhisperX's output numbers have no times.
"""

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..errors import MajlError
from .syllables import is_written_without_blanks

MAX_BYTES = 32_000_000  # hours of words with times; a larger file is something else
KINDS = "plain text, LRC, or JSON with times of words"


@dataclass(frozen=True)
class Word:
    """A word of the lyrics, or a part of one that has times of its own.

    Args:
        text: With punctuation, without blanks.
        start_s, end_s: When it is sung, in seconds from the start of the recording; None if unknown.
        joins: Whether it belongs to the word before, without a blank between them.
    """

    text: str
    start_s: float | None = None
    end_s: float | None = None
    joins: bool = False


@dataclass(frozen=True)
class Line:
    """A line of the lyrics.

    Args:
        words: At least one.
        start_s, end_s: When it is sung; None if unknown.
        ends_verse: Whether a verse ends with it.
    """

    words: tuple[Word, ...]
    start_s: float | None = None
    end_s: float | None = None
    ends_verse: bool = False


@dataclass(frozen=True)
class Lyrics:
    """The lyrics of a song.

    Args:
        lines: At least one.
        title, artist: As far as the file names them.
        language: ISO 639-1 code, or "" if the file does not say.
    """

    lines: tuple[Line, ...]
    title: str = ""
    artist: str = ""
    language: str = ""

    @property
    def has_times(self) -> bool:
        """Whether any line or word has a time."""
        return any(part.start_s is not None for line in self.lines for part in (line, *line.words))

    def until(self, end_s: float) -> tuple["Lyrics", tuple[Word, ...]]:
        """The lyrics without the words that are sung later than `end_s` by their times, and these words."""
        lines, later = [], []
        for line in self.lines:
            starts_s = [line.start_s if word.start_s is None else word.start_s for word in line.words]
            is_later = [start_s is not None and start_s >= end_s for start_s in starts_s]
            later += [word for word, late in zip(line.words, is_later, strict=True) if late]
            if words := tuple(word for word, late in zip(line.words, is_later, strict=True) if not late):
                lines.append(replace(line, words=words))
        return replace(self, lines=tuple(lines)), tuple(later)


def read_lyrics(path) -> Lyrics:
    """Read a file of lyrics. Its content decides which kind it is; of the extensions only `.json` matters.

    Raises:
        MajlError: no such file, not UTF-8, subtitles or another kind of file, a time that is not a number, or no word.
    """
    path = Path(path)
    text = _read_text(path)
    start = text.lstrip()
    if path.suffix.lower() == ".json" or start.startswith("{") or re.match(r"\[\s*[{\]]", start):
        lyrics = _from_json(text, path)
    elif _LINE_TIME.search(text):
        lyrics = _from_lrc(text, path)
    else:
        lyrics = _from_plain_text(text, path)
    if not lyrics.lines:
        raise MajlError(f"{path} contains no words; lyrics as {KINDS} are needed.")
    return lyrics


def _read_text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise MajlError(f"{path} has {size} bytes; lyrics of at most {MAX_BYTES} bytes are needed.")
        data = path.read_bytes()
    except OSError as error:
        raise MajlError(f"{path} cannot be read ({error.strerror}); a file with lyrics is needed.") from error
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise MajlError(
            f"{path}, line {line} contains a byte that is not {encoding.removesuffix('-sig').upper()} "
            f"(0x{data[error.start]:02X}); save the lyrics as UTF-8."
        ) from error
    if "\0" in text:
        raise MajlError(f"{path} is not a text file; lyrics as {KINDS} are needed.")
    return unicodedata.normalize("NFC", text)


# Plain text

_OTHER_FORMATS = {
    re.compile(r"\d\s*-->\s*\d"): "subtitles (SRT or WebVTT); convert them to LRC",
    re.compile(
        r"#(?:TITLE|ARTIST|BPM|MP3|AUDIO|VERSION):|[:*FRG] -?\d+ \d+ -?\d+ "
    ): "an UltraStar song; copy its words",
    re.compile(r"\[Script Info\]|Dialogue:\s*\d"): "subtitles (ASS); convert them to LRC",
    re.compile(r"<(?:\?xml|!DOCTYPE|html|svg)\b|\{\\rtf|%PDF-", re.IGNORECASE): "not plain text; save the words alone",
}


def _from_plain_text(text: str, path: Path) -> Lyrics:
    lines: list[Line] = []
    for number, line in enumerate(text.splitlines(), start=1):
        for pattern, name in _OTHER_FORMATS.items():
            if pattern.match(line.strip()) or (number < 5 and pattern.search(line)):
                raise MajlError(f"{path}, line {number} is {line.strip()[:60]!r}: this is {name}.")
        words = _words(re.sub(r"\[[^\]]*\]", " ", line))
        if words:
            lines.append(Line(words))
        elif lines:
            lines[-1] = replace(lines[-1], ends_verse=True)
    return Lyrics(tuple(lines))


def _words(text: str) -> tuple[Word, ...]:
    return _without_bare_punctuation(Word(word) for word in text.split())


def _without_bare_punctuation(words: Iterable[Word]) -> tuple[Word, ...]:
    """Words with a letter or digit each: a dash or quotation mark by itself belongs to a neighbour."""
    kept: list[Word] = []
    before = ""
    for word in words:
        text = "".join(c for c in word.text if unicodedata.category(c) != "So").strip("_")  # musical notes, emojis
        if any(map(_is_spoken, text)):
            kept.append(replace(word, text=before + text, joins=word.joins and bool(kept)))
            before = ""
        elif len(text) > 3 or not text.strip("-–—~"):
            continue
        elif kept and unicodedata.category(text[0]) not in ("Ps", "Pi"):
            kept[-1] = replace(kept[-1], text=kept[-1].text + text)
        else:
            before += text
    return tuple(kept)


def _is_spoken(letter: str) -> bool:
    return unicodedata.category(letter)[0] in "LN"


# LRC

_TIME = r"(\d{1,3}):(\d{1,2})(?:[.:](\d{1,3}))?"
_LINE_TIME = re.compile(rf"^\s*\[{_TIME}\]", re.MULTILINE)
_LEADING_TIMES = re.compile(rf"(?:\s*\[{_TIME}\])+")
_ANY_TIME = re.compile(rf"[\[<]{_TIME}[\]>]")
_TAG = re.compile(r"\[\s*([a-zA-Z#]+)\s*:(.*)\]")


def _from_lrc(text: str, path: Path) -> Lyrics:
    tags: dict[str, str] = {}
    lines: list[Line] = []  # without words where the line before ends
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if (tag := _TAG.fullmatch(line)) and not _LINE_TIME.match(line):
            tags[tag[1].lower()] = tag[2].strip()
            continue
        leading = _LEADING_TIMES.match(line)
        times = [_seconds(match) for match in _ANY_TIME.finditer(leading[0])] if leading else [None]
        words = _timed_words(line[leading.end() :] if leading else line, f"{path}, line {number}")
        for start_s in times:
            # The times of words are those of the first repetition.
            shift_s = start_s - times[0] if start_s is not None else 0.0
            lines.append(Line(tuple(_shifted(word, shift_s) for word in words), start_s))
    offset_s = _offset_s(tags.get("offset", "0"), path)
    lines = _in_order([_shifted_line(line, -offset_s) for line in lines])
    return Lyrics(
        _with_ends(lines),
        tags.get("ti", ""),
        tags.get("ar", ""),
        language_code(tags.get("la", tags.get("language", ""))),
    )


def _seconds(match: re.Match) -> float:
    minutes, seconds, fraction = match[1], match[2], match[3]
    return int(minutes) * 60 + int(seconds) + (float(f"0.{fraction}") if fraction else 0.0)


def _timed_words(text: str, where: str) -> tuple[Word, ...]:
    """Words of a line, with the times in front of them and, where another time follows, behind them."""
    pieces = _ANY_TIME.split(text)
    matches = list(_ANY_TIME.finditer(text))
    if not matches:
        return _words(text)
    words = list(_words(pieces[0]))
    texts = pieces[4::4]  # the three groups of a time are pieces too
    ends = [_seconds(match) for match in matches[1:]] + [None]
    joins = False
    for match, piece, end_s in zip(matches, texts, ends, strict=True):
        start_s = _seconds(match)
        if end_s is not None and end_s < start_s:
            raise MajlError(
                f"{where}: the time {match[0]} is after the next one; times of words that increase are needed."
            )
        parts = [Word(part) for part in piece.split()]
        if parts:
            is_inside = joins and not piece[0].isspace()
            parts[0] = replace(parts[0], start_s=start_s, joins=is_inside)
            parts[-1] = replace(parts[-1], end_s=end_s)
            words += parts
        joins = bool(piece) and not piece[-1].isspace()
    return _without_bare_punctuation(words)


def _shifted(word: Word, shift_s: float) -> Word:
    return replace(word, start_s=_moved(word.start_s, shift_s), end_s=_moved(word.end_s, shift_s))


def _shifted_line(line: Line, shift_s: float) -> Line:
    words = tuple(_shifted(word, shift_s) for word in line.words)
    return replace(line, words=words, start_s=_moved(line.start_s, shift_s))


def _moved(time_s: float | None, shift_s: float) -> float | None:
    return None if time_s is None else max(time_s + shift_s, 0.0)


def _in_order(lines: list[Line]) -> list[Line]:
    """By time; a line without one stays behind the one before it."""
    keys, last_s = [], 0.0
    for line in lines:
        last_s = line.start_s if line.start_s is not None else last_s
        keys.append(last_s)
    return [line for _, line in sorted(zip(keys, lines, strict=True), key=lambda pair: pair[0])]


def _with_ends(lines: list[Line]) -> tuple[Line, ...]:
    """The lines with words; a line ends at the time without words after it."""
    ended: list[Line] = []
    for line in lines:
        if line.words:
            ended.append(line)
        elif ended:
            end_s = line.start_s if ended[-1].end_s is None else ended[-1].end_s
            ended[-1] = replace(ended[-1], end_s=end_s, ends_verse=True)
    return tuple(ended)


def _offset_s(text: str, path: Path) -> float:
    try:
        return float(text or 0) / 1000
    except ValueError:
        raise MajlError(f"{path} has [offset:{text}]; a number of milliseconds is needed.") from None


# JSON


def _from_json(text: str, path: Path) -> Lyrics:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise MajlError(f"{path}, line {error.lineno} is not JSON ({error.msg}); the file is damaged.") from error
    language = content.get("language") if isinstance(content, dict) else ""
    entries = content
    if isinstance(content, dict):
        names = ("segments", "chunks", "words", "word_segments")
        entries = next((content[name] for name in names if content.get(name)), None)
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        found = f"an object with {', '.join(content) or 'nothing'}" if isinstance(content, dict) else "something else"
        raise MajlError(
            f"{path} contains {found}; `segments`, `words`, or a list of words with `word` (or `text`), `start` and "
            "`end` is needed."
        )
    lines = _lines(entries, path)
    return Lyrics(tuple(lines), language=language_code(language if isinstance(language, str) else ""))


def _lines(entries: Sequence[dict], path: Path) -> list[Line]:
    texts = [_text(entry, f"{path}, entry {i + 1}") for i, entry in enumerate(entries)]
    are_words = not any("words" in entry for entry in entries) and not any(len(text.split()) > 1 for text in texts)
    if are_words:
        words = _words_of(entries, path, "entry")
        return [Line(words)] if words else []
    lines = []
    for number, (entry, text) in enumerate(zip(entries, texts, strict=True), start=1):
        where = f"segment {number}"
        words = _words_of(entry["words"], path, f"{where}, word") if entry.get("words") else _words(text)
        start_s, end_s = _times(entry, f"{path}, {where}")
        if words:
            lines.append(Line(words, start_s, end_s))
    return lines


def _words_of(entries, path: Path, where: str) -> tuple[Word, ...]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise MajlError(f"{path}, {where}s are no list of objects; `word`, `start` and `end` are needed in each.")
    texts = [_text(entry, f"{path}, {where} {i + 1}") for i, entry in enumerate(entries)]
    blanks_begin_words = any(text[:1].isspace() for text in texts)
    words: list[Word] = []
    for number, (entry, text) in enumerate(zip(entries, texts, strict=True), start=1):
        start_s, end_s = _times(entry, f"{path}, {where} {number}")
        if not text.strip():
            continue
        joins = bool(words) and not text[0].isspace()
        if not blanks_begin_words:
            joins = joins and is_written_without_blanks(text[0]) and is_written_without_blanks(words[-1].text[-1])
        elif joins and not is_written_without_blanks(text.strip()[0]):  # don + 't
            last_end_s = words[-1].end_s if end_s is None else end_s
            words[-1] = replace(words[-1], text=words[-1].text + text.strip(), end_s=last_end_s)
            continue
        parts = text.split()
        words.append(Word(parts[0], start_s, end_s if len(parts) == 1 else None, joins))
        words += [Word(part, end_s=end_s if part is parts[-1] else None) for part in parts[1:]]
    return _without_bare_punctuation(words)


def _text(entry: dict, where: str) -> str:
    text = entry.get("word", entry.get("text", "" if "words" in entry else None))
    if not isinstance(text, str):
        raise MajlError(f"{where} has {', '.join(map(repr, entry)) or 'nothing'}; a string `word` or `text` is needed.")
    return unicodedata.normalize("NFC", text)


def _times(entry: dict, where: str) -> tuple[float | None, float | None]:
    start_s, end_s = entry.get("start"), entry.get("end")
    if isinstance(timestamp := entry.get("timestamp"), list) and len(timestamp) == 2:
        start_s, end_s = timestamp
    for time_s in (start_s, end_s):
        is_number = isinstance(time_s, (int, float)) and not isinstance(time_s, bool)
        if time_s is not None and not (is_number and math.isfinite(time_s)):
            raise MajlError(f"{where} has the time {time_s!r}; seconds as a number are needed.")
    if start_s is not None and end_s is not None:
        end_s = max(start_s, end_s)
    return start_s, end_s


# Languages

_LANGUAGES = {
    "en": "eng english", "de": "deu ger german deutsch", "fr": "fra fre french français", "es": "spa spanish español",
    "it": "ita italian italiano", "pt": "por portuguese português", "nl": "nld dut dutch nederlands",
    "sv": "swe swedish svenska", "da": "dan danish dansk", "no": "nor nob nno norwegian norsk", "fi": "fin finnish",
    "pl": "pol polish polski", "cs": "ces cze czech", "sk": "slk slo slovak", "hu": "hun hungarian magyar",
    "ru": "rus russian русский", "uk": "ukr ukrainian", "el": "ell gre greek", "tr": "tur turkish türkçe",
    "ja": "jpn japanese 日本語", "zh": "zho chi chinese mandarin cantonese 中文", "ko": "kor korean 한국어",
}  # fmt: skip


def language_code(name: str) -> str:
    """The ISO 639-1 code of a language's code ("en-US", "eng") or name ("English"); "" if it is not known."""
    name = re.split(r"[-_ (]", name.strip().lower(), maxsplit=1)[0]
    if re.fullmatch("[a-z]{2}", name):
        return name
    return next((code for code, names in _LANGUAGES.items() if name and name in names.split()), "")
