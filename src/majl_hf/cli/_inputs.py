"""From the inputs of a command to a plan: which file is read, where its results go, and what is refused beforehand."""

import errno
import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..audio import AUDIO_EXTENSIONS, local_path
from ..errors import AudioError, MajlError
from ..songs.finding import Kind, kind_of
from ..songs.writing import Job
from ..system.files import counted, file_identity, is_hidden, walk


@dataclass(frozen=True)
class Refusal:
    """An input that is not processed, and why."""

    source: str
    reason: str


@dataclass(frozen=True)
class Found:
    """What the inputs of a command resolve to.

    Args:
        files: Pairs of a file and its folder relative to the folder that was given (`.` for files), each file once.
        refused: Inputs that cannot be used.
        left_out: For each folder of which files are left out, a sentence that counts and names them.
    """

    files: list[tuple[Path, Path]]
    refused: list[Refusal]
    left_out: list[str]


def find_inputs(inputs: Sequence[str], recursive: bool = False, skip_own_outputs: bool = False) -> Found:
    """Resolve files, folders and globs.

    Args:
        inputs: As given. A name that exists is taken as it is, whatever its characters; otherwise it is a glob.
        recursive: Whether subfolders are searched as well.
        skip_own_outputs: Leave out files in folders that this command has written.
    """
    files: dict[str, tuple[Path, Path]] = {}
    refused, left_out = [], []
    for text in inputs:
        if not text:
            refused.append(Refusal("''", "the name is empty; give a file or a folder"))
            continue
        try:
            path = Path(local_path(text))
        except AudioError as error:
            refused.append(Refusal(text, str(error)))
            continue
        matches = [path] if os.path.lexists(path) else sorted(map(Path, glob.glob(text, recursive=True)))
        if not matches:
            refused.append(Refusal(text, _reason_for_none(text)))
        for match in matches:
            alone = Found([(match, Path())], [], [])
            found = _search(match, recursive, skip_own_outputs) if match.is_dir() else alone
            refused += found.refused
            left_out += found.left_out
            for file, relative in found.files:
                files.setdefault(os.path.abspath(file), (file, relative))
    return Found(list(files.values()), refused, left_out)


def plan_jobs(
    found: Iterable[tuple[Path, Path]], output_dir: Path, endings: dict[str, str | None], overwrite: bool
) -> tuple[list[Job], list[Refusal]]:
    """Give every file its outputs, `output_dir / folder / (NAME + ending)`, before anything is computed.

    The ending None is for a copy of the file, under its own name; where it already is there, it is left out.

    Refused are: outputs that exist (unless `overwrite`), that are an input, that an earlier file has claimed, or whose
    names are too long.
    """
    found = list(found)
    jobs, refused = [], []
    sources = {file_identity(path) for path, _ in found}
    claimed: dict[str, Path] = {}
    for path, folder in found:
        name = folder / (path.stem if path.suffix.lower() in AUDIO_EXTENSIONS else path.name)
        outputs = {
            what: output_dir / (folder / path.name if ending is None else f"{name}{ending}")
            for what, ending in endings.items()
        }
        outputs = {
            what: output
            for what, output in outputs.items()
            if endings[what] is not None or file_identity(output) != file_identity(path)
        }
        reason = None
        for output in outputs.values():
            reason = reason or _reason_against_name(output, output_dir)
            reason = reason or _reason_against(output, sources, claimed, overwrite)
        if reason:
            refused.append(Refusal(str(path), reason))
            continue
        claimed.update({os.path.normcase(os.path.abspath(output)): path for output in outputs.values()})
        jobs.append(Job(path, name, outputs))
    return jobs, refused


def check_output_dir(path: Path) -> None:
    """Create the folder for the results, or fail before anything is computed."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MajlError(
            f"The output folder {path} cannot be created: {error.strerror}; choose another --output."
        ) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise MajlError(f"The output folder {path} is not writable; choose another --output.")


def _reason_against(output: Path, sources: set, claimed: dict[str, Path], overwrite: bool) -> str | None:
    earlier = claimed.get(os.path.normcase(os.path.abspath(output)))
    if earlier is not None:
        return f"would write {output} as {earlier} does; use another --output folder for one of them"
    if output.is_dir():
        return f"{output} is a folder; move it or use another --output folder"
    if output.exists() and file_identity(output) in sources:
        return f"the output {output} is an input; use another --output folder"
    if os.path.lexists(output) and not overwrite:
        return f"{output} exists already; use --overwrite or another --output folder"
    return None


def _reason_against_name(output: Path, output_dir: Path) -> str | None:
    """Why the file system does not accept the name of a result; its folder need not exist."""
    for path in (output_dir / output.name, output):
        try:
            path.lstat()
        except OSError as error:
            if error.errno == errno.ENAMETOOLONG:
                size = len(os.fsencode(path.name))
                return (
                    f"the name of its result, ...{output.name[-24:]}, is too long for the folder {output_dir} ({size} "
                    "bytes; most file systems take 255): give the song a shorter name"
                )
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                return f"{path} cannot be written: {error.strerror}; use another --output folder"
    return None


def _reason_for_none(text: str) -> str:
    """Why an input that is not a file yields none."""
    if not glob.has_magic(text):
        return "does not exist; check the path"
    if glob.glob(text, recursive=True, include_hidden=True):
        return "only hidden files match this pattern; name them, or begin the pattern's last part with a dot"
    return "no file matches this pattern; check the path"


def _search(folder: Path, recursive: bool, skip_own_outputs: bool) -> Found:
    """Audio files of a folder by their extension, in the order of their names, without hidden ones."""
    files: list[tuple[Path, Path]] = []
    refused: list[Refusal] = []
    kinds: list[str] = []  # of the files that are left out
    num_subfolders = 0  # that are not searched

    def refuse(error: OSError) -> None:
        refused.append(Refusal(str(error.filename or folder), f"the folder cannot be read: {error.strerror}"))

    for parent, folders, names in walk(folder, refuse):
        folders[:] = [name for name in folders if not is_hidden(name)]
        if not recursive:
            num_subfolders += len(folders)
            folders.clear()
        for name in names:
            kind = kind_of(name, skip_own_outputs)
            if kind is Kind.SONG:
                files.append((parent / name, parent.relative_to(folder)))
            elif kind is not Kind.NOTHING:
                kinds.append(kind.described(name))
    files.sort(key=lambda file: (file[1].parts, file[0].name))
    left_out = f"left out {counted(kinds)}" if kinds else ""
    if num_subfolders:
        left_out += f"{'; ' * bool(kinds)}subfolders that only --recursive searches: {num_subfolders}"
    if not files and not refused:
        refused.append(Refusal(str(folder), f"no audio file in this folder{f' ({left_out})' * bool(left_out)}"))
        left_out = ""
    return Found(files, refused, [f"{folder}: {left_out}"] * bool(left_out))
