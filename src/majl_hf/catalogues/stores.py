"""Stores and servers that fsspec opens, such as `s3://bucket/prefix`: every read and write is bounded in time and
retried."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..audio import local_path
from ..errors import MajlError
from .retrying import retrying, without_secrets

CONNECT_S, IDLE_S = 5.0, 10.0  # to connect, and without a byte
LEAST_BYTES_PER_S = 512e3  # of an upload; a slower one is given up and tried again
PART_BYTES, PARTS_AT_ONCE = 16 << 20, 4  # of an upload; so many of its parts are in memory
BLOCK_BYTES = 8 << 20  # of a read
_S3, _WEB = ("s3", "s3a"), ("http", "https")


def is_remote(address: str) -> bool:
    """Whether fsspec opens an address; `file:` addresses and paths are local."""
    protocol, separator, _ = address.partition("://")
    return bool(separator) and protocol not in ("file", "") and not os.path.lexists(address)


def open_filesystem(address: str):
    """The fsspec file system of an address, and the path there. Listings are not kept: other drivers write, too.

    Raises:
        MajlError: the protocol is unknown, its package is missing, or the store cannot be opened.
    """
    import fsspec

    protocol = address.partition("://")[0]
    shown = without_secrets(address)
    try:
        options = {"use_listings_cache": False, **_options(protocol)}
        files, path = retrying(lambda: fsspec.core.url_to_fs(address, **options), address)
    except MajlError:
        raise
    except ImportError as error:
        package = "majl_hf[s3]" if protocol in _S3 else f"the package of fsspec for {protocol}://"
        raise MajlError(f"{shown} needs a package that is not installed ({error}); install {package}.") from error
    except Exception as error:
        raise MajlError(f"{shown} cannot be opened: {without_secrets(str(error))}") from error
    if protocol in _S3:
        files.retries = 1  # `retrying` repeats, and retries within retries would take hours
    return files, path


def upload(files, source: str | bytes, path: str, size: int) -> None:
    """Write bytes, or the local file with a path, to a path of a file system. A client that waits for a server to take
    what it sends may have no time-out for that, so the whole upload has one.

    Raises:
        TimeoutError: it took too long.
    """
    from fsspec.asyn import AsyncFileSystem

    if isinstance(source, bytes):
        write, arguments = files.pipe_file, (path, source)
    else:
        write, arguments = files.put_file, (source, path)
    options = {"chunksize": PART_BYTES} if set(_S3) & {*files.protocol} else {}
    limit_s = CONNECT_S + IDLE_S + size / LEAST_BYTES_PER_S
    if isinstance(files, AsyncFileSystem):
        options["timeout"] = limit_s
    try:
        write(*arguments, **options)
    except TimeoutError as error:
        raise TimeoutError(f"an upload of {size} bytes took longer than {limit_s:.0f} s") from error


def download(address: str, target: Path) -> None:
    """Copy a file of a store to a local path.

    Raises:
        MajlError: it is missing or cannot be read.
    """
    with missing_is_error(address), open_remote(address) as source, open(target, "wb") as copy:
        shutil.copyfileobj(source, copy, BLOCK_BYTES)


def read_bytes(address: str) -> bytes:
    """The content of a file of a store.

    Raises:
        MajlError: it is missing or cannot be read.
    """
    with missing_is_error(address), open_remote(address) as source:
        return source.read()


def open_remote(address: str) -> io.BufferedReader:
    """A file of a store for reading in blocks, each of which is retried.

    Raises:
        FileNotFoundError: it is missing.
        MajlError: it cannot be read.
    """
    files, path = open_filesystem(address)
    size = retrying(lambda: files.info(path), address)["size"]
    if size is None:  # a server that does not say
        return io.BufferedReader(io.BytesIO(retrying(lambda: files.cat_file(path), address)))
    return io.BufferedReader(_RemoteFile(files, path, address, size), BLOCK_BYTES)


def open_address(address: str):
    """A file of a store or of this machine, for reading bytes.

    Raises:
        MajlError: it is missing or cannot be read.
    """
    if is_remote(address):
        with missing_is_error(address):
            return open_remote(address)
    try:
        return open(local_path(address), "rb")
    except OSError as error:
        raise MajlError(f"{address} cannot be read: {error.strerror}.") from error


@contextlib.contextmanager
def missing_is_error(address: str) -> Iterator[None]:
    """Context in which a missing file is an error in words."""
    try:
        yield
    except FileNotFoundError as error:
        raise MajlError(f"{without_secrets(address)} does not exist.") from error


class _RemoteFile(io.RawIOBase):
    """Reads ranges of a file, each by a request of its own."""

    def __init__(self, files, path: str, address: str, size: int):
        from fsspec.asyn import AsyncFileSystem

        self._files, self._path, self._address, self._size = files, path, address, size
        self._position, self._whole = 0, None
        # Other file systems open the file for each range, and would read ahead.
        self._options = {} if isinstance(files, AsyncFileSystem) else {"cache_type": "none"}

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer) -> int:
        start, end = self._position, min(self._position + len(buffer), self._size)
        if end <= start:
            return 0
        buffer[: end - start] = retrying(lambda: self._read(start, end), self._address)
        self._position = end
        return end - start

    def readall(self) -> bytes:
        blocks = []
        while block := self.read(BLOCK_BYTES):
            blocks.append(block)
        return b"".join(blocks)

    def _read(self, start: int, end: int) -> bytes:
        if self._whole is not None:
            return self._whole[start:end]
        content = self._files.cat_file(self._path, start=start, end=end, **self._options)
        if len(content) == self._size:  # a server that does not know ranges
            self._whole = content
            return content[start:end]
        if len(content) != end - start:
            raise EOFError(f"{len(content)} bytes came of {end - start}")
        return content


def _options(protocol: str) -> dict:
    """Time-outs, and no retries within ours; what the user has configured for fsspec takes precedence."""
    import fsspec

    if protocol in _S3:
        own = {"connect_timeout": CONNECT_S, "read_timeout": IDLE_S, "retries": {"total_max_attempts": 1}}
        options = {"max_concurrency": PARTS_AT_ONCE, "config_kwargs": own}
    elif protocol in _WEB:
        import aiohttp

        own = {"timeout": aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=IDLE_S)}
        options = {"client_kwargs": own}
    else:
        return {}
    given = fsspec.config.conf.get(protocol, {})
    return {
        name: value | given.get(name, {}) if isinstance(value, dict) else given.get(name, value)
        for name, value in options.items()
    }
