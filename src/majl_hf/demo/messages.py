"""Errors as clients of the API see them: with the same texts as on the page."""

import contextlib
import sys
import traceback

import gradio as gr

from ..errors import MajlError
from .separation import SeparationStopped

STOPPED = "Stopped. Nothing was kept."


class ClientError(gr.Error):
    """An error for a client, which reads its text and nothing else."""

    def __init__(self, text: str):
        super().__init__(text, print_exception=False)

    def __str__(self) -> str:
        return self.message


@contextlib.contextmanager
def reported_to_clients():
    """Raise all errors as gradio's, which its clients receive."""
    try:
        yield
    except SeparationStopped:
        raise ClientError(STOPPED) from None
    except MajlError as error:
        raise ClientError(str(error)) from None
    except gr.Error:
        raise
    except Exception as error:
        raise ClientError(unexpected(error)) from None


def unexpected(error: Exception) -> str:
    """A message for users; the traceback goes to the operator."""
    traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "The server has too little memory for this song. Try a shorter one."
    return "Something went wrong on the server. Try again, or with another file."
