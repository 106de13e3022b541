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
# First bytes of the containers that soundfile reads here: the lossless ones. It could read mp3 and ogg, but libsndfile
# estimates the length of an mp3 whose header lacks it and silently drops the samples beyond; and soundfile seeks after
# every read, which makes the samples of an opus file depend on the block size.
SOUNDFILE_HEADS = (b"RIFF", b"RIFX", b"RF64", b"BW64", b"riff", b"fLaC", b"FORM", b".snd", b"caff")
# FFmpeg skips an ID3 tag before mp3 and aac, where it belongs. Before these, neither decoder skips it in all cases.
_HEADS_BEHIND_A_TAG = (*SOUNDFILE_HEADS, b"OggS", b"\x1aE\xdf\xa3")
_HEAD_BYTES = 16
_ADDRESS = re.compile(r"(file)(?=:/)|([a-z][a-z0-9+.-]+)://", re.IGNORECASE)
_LONGEST_PADDING = 65536  # zeros behind an ID3 tag


class Excerpt(io.RawIOBase):
    """A binary file from the byte `start` on, behind the bytes `head`. Read only; closing it leaves the file open."""

    def __init__(self, file: BinaryIO, start: int, head: bytes = b""):
        self._file, self._start, self._head = file, start, head
        self._position = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        if whence == os.SEEK_CUR:
            offset += self._position
        elif whence == os.SEEK_END:
            offset += num_bytes(self._file) - self._start + len(self._head)
        self._position = max(0, offset)  # soundfile prints an exception of a seek and cannot raise it
        return self._position

    def readinto(self, buffer) -> int:
        data = self._head[self._position : self._position + len(buffer)]
        missing = len(buffer) - len(data)
        if missing:
            try:
                self._file.seek(self._position + len(data) - len(self._head) + self._start)
            except (OSError, OverflowError):  # farther than a file can be long, as a broken index says
                missing = 0
            data += self._file.read(missing)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


@dataclass(frozen=True)
class Source:
    """A source that exists, can be read and is not empty.

    Args:
        name: For messages: the path, or what kind of object it is.
        path: Of a file on disk; None for bytes and file objects, and where a tag has to be skipped.
        file: The whole of it, from the first byte of the audio file on. Decoders seek in it.
        head: The first bytes, which identify the container.
        opened: The file to close at the end; None if it is the caller's.
    """

    name: str
    path: str | None
    file: BinaryIO
    head: bytes
    opened: BinaryIO | None = None

    def close(self) -> None:
        if self.opened is not None:
            self.opened.close()


def num_bytes(file: BinaryIO) -> int:
    """The length of a seekable file, which is left at its end."""
    file.seek(0, os.SEEK_END)
    return file.tell()


def local_path(text: str) -> str:
    """A path as it is, or the path of a `file:` URL.

    Raises:
        AudioError: another URL, or a file of another computer.
    """
    match = _ADDRESS.match(text)
    if match is None or os.path.lexists(text):
        return text
    if match[1] is None:
        raise AudioError(
            f"{text} is a URL; files are needed. Download it first, for example with yt-dlp, and pass the file."
        )
    from urllib.parse import unquote_to_bytes, urlsplit
    from urllib.request import url2pathname

    address = urlsplit(text)
    if address.netloc not in ("", "localhost"):
        raise AudioError(f"{text} is a file of the computer {address.netloc}; copy it to this computer first.")
    if os.name == "nt":
        return url2pathname(address.path)
    return os.fsdecode(unquote_to_bytes(address.path))  # names of files need not be text


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
            raise AudioError(f"{name} is a folder; an audio file is needed. Pass the files in it.")
        if not stat.S_ISREG(mode):  # decoders have to seek, and opening a pipe could block forever
            raise AudioError(f"{name} is not a regular file; save the audio to a file first and pass that.")
        file = open(path, "rb")  # noqa: SIM115 (closed with the source)
    except AudioError:
        raise
    except FileNotFoundError:
        raise AudioError(f"{name} does not exist; check the path.") from None
    except PermissionError:
        raise AudioError(f"{name} is not readable by this user; change its permissions or copy it.") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise AudioError(f"{name} cannot be read: {_reason(error)}.") from error
    try:
        return _make_source(name, path, file, opened=file)
    except BaseException as error:
        file.close()
        if isinstance(error, OSError) and not isinstance(error, AudioError):
            raise AudioError(f"{name} cannot be read: {_reason(error)}.") from error
        raise


def _open_stream(stream, name: str) -> Source:
    try:
        stream.seek(0)
        head = stream.read(_HEAD_BYTES)
    except (AttributeError, OSError) as error:
        raise AudioError(f"{name} is not seekable; read all of it and pass the bytes.") from error
    if not isinstance(head, bytes | bytearray):
        raise AudioError(f"{name} yields {type(head).__name__}; open it in binary mode ('rb').")
    return _make_source(name, None, stream)


def _make_source(name: str, path: str | None, file: BinaryIO, opened: BinaryIO | None = None) -> Source:
    file.seek(0)
    head = bytes(file.read(_HEAD_BYTES))
    if not head:
        raise AudioError(f"{name} is empty (0 bytes); an audio file is needed. Copy or download it again.")
    start = _start_behind_tags(file, head)
    if start or hasattr(file, "name"):  # by which soundfile and PyAV would judge what is in the file
        file = Excerpt(file, start)
        path = None if start else path
    head = file.read(_HEAD_BYTES) if start else head
    file.seek(0)
    return Source(name, path, file, head, opened)


def _start_behind_tags(file: BinaryIO, head: bytes) -> int:
    """Where the file begins behind ID3 tags, or 0 if they belong to it."""
    start = 0
    while head.startswith(b"ID3") and len(head) >= 10:
        size = sum(byte << shift for byte, shift in zip(head[6:10], (21, 14, 7, 0), strict=True))
        start += 10 + size + 10 * bool(head[5] & 0x10)  # the last is a footer
        file.seek(start)
        behind = file.read(_LONGEST_PADDING)
        head = behind.lstrip(b"\0")[:_HEAD_BYTES]
        start += len(behind) - len(behind.lstrip(b"\0"))
    return start if head.startswith(_HEADS_BEHIND_A_TAG) or head[4:8] == b"ftyp" else 0


def _reason(error: Exception) -> str:
    return os.strerror(error.errno) if getattr(error, "errno", None) in errno.errorcode else str(error)
