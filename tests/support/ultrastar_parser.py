"""A strict reader of UltraStar songs of version 1: what UltraStar Deluxe refuses or warns of is an error, and so is
what the specification advises against."""

import re
from dataclasses import dataclass

ASCII_NUMBER = re.compile(r"\d+([.,]\d+)?", re.ASCII)
NOTE = re.compile(r"([:*FRG]) (\d+) (\d+) (-?\d+) (.+)", re.ASCII)
BREAK = re.compile(r"- (\d+)", re.ASCII)


@dataclass(frozen=True)
class UltraStarNote:
    kind: str
    start: int
    length: int
    pitch: int
    text: str
    onset_s: float
    offset_s: float


@dataclass(frozen=True)
class UltraStarFile:
    header: dict[str, str]
    lines: list[list[UltraStarNote]]
    breaks: list[int]  # beats; one less than lines

    @property
    def notes(self) -> list[UltraStarNote]:
        return [note for line in self.lines for note in line]


def parse_ultrastar(content: bytes) -> UltraStarFile:
    """
    Raises:
        AssertionError: a rule is broken.
    """
    assert not content.startswith(b"\xef\xbb\xbf") and b"\r" not in content and content.endswith(b"\nE\n")
    rows = content.decode("utf-8").split("\n")[:-2]
    assert all(row.splitlines() == [row] and not re.search(r"[\x00-\x1f\x7f-\x9f]", row) for row in rows)

    header: dict[str, str] = {}
    while rows[0].startswith("#"):
        name, colon, value = rows.pop(0)[1:].partition(":")
        assert colon and name == name.strip().upper() and value and value == value.strip() and name not in header
        header[name] = value
    assert next(iter(header)) == "VERSION" and re.fullmatch(r"1\.\d+\.\d+", header["VERSION"], re.ASCII)
    assert {"TITLE", "ARTIST", "MP3", "BPM"} <= header.keys() and header.get("AUDIO") == header["MP3"]
    assert not {"ENCODING", "RELATIVE", "RESOLUTION", "NOTESGAP"} & header.keys()
    assert ASCII_NUMBER.fullmatch(header["BPM"]) and ASCII_NUMBER.fullmatch(header["GAP"])
    assert re.fullmatch(r"\d+", header["END"], re.ASCII)
    bpm, gap_s = float(header["BPM"]), float(header["GAP"]) / 1000
    assert 200 < bpm <= 400

    lines: list[list[UltraStarNote]] = [[]]
    breaks: list[int] = []
    end = None  # of the note before
    for row in rows:
        if match := NOTE.fullmatch(row):
            start, length, pitch = map(int, match.groups()[1:4])
            assert length > 0 and (end is None or start > end), f"no rest before {row!r}"
            assert not breaks or lines[-1] or breaks[-1] <= start, f"the line break is after {row!r}"
            onset_s, offset_s = (gap_s + beat * 15 / bpm for beat in (start, start + length))
            lines[-1].append(UltraStarNote(match[1], start, length, pitch, match[5], onset_s, offset_s))
            end = start + length
        else:
            match = BREAK.fullmatch(row)
            assert match, f"not a line of a song: {row!r}"
            assert lines[-1] and int(match[1]) >= end, f"{row!r} has no notes before it, or is inside a note"
            breaks.append(int(match[1]))
            lines.append([])
    assert all(lines) and len(lines) <= 5000
    return UltraStarFile(header, lines, breaks)
