"""Decode, resample and encode audio files as streams, in memory that does not grow with the file.

Arrays are float32 of shape `(num_channels, num_samples)`, full scale is 1.0. All failures raise an `AudioError` that
says what was got, what is needed and what to do.
"""

from ..errors import AudioError
from .reader import AUDIO_EXTENSIONS, COMMON_FORMATS, MAX_CHANNELS, VIDEO_EXTENSIONS, AudioReader, read_audio
from .resampling import StreamResampler, resample, resampled_length_rounded
from .writer import ENCODINGS, AudioWriter, to_24_bit_grid

__all__ = [
    "AUDIO_EXTENSIONS",
    "COMMON_FORMATS",
    "ENCODINGS",
    "MAX_CHANNELS",
    "VIDEO_EXTENSIONS",
    "AudioError",
    "AudioReader",
    "AudioWriter",
    "StreamResampler",
    "read_audio",
    "resample",
    "resampled_length_rounded",
    "to_24_bit_grid",
]
