"""Files that appear whole or not at all."""

import contextlib
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

from ..errors import AudioError


class AtomicWriter:
    """Base of the writers: bytes go to a hidden file beside the target, which takes the target's name at the end.

    As a context manager it commits on success and removes the hidden file on any exception, `KeyboardInterrupt`
    included. A subclass writes to `self._file` and overrides `_flush` if it holds something back.

    Args:
        path: The target; its folder must exist.
        overwrite: Whether a file that is there already may be replaced.

    Raises:
        AudioError: the target exists, is a folder, or its folder cannot be written.
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

    def finish(self) -> None:
        """Write everything that is held back and close the hidden file, so that only the renaming is left."""
        if self._file.closed:
            return
        try:
            self._flush()
            self._file.close()
        except OSError as error:
            raise self._failure(error) from error

    def commit(self) -> None:
        """Finish, and give the file its name."""
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
        """Hand everything to `self._file`."""

    def _check_target(self) -> None:
        if self.path.is_dir():
            raise AudioError(f"{self.path} is a folder; the name of a file is needed.")
        if not self.overwrite and os.path.lexists(self.path):
            raise AudioError(f"{self.path} exists already; allow overwriting, or choose another name or folder.")

    def _failure(self, error: OSError) -> AudioError:
        return AudioError(
            f"{self.path} cannot be written: {error.strerror or error}. Free some space or choose another folder; "
            "nothing was left behind."
        )


def write_atomically(path, text: str) -> None:
    """Write `text` as UTF-8; a file that is there already is replaced as a whole.

    Raises:
        AudioError: as of `AtomicWriter`.
    """
    with _TextWriter(path, overwrite=True) as writer:
        writer.write(text)


class _TextWriter(AtomicWriter):
    def write(self, text: str) -> None:
        self._file.write(text.encode())


def commit_together(writers: Sequence[AtomicWriter]) -> None:
    """Commit several files so that all of them appear or none.

    Whatever can run out of space happens before the first renaming. Should a renaming itself fail, the new files are
    removed again; only a file that had replaced an older one stays.
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
    """Put `source` at `target`: as a link, or as a copy where links may not be made (on Windows, say)."""
    try:
        target.symlink_to(source.resolve())
    except OSError:
        shutil.copy2(source, target)
