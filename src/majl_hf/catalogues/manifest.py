"""The manifest: what has been done, and nothing else decides what is left.

    DEST/run.json              what a run is: model, its weights, settings, version
    DEST/manifest/PART.jsonl   a row for each song, done or failed; the latest row of a name counts
    DEST/labels/PART.parquet   f0 and notes, rows of the package's schema
    DEST/stems/NAME.vocals.flac, NAME.accompaniment.flac

A part has a name of its own and is complete when it appears, so any number of drivers may write side by side. The part
of the manifest is written before the part of the labels that its rows name: a driver that is killed in between leaves
rows whose file is missing, and their songs are processed again, but never labels that no row names.
"""

from __future__ import annotations

import json
import re
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b, sha256
from typing import Any, Literal, NamedTuple

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import MajlError
from .destination import Destination, Written
from .labels import only_songs, write_labels
from .retrying import without_secrets
from .sources import Entry, local_size

FORMAT = 1
RUN_FILE, ROWS, LABELS, STEMS = "run.json", "manifest", "labels", "stems"
_PART = re.compile(rf"{LABELS}/\d{{19}}-[0-9a-f]{{8}}\.parquet")  # as of new_part
FLUSH_ROWS, FLUSH_BYTES = 5000, 32 << 20
# A part every 20 s at first, and later after every hundredth of the run's time: a driver that is killed loses at most
# that, and a run of days leaves hundreds of parts and not tens of thousands.
LEAST_FLUSH_S, MOST_FLUSH_S, FLUSH_SHARE = 20.0, 600.0, 0.01


class Output(BaseModel):
    """A file of a song, relative to the destination. `labels` is one of many songs."""

    model_config = ConfigDict(frozen=True)

    path: str
    size: int
    sha256: str

    @classmethod
    def of(cls, written: Written) -> Output:
        return cls(path=written.path, size=written.size, sha256=written.sha256)


class Row(BaseModel):
    """What became of a song."""

    model_config = ConfigDict(frozen=True)

    name: str
    address: str
    run: str
    model: str
    status: Literal["done", "failed"]
    reason: str | None = None
    passing: bool = False  # a failure of a store, or a full disk: the next run tries again
    input_size: int | None = None
    input_sha256: str | None = None
    sampling_rate: int | None = None
    num_channels: int | None = None
    duration_s: float | None = None
    elapsed_s: float = 0.0
    attempt: int = 1
    finished_at: str = ""
    host: str = ""
    peak_memory_bytes: int | None = None
    warnings: tuple[str, ...] = ()
    outputs: dict[str, Output] = {}


class Known(NamedTuple):
    """What is kept in memory of a row."""

    is_done: bool
    attempt: int
    address: bytes  # its digest
    input_size: int | None
    outputs: tuple[tuple[str, int, bytes], ...]  # path, size, digest of each


@dataclass(frozen=True)
class Identity:
    """What makes two runs the same: equal ones give equal results.

    Args:
        facts: For JSON: format, version, model, settings.
    """

    facts: Mapping[str, Any]

    @property
    def digest(self) -> str:
        return sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()[:16]

    def differences(self, other: Mapping[str, Any]) -> list[str]:
        """`key: theirs, here ours` for everything that differs from the facts of another run."""
        ours, theirs = _flat(self.facts), _flat(other)
        keys = [key for key in {**theirs, **ours} if ours.get(key) != theirs.get(key)]
        return [f"{key}: {theirs.get(key)!r} there, {ours.get(key)!r} now" for key in keys]


class Manifest:
    """The rows of a destination for one identity.

    Args:
        destination: Where.
        identity: Rows of another identity do not count.
        overwrite_run: Whether a run of another identity is replaced.

    Attributes:
        known: The latest row of each name.

    Raises:
        MajlError: the destination has a run of another identity, or a damaged part.
    """

    def __init__(self, destination: Destination, identity: Identity, overwrite_run: bool = False):
        self.destination, self.identity, self.run = destination, identity, identity.digest
        self.known: dict[str, Known] = {}
        self._parts: dict[str, set[str]] = defaultdict(set)  # of labels, to the songs that rows have named there
        self._sizes: dict[str, int] = {}
        self._check(overwrite_run)
        self._load()

    def claim(self) -> None:
        """Say whose destination it is; called when there is something to write."""
        content = json.dumps(self.identity.facts, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
        if content != self.destination.read(RUN_FILE):
            self.destination.put(RUN_FILE, content)

    def is_done(self, entry: Entry) -> bool:
        """Whether a song is done: its latest row says so for this input, and its files have the size it names."""
        known = self.known.get(entry.name)
        return (
            known is not None
            and known.is_done
            and _is_same_input(known, entry)
            and all(self._sizes.get(path) == size for path, size, _ in known.outputs)
        )

    def has_failed(self, entry: Entry) -> bool:
        """Whether the latest row of a song is a failure of this input."""
        known = self.known.get(entry.name)
        return known is not None and not known.is_done and _is_same_input(known, entry)

    def attempts(self, entry: Entry) -> int:
        """How many rows a song has had."""
        known = self.known.get(entry.name)
        return 0 if known is None else known.attempt

    def verify(self) -> list[str]:
        """Read the files of all songs that are done, and forget those that do not match; returns their names."""
        digests: dict[str, str | None] = {}
        damaged = []
        for name, known in self.known.items():
            for path, _, expected in known.outputs:
                if path not in digests:
                    digests[path] = self.destination.sha256(path)
                if digests[path] != expected.hex():
                    damaged.append(name)
                    break
                if not path.startswith(f"{LABELS}/"):
                    del digests[path]
        for name in damaged:
            self.known[name] = self.known[name]._replace(is_done=False, address=b"")
        return damaged

    def add(self, row: Row) -> None:
        """Count a row that has been written."""
        self._note(row)
        for output in row.outputs.values():
            self._sizes[output.path] = output.size

    def tidy(self) -> None:
        """Take songs out of parts of labels which their latest rows do not name, so that each song is there once."""
        latest = {
            name: path
            for name, known in self.known.items()
            for path, _, _ in known.outputs
            if known.is_done and path.startswith(f"{LABELS}/")
        }
        kept_of = {part: {n for n in names if latest.get(n) == part} for part, names in self._parts.items()}
        stale = {part: kept for part, kept in kept_of.items() if not kept or len(kept) < len(self._parts[part])}
        rows_of = self._rows_naming({part: kept for part, kept in stale.items() if kept})
        for part, kept in stale.items():
            content = self.destination.read(part)
            if content is not None:
                if kept:
                    self._move(rows_of[part], part, only_songs(content, kept))
                self.destination.remove(part)
            del self._parts[part]

    def _rows_naming(self, kept_of: Mapping[str, set[str]]) -> dict[str, list[Row]]:
        """For each part of labels, the latest rows of some of its songs."""
        rows: dict[str, dict[str, Row]] = {part: {} for part in kept_of}
        if rows:
            for file in sorted(self.destination.sizes(ROWS)):
                for row in self._rows(file):
                    labels = row.outputs.get(LABELS)
                    if row.run == self.run and labels is not None and row.name in kept_of.get(labels.path, ()):
                        rows[labels.path][row.name] = row
        return {part: list(named.values()) for part, named in rows.items()}

    def _move(self, rows: list[Row], part: str, content: bytes) -> None:
        """Write labels that remain of a part as another one. Its name follows from what it contains, so that two
        drivers which do the same at the same time write one file."""
        born = part.removeprefix(f"{LABELS}/").partition("-")[0]
        digest = sha256(content).hexdigest()
        target = Output(path=f"{LABELS}/{born}-{digest[:8]}.parquet", size=len(content), sha256=digest)
        moved = [row.model_copy(update={"outputs": {**row.outputs, LABELS: target}}) for row in rows]
        write_rows(self.destination, moved)
        self.destination.put(target.path, content)
        self._sizes[target.path] = target.size
        for row in moved:
            self._note(row)

    def _check(self, overwrite_run: bool) -> None:
        there = self.destination.read(RUN_FILE)
        if there is None or overwrite_run:
            return
        try:
            differences = self.identity.differences(json.loads(there))
        except ValueError as error:
            raise MajlError(
                f"{RUN_FILE} in {self.destination.address} is damaged ({error}); replace it with --overwrite-run."
            ) from error
        if differences:
            raise MajlError(
                f"{self.destination.address} contains the results of another run ({'; '.join(differences)}). "
                "Choose another --output, use the same settings, or replace those results with --overwrite-run."
            )

    def _load(self) -> None:
        # Labels that are there before the rows are read, and that no row names, are of a part of the manifest that
        # somebody has removed, if they have a name of ours.
        for part in self.destination.sizes(LABELS):
            if _PART.fullmatch(part):
                self._parts[part] = set()
        for part in sorted(self.destination.sizes(ROWS)):
            for row in self._rows(part):
                self._note(row)
        if self.known:
            self._sizes = self.destination.sizes(STEMS) | self.destination.sizes(LABELS)

    def _rows(self, part: str) -> Iterable[Row]:
        try:
            for line in (self.destination.read(part) or b"").splitlines():
                yield Row.model_validate_json(line)
        except ValidationError as error:
            wrong = error.errors(include_url=False)[0]
            where = "".join(f"{field}: " for field in wrong["loc"])
            raise MajlError(
                f"{part} in {self.destination.address} is damaged ({where}{wrong['msg']}); remove it to have its songs "
                "processed again."
            ) from error

    def _note(self, row: Row) -> None:
        labels = row.outputs.get(LABELS)
        if labels is not None:
            self._parts[sys.intern(labels.path)].add(row.name)
        if row.run != self.run:
            self.known.pop(row.name, None)  # another run has replaced its files
            return
        known = self.known.get(row.name)
        if known is not None and row.attempt < known.attempt:  # the clock of that machine was ahead
            return
        outputs = tuple(
            (sys.intern(output.path), output.size, bytes.fromhex(output.sha256)) for output in row.outputs.values()
        )
        address = b"" if row.passing else _digest(row.address)
        self.known[row.name] = Known(row.status == "done", row.attempt, address, row.input_size, outputs)


class Recorder:
    """Writes rows, with their labels, in parts: every `FLUSH_ROWS` rows, `FLUSH_BYTES` of labels, or from time to time.

    Args:
        manifest: Where they are counted.
    """

    def __init__(self, manifest: Manifest):
        self.manifest = manifest
        self._rows: list[Row] = []
        self._labels: list[pa.Table] = []
        self._num_bytes = 0
        self._has_claimed = False
        self._started_s = time.monotonic()
        self._waiting_since_s = 0.0

    def add(self, row: Row, labels: pa.Table | None) -> None:
        """Append a song; `labels` is its row of the schema."""
        if not self._has_claimed:  # not before a song has ended: settings with which none can are no run
            self.manifest.claim()
            self._has_claimed = True
        if not self._rows:
            self._waiting_since_s = time.monotonic()
        self._rows.append(row)
        if labels is not None:
            self._labels.append(labels)
            self._num_bytes += labels.nbytes
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Write what has waited long enough; called often."""
        if not self._rows:
            return
        now_s = time.monotonic()
        wait_s = min(max(LEAST_FLUSH_S, FLUSH_SHARE * (now_s - self._started_s)), MOST_FLUSH_S)
        is_full = len(self._rows) >= FLUSH_ROWS or self._num_bytes >= FLUSH_BYTES
        if is_full or now_s - self._waiting_since_s >= wait_s:
            self.flush()

    def flush(self) -> None:
        """Write everything."""
        if not self._rows:
            return
        rows, destination = self._rows, self.manifest.destination
        content = write_labels(self._labels) if self._labels else None
        path = f"{LABELS}/{new_part()}.parquet"
        if content is not None:
            named = {labels["song"][0].as_py() for labels in self._labels}
            output = Output(path=path, size=len(content), sha256=sha256(content).hexdigest())
            rows = [
                row.model_copy(update={"outputs": {**row.outputs, LABELS: output}}) if row.name in named else row
                for row in rows
            ]
        write_rows(destination, rows)
        if content is not None:
            destination.put(path, content)
        for row in rows:
            self.manifest.add(row)
        self._rows, self._labels, self._num_bytes = [], [], 0


def write_rows(destination: Destination, rows: Sequence[Row]) -> None:
    """Write a part of the manifest."""
    destination.put(f"{ROWS}/{new_part()}.jsonl", b"".join(row.model_dump_json().encode() + b"\n" for row in rows))


def new_part() -> str:
    """A name that no other part has and that comes after earlier ones."""
    return f"{time.time_ns():019d}-{secrets.token_hex(4)}"


def _is_same_input(known: Known, entry: Entry) -> bool:
    """Whether a row is about what is at an address now, as far as that can be seen without reading it."""
    size = local_size(entry.address)
    return known.address == _digest(entry.address) and (size is None or known.input_size in (None, size))


def _digest(text: str) -> bytes:
    return blake2b(without_secrets(text).encode(errors="surrogatepass"), digest_size=8).digest()


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    """The leaves of nested mappings by their dotted keys."""
    if not isinstance(value, Mapping):
        return {key: value}
    leaves = {}
    for part, inner in value.items():
        leaves |= _flat(inner, f"{key}.{part}" if key else part)
    return leaves
