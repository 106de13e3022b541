"""The length that the header of a wav, aiff, w64, au or caf file states, against what the file contains.

The length is written into the header when a file is finished. A recorder that crashed leaves 0 there, a program that
writes into a pipe the largest number, one that writes more than 4 GiB the remainder, and half a download has a header
that states too much. libsndfile believes most of this, so it is given such a file behind a corrected header.
"""

import string
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO

from .sources import Excerpt, num_bytes

_MOST_32 = 2**32 - 1
_LONGEST_FILE = 2**62
_SEARCHED_BYTES = 65536  # for a chunk to which the sizes of the chunks before it do not lead
_LONGEST_DESCRIPTION = 2**20  # bytes
_ID_CHARACTERS = frozenset((string.ascii_letters + string.digits + " _.-").encode())
# Less than this behind the stated end is a tag or the rest of a sector, not sound.
_SHORTEST_REST = 4096


@dataclass(frozen=True)
class Header:
    """The stated and the available length.

    Args:
        stated: Bytes of samples by the header; None if it states no length.
        available: Bytes of samples that the file contains.
        true_file: The samples behind a correct header; None if the file's own header is correct.
    """

    stated: int | None
    available: int
    true_file: BinaryIO | None


@dataclass(frozen=True)
class _Layout:
    """How a container stores its chunks.

    Args:
        chunk: Id and size before every chunk.
        first: Byte at which the first chunk begins.
        samples: Id of the chunk with the samples.
        descriptions: Ids of the chunks that say how to read them; the first one has to be there.
        build: A whole header, of the file's first bytes, the descriptions and the size of the chunk with the samples.
        prefix: Bytes in this chunk before the samples.
        alignment: Chunks begin at multiples of it.
        own_size: Whether the size of a chunk includes its id and size.
    """

    chunk: struct.Struct
    first: int
    samples: bytes
    descriptions: tuple[bytes, ...]
    build: Callable[[bytes, bytes, int], bytes]
    prefix: int = 0
    alignment: int = 2
    own_size: bool = False

    def read_chunk(self, file: BinaryIO, position: int) -> tuple[bytes, int] | None:
        """Id and size of the chunk at `position`; None if there is none."""
        if position > _LONGEST_FILE:
            return None
        file.seek(position)
        head = file.read(self.chunk.size)
        if len(head) < self.chunk.size or not _ID_CHARACTERS.issuperset(head[:4]):
            return None
        id, size = self.chunk.unpack(head)
        return id, size - self.chunk.size * self.own_size

    def end(self, position: int, size: int) -> int:
        """Where the next chunk begins."""
        end = position + self.chunk.size + max(size, 0)
        return end + -end % self.alignment

    def find_chunks(self, file: BinaryIO) -> tuple[dict[bytes, tuple[int, int]], bool]:
        """Positions and sizes by id, as far as the samples, and whether each chunk leads to the next."""
        found, position = {}, self.first
        while self.samples not in found and (chunk := self.read_chunk(file, position)):
            found.setdefault(chunk[0], (position, chunk[1]))
            position = self.end(position, chunk[1])
        if self.samples in found:
            return found, True
        file.seek(0)
        searched = file.read(_SEARCHED_BYTES)
        for id in (*self.descriptions, self.samples):
            position = searched.find(id, self.first)
            if id not in found and position >= 0 and (chunk := self.read_chunk(file, position)):
                found[id] = position, chunk[1]
        return found, False


def read_header(file: BinaryIO) -> Header | None:
    """Compare the header of a seekable file with its length; None if it is of another format or cannot be followed."""
    file.seek(0)
    head = file.read(40)
    file_bytes = num_bytes(file)
    if head.startswith(b".snd") and len(head) >= 24:
        return _read_au(file, head, file_bytes)
    layout = _layout_of(head)
    if layout is None:
        return None
    chunks, in_order = layout.find_chunks(file)
    if layout.samples not in chunks:
        return None
    position, size = chunks[layout.samples]
    start = position + layout.chunk.size
    stated, available = size - layout.prefix, file_bytes - start - layout.prefix
    if head.startswith((b"RF64", b"BW64")) and size == _MOST_32:
        stated = _size_in_ds64(file, chunks)
    if available <= 0 or (stated <= 0 and _is_chunk(layout, file, layout.end(position, size), file_bytes)):
        return Header(0, 0, None)
    stated, to_the_end = _judge(stated, available, file, start + layout.prefix + stated, layout)
    if in_order and not to_the_end and not head.startswith(b"BW64"):
        return Header(stated, stated, None)
    if layout.descriptions[0] not in chunks:
        return None
    if not to_the_end:
        available = stated
    descriptions = b"".join(_raw_chunk(layout, file, *chunks[id]) for id in layout.descriptions if id in chunks)
    true_head = layout.build(head, descriptions, layout.prefix + available)
    return Header(stated, available, Excerpt(file, start, true_head))


def _read_au(file: BinaryIO, head: bytes, file_bytes: int) -> Header:
    start, size = struct.unpack(">II", head[4:12])
    available = file_bytes - start
    if available <= 0:
        return Header(0, 0, None)
    stated, to_the_end = _judge(size, available, file, start + size, None)
    if not to_the_end:
        return Header(stated, stated, None)
    return Header(stated, available, Excerpt(file, 12, head[:8] + b"\xff" * 4))


def _judge(stated: int, available: int, file: BinaryIO, end: int, layout: _Layout | None) -> tuple[int | None, bool]:
    """What a stated length means (None: nothing), and whether the samples reach to the end of the file instead."""
    if stated <= 0:
        return None, True
    # The largest number of 31, 32 or 64 bits, or a little less: programs subtract the header or round to pages.
    means_nothing = stated >= 2**62 or any(0 <= limit - stated < 2**16 for limit in (2**31, 2**32))
    if stated > available:
        return None if means_nothing else stated, True
    file.seek(end)
    rest = file.read(_SHORTEST_REST)
    if len(rest) < _SHORTEST_REST or rest.startswith(b"ID3") or not (any(rest) or means_nothing):
        return stated, False
    ends = {end, end + -end % layout.alignment} if layout else ()  # some programs do not align
    if any(layout.read_chunk(file, end) for end in ends):
        return stated, False
    return None if means_nothing else stated, True


def _is_chunk(layout: _Layout, file: BinaryIO, position: int, file_bytes: int) -> bool:
    chunk = layout.read_chunk(file, position)
    return chunk is not None and 0 <= chunk[1] <= file_bytes - position


def _size_in_ds64(file: BinaryIO, chunks: dict[bytes, tuple[int, int]]) -> int:
    """The real size of the samples of an RF64 file; 0 if it is not there."""
    position, size = chunks.get(b"ds64", (0, 0))
    file.seek(position + 16)
    return int.from_bytes(file.read(8), "little") if size >= 24 else 0


def _raw_chunk(layout: _Layout, file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    chunk = file.read(layout.chunk.size + max(0, min(size, _LONGEST_DESCRIPTION)))
    return chunk + bytes(-len(chunk) % layout.alignment)


def _layout_of(head: bytes) -> _Layout | None:
    if head[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and head[8:12] == b"WAVE":
        return _BIG_ENDIAN_WAV if head.startswith(b"RIFX") else _WAV
    if head.startswith(b"FORM") and head[8:12] in (b"AIFF", b"AIFC"):
        return _AIFF
    if head.startswith(b"caff"):
        return _CAF
    return _W64 if head.startswith(_RIFF_GUID) else None


def _build_wav(head: bytes, descriptions: bytes, size: int) -> bytes:
    total = 4 + len(descriptions) + 8 + size
    if total <= _MOST_32:
        return struct.pack("<4sI4s", b"RIFF", total, b"WAVE") + descriptions + struct.pack("<4sI", b"data", size)
    long_sizes = struct.pack("<4sIQQQI", b"ds64", 28, total + 36, size, 0, 0)
    head = struct.pack("<4sI4s", b"RF64", _MOST_32, b"WAVE")
    return head + long_sizes + descriptions + struct.pack("<4sI", b"data", _MOST_32)


def _build_big_endian(head: bytes, descriptions: bytes, size: int) -> bytes:
    """Of aiff, and of wav with the most significant byte first."""
    total = 4 + len(descriptions) + 8 + size
    if total > _MOST_32:
        raise ValueError("its header does not state its length, and cannot state one of more than 4 GiB")
    samples = b"SSND" if head.startswith(b"FORM") else b"data"
    return struct.pack(">4sI4s", head[:4], total, head[8:12]) + descriptions + struct.pack(">4sI", samples, size)


def _build_caf(head: bytes, descriptions: bytes, size: int) -> bytes:
    return head[:8] + descriptions + struct.pack(">4sq", b"data", size)


def _build_w64(head: bytes, descriptions: bytes, size: int) -> bytes:
    total = len(head) + len(descriptions) + 24 + size
    return head[:16] + struct.pack("<Q", total) + head[24:] + descriptions + _W64_DATA + struct.pack("<q", 24 + size)


_RIFF_GUID = b"riff" + bytes.fromhex("2e91cf11a5d628db04c10000")
_W64_FORMAT, _W64_FACT, _W64_DATA = (
    id + bytes.fromhex("f3acd3118cd100c04f8edb8a") for id in (b"fmt ", b"fact", b"data")
)
_WAV = _Layout(struct.Struct("<4sI"), 12, b"data", (b"fmt ", b"fact"), _build_wav)
_BIG_ENDIAN_WAV = _Layout(struct.Struct(">4sI"), 12, b"data", (b"fmt ", b"fact"), _build_big_endian)
_AIFF = _Layout(struct.Struct(">4sI"), 12, b"SSND", (b"COMM", b"FVER"), _build_big_endian, prefix=8)
_CAF = _Layout(
    struct.Struct(">4sq"), 8, b"data", (b"desc", b"chan", b"kuki", b"pakt"), _build_caf, prefix=4, alignment=1
)
_W64 = _Layout(struct.Struct("<16sq"), 40, _W64_DATA, (_W64_FORMAT, _W64_FACT), _build_w64, alignment=8, own_size=True)
