"""Text as every format can store it."""

import re
import unicodedata
from itertools import repeat
from typing import TYPE_CHECKING

from ..system.provenance import __version__

if TYPE_CHECKING:
    from ..models.notes_majl import SungNote
    from ..notes.transcription import NoteText, Transcription

TOOL = f"majl_hf {__version__}"
_IMPOSSIBLE = re.compile("[\ud800-\udfff\ufffe\uffff]")  # in UTF-8 or XML; file names may contain surrogates
_BLANKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def one_line(text: str) -> str:
    """The text on one line: line breaks, tabs and control characters become blanks, those at its ends are removed, and
    characters that UTF-8 or XML cannot have become U+FFFD."""
    return _BLANKS.sub(" ", _IMPOSSIBLE.sub("\ufffd", text)).strip()


def text_width(text: str) -> int:
    """Width in letters; those of East Asia count twice."""
    return sum(1 + (unicodedata.east_asian_width(letter) in "WF") for letter in text)


def notes_with_texts(transcription: "Transcription") -> "zip[tuple[SungNote, NoteText | None]]":
    """Each note with its text, or with None if there are no lyrics."""
    texts = repeat(None) if transcription.texts is None else transcription.texts
    return zip(transcription.notes, texts, strict=False)
