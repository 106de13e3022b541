"""The loop of `majl separate` and `majl pitch`: decode, compute and write one file after the other, block by block."""

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..audio import AudioReader, AudioWriter, StreamResampler, to_24_bit_grid
from ..checkpoints.loading import load_model
from ..export.f0_csv import F0CsvWriter
from ..system.files import commit_together
from ..system.memory import keep_freed_memory
from ._common import EXIT_FAILED, check_output_dir, describe
from ._inputs import Job, find_inputs, plan_jobs
from ._interrupt import Stopped, StopSignals
from ._report import Report


@dataclass(frozen=True)
class Settings:
    """Options that hold for every file. `separate=False` takes the input for a solo voice."""

    model: str
    device: str
    threads: int | None
    policy: str | None
    threshold: float | None
    batch_size: int
    overwrite: bool
    encoding: str = "wav-float"
    separate: bool = True
    unvoiced_as_zero: bool = False
    debug: bool = False


def process(
    verb: str,
    inputs: Sequence[str],
    output_dir: Path,
    endings: dict[str, str],
    settings: Settings,
    *,
    recursive: bool,
    as_json: bool,
    skip_own_outputs: bool,
) -> int:
    """Process all inputs and return the exit code. `endings` maps each wanted result to the end of its file name."""
    check_output_dir(output_dir)
    keep_freed_memory()
    found, unusable = find_inputs(inputs, recursive, skip_own_outputs)
    jobs, refused = plan_jobs(found, output_dir, endings, settings.overwrite)
    with Report(verb, as_json) as report, StopSignals() as signals:
        for refusal in unusable + refused:
            report.failed(refusal.source, refusal.reason)
        try:
            if jobs:
                model = load_model(
                    settings.model, settings.device, settings.threads, settings.policy, settings.threshold
                )
            for job in jobs:
                signals.check()
                try:
                    report.done(job.source, _process_file(job, model, settings, report, signals))
                except Exception as error:  # one bad file must not stop the others
                    report.failed(job.source, describe(error, settings.debug))
        except KeyboardInterrupt as stop:
            report.stop_file()
            report.summary(stopped=True)
            return stop.exit_code if isinstance(stop, Stopped) else Stopped().exit_code
        report.summary()
    return EXIT_FAILED if report.failures else 0


def _process_file(job: Job, model, settings: Settings, report: Report, signals: StopSignals) -> dict:
    """Write all results of one file, or none; returns the facts for the report."""
    from ..models.streaming_majl import separate_stream

    started_s = time.monotonic()
    num_samples = 0
    with AudioReader(job.source) as reader, contextlib.ExitStack() as stack:
        report.start_file(job.source, reader.duration_s)
        writers = _open_writers(job, reader, settings)
        for writer in writers.values():
            stack.callback(writer.discard)  # does nothing once it is committed
        chunks = separate_stream(
            model,
            _watched(reader.blocks(), signals),
            reader.sampling_rate,
            batch_size=settings.batch_size,
            make_resampler=StreamResampler,
            policy=settings.policy,
            threshold=settings.threshold,
            separate=settings.separate,
        )
        for chunk in chunks:
            _write_chunk(writers, chunk)
            num_samples += chunk.mixture.shape[1]
            report.advance(chunk.mixture.shape[1] / reader.sampling_rate)
            signals.check()
        commit_together(list(writers.values()))
    duration_s, elapsed_s = num_samples / reader.sampling_rate, time.monotonic() - started_s
    return {
        "outputs": {what: str(path) for what, path in job.outputs.items()},
        "sampling_rate": reader.sampling_rate,
        "num_channels": reader.num_channels,
        "num_samples": num_samples,
        "duration_s": duration_s,
        "elapsed_s": round(elapsed_s, 3),
        "real_time_factor": round(elapsed_s / duration_s, 4),
        "warnings": reader.warnings + _clipping_warnings(writers),
    }


def _open_writers(job: Job, reader: AudioReader, settings: Settings) -> dict[str, AudioWriter | F0CsvWriter]:
    expected = reader.num_samples or round((reader.duration_s or 0) * reader.sampling_rate)
    writers = {}
    try:
        for what, path in job.outputs.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if what == "f0":
                writers[what] = F0CsvWriter(path, settings.overwrite, settings.unvoiced_as_zero)
            else:
                writers[what] = AudioWriter(
                    path, reader.sampling_rate, reader.num_channels, settings.encoding, settings.overwrite, expected
                )
    except BaseException:
        for writer in writers.values():
            writer.discard()
        raise
    return writers


def _write_chunk(writers: dict, chunk) -> None:
    """Write one piece of every result.

    Integer encodings round. So that the written stems still add up to the mixture as it rounds to 24 bits, exactly and
    not to within a step, the vocals are rounded here and the accompaniment is what they leave of the rounded mixture.
    """
    vocals, accompaniment = chunk.vocals, chunk.accompaniment
    if any(isinstance(writer, AudioWriter) and writer.encoding.is_integer for writer in writers.values()):
        vocals = to_24_bit_grid(vocals)
        accompaniment = to_24_bit_grid(chunk.mixture) - vocals
    if "vocals" in writers:
        writers["vocals"].write(vocals)
    if "accompaniment" in writers:
        writers["accompaniment"].write(accompaniment)
    if "f0" in writers and chunk.frames is not None:
        writers["f0"].write(chunk.frames)


def _watched(blocks: Iterator[np.ndarray], signals: StopSignals) -> Iterator[np.ndarray]:
    """The blocks, with a look at the signals before each."""
    for block in blocks:
        signals.check()
        yield block


def _clipping_warnings(writers: dict) -> list[str]:
    return [
        f"{what}: {writer.clipped_samples} samples beyond full scale were clipped; --format wav-float keeps them"
        for what, writer in writers.items()
        if getattr(writer, "clipped_samples", 0)
    ]
