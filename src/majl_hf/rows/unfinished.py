"""What a combination that was stopped, or killed, has finished: a hidden folder beside its result.

    .NAME.part/fingerprints/*.npz   landmarks of the rows of one input file each
    .NAME.part/plan.json            the shards of the result: file -> digest of the rows that it is made of
    .NAME.part/result/              what becomes NAME

Conventions
    Every file in it appears whole or not at all, and is used again only where it was made from the same inputs: input
    files are known by name, size and modification time. So a run that goes on ends with the same bytes as one that was
    never stopped. The folder goes when the result takes its place.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..system.files import AtomicWriter
from ..system.provenance import __version__
from .build import alone_in, remove_leftovers, write_json
from .fingerprint import Fingerprint
from .shards import file_facts


class Unfinished:
    """The hidden folder of the result `out`."""

    def __init__(self, out: Path):
        self.out = out
        self.folder = out.parent / f".{out.name}.part"
        self.result = self.folder / "result"

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Make the folder and hold it against a second run.

        Raises:
            MajlError: another process works in it, or it cannot be written.
        """
        with alone_in(self.result):
            (self.folder / "fingerprints").mkdir(exist_ok=True)
            for path in (self.folder / "fingerprints").glob(".majl-*.part"):
                path.unlink(missing_ok=True)
            yield

    def read_fingerprints(self, path: Path, ids: Sequence[str]) -> list[Fingerprint] | None:
        """Those of the rows `ids` of the input file `path`; None where they are not there."""
        try:
            with np.load(self._fingerprint_file(path, ids)) as file:
                ends = np.cumsum(file["counts"])[:-1]
                hashes, frames = np.split(file["hashes"], ends), np.split(file["frames"], ends)
                return [Fingerprint(*values) for values in zip(hashes, frames, file["lengths"].tolist(), strict=True)]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile):
            return None

    def write_fingerprints(self, path: Path, ids: Sequence[str], fingerprints: Sequence[Fingerprint]) -> None:
        """Keep those of the rows `ids` of the input file `path`."""
        with _ArraysWriter(self._fingerprint_file(path, ids), overwrite=True) as writer:
            writer.write(
                hashes=np.concatenate([f.hashes for f in fingerprints]),
                frames=np.concatenate([f.frames for f in fingerprints]),
                counts=np.array([len(f.hashes) for f in fingerprints]),
                lengths=np.array([f.num_frames for f in fingerprints]),
            )

    def _fingerprint_file(self, path: Path, ids: Sequence[str]) -> Path:
        return self.folder / "fingerprints" / f"{digest(file_facts(path), list(ids))}.npz"

    def keep(self, plan: Mapping[str, str]) -> set[str]:
        """Take up a plan, file -> digest: what an earlier run left that is not in it is removed.

        Returns:
            The files that are there, whole.
        """
        path = self.folder / "plan.json"
        try:
            earlier = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            earlier = {}
        kept = {file for file in plan if earlier.get(file) == plan[file] and _is_whole(self.result / file)}
        remove_leftovers(self.result, kept)  # before the new plan stands, which would vouch for what it does not
        write_json(path, dict(plan))
        return kept

    def finish(self) -> None:
        """Give the result its place, where an older one may stand, and remove the folder."""
        old = self.out.parent / f".{self.out.name}.old"
        shutil.rmtree(old, ignore_errors=True)
        if self.out.exists():
            self.out.rename(old)
        try:
            self.result.rename(self.out)
        except OSError:
            with contextlib.suppress(OSError):
                old.rename(self.out)
            raise
        shutil.rmtree(old, ignore_errors=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def digest(*facts) -> str:
    """Of anything that JSON holds; another one for another version of the package."""
    return hashlib.sha256(json.dumps([__version__, facts]).encode()).hexdigest()[:32]


def _is_whole(path: Path) -> bool:
    try:
        pq.read_metadata(path)
    except (OSError, pa.ArrowException):
        return False
    return True


class _ArraysWriter(AtomicWriter):
    def write(self, **arrays: np.ndarray) -> None:
        try:
            np.savez(self._file, **arrays)
        except OSError as error:
            raise self._failure(error) from error
