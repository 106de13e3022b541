"""Repeating what a store or a network may do a moment later, and saying in words what it would not do."""

from __future__ import annotations

import errno
import random
import re
import time
from collections.abc import Callable
from typing import TypeVar

from ..errors import MajlError

T = TypeVar("T")
PATIENCE_S = 45.0  # from the first error on
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 8.0
_MISSING = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_FINAL = (*_MISSING, PermissionError, FileExistsError)
_REFUSALS = (OSError, EOFError, ValueError, NotImplementedError)  # the last two are of addresses that make no sense
_FINAL_NUMBERS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG, errno.EPERM, errno.ENOSYS}
_PASSING_STATUSES = {408, 425, 429}  # of HTTP, among those that blame the request
_CLIENTS = ("aiohttp", "aiobotocore", "botocore", "http", "httpx", "httpx2", "huggingface_hub", "requests", "urllib3")
# Other errors of botocore are about what it was given: no keys, no such profile.
_PASSING_IN_BOTOCORE = {
    "ClientError",
    "ConnectionError",
    "FlexibleChecksumError",
    "HTTPClientError",
    "IncompleteReadError",
}
_USER = re.compile(r"(?<=://)[^/@\s]*@")
# Parameters of signed addresses: what gives access, and what differs from one signature to the next.
_SECRET = re.compile(
    r"([?&](?:x-(?:amz|goog)-[\w-]+|se|st|[\w.-]*(?:auth|credential|expire|key|passw|pwd|secret|sig|token)[\w.-]*)=)"
    r"[^&#\s'\"]*",
    re.IGNORECASE,
)


class StoreError(MajlError):
    """A store has not done what was asked for as long as it was tried; it may do so later."""


def retrying(call: Callable[[], T], address: str) -> T:
    """The result of `call`, which is repeated for `PATIENCE_S` after errors that may pass, with pauses that double and
    vary by chance.

    Raises:
        FileNotFoundError, IsADirectoryError, NotADirectoryError: there is no file at the address.
        StoreError: the errors have not passed.
        MajlError: the store refuses, for example because of wrong keys.
    """
    pause_s, deadline_s = FIRST_PAUSE_S, None
    while True:
        try:
            return call()
        except MajlError:
            raise
        except Exception as error:
            passes = may_pass(error)
            if isinstance(error, _MISSING) and not passes:
                raise
            if not isinstance(error, _REFUSALS) and _client(error) not in _CLIENTS:
                raise
            if not passes:
                raise MajlError(
                    f"{without_secrets(address)} cannot be used: {_reason(error)}; check the address and its keys."
                ) from error
            failure = error
        deadline_s = deadline_s or time.monotonic() + PATIENCE_S
        pause_s = min(pause_s, LONGEST_PAUSE_S)
        if time.monotonic() + pause_s > deadline_s:
            raise StoreError(
                f"{without_secrets(address)} could not be used for {PATIENCE_S:g} s: {_reason(failure)}; run the "
                "same command again to resume."
            ) from failure
        time.sleep(pause_s * random.uniform(0.5, 1.0))
        pause_s *= 2


def may_pass(error: BaseException) -> bool:
    """Whether the same call may succeed a little later. Clients of stores have exceptions of their own, which are not
    an OSError, but are named for what they are."""
    if _code(error) == "NoSuchUpload":  # an upload in parts was completed, and the answer was lost
        return True
    if _hides_its_cause(error):
        return may_pass(error.__cause__)
    if isinstance(error, _FINAL) or getattr(error, "errno", None) in _FINAL_NUMBERS:
        return False
    if type(error).__name__ == "OfflineModeIsEnabled":  # by the user, for the Hub
        return False
    status = getattr(error, "status", None) or getattr(getattr(error, "response", None), "status_code", None)
    if isinstance(status, int) and 400 <= status < 500:
        return status in _PASSING_STATUSES
    if isinstance(error, OSError | EOFError):
        return True
    client = _client(error)
    if client == "botocore":
        return any(kind.__name__ in _PASSING_IN_BOTOCORE for kind in type(error).__mro__)
    return client in _CLIENTS


def without_secrets(text: str) -> str:
    """An address, or a message with addresses, without user names, passwords, tokens and signatures. It stays the same
    when an address is signed again."""
    return _SECRET.sub(r"\1***", _USER.sub("", text))


def _client(error: BaseException | None) -> str:
    return type(error).__module__.partition(".")[0]


def _hides_its_cause(error: BaseException) -> bool:
    """Whether a client has said of some failure or other that the file is missing."""
    return isinstance(error, FileNotFoundError) and _client(error.__cause__) == "aiohttp"


def _code(error: BaseException) -> str | None:
    """The code of S3 for an error that fsspec has translated."""
    response = getattr(error.__cause__, "response", None)
    return response.get("Error", {}).get("Code") if isinstance(response, dict) else None


def _reason(error: BaseException) -> str:
    error = error.__cause__ if _hides_its_cause(error) else error
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return without_secrets(" ".join(text.split()).rstrip("."))
