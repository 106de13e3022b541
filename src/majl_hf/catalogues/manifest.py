"""The manifest: what has been done, and nothing else decides what is left.

    DEST/run.json              what a run is: model, its weights, settings, version
    DEST/manifest/PART.jsonl   a row for each song, done or failed; the latest row of a name counts
    DEST/labels/PART.parquet   f0 and notes, rows of the package's schema
    DEST/stems/NAME.vocals.flac, NAME.accompaniment.flac

A part has a name of its own and is complete when it appears, so any number of drivers may write side by side. The part
of the manifest is written before the part of the labels that its rows name: a driver that is killed in between leaves
rows whose file is missing, and their songs are done again, but never labels that no row names.
"""

from __future__ import annotations

import json
import secrets
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b, sha256
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, ValidationError

from ..errors import MajlError
from .destination import Destination, Written
from .labels import without_songs, write_labels
from .retrying import without_secrets
from .sources import Entry

FORMAT = 1
RUN_FILE, ROWS, LABELS, STEMS = "run.json", "manifest", "labels", "stems"
FLUSH_ROWS, FLUSH_S, FLUSH_BYTES = 200, 20.0, 32 << 20


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
    passing: bool = False  # a failure of a store: the next run tries again
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
        self.destination, self.run = destination, identity.digest
        self.known: dict[str, Known] = {}
        self._parts: dict[str, set[str]] = defaultdict(set)  # of labels, to the songs that rows have named there
        self._sizes: dict[str, int] = {}
        self._claim(identity, overwrite_run)
        self._load()

    def is_done(self, entry: Entry) -> bool:
        """Whether a song is done: its latest row says so for this address, and its files have the size it names."""
        known = self.known.get(entry.name)
        return (
            known is not None
            and known.is_done
            and known.address == _digest(entry.address)
            and all(self._sizes.get(path) == size for path, size, _ in known.outputs)
        )

    def has_failed(self, entry: Entry) -> bool:
        """Whether the latest row of a song is a failure for this address."""
        known = self.known.get(entry.name)
        return known is not None and not known.is_done and known.address == _digest(entry.address)

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
        latest = {}
        for name, known in self.known.items():
            for path, _, _ in known.outputs:
                if known.is_done and path.startswith(f"{LABELS}/"):
                    latest[name] = path
        for part, names in list(self._parts.items()):
            stale = {name for name in names if latest.get(name) != part}
            if not stale:
                continue
            content = self.destination.read(part)
            if content is not None and stale != names:
                self._rewrite(part, content, stale, names - stale)
            if content is not None:
                self.destination.remove(part)
            del self._parts[part]

    def _rewrite(self, part: str, content: bytes, stale: set[str], kept: set[str]) -> None:
        smaller = without_songs(content, stale)
        target = f"{LABELS}/{new_part()}.parquet"
        rows = []
        for file in sorted(self.destination.sizes(ROWS)):
            rows += [row for row in self._rows(file) if row.name in kept and row.run == self.run]
        named = {row.name: row for row in rows if row.outputs.get(LABELS) and row.outputs[LABELS].path == part}
        written = Output(path=target, size=len(smaller), sha256=sha256(smaller).hexdigest())
        moved = [row.model_copy(update={"outputs": {**row.outputs, LABELS: written}}) for row in named.values()]
        write_rows(self.destination, moved)
        self.destination.put(target, smaller)
        for row in moved:
            self.add(row)

    def _claim(self, identity: Identity, overwrite_run: bool) -> None:
        there = self.destination.read(RUN_FILE)
        if there is not None and not overwrite_run:
            try:
                differences = identity.differences(json.loads(there))
            except ValueError as error:
                raise MajlError(f"{RUN_FILE} in {self.destination.address} is damaged: {error}") from error
            if differences:
                raise MajlError(
                    f"{self.destination.address} contains the results of another run ({'; '.join(differences)}). "
                    "Choose another --output, use the same settings, or replace those results with --overwrite-run."
                )
            return
        content = json.dumps(identity.facts, indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"
        if content != there:
            self.destination.put(RUN_FILE, content)

    def _load(self) -> None:
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
            raise MajlError(
                f"{part} in {self.destination.address} is damaged; remove it to have its songs processed again: {error}"
            ) from error

    def _note(self, row: Row) -> None:
        labels = row.outputs.get(LABELS)
        if labels is not None:
            self._parts[sys.intern(labels.path)].add(row.name)
        if row.run != self.run:
            return
        outputs = tuple(
            (sys.intern(output.path), output.size, bytes.fromhex(output.sha256)) for output in row.outputs.values()
        )
        self.known[row.name] = Known(
            row.status == "done", row.attempt, b"" if row.passing else _digest(row.address), outputs
        )


@dataclass
class Recorder:
    """Writes rows, with their labels, in parts: every `FLUSH_ROWS` rows, `FLUSH_BYTES` of labels or `FLUSH_S` seconds.

    Args:
        manifest: Where they are counted.
    """

    manifest: Manifest
    _rows: list[Row] = field(default_factory=list)
    _labels: list[dict] = field(default_factory=list)
    _num_bytes: int = 0
    _since_s: float = 0.0

    def add(self, row: Row, labels: dict | None) -> None:
        """Append a song; `labels` is its row of the schema."""
        if not self._rows:
            self._since_s = time.monotonic()
        self._rows.append(row)
        if labels is not None:
            self._labels.append(labels)
            self._num_bytes += sum(value.nbytes for value in labels.values() if hasattr(value, "nbytes"))
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Write what has waited long enough; called often."""
        is_full = len(self._rows) >= FLUSH_ROWS or self._num_bytes >= FLUSH_BYTES
        if self._rows and (is_full or time.monotonic() - self._since_s >= FLUSH_S):
            self.flush()

    def flush(self) -> None:
        """Write everything."""
        if not self._rows:
            return
        rows, destination = self._rows, self.manifest.destination
        content = write_labels(self._labels) if self._labels else None
        path = f"{LABELS}/{new_part()}.parquet"
        if content is not None:
            named = {labels["song"] for labels in self._labels}
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
