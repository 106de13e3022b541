"""Fabricated audio files for the tests, in every format that is read."""

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
import soundfile

import majl_hf
from majl_hf.audio import AudioReader

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


def write_aac(
    path, streams: list[np.ndarray], sampling_rate: int = RATE, layout: str = "", bit_rate: int = 128_000, **options
) -> None:
    """Encode `(num_channels, num_samples)` float32 as streams of an mp4, say the stems of a .stem.mp4.

    Args:
        layout: FFmpeg's name of that of all streams; default: mono or stereo.
        options: Of the container.
    """
    with av.open(str(path), "w", format="mp4", options=options) as container:
        layouts = [layout or ("mono" if len(audio) == 1 else "stereo") for audio in streams]
        encoders = [container.add_stream("aac", sampling_rate, layout=name, bit_rate=bit_rate) for name in layouts]
        for audio, layout, encoder in zip(streams, layouts, encoders, strict=True):
            frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(audio), format="fltp", layout=layout)
            frame.sample_rate, frame.pts = sampling_rate, 0
            container.mux(encoder.encode(frame))
            container.mux(encoder.encode(None))


def write_packets(
    path,
    codec: str,
    audio: np.ndarray,
    sampling_rate: int,
    *,
    format: str | None = None,
    options: dict | None = None,
    start_s: Callable[[float], float | None] = lambda time_s: time_s,
    video_s: float = 0.0,
) -> str:
    """Encode with PyAV, packet by packet.

    Args:
        format: Of the container; None for that of the extension of `path`.
        options: Of the container.
        start_s: From the time of a packet to that which it gets in the container; None leaves the packet out.
        video_s: Length of a video stream beside the audio, which starts at 0.
    """
    layout = "mono" if audio.shape[0] == 1 else "stereo"
    with av.open(str(path), "w", format=format, options=options or {}) as container:
        packets = _video_packets(container, video_s) if video_s else []
        stream = container.add_stream(codec, rate=sampling_rate, layout=layout)
        stream.codec_context.open()
        step = stream.codec_context.frame_size or AAC_FRAME
        to_format = av.AudioResampler(stream.codec_context.format, layout, sampling_rate)
        encoded = []
        for start in range(0, audio.shape[1], step):
            block = np.ascontiguousarray(audio[:, start : start + step])
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts, frame.time_base = sampling_rate, start, Fraction(1, sampling_rate)
            encoded += [packet for part in to_format.resample(frame) for packet in stream.encode(part)]
        encoded += stream.encode(None)
        for packet in encoded:
            time_s = float(packet.pts * packet.time_base)
            moved_s = start_s(time_s)
            if moved_s is not None:
                packet.pts = packet.dts = packet.pts + round((moved_s - time_s) / packet.time_base)
                packets.append(packet)
        for packet in sorted(packets, key=lambda packet: packet.pts * packet.time_base):
            container.mux(packet)
    return str(path)


def _video_packets(container, duration_s: float) -> list:
    stream = container.add_stream("mpeg4", rate=25)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    packets = []
    for number in range(round(25 * duration_s)):
        frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), number % 256, dtype=np.uint8), format="rgb24")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


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


def length_and_peak_bytes(path) -> tuple[int, int]:
    """Samples of a file that is read in blocks, and the most memory that Python took meanwhile."""
    num_samples = 0
    tracemalloc.start()
    try:
        with AudioReader(path) as reader:
            for block in reader.blocks(8192):
                num_samples += block.shape[1]
        return num_samples, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
