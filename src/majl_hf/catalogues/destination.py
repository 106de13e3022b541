"""Where the results of a catalogue go: a folder, or an address that fsspec opens, such as `s3://bucket/prefix`."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ..audio import local_path
from ..errors import MajlError
from ..system.files import is_hidden, walk, write_atomically
from .retrying import StoreError, retrying, without_secrets
from .stores import is_remote, open_filesystem, open_remote, upload

T = TypeVar("T")
_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Written:
    """What was written: the file relative to the destination, its bytes and their SHA-256 in hexadecimal."""

    path: str
    size: int
    sha256: str


class Destination:
    """A folder or a prefix of a store. A file appears when it is complete: locally by renaming, in a store because an
    object exists only after its upload has ended. Errors that may pass are retried.

    Args:
        address: A path, or `PROTOCOL://...`.

    Raises:
        MajlError: the package for a protocol is missing.
    """

    def __init__(self, address: str | os.PathLike[str]):
        self.address = address = os.fspath(address)
        self.folder: Path | None = None
        if is_remote(address):
            if address.startswith("memory://"):
                raise MajlError(
                    f"{address} is in the memory of one process, and would be lost; choose another --output."
                )
            self._files, self._root = open_filesystem(address)
            self._root = self._root.rstrip("/")
            return
        self.folder = Path(local_path(address)).absolute()

    def prepare(self) -> None:
        """Create the folder.

        Raises:
            MajlError: it cannot be created, or not be written.
        """
        if self.folder is None:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.folder):
                pass
        except OSError as error:
            raise MajlError(
                f"The destination {self.address} cannot be written: {error.strerror or error}; choose another --output."
            ) from error

    def put(self, path: str, content: bytes) -> Written:
        """Write bytes; an existing file is replaced."""
        if self.folder is not None:
            with _explained("written"):
                write_atomically(self._prepared(path), content)
        else:
            self._upload(content, path, len(content))
        return Written(path, len(content), hashlib.sha256(content).hexdigest())

    def move_in(self, source: Path, path: str) -> Written:
        """Move a local file here; an existing file is replaced."""
        size, sha256 = digest_of(source)
        if self.folder is None:
            self._upload(str(source), path, size)
            source.unlink()
        else:
            with _explained("written"):
                target = self._prepared(path)
                try:
                    os.replace(source, target)
                except OSError:  # another file system
                    part = target.parent / f".majl-{secrets.token_hex(8)}.part"
                    try:
                        shutil.copyfile(source, part)
                        os.replace(part, target)
                    finally:
                        part.unlink(missing_ok=True)
                    source.unlink()
        return Written(path, size, sha256)

    def read(self, path: str) -> bytes | None:
        """The bytes of a file; None if there is none."""
        try:
            if self.folder is not None:
                with _explained("read"):
                    return (self.folder / path).read_bytes()
            return self._retrying(lambda: self._files.cat_file(self._key(path)))
        except (FileNotFoundError, NotADirectoryError):
            return None

    def sha256(self, path: str) -> str | None:
        """SHA-256 of a file in hexadecimal; None if there is none."""
        try:
            if self.folder is not None:
                with _explained("read"):
                    return digest_of(self.folder / path)[1]
            return self._remote_digest(path)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def sizes(self, folder: str) -> dict[str, int]:
        """Bytes of every file in a folder and its subfolders, by its path relative to the destination."""
        if self.folder is None:
            return dict(self._found(folder))
        with _explained("read"):
            return dict(self._listed(folder))

    def remove(self, path: str) -> None:
        """Remove a file; one that is gone already is no error."""
        if self.folder is not None:
            with _explained("removed"):
                (self.folder / path).unlink(missing_ok=True)
            return
        try:
            self._retrying(lambda: self._files.rm_file(self._key(path)))
        except FileNotFoundError:
            return

    def _listed(self, folder: str) -> Iterator[tuple[str, int]]:
        for parent, _, names in walk(self.folder / folder):
            for name in names:
                if not is_hidden(name):
                    path = parent / name
                    yield path.relative_to(self.folder).as_posix(), path.stat().st_size

    def _found(self, folder: str) -> Iterator[tuple[str, int]]:
        def find() -> dict[str, dict]:
            self._files.invalidate_cache()
            return self._files.find(self._key(folder), detail=True)

        try:
            found = self._retrying(find)
        except FileNotFoundError:
            return
        for key, facts in found.items():
            yield key.lstrip("/")[len(self._root.lstrip("/")) + 1 :], facts["size"]

    def _remote_digest(self, path: str) -> str:
        digest = hashlib.sha256()
        with open_remote(self._files.unstrip_protocol(self._key(path))) as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
        return digest.hexdigest()

    def _upload(self, source: str | bytes, path: str, size: int) -> None:
        try:
            self._retrying(lambda: upload(self._files, source, self._key(path), size))
        except FileNotFoundError as error:
            raise MajlError(
                f"The destination {without_secrets(self.address)} does not exist; create the bucket, or choose another "
                "--output."
            ) from error

    def _retrying(self, call: Callable[[], T]) -> T:
        return retrying(call, self.address)

    def _prepared(self, path: str) -> Path:
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        return target

    def _key(self, path: str) -> str:
        return f"{self._root}/{path}"


@contextlib.contextmanager
def _explained(verb: str) -> Iterator[None]:
    """Errors of a local destination, except of files that are missing, say so: they are not the song's."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        raise StoreError(
            f"{error.filename} in the destination cannot be {verb}: {error.strerror or error}; check its permissions "
            "and space, or choose another --output."
        ) from error


def digest_of(path: Path) -> tuple[int, str]:
    """Bytes of a local file and their SHA-256 in hexadecimal."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return file.tell(), digest.hexdigest()
