"""The error of this room."""

from ..errors import MajlError


class PushError(MajlError, ValueError):
    """Something that may not or cannot be uploaded, or a Hub that refuses it."""
