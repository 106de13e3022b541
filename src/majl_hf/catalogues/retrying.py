"""Repeating what a store or a network may do a moment later."""

from __future__ import annotations

import errno
import random
import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import MajlError

T = TypeVar("T")
ATTEMPTS = 6
FIRST_PAUSE_S = 0.25
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, FileExistsError, MajlError)
_FINAL_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG}


def retrying(call: Callable[[], T], attempts: int = ATTEMPTS) -> T:
    """The result of `call`, which is repeated after errors that may pass, with pauses that double and vary by chance.

    An error is final if the store says that something is missing, forbidden or full, or if it is no error of input and
    output at all.
    """
    for attempt in range(attempts):
        try:
            return call()
        except Exception as error:
            if attempt == attempts - 1 or not may_pass(error):
                raise
            time.sleep(FIRST_PAUSE_S * 2**attempt * random.uniform(0.5, 1.0))
    raise AssertionError("not reached")


def may_pass(error: BaseException) -> bool:
    """Whether the same call may succeed a little later. Clients of stores have exceptions of their own, which are not
    an OSError, but are named for what they are."""
    if isinstance(error, _FINAL) or getattr(error, "errno", None) in _FINAL_NUMBERS:
        return False
    if isinstance(error, OSError | EOFError):
        return True
    library = type(error).__module__.partition(".")[0]
    return library in ("aiohttp", "aiobotocore", "botocore", "urllib3", "httpx", "requests", "huggingface_hub")
