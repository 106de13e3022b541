"""A run over a catalogue: what it is, what is left to do, and what came of it."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..checkpoints import SHIPPED
from ..checkpoints.loading import checkpoint_sha256, split_revision
from ..errors import MajlError
from ..models.onnx_majl import is_onnx_folder
from ..system.provenance import __version__
from .manifest import FORMAT, Identity, Manifest, Recorder, Row
from .songs import Outcome, Task, Work
from .sources import Songs
from .worker import remove_abandoned


@dataclass(frozen=True)
class Model:
    """A model as every machine can load it.

    Args:
        name: A shipped name, a folder, or a Hub id with its commit.
        title: For people: its name and revision.
        facts: What identifies it.
    """

    name: str
    title: str
    facts: dict[str, str | None]


def find_model(name: str) -> Model:
    """The model of a name as of `load_model`, with the digest of its weights; one of the Hub is downloaded.

    Raises:
        MajlError: there is no such model.
    """
    if name in SHIPPED or os.path.isdir(name):
        folder, title, revision = Path(SHIPPED.get(name, name)), Path(name).name, None
        loaded = name if name in SHIPPED else str(folder.absolute())
    else:
        folder, revision = _download(name)
        title = split_revision(name)[0]
        loaded = f"{title}@{revision}"
    weights = checkpoint_sha256(folder)
    if is_onnx_folder(folder):
        weights = _sha256(*sorted(folder.glob("*.onnx*")))
    facts = {
        "name": title,
        "revision": revision,
        "weights_sha256": weights,
        "config_sha256": _sha256(folder / "config.json") if (folder / "config.json").is_file() else None,
    }
    return Model(loaded, f"{title}@{(revision or weights or '')[:12]}", facts)


def identify(model: Model, work: Work) -> Identity:
    """What makes two runs the same: the model and those settings that results depend on."""
    settings = {
        name: value
        for name, value in asdict(work).items()
        if name in ("outputs", "format", "dtype", "voicing_policy", "voicing_threshold", "is_solo", "mixdown")
    }
    settings["outputs"] = list(work.outputs)
    if not work.stems:
        del settings["format"]
    return Identity({"format": FORMAT, "majl_hf": __version__, "model": model.facts, "settings": settings})


@dataclass
class Pending:
    """What a run has before it.

    Args:
        tasks: Songs to process.
        num_done, num_failed: Songs that are done or have failed already and are left as they are.
    """

    tasks: list[Task]
    num_done: int = 0
    num_failed: int = 0


def find_pending(songs: Songs, manifest: Manifest, retry_failed: bool = False) -> Pending:
    """The songs of a source that are not done; those that have failed only with `retry_failed`."""
    pending = Pending([])
    for entry in songs:
        if manifest.is_done(entry):
            pending.num_done += 1
        elif manifest.has_failed(entry) and not retry_failed:
            pending.num_failed += 1
        else:
            pending.tasks.append(Task(entry, manifest.attempts(entry) + 1))
    return pending


@dataclass
class Tally:
    """What a run has done so far.

    Args:
        num_songs: To process.
        num_done, num_failed: Of those, so far.
        audio_s: Of the songs that are done.
    """

    num_songs: int
    num_done: int = 0
    num_failed: int = 0
    audio_s: float = 0.0
    elapsed_s: float = 0.0

    @property
    def num_left(self) -> int:
        return self.num_songs - self.num_done - self.num_failed

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at the pace so far; None before the first song."""
        ended = self.num_done + self.num_failed
        return self.elapsed_s / ended * self.num_left if ended else None


def run_catalogue(
    tasks: Sequence[Task],
    manifest: Manifest,
    engine: Callable[[Sequence[Task]], Iterator[Outcome | None]],
    report: Callable[[Row | None, Tally], None] = lambda row, tally: None,
) -> Tally:
    """Process songs and record each; returns the counts. However this ends, what was recorded stays.

    Args:
        engine: `run_locally` or `run_on_ray`, with all other arguments given.
        report: Called with each row, or with None from time to time.
    """
    recorder, tally, started_s = Recorder(manifest), Tally(len(tasks)), time.monotonic()
    manifest.destination.prepare()
    manifest.tidy()
    if not tasks:
        remove_abandoned(manifest.destination)
        return tally
    outcomes = engine(tasks)
    try:
        for outcome in outcomes:
            tally.elapsed_s = time.monotonic() - started_s
            if outcome is None:
                recorder.flush_if_due()
                report(None, tally)
                continue
            recorder.add(outcome.row, outcome.labels)
            tally.num_done += outcome.row.status == "done"
            tally.num_failed += outcome.row.status == "failed"
            tally.audio_s += outcome.row.duration_s or 0.0
            report(outcome.row, tally)
    finally:
        try:
            recorder.flush()
        finally:
            outcomes.close()
    manifest.tidy()
    return tally


def _download(name: str) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download

    from ..checkpoints.hub_errors import explain

    hub_id, revision = split_revision(name)
    if "/" not in hub_id:
        raise MajlError(
            f"There is no model {name!r}; give a shipped name ({', '.join(SHIPPED)}), a folder or a Hub id."
        )
    try:
        folder = Path(snapshot_download(hub_id, revision=revision, allow_patterns=["*.json", "*.safetensors"]))
    except Exception as error:
        raise MajlError(f"The model {name!r} cannot be loaded: {explain(error, hub_id) or error}") from error
    return folder, folder.name


def _sha256(*paths: Path) -> str:
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.read_bytes())
    return digest.hexdigest()
