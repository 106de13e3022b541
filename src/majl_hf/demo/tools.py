"""What assistants may call: the address of a song in, links to its stems, pitch and notes out.

gradio serves these functions as tools of the Model Context Protocol, with their docstrings as descriptions. Each call
has a session of its own, so its files are reached by the links in its answer alone, and are deleted as those of a page
that is left open.
"""

import json
import secrets
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import anyio
import gradio as gr
from anyio.to_thread import run_sync
from gradio.route_utils import get_root_url

from ..errors import MajlError
from ..models.pitch_majl import note_name
from .decisions import decide_notes
from .fetching import fetch
from .guard import API, cookie_key
from .messages import reported_to_clients
from .separation import Progress, SeparatedSong, SeparationStopped
from .sessions import Session

if TYPE_CHECKING:
    from .app import Demo

MOST_NOTES = 400  # in an answer; all are in its files
PROGRESS_EVERY_S = 1.0


class SongTools:
    """The tools of a demo."""

    def __init__(self, demo: "Demo"):
        self.demo = demo
        self._num_calls = 0

    @property
    def all(self) -> list[Callable]:
        return [self.separate_song, self.transcribe_song]

    # gradio describes a tool by these lines, an argument by one line.

    async def separate_song(self, song: str, request: gr.Request) -> str:
        """Separate the singing voice of a song from its accompaniment, which is a karaoke track.
        The stems have the sampling rate, channels and length of the song and add up to it.
        The answer is JSON with facts about the song and the voice, and links to the files: vocals and accompaniment
        (flac) and the sung pitch (CSV with time_s, f0_hz, voicing, confidence).
        Only these links reach the files, which are deleted when they have not been used for an hour.
        A song of three minutes takes up to a minute.

        Args:
            song: Address (https or http) of an audio file, on the public internet or uploaded to this server.
        """
        return await self._answer(song, request, _separated)

    async def transcribe_song(self, song: str, request: gr.Request) -> str:
        """Find the sung melody of a song with or without accompaniment: its notes and the pitch of the voice.
        The answer is JSON with facts about the song and the voice, notes as rows of start_s, end_s, note, cents (the
        deviation from the note) and kind (sung, rap or speech), and links to the files: all notes (MIDI and CSV) and
        the pitch (CSV with time_s, f0_hz, voicing, confidence).
        Only these links reach the files, which are deleted when they have not been used for an hour.
        A song of three minutes takes up to a minute.

        Args:
            song: Address (https or http) of an audio file, on the public internet or uploaded to this server.
        """
        return await self._answer(song, request, _transcribed)

    async def _answer(self, address: str, request: gr.Request, describe: Callable[..., dict]) -> str:
        """Separate a song and describe it. If the caller leaves, the work stops and no file is kept."""
        with reported_to_clients():
            if self._num_calls >= self.demo.limits.max_waiting:
                raise MajlError("The server is busy with other songs. Try again later.")
            self._num_calls += 1
            name = f"tool-{secrets.token_urlsafe(32)}"
            session = self.demo.sessions.open(name, None)
            steps, report, done = self._steps(address, request, session), _progress_report(), False
            try:
                while (step := await run_sync(next, steps, None)) is not None:
                    await report(step)
                if session.song is None:
                    raise SeparationStopped
                answer = await run_sync(self._described, request, session, describe)
                done = True
                return answer
            finally:
                with anyio.CancelScope(shield=True):
                    await run_sync(steps.close)
                if not done:
                    self.demo.sessions.close(name, None)
                self._num_calls -= 1

    def _steps(self, address: str, request: gr.Request, session: Session) -> Iterator[Progress | SeparatedSong]:
        with tempfile.TemporaryDirectory(dir=self.demo.sessions.root) as folder:
            path = yield from self._file(address, request, Path(folder))
            yield from self.demo.separate(str(path), session)

    def _file(self, address: str, request: gr.Request, folder: Path) -> Generator[Progress, None, Path]:
        """The caller's own upload, or what is at the address."""
        upload = unquote(address.strip().partition(f"{API}/file=")[2])
        if upload and self.demo.uploads.allows(upload, cookie_key(request)) and Path(upload).is_file():
            return Path(upload)
        fetched = fetch(address, folder, self.demo.limits)
        while True:
            try:
                next(fetched)
            except StopIteration as end:
                return end.value
            yield Progress(0.0, None)

    def _described(self, request: gr.Request, session: Session, describe: Callable[..., dict]) -> str:
        root = get_root_url(request, "", None).partition(API)[0].rstrip("/")
        facts = self.demo.facts(session, self.demo.settings)
        links = {file: f"{root}/{url}" for file, url in facts.pop("files").items()}
        for setting in vars(self.demo.settings):
            del facts[setting]
        return json.dumps(facts | describe(self.demo, session.song, links), ensure_ascii=False)


def _separated(demo: "Demo", song: SeparatedSong, links: dict[str, str]) -> dict:
    wanted = {"vocals": "vocals.flac", "accompaniment": "accompaniment.flac", "pitch_csv": "f0.csv"}
    return {"files": {name: links[file] for name, file in wanted.items()}}


def _transcribed(demo: "Demo", song: SeparatedSong, links: dict[str, str]) -> dict:
    notes = decide_notes(song, demo.settings)
    rows = [
        [
            round(note.onset_s, 2),
            round(note.offset_s, 2),
            note_name(note.midi),
            round(100 * (note.midi - round(note.midi))),
            note.kind,
        ]
        for note in notes[:MOST_NOTES]
    ]
    wanted = {"notes_midi": "notes.mid", "notes_csv": "notes.csv", "pitch_csv": "f0.csv"}
    return {
        "note_columns": ["start_s", "end_s", "note", "cents", "kind"],
        "notes": rows,
        "num_notes_only_in_files": len(notes) - len(rows),
        "files": {name: links[file] for name, file in wanted.items() if file in links},
    }


def _progress_report():
    """`await report(step)` notifies the caller, if it is an assistant that asked for it, once a second."""

    async def nothing(step) -> None: ...

    try:
        from mcp.server.lowlevel.server import request_ctx

        context = request_ctx.get()
    except (ImportError, LookupError):
        return nothing
    token = context.meta.progressToken if context.meta else None
    if token is None:
        return nothing
    count, last_s = 0, 0.0

    async def report(step: Progress | SeparatedSong) -> None:
        nonlocal count, last_s
        if not isinstance(step, Progress) or time.monotonic() - last_s < PROGRESS_EVERY_S:
            return
        count, last_s = count + 1, time.monotonic()
        of = f" of {step.total_s:.0f}" if step.total_s else ""
        await context.session.send_progress_notification(
            token, count, message=f"{step.done_s:.0f}{of} s of audio done", related_request_id=str(context.request_id)
        )

    return report
