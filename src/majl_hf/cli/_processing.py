"""The loop of `majl separate`, `pitch` and `transcribe`: decode, compute and write file after file, block by block."""

import sys
import time
import traceback
from collections.abc import Callable, Mapping

from ..audio import AudioReader
from ..checkpoints.loading import computing_in, load_model, silence_libraries
from ..errors import MajlError
from ..songs.separating import describe, separate_song
from ..system.memory import keep_freed_memory
from ._common import EXIT_FAILED, ProcessingOptions, shown
from ._inputs import Job, check_output_dir, find_inputs, plan_jobs
from ._interrupt import Stopped, StopSignals
from ._outcomes import Outcomes
from ._pipes import Pipes, copy_to_stdout, piped


def process(
    verb: str,
    options: ProcessingOptions,
    endings: dict[str, str | None],
    make_writer: Callable,
    *,
    skip_own_outputs: bool = False,
    for_one_song: Mapping[str, str] | None = None,
    **engine,
) -> int:
    """Process all inputs and return the exit code.

    Args:
        endings: for each wanted result ("vocals", "f0", ...) the end of its file name, see `plan_jobs`.
        make_writer: `(job, song)` to what writes the results of a song, such as `SongWriter`.
        skip_own_outputs: leave out files in folders that this command has written.
        for_one_song: options given that take one song, each with what to do instead for several.
        engine: further arguments of `separate_stream`.
    """
    with piped(options, endings) as pipes:
        for_one_song = {**(for_one_song or {}), **({"-o -": "use a folder as --output"} if pipes.to_stdout else {})}
        return _process_all(verb, pipes, endings, make_writer, skip_own_outputs, for_one_song, engine)


def _process_all(
    verb: str,
    pipes: Pipes,
    endings: dict[str, str | None],
    make_writer: Callable,
    skip_own_outputs: bool,
    for_one_song: Mapping[str, str],
    engine: dict,
) -> int:
    options = pipes.options
    check_output_dir(options.output_dir)
    keep_freed_memory()
    found = find_inputs(options.inputs, options.recursive, skip_own_outputs)
    jobs, refused = plan_jobs(found.files, options.output_dir, endings, options.overwrite)
    for option, advice in for_one_song.items():
        if len(found.files) > 1:
            raise MajlError(f"{option} takes one song and {len(found.files)} are given; {advice}.")
    with Outcomes(verb, options.as_json, pipes.to_stdout, pipes.names) as report, StopSignals() as signals:
        for sentence in found.left_out:
            report.note(shown(sentence))
        for refusal in found.refused + refused:
            report.failed(refusal.source, refusal.reason)
        try:
            if jobs:
                silence_libraries(options.model)
                model = load_model(
                    options.model, options.device, options.threads, options.voicing_policy, options.voicing_threshold
                )
            for job in jobs:
                signals.check()
                try:
                    with computing_in(options.dtype, model):
                        facts = _process_file(job, model, options, make_writer, engine, report, signals)
                    if pipes.to_stdout:
                        (result,) = job.outputs.values()
                        copy_to_stdout(result, signals)
                        facts["outputs"] = dict.fromkeys(job.outputs, "stdout")
                    report.done(job.source, facts)
                except Exception as error:  # one bad file must not stop the others
                    if options.debug:
                        traceback.print_exception(error, file=sys.stderr)
                    report.failed(job.source, describe(error, advice="; run again with --debug to see where"))
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
    make_writer: Callable,
    engine: dict,
    report: Outcomes,
    signals: StopSignals,
) -> dict:
    """Write all results of one file, or none; returns the facts for the report."""
    started_s = time.monotonic()
    stream = int(options.stream) if (options.stream or "").isdecimal() else options.stream
    with AudioReader(job.source, mixdown=options.mixdown, stream=stream) as reader:
        report.start_file(job.source, reader.duration_s)
        writer = make_writer(job, reader)
        num_samples = separate_song(
            model,
            reader,
            writer,
            check=signals.check,
            advance=report.advance,
            batch_size=options.batch_size,
            policy=options.voicing_policy,
            threshold=options.voicing_threshold,
            **engine,
        )
    duration_s, elapsed_s = num_samples / reader.sampling_rate, time.monotonic() - started_s
    return {
        "outputs": {what: str(path) for what, path in job.outputs.items()},
        "sampling_rate": reader.sampling_rate,
        "num_channels": reader.num_channels,
        "num_samples": num_samples,
        "duration_s": duration_s,
        "elapsed_s": round(elapsed_s, 3),
        "real_time_factor": round(elapsed_s / duration_s, 4),
        **writer.facts,
        "warnings": reader.warnings + writer.warnings,
    }
