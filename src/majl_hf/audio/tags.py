"""What a file says about its song: title, artist and so on, and the cover."""

import io
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace

import av

from .decoders import open_container
from .sources import open_source

# As FFmpeg names them in every container.
FIELDS = (
    "title", "artist", "album", "track", "date", "genre", "composer", "album_artist", "disc", "comment", "copyright",
    "lyrics",
)  # fmt: skip
_PICTURES = {b"\x89PNG": "png_pipe", b"\xff\xd8\xff": "jpeg_pipe"}  # FFmpeg's names of the pictures that players show


@dataclass(frozen=True)
class Tags:
    """Tags of a song.

    Args:
        fields: Text by its name in `FIELDS`; only what the file says.
        cover: Content of a JPEG or PNG file, or None.
    """

    fields: Mapping[str, str] = field(default_factory=dict)
    cover: bytes | None = None

    def of_stem(self, stem: str) -> "Tags":
        """The same with the stem in the title, "Song (vocals)"; a song without a title gets none."""
        if "title" not in self.fields:
            return self
        return replace(self, fields={**self.fields, "title": f"{self.fields['title']} ({stem})"})


def read_tags(source) -> Tags:
    """The tags of a source that `AudioReader` reads; none where FFmpeg cannot read them."""
    try:
        with closing(open_source(source)) as checked, open_container(checked) as container:
            found = {name.lower(): text for name, text in container.metadata.items()}
            if "ogg" in container.format.name and container.streams.audio:  # tags belong to the stream there
                found |= {name.lower(): text for name, text in container.streams.audio[0].metadata.items()}
            lyrics = (text for name, text in found.items() if name.startswith("lyrics-"))  # in mp3, by language
            found.setdefault("lyrics", next(lyrics, ""))
            fields = {name: found[name].strip() for name in FIELDS if found.get(name, "").strip()}
            return Tags(fields, _cover(container))
    except (av.error.FFmpegError, OSError, ValueError):
        return Tags()


def open_picture(content: bytes):
    """An open container with a JPEG or PNG picture as its only stream; None if it is neither or damaged."""
    name = next((name for head, name in _PICTURES.items() if content.startswith(head)), None)
    if name is None:
        return None
    try:
        container = av.open(io.BytesIO(content), format=name)
    except (av.error.FFmpegError, ValueError):
        return None
    if container.streams.video and container.streams.video[0].width:
        return container
    container.close()
    return None


def _cover(container) -> bytes | None:
    for stream in container.streams.video:
        if stream.disposition & av.stream.Disposition.attached_pic:
            packet = next(container.demux(stream), None)  # FFmpeg yields attached pictures before everything else
            content = bytes(packet) if packet is not None else b""
            if any(content.startswith(head) for head in _PICTURES):
                return content
    return None
