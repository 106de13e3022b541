"""The loop of `majl separate` and `majl pitch`: decode, compute and write one file after the other, block by block."""

import contextlib
import sys
import time
import traceback
from collections.abc import Iterator

import numpy as np

from ..audio import MAX_CHANNELS, AudioReader, AudioWriter, StreamResampler, to_24_bit_grid
from ..checkpoints.loading import load_model, silence_libraries
from ..errors import MajlError
from ..export.f0_csv import F0CsvWriter
from ..system.files import commit_together
from ..system.memory import keep_freed_memory
from ._common import EXIT_FAILED, ProcessingOptions, shown
from ._inputs import Job, check_output_dir, find_inputs, plan_jobs
from ._interrupt import Stopped, StopSignals
from ._outcomes import Outcomes


def process(
    verb: str,
    options: ProcessingOptions,
    endings: dict[str, str],
    *,
    encoding: str = "wav-float",
    separate: bool = True,
    skip_own_outputs: bool = False,
) -> int:
    """Process all inputs and return the exit code.

    Args:
        endings: for each wanted result ("vocals", "accompaniment", "f0") the end of its file name.
        encoding: of the audio, of `ENCODINGS`.
        separate: False takes the inputs for solo voices.
        skip_own_outputs: leave out files in folders that this command has written.
    """
    check_output_dir(options.output_dir)
    keep_freed_memory()
    found = find_inputs(options.inputs, options.recursive, skip_own_outputs)
    jobs, refused = plan_jobs(found.files, options.output_dir, endings, options.overwrite)
    with Outcomes(verb, options.as_json) as report, StopSignals() as signals:
        for sentence in found.left_out:
            report.note(shown(sentence))
        for refusal in found.refused + refused:
            report.failed(refusal.source, refusal.reason)
        try:
            if jobs:
                silence_libraries()
                model = load_model(
                    options.model, options.device, options.threads, options.voicing_policy, options.voicing_threshold
                )
            for job in jobs:
                signals.check()
                try:
                    report.done(job.source, _process_file(job, model, options, encoding, separate, report, signals))
                except Exception as error:  # one bad file must not stop the others
                    report.failed(job.source, _describe(error, options.debug))
        except KeyboardInterrupt as stop:
            report.stop_file()
            report.summary(stopped=True)
            return stop.exit_code if isinstance(stop, Stopped) else Stopped().exit_code
        report.summary()
    return EXIT_FAILED if report.failures else 0


def _process_file(
    job: Job,
    model,
    options: ProcessingOptions,
    encoding: str,
    separate: bool,
    report: Outcomes,
    signals: StopSignals,
) -> dict:
    """Write all results of one file, or none; returns the facts for the report."""
    from ..models.streaming_majl import separate_stream

    started_s = time.monotonic()
    num_samples = 0
    with AudioReader(job.source, MAX_CHANNELS) as reader, contextlib.ExitStack() as stack:
        report.start_file(job.source, reader.duration_s)
        writers = _open_writers(job, reader, options, encoding)
        for writer in writers.values():
            stack.callback(writer.discard)  # does nothing once it is committed
        chunks = separate_stream(
            model,
            _watched(reader.blocks(), signals),
            reader.sampling_rate,
            batch_size=options.batch_size,
            make_resampler=StreamResampler,
            policy=options.voicing_policy,
            threshold=options.voicing_threshold,
            separate=separate,
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


def _open_writers(
    job: Job, reader: AudioReader, options: ProcessingOptions, encoding: str
) -> dict[str, AudioWriter | F0CsvWriter]:
    expected = reader.num_samples or round((reader.duration_s or 0) * reader.sampling_rate)
    writers = {}
    try:
        for what, path in job.outputs.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            if what == "f0":
                writers[what] = F0CsvWriter(path, options.overwrite, options.unvoiced_as_zero)
            else:
                writers[what] = AudioWriter(
                    path, reader.sampling_rate, reader.num_channels, encoding, options.overwrite, expected
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


def _describe(error: BaseException, debug: bool = False) -> str:
    """One line for any exception. Those written for users speak for themselves, others need their type."""
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    if isinstance(error, MajlError | ValueError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "not enough memory; use a smaller --batch-size or --device cpu"
    return f"{type(error).__name__}: {error}; run again with --debug to see where"
