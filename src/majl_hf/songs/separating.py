"""The loop over one song: decode, compute and write block by block; and what its errors mean."""

import contextlib
from collections.abc import Callable, Iterator

import numpy as np

from ..audio import AudioReader, StreamResampler
from ..errors import MajlError
from ..system.threads import WriteBehind, read_ahead

BLOCKS_AHEAD, CHUNKS_BEHIND = 4, 2  # decoded and waiting to be written while the networks compute


def separate_song(
    model,
    reader: AudioReader,
    writer,
    *,
    check: Callable[[], None] = lambda: None,
    advance: Callable[[float], None] = lambda seconds: None,
    **engine,
) -> int:
    """Write all results of one song, or none.

    Args:
        model: As of `separate_stream`.
        reader: The song, not read yet.
        writer: Has `write(chunk)`, `commit()` and `discard()`, such as `SongWriter`.
        check: Called before each block and after each chunk; an exception from it ends the work.
        advance: Called with the seconds of audio just done.
        engine: Further arguments of `separate_stream`.

    Returns:
        The number of samples at the song's rate.
    """
    from ..models.streaming_majl import separate_stream

    num_samples = 0
    with contextlib.ExitStack() as stack:
        stack.callback(writer.discard)
        blocks = stack.enter_context(contextlib.closing(read_ahead(reader.blocks(), BLOCKS_AHEAD)))
        chunks = separate_stream(
            model, _watched(blocks, check), reader.sampling_rate, make_resampler=StreamResampler, **engine
        )
        stack.enter_context(contextlib.closing(chunks))
        with WriteBehind(writer.write, CHUNKS_BEHIND) as write:
            for chunk in chunks:
                write(chunk)
                num_samples += chunk.mixture.shape[1]
                advance(chunk.mixture.shape[1] / reader.sampling_rate)
                check()
        writer.commit()
    return num_samples


def describe(error: BaseException, advice: str = "") -> str:
    """One line for any exception. Those written for users speak for themselves; others need a type and `advice`."""
    if isinstance(error, MajlError | ValueError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}"
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower():
        return "not enough memory; use a smaller --batch-size or --device cpu"
    return f"{type(error).__name__}: {error}{advice}"


def _watched(blocks: Iterator[np.ndarray], check: Callable[[], None]) -> Iterator[np.ndarray]:
    """The blocks, with a check before each."""
    for block in blocks:
        check()
        yield block
