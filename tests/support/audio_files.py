"""Fabricated audio files for the tests, in every format that is read."""

import av
import numpy as np
import soundfile

import majl_hf

RATE = 44100
EXTENSIONS = ("wav", "flac", "ogg", "opus", "mp3", "m4a", "mp4")
LOSSLESS = ("wav", "flac")
AAC_FRAME = 1024

# For code that runs in a process of its own: the audio room without the rest of the package, which takes seconds.
WITHOUT_MODELS = f"""
import sys, types
sys.modules["majl_hf"] = types.ModuleType("majl_hf")
sys.modules["majl_hf"].__path__ = {list(majl_hf.__path__)!r}
"""


def stereo_tones(num_samples: int = 3 * RATE + 777, sampling_rate: int = RATE) -> np.ndarray:
    """Two tones with a click in the first channel at sample 1000, `(2, num_samples)` float32."""
    time_s = np.arange(num_samples) / sampling_rate
    audio = np.stack([0.2 * np.sin(2 * np.pi * 440 * time_s), 0.3 * np.sin(2 * np.pi * 330 * time_s)])
    audio[0, 1000:1004] = 0.9
    return audio.astype(np.float32)


def write_audio(path, audio: np.ndarray, sampling_rate: int = RATE, **options) -> str:
    """Encode by the extension of `path`: soundfile's formats, or AAC in mp4."""
    extension = str(path).rsplit(".", 1)[-1]
    if extension in ("m4a", "mp4"):
        write_aac(path, [audio], sampling_rate, **options)
    elif extension == "opus":
        soundfile.write(path, audio.T, 48000, format="OGG", subtype="OPUS")
    else:
        soundfile.write(path, audio.T, sampling_rate)
    return str(path)


def write_aac(path, streams: list[np.ndarray], sampling_rate: int = RATE, bit_rate: int = 128_000, **options) -> None:
    """Encode `(num_channels, num_samples)` float32 as streams of an mp4, say the stems of a .stem.mp4."""
    with av.open(str(path), "w", format="mp4", options=options) as container:
        layouts = ["mono" if len(audio) == 1 else "stereo" for audio in streams]
        encoders = [container.add_stream("aac", sampling_rate, layout=name, bit_rate=bit_rate) for name in layouts]
        for audio, layout, encoder in zip(streams, layouts, encoders, strict=True):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio), format="fltp", layout=layout)
            frame.sample_rate, frame.pts = sampling_rate, 0
            container.mux(encoder.encode(frame))
            container.mux(encoder.encode(None))


def write_with_ffmpeg(path, audio: np.ndarray, sampling_rate: int, container: str, codec: str, options=None) -> None:
    """Encode `(1 or 2, num_samples)` by the names of FFmpeg's container and codec."""
    layout = "mono" if audio.shape[0] == 1 else "stereo"
    with av.open(str(path), "w", format=container, options=options or {}) as file:
        stream = file.add_stream(codec, rate=sampling_rate, layout=layout)
        to_codec = av.AudioResampler(format=stream.format, layout=layout, rate=sampling_rate)
        for start in range(0, audio.shape[1], AAC_FRAME):
            block = np.ascontiguousarray(audio[:, start : start + AAC_FRAME])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = sampling_rate, start
            for converted in to_codec.resample(frame):
                file.mux(stream.encode(converted))
        file.mux(stream.encode(None))
