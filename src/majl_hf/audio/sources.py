"""Accepted audio sources, and the checks that they pass before decoding."""

import errno
import io
import os
import re
import stat
from dataclasses import dataclass
from typing import BinaryIO

from ..errors import AudioError

SOURCES = "a path, the bytes of an audio file, or a seekable binary file object"
_HEAD_BYTES = 16
_ADDRESS = re.compile(r"(file)(?=:/)|([a-z][a-z0-9+.-]+)://", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """A source that exists, can be read and is not empty.

    Args:
        name: For messages: the path, or what kind of object it is.
        path: Set for files; decoders open these themselves, which is faster than reading through Python.
        stream: Set for bytes and file objects, at its start.
        head: The first bytes, which identify the container.
    """

    name: str
    path: str | None
    stream: BinaryIO | None
    head: bytes


def local_path(text: str) -> str:
    """A path as it is, or the path of a `file:` address.

    Raises:
        AudioError: another address, or a file of another computer.
    """
    match = _ADDRESS.match(text)
    if match is None or os.path.lexists(text):
        return text
    if match[1] is None:
        raise AudioError(
            f"{text} is an address; files are needed. Download it first, for example with yt-dlp, and give the file."
        )
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    address = urlsplit(text)
    if address.netloc not in ("", "localhost"):
        raise AudioError(f"{text} is a file of the computer {address.netloc}; copy it to this computer first.")
    return url2pathname(address.path)


def open_source(source) -> Source:
    """Check a path, bytes or binary file object, which is read from its start.

    Raises:
        AudioError: missing, a folder, not readable, empty, or another kind of object.
    """
    if isinstance(source, str | os.PathLike):
        path = os.fspath(source)
        return _open_path(local_path(path) if isinstance(path, str) else path)
    if isinstance(source, bytes | bytearray | memoryview):
        return _open_stream(io.BytesIO(source), "the bytes given")
    if hasattr(source, "read"):
        return _open_stream(source, f"the {type(source).__name__} given")
    raise AudioError(f"Got {type(source).__name__} as audio; {SOURCES} is needed.")


def _open_path(path: str | bytes) -> Source:
    name = path = os.fsdecode(path)
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISDIR(mode):
            raise AudioError(f"{name} is a folder; an audio file is needed. Give the files in it.")
        if not stat.S_ISREG(mode):  # decoders have to seek, and opening a pipe could block forever
            raise AudioError(f"{name} is not a regular file; save the audio to a file first and give that.")
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except AudioError:
        raise
    except FileNotFoundError:
        raise AudioError(f"{name} does not exist; check the path.") from None
    except PermissionError:
        raise AudioError(f"{name} is not readable by this user; change its permissions or copy it.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise AudioError(f"{name} cannot be read: {_reason(error)}.") from error
    _check_not_empty(head, name)
    return Source(name, path, None, head)


def _open_stream(stream, name: str) -> Source:
    try:
        stream.seek(0)
        head = stream.read(_HEAD_BYTES)
        stream.seek(0)
    except (AttributeError, OSError) as error:
        raise AudioError(f"{name} is not seekable; read all of it and pass the bytes.") from error
    if not isinstance(head, bytes | bytearray):
        raise AudioError(f"{name} yields {type(head).__name__}; open it in binary mode ('rb').")
    _check_not_empty(head, name)
    return Source(name, None, stream, bytes(head))


def _check_not_empty(head: bytes, name: str) -> None:
    if not head:
        raise AudioError(f"{name} is empty (0 bytes); an audio file is needed. Copy or download it again.")


def _reason(error: Exception) -> str:
    return os.strerror(error.errno) if getattr(error, "errno", None) in errno.errorcode else str(error)
