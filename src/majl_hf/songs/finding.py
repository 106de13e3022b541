"""Which files of a folder are songs."""

import re
from enum import Enum

from ..audio import AUDIO_EXTENSIONS
from ..system.files import extension, is_hidden

_OWN_OUTPUT = re.compile(r"\.(vocals|accompaniment|melody)\.(wav|flac|mp3|m4a|opus)$", re.IGNORECASE)


class Kind(Enum):
    """What a file in a folder is, by its name."""

    SONG = "a song"
    HIDDEN = "hidden (name it to read it)"
    OUTPUT = "written by this command"
    OTHER = "another file"
    NOTHING = "a hidden file of another kind, which is not reported"

    def described(self, name: str) -> str:
        """Words for the report of what is left out."""
        return extension(name) if self is Kind.OTHER else self.value


def kind_of(name: str, skip_own_outputs: bool) -> Kind:
    """The kind of a file by its name; with `skip_own_outputs`, results of this package are no songs."""
    is_audio = name.lower().endswith(AUDIO_EXTENSIONS)
    if is_hidden(name):
        return Kind.HIDDEN if is_audio else Kind.NOTHING
    if is_audio:
        return Kind.OUTPUT if skip_own_outputs and _OWN_OUTPUT.search(name) else Kind.SONG
    return Kind.OTHER
