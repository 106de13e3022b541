"""What an error of the Hub's client means and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator

_PASSING = frozenset({408, 429, 500, 502, 503, 504})


def explain(error: BaseException, repo_id: str, kind: str = "model") -> str | None:
    """What an error of the Hub's client means and what to do, or None for any other error.

    Libraries wrap the client's errors in their own, so the whole chain of causes is searched.
    """
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        LocalEntryNotFoundError,
        LocalTokenNotFoundError,
        OfflineModeIsEnabled,
        RevisionNotFoundError,
    )

    chain = list(_causes(error))

    def first(*kinds: type):
        return next((cause for cause in chain if isinstance(cause, kinds)), None)

    if first(LocalTokenNotFoundError):
        return "You are not logged in to the Hub: run `hf auth login`, or set HF_TOKEN."
    if first(OfflineModeIsEnabled) or (first(LocalEntryNotFoundError) and _is_offline()):
        return (
            f"The {kind} {repo_id} is not, or not completely, in this machine's cache, and HF_HUB_OFFLINE forbids "
            "downloading it: unset it, or run once with a connection and the same HF_HOME."
        )
    if first(GatedRepoError):
        return f"The {kind} {repo_id} is gated: request access on its page, and log in with `hf auth login`."
    if first(RevisionNotFoundError):
        return f"The {kind} {repo_id} has no such revision: check the branch, tag or commit."
    answer = first(HfHubHTTPError)
    if answer is not None:
        return _explain_status(answer.response.status_code, answer.server_message, repo_id, kind)
    if first(HTTPError, ConnectionError):
        return "The Hub cannot be reached: check the connection, HF_ENDPOINT and proxies, and try again."
    if invalid := first(HFValidationError):
        return f"{repo_id!r} is not a valid Hub id ({invalid}): give OWNER/NAME."
    return None


def _explain_status(status: int, said: str | None, repo_id: str, kind: str) -> str:
    said = f" It says: {said.strip().rstrip('.')}." if said and said.strip() else ""
    if status == 401:
        return (
            f"The Hub answers 401: the token is missing, wrong or expired, or there is no public {kind} {repo_id}. "
            "Check the name; log in with `hf auth login`, or set HF_TOKEN."
        )
    if status == 403:
        return f"The Hub answers 403: the token may not do this with {repo_id}. Use one with write access there.{said}"
    if status == 404:
        return (
            f"The Hub answers 404: there is no {kind} {repo_id}, or your token may not see it. Check the name; for a "
            "private one log in with `hf auth login`, or set HF_TOKEN."
        )
    if status in _PASSING:
        return f"The Hub answers {status}: it is down or overloaded. Try again in a few minutes.{said}"
    return f"The Hub refuses with status {status}.{said or ' Check the names and what the token may do.'}"


def is_passing(error: BaseException) -> bool:
    """Whether the same request may succeed a little later."""
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, OfflineModeIsEnabled

    for cause in _causes(error):
        if isinstance(cause, OfflineModeIsEnabled):
            return False
        if isinstance(cause, HfHubHTTPError):
            return cause.response.status_code in _PASSING
        if isinstance(cause, HTTPError | ConnectionError):
            return True
    return False


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_offline() -> bool:
    from huggingface_hub import constants

    return constants.HF_HUB_OFFLINE
