"""Upload of a folder to the Hub.

huggingface_hub itself retries requests for parts of a file; here the whole upload is retried, because connections also
break between parts. Files that were uploaded are not sent again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..checkpoints.hub_errors import explain, is_passing
from ..errors import PushError

KINDS = ("model", "dataset", "space")
MAX_TRIES = 3
WAIT_S = 2.0  # before the second try, then doubled


@dataclass
class PushReport:
    """What was uploaded, or would be.

    Args:
        kind: one of `KINDS`.
        repo_id: `OWNER/NAME`.
        files: path in the repository -> bytes.
        left_out: corpus -> number of its rows that must not be redistributed; for datasets.
        num_rows: rows in `files`; for datasets.
        private: whether the repository is, or would be created, private.
        revision: branch; None for the main one.
        commit: id of the commit; None for a dry run.
        address: URL of the repository; None for a dry run.
    """

    kind: str
    repo_id: str
    files: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    num_rows: int | None = None
    private: bool = True
    revision: str | None = None
    commit: str | None = None
    address: str | None = None


@dataclass(frozen=True)
class Target:
    """Where to upload, and whether to do so.

    Args:
        repo_id: `OWNER/NAME`; created if it does not exist.
        private: create a private repository, and refuse an existing public one.
        revision: branch, created from the main one if it does not exist; None for the main one.
        dry_run: only report what would be uploaded, without using the network.
        token: of the Hub; None for the one you are logged in with. It is never printed.

    Raises:
        PushError: invalid repository id.
    """

    repo_id: str
    private: bool = True
    revision: str | None = None
    dry_run: bool = False
    token: str | None = field(default=None, repr=False)

    def __post_init__(self):
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id

        if self.repo_id.count("/") != 1 or not all(self.repo_id.split("/")):
            raise PushError(f"The repository is {self.repo_id!r}; it must be OWNER/NAME.")
        try:
            validate_repo_id(self.repo_id)
        except HFValidationError as error:
            raise PushError(f"The repository is {self.repo_id!r}, which the Hub does not allow: {error}") from error


def push_folder(
    folder: Path,
    kind: str,
    target: Target,
    *,
    message: str,
    delete: Sequence[str] = (),
    space_sdk: str | None = None,
) -> PushReport:
    """Upload all files of a folder as one commit, or report what would be uploaded.

    Args:
        folder: what to upload; links are followed.
        kind: one of `KINDS`.
        message: of the commit.
        delete: patterns of files of an earlier upload that are deleted if they are not in the folder.
        space_sdk: of a Space.

    Raises:
        PushError: the Hub refuses or cannot be reached, or the repository is public and should not be.
    """
    files = {path.relative_to(folder).as_posix(): path.stat().st_size for path in list_files(folder)}
    report = PushReport(kind, target.repo_id, files, private=target.private, revision=target.revision)
    if target.dry_run:
        return report
    tries = 1
    while True:
        try:
            return _push(folder, report, target, message, list(delete), space_sdk)
        except PushError:
            raise
        except Exception as error:
            if tries < MAX_TRIES and is_passing(error):
                time.sleep(WAIT_S * 2 ** (tries - 1))
                tries += 1
                continue
            reason = explain(error, target.repo_id, kind)
            if reason is None:
                raise
            raise PushError(f"The upload to {target.repo_id} failed. {reason}") from error


def list_files(folder: Path) -> list[Path]:
    """All files below a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _push(
    folder: Path, report: PushReport, target: Target, message: str, delete: list[str], space_sdk: str | None
) -> PushReport:
    from huggingface_hub import HfApi

    api, where = HfApi(token=target.token), {"repo_id": target.repo_id, "repo_type": report.kind}
    url = api.create_repo(**where, private=target.private, exist_ok=True, space_sdk=space_sdk)
    if target.private and not api.repo_info(**where).private:
        raise PushError(
            f"{target.repo_id} exists and is public, but the upload should be private. Make the repository private in "
            "its settings, choose another name, or allow a public upload."
        )
    if target.revision is not None:
        api.create_branch(**where, branch=target.revision, exist_ok=True)
    commit = api.upload_folder(
        **where,
        folder_path=folder,
        revision=target.revision,
        delete_patterns=delete or None,
        commit_message=message,
    )
    report.commit, report.address = commit.oid, str(url)
    return report
