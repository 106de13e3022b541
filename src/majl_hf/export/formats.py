"""The formats of a transcription: MIDI, UltraStar, JAMS, MusicXML, tables, labels and pictures.

| format | times | pitch | lyrics |
|---|---|---|---|
| csv, sv-csv, labels | to the microsecond | to 0.01 cents; labels to a cent | yes |
| npz | exact | exact, with the pitch curve | yes |
| jams | to the microsecond | to 0.01 cents, with the pitch curve | yes |
| midi | to 0.5 ms | to 1 cent, as pitch bends | yes |
| ultrastar | beats of 37 to 75 ms | semitones | yes, in lines |
| musicxml | sixteenths of the tempo | semitones | yes |
| html | to 0.1 ms | to a cent, with the pitch curve | yes |
| png, svg | as drawn | as drawn, with the pitch curve | yes |
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import MajlError
from ..system.files import AtomicWriter

if TYPE_CHECKING:
    from ..notes.transcription import Transcription


@dataclass(frozen=True)
class NoteFormat:
    """A file format for transcriptions.

    Args:
        name: As in `NOTE_FORMATS`.
        extension: Of its files, with the dot.
        description: One line.
        renderer: Module of `export/` and function, imported when the format is first used.
        package, extra: What it needs beyond the core, as it is imported, and the extra that installs it; None for
            formats that need nothing.
        shows_vocals: Whether it takes the options `vocals` and `sampling_rate`, to draw their spectrogram.
    """

    name: str
    extension: str
    description: str
    renderer: str
    package: str | None = None
    extra: str | None = None
    shows_vocals: bool = False

    def check_package(self) -> None:
        """Check that the format can be written here, before the work begins.

        Raises:
            MajlError: its package is not installed.
        """
        if self.package is not None and importlib.util.find_spec(self.package) is None:
            raise MajlError(
                f"The format {self.name!r} needs {self.package}, which is not installed; "
                f"run: pip install 'majl_hf[{self.extra}]'"
            )

    def render(self, transcription: Transcription, **options) -> bytes:
        """Content of the file.

        Args:
            options: Of the format; see its module.

        Raises:
            MajlError: a missing package, notes that no format can express, or none that this one can.
        """
        self.check_package()
        _check(transcription)
        module, function = self.renderer.split(":")
        return getattr(importlib.import_module(f".{module}", __package__), function)(transcription, **options)


NOTE_FORMATS = {
    format.name: format
    for format in (
        NoteFormat("midi", ".mid", "MIDI with lyrics and pitch bends", "midi:midi"),
        NoteFormat("ultrastar", ".txt", "UltraStar karaoke song, version 1.1.0", "ultrastar:ultrastar"),
        NoteFormat("jams", ".jams", "JAMS annotation: notes, pitch curve, lyrics", "jams_annotation:jams_annotation",
                   "jams", "jams"),
        NoteFormat("musicxml", ".musicxml", "MusicXML score in sixteenths", "musicxml:musicxml", "music21", "musicxml"),
        NoteFormat("csv", ".notes.csv", "table of the notes", "note_tables:csv_table"),
        NoteFormat("labels", ".labels.txt", "Audacity label track", "note_tables:audacity_labels"),
        NoteFormat("sv-csv", ".sv.csv", "note layer of Sonic Visualiser", "note_tables:sonic_visualiser_csv"),
        NoteFormat("npz", ".npz", "NumPy arrays of notes and pitch curve", "note_tables:npz_arrays"),
        NoteFormat("png", ".png", "picture of notes and pitch on the spectrogram", "note_plot:png",
                   "matplotlib", "plot", shows_vocals=True),
        NoteFormat("svg", ".svg", "the same picture, to edit or print", "note_plot:svg",
                   "matplotlib", "plot", shows_vocals=True),
        NoteFormat("html", ".html", "page to zoom into, without a network", "note_page:html",
                   "PIL", "plot", shows_vocals=True),
    )
}  # fmt: skip


class NoteWriter(AtomicWriter):
    """A file of notes that appears when the `with` block ends without an error, or with `commit_together`.

    Args:
        path: Target.
        format: Name in `NOTE_FORMATS`.
        overwrite: Whether an existing file may be replaced.

    Raises:
        MajlError: an unknown format, or its package is not installed.
        AudioError: the target exists or cannot be written.
    """

    def __init__(self, path, format: str, overwrite: bool = False):
        if format not in NOTE_FORMATS:
            raise MajlError(f"There is no note format {format!r}; choose from {', '.join(NOTE_FORMATS)}.")
        self.format = NOTE_FORMATS[format]
        self.format.check_package()
        super().__init__(path, overwrite)

    def write(self, transcription: Transcription, **options) -> None:
        """Write the whole file; arguments and errors as for `NoteFormat.render`."""
        super().write(self.format.render(transcription, **options))


def write_note_file(path, format: str, transcription: Transcription, overwrite: bool = False, **options) -> None:
    """Write a transcription; arguments and errors as for `NoteWriter` and `NoteFormat.render`."""
    with NoteWriter(path, format, overwrite) as writer:
        writer.write(transcription, **options)


def _check(transcription: Transcription) -> None:
    """
    Raises:
        MajlError: notes that are not in order, overlap, have no length or impossible values; an impossible tempo.
    """
    end_s = 0.0
    for number, note in enumerate(transcription.notes, start=1):
        if not (end_s <= note.onset_s + 1e-9 and note.onset_s < note.offset_s < math.inf):
            raise MajlError(
                f"Note {number} is from {note.onset_s} to {note.offset_s} s, and the one before ends at {end_s} s; "
                "notes must be in order, without overlap, from 0 s on and longer than 0 s."
            )
        if not (math.isfinite(note.midi) and 1 <= note.velocity <= 127):
            raise MajlError(
                f"Note {number} has pitch {note.midi} and velocity {note.velocity}; a finite pitch and a velocity "
                "from 1 to 127 are needed."
            )
        end_s = note.offset_s
    if not 0 < transcription.tempo.bpm < math.inf:
        raise MajlError(f"The tempo is {transcription.tempo.bpm} BPM; a number above 0 is needed.")
