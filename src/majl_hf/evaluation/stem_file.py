"""MUSDB18's `.stem.mp4`: five audio streams in one file.

Conventions
    Streams in the order mix, drums, bass, other, vocals, all of one rate and channel count.

Traps
    The mix stream was encoded on its own and is not the sum of the others. The mixture here is vocals + accompaniment
    with accompaniment = drums + bass + other, so that the parts add up.

Licence
    That of the song; MUSDB18 is for research.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import EvaluationError
from ..mixing.clips import ValidationClip

STREAMS = ("mix", "drums", "bass", "other", "vocals")


def read_stem_file(path: str | Path) -> ValidationClip:
    """The file as one clip: mixture and vocals of shape (num_channels, num_samples) float32, no label.

    Raises:
        EvaluationError: not readable, another number of streams, or streams that do not fit each other.
    """
    import av

    path = Path(path)
    pieces: list[list[np.ndarray]] = [[] for _ in STREAMS]
    try:
        with av.open(str(path)) as container:
            streams = container.streams.audio
            if len(streams) != len(STREAMS):
                raise EvaluationError(f"{path} has {len(streams)} audio streams; it needs 5: {', '.join(STREAMS)}.")
            formats = {(stream.rate, stream.channels) for stream in streams}
            if len(formats) != 1:
                raise EvaluationError(f"The streams of {path} differ in (rate, channels): {sorted(formats)}.")
            position = {stream.index: number for number, stream in enumerate(streams)}
            resamplers = [av.AudioResampler(format="fltp") for _ in STREAMS]
            for packet in container.demux(*streams):
                number = position[packet.stream_index]
                for frame in packet.decode():
                    pieces[number] += [piece.to_ndarray() for piece in resamplers[number].resample(frame)]
    except (av.FFmpegError, OSError) as error:
        raise EvaluationError(f"{path} cannot be read as a stem file ({error}). Check that it is complete.") from error
    if not all(pieces):
        raise EvaluationError(f"{path} has a stream without samples; each of {', '.join(STREAMS)} needs some.")
    ((sampling_rate, _),) = formats
    stems = [np.concatenate(stream_pieces, axis=1) for stream_pieces in pieces]
    length = min(stem.shape[1] for stem in stems)
    _, drums, bass, other, vocals = (stem[:, :length] for stem in stems)
    name = path.name.removesuffix(".mp4").removesuffix(".stem")
    return ValidationClip(
        id=name,
        song=name,
        singer="",
        sampling_rate=sampling_rate,
        mixture=vocals + (drums + bass + other),
        vocals=vocals,
        label=None,
    )
