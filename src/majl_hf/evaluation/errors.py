"""The error of this room."""

from ..errors import MajlError


class EvaluationError(MajlError, ValueError):
    """Arrays that do not belong together, a system that is not there, or results that cannot be reported."""
