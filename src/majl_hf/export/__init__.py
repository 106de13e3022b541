"""Export of results: the pitch as CSV and as a plot, transcriptions in several formats."""

from .f0_csv import F0CsvWriter, read_f0_csv
from .formats import NOTE_FORMATS, NoteFormat, NoteWriter, write_note_file

__all__ = ["NOTE_FORMATS", "F0CsvWriter", "NoteFormat", "NoteWriter", "read_f0_csv", "write_note_file"]
