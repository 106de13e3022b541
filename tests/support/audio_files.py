"""Fabricated audio files for the tests, in every format that is read."""

import io
import struct
import zlib

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


def write_audio(path, audio: np.ndarray, sampling_rate: int = RATE, **av_options) -> str:
    """Encode by the extension of `path`: soundfile's formats, or AAC in mp4."""
    extension = str(path).rsplit(".", 1)[-1]
    if extension in ("m4a", "mp4"):
        layout = "mono" if audio.shape[0] == 1 else "stereo"
        write_aac(path, audio, sampling_rate, layout, **av_options)
    elif extension == "opus":
        soundfile.write(path, audio.T, 48000, format="OGG", subtype="OPUS")
    else:
        soundfile.write(path, audio.T, sampling_rate)
    return str(path)


def write_aac(path, audio: np.ndarray, sampling_rate: int, layout: str, **options) -> None:
    """AAC in mp4, of any of FFmpeg's layouts."""
    with av.open(str(path), "w", format="mp4", options=options) as container:
        stream = container.add_stream("aac", rate=sampling_rate, layout=layout)
        for start in range(0, audio.shape[1], AAC_FRAME):
            block = np.ascontiguousarray(audio[:, start : start + AAC_FRAME])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = sampling_rate, start
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def png(size: int = 8) -> bytes:
    """A grey picture as a PNG file."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", size, size, 8, 2, 0, 0, 0)
    rows = zlib.compress((b"\0" + b"\x80" * 3 * size) * size)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def jpeg(size: int = 16) -> bytes:
    """A grey picture as a JPEG file."""
    file = io.BytesIO()
    with av.open(file, "w", format="mjpeg") as container:
        stream = container.add_stream("mjpeg", rate=1, width=size, height=size, pix_fmt="yuvj420p")
        frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), 128, dtype=np.uint8), "rgb24")
        container.mux(stream.encode(frame.reformat(format="yuvj420p")))
        container.mux(stream.encode(None))
    return file.getvalue()


def write_film(path, tracks: dict[str, np.ndarray], default: str | None = None, sampling_rate: int = RATE) -> str:
    """Stereo sound tracks by language, as 16-bit samples in matroska; `default` is marked as the default track."""
    with av.open(str(path), "w", format="matroska") as container:
        streams = {}
        for language in tracks:
            streams[language] = container.add_stream("pcm_s16le", rate=sampling_rate, layout="stereo")
            streams[language].metadata["language"] = language
            streams[language].disposition = int(language == default)
        for language, audio in tracks.items():
            samples = np.rint(audio * 2**15).astype(np.int16).T.reshape(1, -1)
            frame = av.AudioFrame.from_ndarray(samples, "s16", "stereo")
            frame.sample_rate, frame.pts = sampling_rate, 0
            container.mux(streams[language].encode(frame))
            container.mux(streams[language].encode(None))
    return str(path)
