"""Who owns which result, and folders that are deleted with their session.

A session is one open page, or one client of the API; gradio identifies it by its `session_hash`, which the page itself
chooses. So every session also has an owner, the key in the browser's cookie (see `guard.py`), and requests that name a
session without its owner's key are refused.
"""

import contextlib
import hmac
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import MajlError
from .limits import Limits
from .separation import SeparatedSong


class NotYours(MajlError):
    """A request for something that belongs to another session."""


@dataclass
class Session:
    """One page or client, and its latest result."""

    owner: str
    in_cookie: bool  # whether the browser sends the key itself; otherwise links contain it
    stop: threading.Event = field(default_factory=threading.Event)
    song: SeparatedSong | None = None
    token: str | None = None  # of the song, in the URLs of its files
    folders: set[Path] = field(default_factory=set)
    used_s: float = field(default_factory=time.monotonic)
    closed_s: float | None = None

    def belongs_to(self, cookie: str | None) -> bool:
        return _same(self.owner, cookie) if self.in_cookie else cookie is None


class Sessions:
    """All sessions of one server, with a folder below `root` for each song. Safe to use from several threads."""

    def __init__(self, limits: Limits, root: Path | None = None):
        self.limits = limits
        self.root = Path(root or tempfile.mkdtemp(prefix="majl-demo-"))  # readable by this user only
        self._sessions: dict[str, Session] = {}
        self._tokens: dict[str, str] = {}  # token of a song -> name of its session
        self._lock = threading.RLock()
        self._ended = threading.Event()
        self._reaper: threading.Thread | None = None

    def open(self, name: str, cookie: str | None) -> Session:
        """The session of that name, created if it is new.

        Raises:
            NotYours: it belongs to a key other than `cookie`.
        """
        with self._lock:
            session = self._sessions.get(name)
            if session is None:
                session = Session(cookie or secrets.token_urlsafe(32), in_cookie=cookie is not None)
                self._sessions[name] = session
            elif not session.belongs_to(cookie):
                raise NotYours("This session belongs to another browser. Load the page again.")
            session.used_s, session.closed_s = time.monotonic(), None
            return session

    def start(self, session: Session) -> Path:
        """Delete the session's last song and return an empty folder for the next one."""
        with self._lock:
            self._forget_song(session)
            session.stop = threading.Event()
            folder = Path(tempfile.mkdtemp(dir=self.root))
            session.folders.add(folder)
            return folder

    def finish(self, session: Session, song: SeparatedSong) -> None:
        """Make the song the session's result, with a URL that cannot be guessed."""
        with self._lock:
            session.song, session.token = song, secrets.token_urlsafe(32)
            session.used_s = time.monotonic()
            for name, known in self._sessions.items():
                if known is session:
                    self._tokens[session.token] = name
                    return
        self.discard(session, song.folder)  # the page was closed meanwhile

    def discard(self, session: Session, folder: Path) -> None:
        """Remove the folder of a song that was not finished."""
        session.folders.discard(folder)
        shutil.rmtree(folder, ignore_errors=True)

    def song(self, token: str, key: str | None) -> SeparatedSong:
        """The song with this token, for the owner of its session only.

        Raises:
            KeyError: there is no such song, or it was deleted.
            NotYours: `key` is not its owner's.
        """
        with self._lock:
            session = self._sessions[self._tokens[token]]
            if not _same(session.owner, key):
                raise NotYours("This file belongs to another session. Separate the song on your own page.")
            session.used_s = time.monotonic()
            if session.closed_s is not None:  # the page only lost its connection
                session.closed_s = session.used_s
            return session.song

    def close(self, name: str, cookie: str | None) -> None:
        """The page was closed: stop its work now, delete its files after `grace_s`."""
        with self._lock:
            session = self._sessions.get(name)
            if session is not None and session.belongs_to(cookie):
                session.stop.set()
                session.closed_s = time.monotonic()

    def sweep(self) -> set[str]:
        """Delete expired sessions; returns the owners who have no session left."""
        now_s = time.monotonic()
        gone = set()
        with self._lock:
            for name, session in list(self._sessions.items()):
                closed = session.closed_s is not None and now_s - session.closed_s > self.limits.grace_s
                if closed or now_s - session.used_s > self.limits.keep_s:
                    session.stop.set()
                    self._forget_song(session)
                    del self._sessions[name]
                    gone.add(session.owner)
            return gone - {session.owner for session in self._sessions.values()}

    def start_sweeping(self, also: Callable[[set[str]], None] = lambda gone: None) -> None:
        """Start sweeping in a thread, and call `also` with the owners who are gone."""

        def run():
            while not self._ended.wait(max(0.2, min(15.0, self.limits.grace_s / 4))):
                also(self.sweep())

        self._reaper = threading.Thread(target=run, name="majl-demo-sweep", daemon=True)
        self._reaper.start()

    def end(self) -> None:
        """Stop all work and delete everything."""
        self._ended.set()
        with self._lock:
            for session in self._sessions.values():
                session.stop.set()
            self._sessions.clear()
            self._tokens.clear()
        with contextlib.suppress(OSError):
            shutil.rmtree(self.root, ignore_errors=True)

    def __len__(self) -> int:
        return len(self._sessions)

    def _forget_song(self, session: Session) -> None:
        self._tokens.pop(session.token, None)
        session.song = session.token = None
        while session.folders:
            shutil.rmtree(session.folders.pop(), ignore_errors=True)


def _same(owner: str, key: str | None) -> bool:
    return key is not None and hmac.compare_digest(owner.encode(), key.encode())
