"""Sound that arrives as time passes: from a microphone, or from a file that is played as one; and a player."""

import contextlib
import queue
import threading
import time
from collections.abc import Iterator

import numpy as np

from ..audio import AudioReader, StreamResampler
from ..errors import MajlError
from . import _common as c
from ._interrupt import StopSignals

BLOCK_S = 0.01
MAX_WAITING_S = 5.0  # of sound that is not taken, after which the oldest is dropped


def sound_cards():
    """The module `sounddevice`.

    Raises:
        MajlError: it, or the library PortAudio that it needs, is not installed.
    """
    with c.extra("live", "Sound from and to devices"):
        try:
            import sounddevice
        except OSError as error:
            raise MajlError(
                "Sound from and to devices needs the library PortAudio, which is not installed; on Debian and Ubuntu "
                "run: sudo apt install libportaudio2"
            ) from error
    return sounddevice


def list_devices() -> str:
    """The devices, one a line, with their numbers."""
    devices = str(sound_cards().query_devices())
    if not devices:
        raise MajlError("There is no sound device; connect one, or use --file SONG.")
    return devices


class FileSound:
    """A file that is played as if it were heard.

    Args:
        path: The file.
        rate: Of the blocks, in Hz; None for the file's.
        paced: Whether blocks arrive as time passes; otherwise as soon as they are taken.
    """

    num_lost = 0  # samples

    def __init__(self, path, rate: int | None, paced: bool):
        self.reader, self.paced = AudioReader(path, mixdown=True), paced
        self.rate, self.num_channels = rate or self.reader.sampling_rate, self.reader.num_channels

    def blocks(self, signals: StopSignals) -> Iterator[tuple[np.ndarray, float]]:
        """Blocks `(num_channels, num_samples)`, and when their last sample was heard on the clock of
        `time.perf_counter`. All that has been heard meanwhile comes as one block."""
        length, started_s, position = round(BLOCK_S * self.rate), time.perf_counter(), 0
        for samples in self._resampled():
            start = 0
            while start < samples.shape[1]:
                signals.check()
                stop = min(samples.shape[1], start + length)
                if self.paced:
                    heard = int((time.perf_counter() - started_s) * self.rate) - position  # since the last block
                    stop = min(samples.shape[1], start + max(length, heard))
                position += stop - start
                heard_s = started_s + position / self.rate
                if self.paced:
                    time.sleep(max(0.0, heard_s - time.perf_counter()))
                yield samples[:, start:stop], heard_s if self.paced else time.perf_counter()
                start = stop

    def _resampled(self) -> Iterator[np.ndarray]:
        resampler = StreamResampler(self.reader.sampling_rate, self.rate, self.num_channels)
        for block in self.reader.blocks():
            yield resampler.push(block, False)
        yield resampler.push(np.zeros((self.num_channels, 0), dtype=np.float32), True)

    def close(self) -> None:
        self.reader.close()


class Microphone:
    """What an input device hears, until it is stopped.

    Args:
        device: Number or part of a name; None for the system's.
        rate: Of the blocks, in Hz; None for the device's.

    Raises:
        MajlError: there is no such device, or it cannot be opened.
    """

    def __init__(self, device: str | None, rate: int | None):
        self.num_lost, self._waiting = 0, queue.SimpleQueue()
        cards = sound_cards()
        with _explained(cards, "input", device):
            facts = cards.query_devices(_device(device), "input")
            self.rate, self.num_channels = (
                rate or round(facts["default_samplerate"]),
                min(2, facts["max_input_channels"]),
            )
            self._stream = cards.InputStream(
                samplerate=self.rate, device=_device(device), channels=self.num_channels, dtype="float32",
                latency="low", blocksize=round(BLOCK_S * self.rate), callback=self._hear,
            )  # fmt: skip

    def _hear(self, samples: np.ndarray, count: int, times, status) -> None:
        if status.input_overflow:
            self.num_lost += count
        if self._waiting.qsize() > MAX_WAITING_S / BLOCK_S:
            self.num_lost += len(self._waiting.get_nowait()[0])
        self._waiting.put((samples.copy(), time.perf_counter()))

    def blocks(self, signals: StopSignals) -> Iterator[tuple[np.ndarray, float]]:
        """As of `FileSound`."""
        self._stream.start()
        while True:
            signals.check()
            with contextlib.suppress(queue.Empty):
                blocks = [self._waiting.get(timeout=0.1)]
                while not self._waiting.empty():
                    blocks.append(self._waiting.get())
                yield np.concatenate([samples for samples, _ in blocks]).T, blocks[-1][1]

    def close(self) -> None:
        self._stream.close()


class Player:
    """Plays blocks on an output device, from a moment after the first one; silence where none is ready.

    Raises:
        MajlError: there is no such device, or it cannot be opened.
    """

    def __init__(self, device: str | None, rate: int, num_channels: int, ahead_s: float):
        self.num_missing = 0  # samples that were not ready
        self._ahead = round(ahead_s * rate)
        self._lock, self._is_playing, self._is_over = threading.Lock(), False, False
        self._ready = np.zeros((0, num_channels), dtype=np.float32)
        cards = sound_cards()
        with _explained(cards, "output", device):
            self._stream = cards.OutputStream(
                samplerate=rate, device=_device(device), channels=num_channels, dtype="float32", latency="low",
                callback=self._fill,
            )  # fmt: skip
            self._stream.start()

    def play(self, block: np.ndarray) -> None:
        """Append `(num_channels, num_samples)`."""
        with self._lock:
            self._ready = np.concatenate([self._ready, block.T])
            self._is_playing = self._is_playing or len(self._ready) >= self._ahead

    def has_more(self) -> bool:
        """Whether there is sound that was not played; call it at the end, when no more comes."""
        with self._lock:
            self._is_playing = self._is_over = True
            return len(self._ready) > 0

    def _fill(self, samples: np.ndarray, count: int, times, status) -> None:
        samples[:] = 0
        with self._lock:
            if not self._is_playing:
                return
            ready = self._ready[:count]
            samples[: len(ready)] = ready
            self._ready = self._ready[count:]
            if not self._is_over:
                self.num_missing += count - len(ready)

    def close(self) -> None:
        self._stream.close()


def _device(name: str | None) -> int | str | None:
    """sounddevice takes numbers and parts of names."""
    return int(name) if name is not None and name.isdecimal() else name


@contextlib.contextmanager
def _explained(cards, kind: str, device: str | None) -> Iterator[None]:
    try:
        yield
    except (cards.PortAudioError, ValueError) as error:
        which = f"The default {kind} device" if device is None else f"The {kind} device {device!r}"
        instead = (
            "play a file as if it were heard: --file SONG" if kind == "input" else "use --silent with --record DIR"
        )
        raise MajlError(
            f"{which} cannot be used ({error}). Choose one of `majl live --list-devices` with --{kind}-device, or "
            f"{instead}."
        ) from error
