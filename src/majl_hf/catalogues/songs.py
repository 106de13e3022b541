"""One song of a catalogue: fetched, separated, delivered, and a row about it. A bad song is a row, never an error."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from ..audio import ENCODINGS, AudioReader, local_path
from ..checkpoints.loading import computing_in, load_model, silence_libraries
from ..errors import MajlError
from ..songs.separating import describe, separate_song
from ..songs.writing import AudioFormat, Job, SongWriter
from ..system.memory import keep_freed_memory
from .dataset_rows import read_row, row_address
from .destination import Destination, digest_of
from .labels import LabelCollector
from .manifest import STEMS, Output, Row
from .retrying import StoreError, without_secrets
from .sources import Entry
from .stores import download, is_remote, read_bytes

AUDIO_OUTPUTS, LABEL_OUTPUTS = ("vocals", "accompaniment"), ("f0", "notes")
OUTPUTS = AUDIO_OUTPUTS + LABEL_OUTPUTS
COPY = "song"  # in the scratch folder, of one that is in a store or a dataset


@dataclass(frozen=True, kw_only=True)
class Work:
    """What is done with every song, and where. Results depend on the fields before `device`, and
    in their last bits on `device` and `threads`.

    Args:
        destination: Its address.
        run: Digest of the run's identity, for the rows.
        model: A shipped name, a folder, or a Hub id with its commit.
        model_title: Its name and revision, for the rows.
        outputs: Some of `OUTPUTS`.
        format: Of the stems.
        dtype: One of `DTYPES`.
        voicing_policy, voicing_threshold: As of `separate_stream`.
        is_solo: Whether the songs are solo voices.
        mixdown: Whether surround is mixed down.
        device, threads, batch_size: As of `load_model` and `separate_stream`.
        time_limit_s: Wall time of a song; None for a multiple of its duration, see `worker`.
        memory_limit_bytes: Of the process that has the model.
    """

    destination: str
    run: str
    model: str
    model_title: str
    outputs: tuple[str, ...] = OUTPUTS
    format: AudioFormat = field(default_factory=lambda: AudioFormat("flac"))
    dtype: str = "float32"
    voicing_policy: str | None = None
    voicing_threshold: float | None = None
    is_solo: bool = False
    mixdown: bool = True
    device: str = "auto"
    threads: int = 1
    batch_size: int = 1
    time_limit_s: float | None = None
    memory_limit_bytes: int = 4 << 30

    @property
    def stems(self) -> tuple[str, ...]:
        """Those of the outputs that are audio."""
        return tuple(what for what in self.outputs if what in AUDIO_OUTPUTS)


class Task(NamedTuple):
    """A song to process, for the time `attempt`, from 1; `fetched` is a local copy, if there is one already."""

    entry: Entry
    attempt: int = 1
    fetched: str | None = None


class Outcome(NamedTuple):
    """A row of the manifest, and of the schema if there are labels."""

    row: Row
    labels: pa.Table | None = None


class SongProcessor:
    """Processes songs with one model.

    Args:
        work: What is done.
        scratch: A folder of its own for files that are not complete.

    Raises:
        MajlError: the model cannot be loaded, or not compute in `dtype`.
    """

    def __init__(self, work: Work, scratch: Path):
        keep_freed_memory()
        silence_libraries(work.model)
        self.work, self.scratch = work, scratch
        self.destination = Destination(work.destination)
        self.model = load_model(work.model, work.device, work.threads, work.voicing_policy, work.voicing_threshold)
        with computing_in(work.dtype, self.model):  # refuses what no song could be processed with
            pass

    def __call__(self, task: Task, started: Callable[[float | None], None] = lambda duration_s: None) -> Outcome:
        """Process a song; `started` is called with its duration, as its header says, before the work begins."""
        started_s, facts = time.monotonic(), {}
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        labels = None
        try:
            labels = self._process(task, facts, started)
            facts["status"] = "done"
        except Exception as error:  # one bad song must not stop the others
            reason = describe(error)
            address = task.entry.address
            for path, shown in (
                (task.fetched, address),
                (str(self.scratch / COPY), address),
                (str(self.scratch), self.work.destination),
            ):
                reason = reason.replace(path, shown) if path else reason
            reason = without_secrets(" ".join(reason.split()))
            passing = isinstance(error, StoreError) or _is_full(error)
            facts |= {"status": "failed", "reason": reason, "passing": passing, "outputs": {}}
        facts["elapsed_s"] = round(time.monotonic() - started_s, 3)
        return Outcome(make_row(self.work, task, **facts), labels)

    def _process(self, task: Task, facts: dict, started: Callable[[float | None], None]) -> pa.Table | None:
        work, entry = self.work, task.entry
        path = Path(task.fetched) if task.fetched else fetch(entry.address, self.scratch)
        facts["input_size"], facts["input_sha256"] = digest_of(path)
        with AudioReader(path, mixdown=work.mixdown) as reader:
            started(reader.duration_s)
            extension = ENCODINGS[work.format.encoding].extension
            files = {what: self.scratch / f"{what}{extension}" for what in work.stems}
            stems = SongWriter(Job(path, Path(entry.name), files), reader, True, work.format)
            labels = LabelCollector("f0" in work.outputs, "notes" in work.outputs)
            with computing_in(work.dtype, self.model):
                num_samples = separate_song(
                    self.model,
                    reader,
                    _Writers(stems, labels),
                    batch_size=work.batch_size,
                    policy=work.voicing_policy,
                    threshold=work.voicing_threshold,
                    separate=not work.is_solo,
                    read_pitch=labels.f0 or labels.notes,
                    read_notes=labels.notes,
                )
        duration_s = num_samples / reader.sampling_rate
        facts |= {
            "sampling_rate": reader.sampling_rate,
            "num_channels": reader.num_channels,
            "duration_s": duration_s,
            "warnings": tuple(reader.warnings + stems.warnings),
            "outputs": {
                what: Output.of(self.destination.move_in(file, stem_path(entry.name, what, extension)))
                for what, file in files.items()
            },
        }
        if not (labels.f0 or labels.notes):
            return None
        provenance = f"{work.model_title}, of a recording with SHA-256 {facts['input_sha256']}"
        hop_s = self.model.parts().config.frame_hop_s
        return labels.table(entry.name, duration_s, reader.sampling_rate, hop_s, provenance)


class _Writers:
    """Stems and labels of a song as one writer."""

    def __init__(self, stems: SongWriter, labels: LabelCollector):
        self.stems, self.labels = stems, labels
        self.commit, self.discard = stems.commit, stems.discard

    def write(self, chunk) -> None:
        self.stems.write(chunk)
        self.labels.write(chunk)


def _is_full(error: BaseException | None) -> bool:
    """Whether an error comes from a disk without space."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            return True
        error = error.__cause__ or error.__context__
    return False


def make_row(work: Work, task: Task, **facts) -> Row:
    """A row about a song that has just ended."""
    return Row(
        name=task.entry.name,
        address=without_secrets(task.entry.address),
        run=work.run,
        model=work.model_title,
        attempt=task.attempt,
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
        host=socket.gethostname(),
        **facts,
    )


def stem_path(name: str, what: str, extension: str) -> str:
    """Where a stem is, relative to the destination."""
    return f"{STEMS}/{name}.{what}{extension}"


def fetch(address: str, folder: Path) -> Path:
    """A local file with the audio of an address: itself, or a copy in `folder`.

    Raises:
        MajlError, OSError: it is missing or cannot be read.
    """
    if row_address(address) is None and not is_remote(address):
        path = Path(local_path(address))
        if path.exists() and not path.is_file():  # reading from a named pipe would wait for ever
            raise MajlError(f"{address} is not a regular file but a folder, a pipe or a device; give an audio file.")
        return path
    copy = folder / COPY
    if row_address(address) is not None:
        copy.write_bytes(fetch_bytes(address))
        return copy
    download(address, copy)
    return copy


def fetch_bytes(address: str) -> bytes:
    """The audio file at a remote address or in a row of a dataset."""
    row = row_address(address)
    if row is None:
        return read_bytes(address)
    value = read_row(row)
    if value is None or (value["bytes"] is None and not value["path"]):
        raise MajlError(f"{without_secrets(address)} is empty: the row has no audio in this column.")
    if value["bytes"] is not None:
        return value["bytes"]
    beside = value["path"]
    if not is_remote(beside) and not os.path.isabs(beside):
        beside = f"{row.file.rpartition('/')[0]}/{beside}"
    return fetch_bytes(beside) if is_remote(beside) else Path(beside).read_bytes()
