"""From the inputs of a command to a plan: which file is read, where its results go, and what is refused beforehand."""

import glob
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..audio import AUDIO_EXTENSIONS, local_path
from ..errors import AudioError, MajlError

_OWN_OUTPUT = re.compile(r"\.(vocals|accompaniment)\.(wav|flac|mp3|m4a|opus)$", re.IGNORECASE)


@dataclass(frozen=True)
class Job:
    """One file to process: `outputs` maps what is written (`"vocals"`, ...) to where."""

    source: Path
    outputs: dict[str, Path]


@dataclass(frozen=True)
class Refusal:
    """An input that is not processed, and why."""

    source: str
    reason: str


def find_inputs(
    inputs: Sequence[str], recursive: bool = False, skip_own_outputs: bool = False
) -> tuple[list[tuple[Path, Path]], list[Refusal]]:
    """Resolve files, folders and globs.

    Args:
        inputs: As given. A name that exists is taken as it is, whatever characters it holds; otherwise it is a glob.
        recursive: Whether folders are searched to their leaves.
        skip_own_outputs: Leave out files in folders that this command has written.

    Returns:
        Pairs of a file and its folder relative to the folder that was given (`.` for files), each file once; and what
        was found wanting.
    """
    found, refused = [], []
    for text in inputs:
        try:
            path = Path(local_path(text))
        except AudioError as error:
            refused.append(Refusal(text, str(error)))
            continue
        matches = [path] if os.path.lexists(path) else sorted(map(Path, glob.glob(text, recursive=True)))
        if not matches:
            kind = "no file matches this pattern" if glob.has_magic(text) else "does not exist"
            refused.append(Refusal(text, f"{kind}; check the path"))
        for match in matches:
            if match.is_dir():
                files, failures = _audio_files(match, recursive, skip_own_outputs)
                found += files
                refused += failures
            else:
                found.append((match, Path()))
    unique: dict[str, tuple[Path, Path]] = {}
    for path, relative in found:
        unique.setdefault(os.path.abspath(path), (path, relative))
    return list(unique.values()), refused


def plan_jobs(
    found: Iterable[tuple[Path, Path]], output_dir: Path, endings: dict[str, str], overwrite: bool
) -> tuple[list[Job], list[Refusal]]:
    """Give every file its outputs, `output_dir / folder / (NAME + ending)`, before anything is computed.

    Refused are: outputs that exist (unless `overwrite`), that are an input, or that an earlier file has claimed.
    """
    found = list(found)
    jobs, refused = [], []
    sources = {_identity(path) for path, _ in found}
    claimed: dict[str, Path] = {}
    for path, folder in found:
        stem = path.stem if path.suffix.lower() in AUDIO_EXTENSIONS else path.name
        outputs = {what: output_dir / folder / (stem + ending) for what, ending in endings.items()}
        reason = None
        for output in outputs.values():
            reason = reason or _reason_against(output, sources, claimed, overwrite)
        if reason:
            refused.append(Refusal(str(path), reason))
            continue
        claimed.update({os.path.normcase(os.path.abspath(output)): path for output in outputs.values()})
        jobs.append(Job(path, outputs))
    return jobs, refused


def check_output_dir(path: Path) -> None:
    """Make the folder for the results, or fail before anything is computed."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MajlError(
            f"The output folder {path} cannot be made: {error.strerror}; choose another --output."
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise MajlError(f"The output folder {path} may not be written; choose another --output.")


def _reason_against(output: Path, sources: set, claimed: dict[str, Path], overwrite: bool) -> str | None:
    earlier = claimed.get(os.path.normcase(os.path.abspath(output)))
    if earlier is not None:
        return f"would write {output} as {earlier} does; use another --output folder for one of them"
    if output.is_dir():
        return f"{output} is a folder; move it or use another --output folder"
    if output.exists() and _identity(output) in sources:
        return f"the output {output} is an input; use another --output folder"
    if os.path.lexists(output) and not overwrite:
        return f"{output} exists already; use --overwrite or another --output folder"
    return None


def _identity(path: Path):
    """Equal for two names of one file, also through links."""
    try:
        status = path.stat()
    except OSError:
        return os.path.abspath(path)
    return status.st_dev, status.st_ino


def _audio_files(
    folder: Path, recursive: bool, skip_own_outputs: bool
) -> tuple[list[tuple[Path, Path]], list[Refusal]]:
    """Audio files of a folder by their extension, in the order of their names, without hidden ones."""
    files, refused = [], []

    def refuse(error: OSError) -> None:
        refused.append(Refusal(str(error.filename or folder), f"the folder cannot be read: {error.strerror}"))

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(name for name in folders if recursive and not name.startswith("."))
        for name in sorted(names):
            is_audio = name.lower().endswith(AUDIO_EXTENSIONS) and not name.startswith(".")
            if is_audio and not (skip_own_outputs and _OWN_OUTPUT.search(name)):
                files.append((Path(parent, name), Path(parent).relative_to(folder)))
    if not files and not refused:
        deeper = "" if recursive else " (subfolders are searched with --recursive)"
        refused.append(Refusal(str(folder), f"no audio file in this folder{deeper}"))
    return files, refused
