"""Atomic writing of files and folders, and locks on folders."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from ..errors import AudioError, MajlError

LOCK_NAME = ".majl.lock"


def walk(folder: Path, onerror: Callable[[OSError], None] | None = None) -> Iterator[tuple[Path, list[str], list[str]]]:
    """`os.walk` in the order of names, which also follows links to folders; every folder is visited once.

    Yields:
        A folder, the names of its subfolders and those of its files. Subfolders that the caller removes from the list
        are not entered.
    """
    visited = set()
    waiting = deque([folder])  # links wait until the folders are done, so that a folder keeps its own name
    while waiting:
        for parent, folders, files in os.walk(waiting.popleft(), onerror=onerror):
            identity = file_identity(Path(parent))
            if identity in visited:
                folders.clear()
                continue
            visited.add(identity)
            folders.sort()
            yield Path(parent), folders, sorted(files)
            waiting += [path for name in folders if (path := Path(parent, name)).is_symlink()]


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is hidden, as on Unix."""
    return name.startswith(".")


def file_identity(path: Path):
    """Equal for two names of one file, also through links."""
    try:
        status = path.stat()
    except OSError:
        return os.path.abspath(path)
    return status.st_dev, status.st_ino


def extension(name: str) -> str:
    """A file's extension in lower case, or words if it has none."""
    return Path(name).suffix.lower() or "without an extension"


def counted(kinds: Iterable[str]) -> str:
    """How many files there are of each kind, in words, the most frequent first: `3 files: 2 .jpg, 1 .txt`."""
    counts = Counter(kinds)
    total = counts.total()
    return f"{total} file{'s' * (total != 1)}: " + ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


class AtomicWriter:
    """Base of the writers: bytes go to a hidden file beside the target, which is renamed to the target at the end.

    As a context manager it commits on success and removes the hidden file on any exception, including
    `KeyboardInterrupt`. A subclass may write to `self._file` in its own way, and overrides `_flush` if it buffers data.

    Args:
        path: The target; its folder must exist.
        overwrite: Whether an existing file may be replaced.

    Raises:
        AudioError: the target exists or is a folder, or its folder is not writable.
    """

    def __init__(self, path, overwrite: bool = False):
        self.path = Path(path)
        self.overwrite = overwrite
        self._check_target()
        # The name is short and does not contain the target's, which may be as long as the file system allows.
        self._temporary = self.path.parent / f".majl-{secrets.token_hex(8)}.part"
        self._done = False
        try:
            self._file = open(self._temporary, "xb+")  # noqa: SIM115 (closed by finish and discard)
        except OSError as error:
            raise self._failure(error) from error

    def write(self, content: bytes) -> None:
        try:
            self._file.write(content)
        except OSError as error:
            raise self._failure(error) from error

    def finish(self) -> None:
        """Write all buffered data and close the hidden file, so that only the renaming is left."""
        if self._file.closed:
            return
        try:
            self._flush()
            self._file.close()
        except OSError as error:
            raise self._failure(error) from error

    def commit(self) -> None:
        """Finish, and rename the file to the target."""
        if self._done:
            return
        self.finish()
        self._check_target()
        try:
            os.replace(self._temporary, self.path)
        except OSError as error:
            raise self._failure(error) from error
        self._done = True

    def discard(self) -> None:
        """Remove the hidden file; does nothing after a commit."""
        if self._done:
            return
        self._done = True
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)

    def __enter__(self):
        return self

    def __exit__(self, exception_type, exception, traceback) -> None:
        try:
            if exception_type is None:
                self.commit()
        finally:
            self.discard()

    def _flush(self) -> None:
        """Write buffered data to `self._file`."""

    def _check_target(self) -> None:
        if self.path.is_dir():
            raise AudioError(f"{self.path} is a folder; a file name is needed.")
        if not self.overwrite and os.path.lexists(self.path):
            raise AudioError(f"{self.path} exists already; allow overwriting, or choose another name or folder.")

    def _failure(self, error: OSError) -> AudioError:
        return AudioError(
            f"{self.path} cannot be written: {error.strerror or error}. Free some space or choose another folder; "
            "no partial file is left."
        )


def write_atomically(path, content: str | bytes) -> None:
    """Write bytes, or text as UTF-8; an existing file is replaced atomically.

    Raises:
        AudioError: as for `AtomicWriter`.
    """
    with AtomicWriter(path, overwrite=True) as writer:
        writer.write(content.encode() if isinstance(content, str) else content)


def write_json(path, value) -> None:
    """Write JSON, indented; see `write_atomically`."""
    write_atomically(path, json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def commit_together(writers: Sequence[AtomicWriter]) -> None:
    """Commit several files so that all of them appear or none.

    Everything that can run out of space happens before the first renaming. If a renaming fails, the new files are
    removed again; only files that replaced older ones stay.
    """
    for writer in writers:
        writer.finish()
    new = []
    try:
        for writer in writers:
            is_new = not os.path.lexists(writer.path)
            writer.commit()
            if is_new:
                new.append(writer.path)
    except BaseException:
        for path in new:
            with contextlib.suppress(OSError):
                path.unlink()
        raise


def link(source: Path, target: Path) -> None:
    """Link `target` to `source`, or copy where links are not permitted (for example on Windows)."""
    try:
        target.symlink_to(source.resolve())
    except OSError:
        shutil.copy2(source, target)


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A hidden folder beside `path` to write to; at the end it becomes `path`, replacing an older folder.

    An exception leaves no files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.parent / f".{path.name}.{secrets.token_hex(8)}.part"
    part.mkdir()
    try:
        yield part
        replace_folder(part, path)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def replace_folder(new: Path, path: Path) -> None:
    """Rename the folder `new` to `path`; an older folder of that name is removed, unless this fails."""
    old = path.parent / f".{path.name}.old"
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    try:
        new.rename(path)
    except OSError:
        with contextlib.suppress(OSError):
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path, wait: bool = False) -> Iterator[bool]:
    """Create and lock a folder; the system releases the lock however this process ends.

    Args:
        wait: wait until other processes have released the folder.

    Yields:
        Whether this process has the lock; without `wait` it is False while another process has it.

    Raises:
        MajlError: the folder cannot be written, or its file system has no locks.
    """
    from filelock import FileLock, Timeout  # of the extras that work with folders

    lock = FileLock(folder / LOCK_NAME)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=-1 if wait else 0)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise MajlError(
            f"{folder} cannot be written or locked: {error.strerror or error}. Choose another folder."
        ) from error
    try:
        yield True
    finally:
        with contextlib.suppress(OSError):  # on Windows the lock removes its file itself
            Path(lock.lock_file).unlink()
        lock.release()
