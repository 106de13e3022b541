"""The package's own exceptions. Each message says what was got, what is needed and what to do."""

from collections.abc import Mapping, Sequence


class MajlError(Exception):
    """Base class of every error that `majl_hf` raises for bad input or a bad environment."""


class ConfigError(MajlError, ValueError):
    """A configuration file that cannot be used."""


class AudioError(MajlError, ValueError):
    """Audio that cannot be read, written or used as asked."""


class CorpusError(MajlError, ValueError):
    """A corpus that is empty, incomplete or broken; the message names the file."""


class BadRecordings(CorpusError):
    """Recordings of a corpus that cannot be used, all of them at once.

    Args:
        failures: id -> why, in words.
        num_recordings: of the corpus, the usable ones included.
        tracks: the usable ones, where a reader found the others.
        advice: what to do.
    """

    def __init__(self, failures: Mapping[str, str], num_recordings: int, tracks: Sequence = (), advice: str = ""):
        self.failures, self.num_recordings, self.tracks = dict(failures), num_recordings, list(tracks)
        lines = "\n".join(f"  {id}: {reason}" for id, reason in self.failures.items())
        super().__init__(f"{len(self.failures)} of {num_recordings} recordings cannot be used{advice}:\n{lines}")


class SwappedError(CorpusError):
    """Vocals and accompaniment of the recording `id` seem to be swapped; `problem` is why, in words."""

    def __init__(self, id: str, problem: str):
        super().__init__(f"In {id} {problem}.")
        self.problem = problem


class TeacherError(MajlError, ValueError):
    """A teacher whose output cannot be used as a label."""


class EvaluationError(MajlError, ValueError):
    """Arrays that do not fit together, a missing system, or results that cannot be reported."""


class PushError(MajlError, ValueError):
    """Something that must not or cannot be uploaded, or that the Hub refuses."""


class NonFiniteLossError(MajlError, RuntimeError):
    """The loss became infinite or not a number; the message names the batch's items."""
