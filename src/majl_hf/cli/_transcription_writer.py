"""The notes of one song as files, with its stems."""

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..audio import AudioReader, AudioWriter, read_tags
from ..errors import MajlError
from ..export.formats import NOTE_FORMATS, NoteFormat, NoteWriter
from ..export.melody import render_melody
from ..export.spectrogram import DrawingCopy
from ..models.decoding_majl import PitchFrames
from ..models.notes_majl import SungNote
from ..notes.laying import lay_lyrics
from ..notes.lyrics import Lyrics, read_lyrics
from ..notes.quantising import quantise
from ..notes.syllables import guess_language
from ..notes.tempo import TempoEstimator
from ..notes.transcription import Tempo, Transcription
from ..songs.writing import AudioFormat, Job, SongWriter
from ..system.files import AtomicWriter, commit_together, file_identity

COPY = "audio"  # the output that is a copy of the song
STEMS = ("vocals", "accompaniment")
MELODY = "melody"  # the output that is the notes as sound
EXPORTS = {**{name: format.extension for name, format in NOTE_FORMATS.items()}, MELODY: ".melody.flac"}
MAX_DRAWN_S = 1200.0  # of vocals that are kept in memory for the spectrogram of pictures, 40 MB
LYRICS_EXTENSIONS = (".json", ".lrc", ".txt")  # with times of words, with times of lines, without times
MAX_WORDS_NAMED = 12
MAX_STEP_S = 0.2  # of the grid of --quantise: sixteenths from 75 bpm on, finer ones below


@dataclass(frozen=True)
class TranscriptionSettings:
    """What is written of every song, and how.

    Args:
        stems: Format of the stems.
        is_solo: Whether the songs are solo voices.
        lyrics: A file, or a folder of files named like the songs.
        language: Of the lyrics, ISO 639-1; "" to find it out.
        bpm: Tempo in quarter notes a minute; None to estimate it.
        quantise: Whether notes are moved to the grid of the tempo.
        model: Its name, for the record.
    """

    stems: AudioFormat
    is_solo: bool = False
    lyrics: Path | None = None
    language: str = ""
    bpm: float | None = None
    quantise: bool = False
    model: str = ""


class TranscriptionWriter:
    """The files of one transcribed song; either all of them appear or none.

    Notes are collected and rendered at the end. One note is rendered at the beginning: what fails with it, such as the
    name of the song or its lyrics, would fail after all the work.

    Args:
        job: The song, and where the results go.
        song: The same, opened.
        overwrite: Whether existing files may be replaced.
        settings: What is written.

    Attributes:
        warnings (list of str), facts (dict): What to report, complete after `commit`.

    Raises:
        MajlError: lyrics that cannot be read, or a song that a format cannot express.
    """

    def __init__(self, job: Job, song: AudioReader, overwrite: bool, settings: TranscriptionSettings):
        self.job, self.settings, self.sampling_rate = job, settings, song.sampling_rate
        self.facts: dict = {}
        self._warnings: list[str] = []
        self._lyrics = self._find_lyrics()
        self._tags = read_tags(job.source)
        self._tempo = TempoEstimator(song.sampling_rate)
        self._notes: list[SungNote] = []
        self._frames: list[PitchFrames] = []
        self._num_samples = 0
        trial, _ = self._transcription([SungNote(0.0, 1.0, 60.0)], Tempo())
        formats = [what for what in job.outputs if what in NOTE_FORMATS]
        for name in formats:
            NOTE_FORMATS[name].render(trial)
        stems = {what: path for what, path in job.outputs.items() if what in STEMS}
        self._stems = SongWriter(replace(job, outputs=stems), song, overwrite, settings.stems)
        self._note_writers: list[NoteWriter] = []
        self._copy: AtomicWriter | None = None
        self._melody: AudioWriter | None = None
        self._drawing: DrawingCopy | None = None
        if any(NOTE_FORMATS[name].shows_vocals for name in formats):
            self._drawing = DrawingCopy(song.sampling_rate, MAX_DRAWN_S)
        try:
            for path in job.outputs.values():
                path.parent.mkdir(parents=True, exist_ok=True)
            for name in formats:
                self._note_writers.append(NoteWriter(job.outputs[name], name, overwrite))
            if COPY in job.outputs:
                self._copy = AtomicWriter(job.outputs[COPY], overwrite)
            if MELODY in job.outputs:
                tags = self._tags.of_stem(MELODY)
                self._melody = AudioWriter(job.outputs[MELODY], song.sampling_rate, 1, "flac", overwrite, tags=tags)
        except BaseException:
            self.discard()
            raise

    @property
    def warnings(self) -> list[str]:
        return self._stems.warnings + self._warnings

    def write(self, chunk) -> None:
        """Append a `MajlChunk` with notes."""
        self._stems.write(chunk)
        self._tempo.push(chunk.mixture if self.settings.is_solo else chunk.accompaniment)
        self._notes += chunk.notes
        self._frames.append(chunk.frames)
        if self._drawing is not None:
            self._drawing.push(chunk.vocals)
        self._num_samples += chunk.mixture.shape[1]

    def commit(self) -> None:
        transcription, left_out = self._transcription(self._notes, self._tempo.finish(self.settings.bpm))
        self._report(transcription, left_out)
        vocals = None if self._drawing is None else self._drawing.finish()
        for writer in self._note_writers:
            writer.write(transcription, **self._render_options(writer.format, vocals))
        if self._melody is not None:
            frames = None if self.settings.quantise else transcription.frames
            for block in render_melody(transcription.notes, frames, self.sampling_rate, self._num_samples):
                self._melody.write(block[None])
        if self._copy is not None:
            with open(self.job.source, "rb") as file:
                shutil.copyfileobj(file, self._copy)
        commit_together(self._writers())

    def discard(self) -> None:
        """Remove what was written; does nothing after `commit`."""
        for writer in self._writers():
            writer.discard()

    def _writers(self) -> list[AtomicWriter]:
        others = [writer for writer in (self._melody, self._copy) if writer is not None]
        return [*self._stems.writers, *self._note_writers, *others]

    def _render_options(self, format: NoteFormat, vocals: np.ndarray | None) -> dict:
        if format.shows_vocals and vocals is not None:
            return {"vocals": vocals, "sampling_rate": self._drawing.sampling_rate}
        return {"bend": "none"} if format.name == "midi" and self.settings.quantise else {}

    def _transcription(self, notes: Sequence[SungNote], tempo: Tempo) -> tuple[Transcription, list[str]]:
        """The transcription, and the words of the lyrics that have no note."""
        texts, left_out, language = None, [], self.settings.language
        duration_s = self._num_samples / self.sampling_rate
        if self._lyrics is not None:
            words = [word.text for line in self._lyrics.lines for word in line.words]
            language = language or self._lyrics.language or guess_language(words)
            lyrics, words = self._lyrics.until(duration_s or math.inf)
            notes, texts, more_words = lay_lyrics(notes, lyrics, language)
            left_out = [word.text for word in (*more_words, *words)]
        if self.settings.quantise:
            steps_per_beat = 4
            while 60 / tempo.bpm / steps_per_beat > MAX_STEP_S:
                steps_per_beat *= 2
            notes = quantise(notes, tempo, steps_per_beat)
        title, artist = self._title_and_artist()
        names = {what: path.name for what, path in self.job.outputs.items()}
        return Transcription(
            notes=tuple(notes),
            frames=PitchFrames.concatenate(self._frames),
            duration_s=duration_s,
            texts=texts,
            tempo=tempo,
            title=title,
            artist=artist,
            language=language,
            audio=self.job.source.name if self._is_beside_results() else None,
            vocals=names.get("vocals"),
            accompaniment=names.get("accompaniment"),
            model=Path(self.settings.model).name if Path(self.settings.model).is_dir() else self.settings.model,
        ), left_out

    def _is_beside_results(self) -> bool:
        """Whether the song is in the folder of the results; it is copied there for UltraStar."""
        folder = next(iter(self.job.outputs.values())).parent
        source = self.job.source
        return "ultrastar" in self.job.outputs or file_identity(folder / source.name) == file_identity(source)

    def _title_and_artist(self) -> tuple[str, str]:
        """By the song's tags, else the lyrics, else the name of the file, which may be "ARTIST - TITLE"."""
        artist, separator, title = self.job.name.name.partition(" - ")
        if not separator:
            artist, title = "", self.job.name.name
        lyrics, tags = self._lyrics, self._tags.fields
        return (
            tags.get("title") or (lyrics and lyrics.title) or title.strip(),
            tags.get("artist") or (lyrics and lyrics.artist) or artist.strip(),
        )

    def _find_lyrics(self) -> Lyrics | None:
        path = self.settings.lyrics
        if path is None:
            return None
        if path.is_dir():
            wanted = [path / f"{self.job.name}{extension}" for extension in LYRICS_EXTENSIONS]
            path = next((file for file in wanted if file.is_file()), None)
            if path is None:
                self._warnings.append(f"without lyrics, because there is none of {', '.join(map(str, wanted))}")
                return None
        if file_identity(path) in map(file_identity, self.job.outputs.values()):
            raise MajlError(f"The result {path} would replace the lyrics; use another --output folder.")
        return read_lyrics(path)

    def _report(self, transcription: Transcription, left_out: list[str]) -> None:
        self.facts = {"num_notes": len(transcription.notes), "bpm": round(transcription.tempo.bpm, 3)}
        if self._drawing is not None and self._drawing.is_too_long:
            self._warnings.append(
                f"the song is longer than {MAX_DRAWN_S / 60:g} minutes, so pictures and page have no spectrogram"
            )
        if left_out:
            words = " ".join(left_out[:MAX_WORDS_NAMED]) + " ..." * (len(left_out) > MAX_WORDS_NAMED)
            self._warnings.append(f"words of the lyrics that have no note and are left out: {words}")
        if self._lyrics is not None and not self._lyrics.has_times:
            self._warnings.append(
                "the lyrics have no times, so words may be seconds from where they are sung; check them, or use LRC "
                "or the JSON of a program that transcribes words"
            )
        is_on_grid = self.settings.quantise or "musicxml" in self.job.outputs
        if is_on_grid and self.settings.bpm is None and not transcription.tempo.is_estimated:
            self._warnings.append(
                f"no tempo was found, so notes are moved to the grid of {transcription.tempo.bpm:g} bpm; give --bpm"
            )
        if not transcription.notes:
            self._warnings.append("no notes were found")
