"""What the demo accepts and how long it keeps files."""

import os
from dataclasses import dataclass

from ..audio import COMMON_FORMATS
from ..errors import MajlError


@dataclass(frozen=True)
class Limits:
    """Limits of a demo.

    Args:
        max_minutes: Length of a song.
        max_megabytes: Size of an uploaded file.
        max_upload_s: Seconds that an upload may take.
        max_compute_s: Seconds that the separation of one song may take.
        max_waiting: Songs in the queue.
        keep_s: Seconds after which an unused result is deleted.
        grace_s: Seconds that a result is kept after its page is closed, for phones that sleep and lost connections.
    """

    max_minutes: float = 10.0
    max_megabytes: float = 100.0
    max_upload_s: float = 600.0
    max_compute_s: float = 900.0
    max_waiting: int = 16
    keep_s: float = 3600.0
    grace_s: float = 120.0

    def __post_init__(self):
        for name in self.__dataclass_fields__:
            if not getattr(self, name) > 0:
                raise MajlError(f"{name} is {getattr(self, name)}; a number above 0 is needed.")

    @classmethod
    def from_environment(cls) -> "Limits":
        """The defaults, overridden by `MAJL_MAX_MINUTES` and `MAJL_MAX_MEGABYTES` if these are set.

        Raises:
            MajlError: one of them is not a number above 0.
        """
        values = {}
        for name in ("max_minutes", "max_megabytes"):
            variable = f"MAJL_{name.upper()}"
            if text := os.environ.get(variable):
                try:
                    values[name] = float(text)
                except ValueError:
                    raise MajlError(f"{variable} is {text!r}; a number above 0 is needed.") from None
        return cls(**values)

    @property
    def max_bytes(self) -> int:
        return round(self.max_megabytes * 1e6)

    def describe(self) -> str:
        """The limits in words, shown before anything is uploaded."""
        return (
            f"{COMMON_FORMATS}, up to {self.max_minutes:g} minutes and {self.max_megabytes:g} MB, mono, stereo or "
            f"surround. Your files are deleted {_duration(self.grace_s)} after you close this page, and after "
            f"{_duration(self.keep_s)} without use."
        )


def _duration(seconds: float) -> str:
    for unit, name in ((3600, "hour"), (60, "minute"), (1, "second")):
        if seconds >= unit:
            count = round(seconds / unit, 1)
            return f"{count:g} {name}{'s' * (count != 1)}"
    return "at once"
