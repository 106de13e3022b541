"""Decode, resample and encode audio files as streams, in memory that does not grow with the file.

Arrays are float32 of shape `(num_channels, num_samples)`, full scale is 1.0. All failures raise an `AudioError` that
says what was got, what is needed and what to do.
"""

from ..errors import AudioError
from .encoders import ENCODINGS, check_encoding
from .quantising import Quantiser, to_24_bit_grid
from .reader import AUDIO_EXTENSIONS, COMMON_FORMATS, VIDEO_EXTENSIONS, AudioReader, read_audio
from .resampling import StreamResampler, resample, resampled_length_rounded
from .sources import local_path
from .tags import Tags, read_tags
from .writer import AudioWriter

__all__ = [
    "AUDIO_EXTENSIONS",
    "COMMON_FORMATS",
    "ENCODINGS",
    "VIDEO_EXTENSIONS",
    "AudioError",
    "AudioReader",
    "AudioWriter",
    "Quantiser",
    "StreamResampler",
    "Tags",
    "check_encoding",
    "local_path",
    "read_audio",
    "read_tags",
    "resample",
    "resampled_length_rounded",
    "to_24_bit_grid",
]
