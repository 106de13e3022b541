"""What `majl live` makes of sound while it arrives, and how it shows it."""

import sys
import time
from collections import deque
from pathlib import Path

import numpy as np
import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from ..audio import AudioWriter
from ..export.f0_csv import F0CsvWriter
from ..models.live_majl import LivePitch, LiveSeparator
from ..models.pitch_majl import hz_to_midi, midi_to_hz, note_and_cents, note_name
from ..system.files import commit_together
from . import _common as c

ROLL_ROWS, ROLL_S = 13, 0.05  # semitones, and seconds of one column
SHOWN_S = 0.05  # between two changes of the display


class Recorder:
    """What is heard and what is found in it, as files in a folder; nothing without a folder."""

    def __init__(self, folder: Path | None, sound, stem: str | None, overwrite: bool):
        self._heard = self._found = None
        if folder is None:
            return
        self._heard = AudioWriter(folder / "heard.wav", sound.rate, sound.num_channels, overwrite=overwrite)
        try:
            if stem is None:
                self._found = F0CsvWriter(folder / "heard.f0.csv", overwrite)
            else:
                self._found = AudioWriter(folder / f"{stem}.wav", sound.rate, sound.num_channels, overwrite=overwrite)
        except BaseException:
            self.discard()
            raise

    def heard(self, block: np.ndarray) -> None:
        if self._heard is not None:
            self._heard.write(block)

    def found(self, result) -> None:
        """Samples or frames."""
        if self._found is not None:
            self._found.write(result)

    def commit(self) -> None:
        if self._heard is not None and self._heard.num_samples:
            commit_together([self._heard, self._found])

    def discard(self) -> None:
        for writer in (self._heard, self._found):
            if writer is not None:
                writer.discard()


class PitchListener:
    """Reads the pitch of what is heard, and shows it."""

    def __init__(self, model, rate: int, lookahead_ms: int, threshold, as_json: bool, is_paced: bool, recorder):
        self.live = LivePitch(model, rate, lookahead_ms / 1000, threshold=threshold)
        self.rate, self.as_json, self.is_paced, self.recorder = rate, as_json, is_paced, recorder
        self.num_heard = self.num_frames = self.num_voiced = 0
        self.delays_ms: list[float] = []
        self.screen = None if as_json or not sys.stdout.isatty() else _Roll()
        self.note: str | None = None

    def __enter__(self) -> "PitchListener":
        if self.screen is not None:
            self.screen.start()
        return self

    def __exit__(self, *exception) -> None:
        if self.screen is not None:
            self.screen.stop()

    def take(self, block: np.ndarray, heard_s: float, last: bool = False) -> None:
        frames = self.live.push(block.mean(axis=0), last, newest_only=self.is_paced)
        self.num_heard += block.shape[1]
        # From a frame to the end of what was heard, and from then to now.
        delays_ms = 1000 * (self.num_heard / self.rate - frames.times_s + time.perf_counter() - heard_s)
        self.recorder.found(frames)
        self.num_frames += len(frames)
        self.num_voiced += int(frames.voiced.sum())
        if self.is_paced and not last:
            self.delays_ms += delays_ms.tolist()
        if self.as_json:
            self._print(frames, delays_ms)
        elif self.screen is not None:
            self.screen.add(frames, delays_ms)
        else:
            self._print_notes(frames)

    def finish(self, signals) -> None:
        """There is no more sound."""
        self.take(np.zeros((1, 0), dtype=np.float32), time.perf_counter(), last=True)

    def _print(self, frames, delays_ms: np.ndarray) -> None:
        for index in range(len(frames)):
            row = {
                "time_s": round(float(frames.times_s[index]), 4),
                "f0_hz": round(float(frames.f0_hz[index]), 3),
                "voicing": round(float(frames.voicing[index]), 4),
                "voiced": bool(frames.voiced[index]),
                "confidence": round(float(frames.confidence[index]), 4),
            }
            c.print_json({**row, "delay_ms": round(float(delays_ms[index]), 1)} if self.is_paced else row)

    def _print_notes(self, frames) -> None:
        """A line where another note begins."""
        for time_s, f0_hz, voiced in zip(frames.times_s, frames.f0_hz, frames.voiced, strict=True):
            midi = float(hz_to_midi(f0_hz))
            note = note_name(midi) if voiced else None
            if note is not None and note != self.note:
                typer.echo(f"{time_s:8.2f} s  {note_and_cents(midi):<12} {f0_hz:7.1f} Hz")
            self.note = note

    def summary(self) -> list[str]:
        sentences = [f"{self.num_heard / self.rate:.1f} s heard, {self.num_voiced} of {self.num_frames} frames sung"]
        if num_missed := self.live.num_read - self.num_frames:
            sentences.append(f"{num_missed} frames were left out, because computing took too long")
        if self.delays_ms:
            median, late = np.percentile(self.delays_ms, [50, 95])
            sentences.append(f"delay {median:.0f} ms (median), {late:.0f} ms (95 %)")
        return sentences


class _Roll:
    """The last seconds of the pitch as a line that moves to the left, on a terminal."""

    def __init__(self):
        self.console = Console(highlight=False)
        self.display = Live(console=self.console, auto_refresh=False)
        self.columns: deque[float | None] = deque(maxlen=max(10, self.console.width - 8))
        self.centre, self.last_s, self.shown_s = 60, -1.0, 0.0
        self.start, self.stop = self.display.start, self.display.stop

    def add(self, frames, delays_ms: np.ndarray) -> None:
        for time_s, f0_hz, voiced in zip(frames.times_s, frames.f0_hz, frames.voiced, strict=True):
            if time_s - self.last_s >= ROLL_S:
                self.columns.append(float(hz_to_midi(f0_hz)) if voiced else None)
                self.last_s = time_s
        if len(frames) and time.perf_counter() - self.shown_s >= SHOWN_S:
            self.shown_s = time.perf_counter()
            self.display.update(self.picture(float(delays_ms[-1])), refresh=True)

    def picture(self, delay_ms: float):
        now = self.columns[-1] if self.columns else None
        reach = ROLL_ROWS // 2
        if now is not None and abs(round(now) - self.centre) > reach - 1:
            self.centre = round(now)
        rows = []
        for note in range(self.centre + reach, self.centre - reach - 1, -1):
            dots = "".join("●" if midi is not None and round(midi) == note else " " for midi in self.columns)
            rows.append(f"{note_name(note):>4} │{dots}")
        sung = "–" if now is None else f"{note_and_cents(now)}   {float(midi_to_hz(now)):.1f} Hz"
        return Text("\n".join([*rows, f"     {sung}   delay {delay_ms:.0f} ms"]), no_wrap=True)


class StemPlayer:
    """Separates what is heard, and plays a stem of it."""

    def __init__(self, model, sound, stem: str, setting, player, as_json: bool, recorder):
        self.live = LiveSeparator(model, sound.num_channels, setting)
        self.sound, self.stem, self.setting, self.player = sound, stem, setting, player
        self.as_json, self.recorder = as_json, recorder
        self.num_found = 0
        self.computing_s: list[float] = []
        self.shown_s = -1.0

    def __enter__(self) -> "StemPlayer":
        return self

    def __exit__(self, *exception) -> None:
        if not self.as_json and sys.stderr.isatty():
            typer.echo(err=True)

    def take(self, block: np.ndarray, heard_s: float, last: bool = False) -> None:
        started_s = time.perf_counter()
        mixture, vocals = self.live.push(block, last)
        found = vocals if self.stem == "vocals" else mixture - vocals
        if not found.shape[1]:
            return
        self.computing_s.append(time.perf_counter() - started_s)
        self.num_found += found.shape[1]
        self.recorder.found(found)
        if self.player is not None:
            self.player.play(found)
        if self.num_found / self.sound.rate - self.shown_s >= 1.0:
            self.shown_s = self.num_found / self.sound.rate
            self._show()

    def finish(self, signals) -> None:
        """There is no more sound; returns when all is played."""
        self.take(np.zeros((self.sound.num_channels, 0), dtype=np.float32), time.perf_counter(), last=True)
        while self.player is not None and self.player.has_more():
            signals.check()
            time.sleep(0.05)

    def _show(self) -> None:
        facts = {"time_s": round(self.shown_s, 2), "missing_s": self._missing_s(), "lost_s": self._lost_s()}
        if self.as_json:
            c.print_json(facts)
        elif sys.stderr.isatty():
            print(f"\r{facts['time_s']:8.1f} s of {self.stem}, {facts['missing_s']} s missing", end="", file=sys.stderr)

    def _missing_s(self) -> float:
        return 0.0 if self.player is None else round(self.player.num_missing / self.sound.rate, 2)

    def _lost_s(self) -> float:
        return round(self.sound.num_lost / self.sound.rate, 2)

    def summary(self) -> list[str]:
        sentences = [
            f"{self.num_found / self.sound.rate:.1f} s of {self.stem}, behind the song by {self.setting.delay_s:.2f} s "
            "and what computing takes"
        ]
        if self.computing_s:
            share = sum(self.computing_s) * self.sound.rate / max(1, self.num_found)
            sentences.append(f"computing takes {share:.2f} of the time")
        if self._missing_s():
            sentences.append(
                f"{self._missing_s()} s were not ready in time; use a longer --delay, or end other programs"
            )
        return sentences
