"""`majl live`: files as microphones, sound devices that are there, missing or too slow."""

import json
import sys
import threading
import time
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import soundfile

from majl_hf.cli import _live_sound
from majl_hf.export import read_f0_csv


@pytest.fixture
def live(majl, tiny_model_folder):
    return lambda *arguments: majl("live", "--model", tiny_model_folder, "--device", "cpu", *arguments)


def test_the_pitch_of_a_file_and_a_recording_of_it(live, song, tmp_path):
    result = live("--file", song(seconds=1.0), "--no-wait", "--json", "--record", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    assert {*result.json[0]} == {"time_s", "f0_hz", "voicing", "voiced", "confidence"}
    times_s = [row["time_s"] for row in result.json]
    np.testing.assert_allclose(np.diff(times_s), times_s[1], atol=1e-3)
    assert times_s[-1] == pytest.approx(1.0, abs=0.03)
    np.testing.assert_allclose(read_f0_csv(tmp_path / "out" / "heard.f0.csv")["time_s"], times_s, atol=1e-3)
    heard, rate = soundfile.read(tmp_path / "out" / "heard.wav")
    assert (heard.shape, rate) == ((22_050, 2), 22_050)
    assert "1.0 s heard" in result.stderr
    again = live("--file", song(seconds=1.0), "--no-wait", "--record", tmp_path / "out")
    assert again.exit_code == 2 and "exists already" in again.stderr


def test_time_passes_and_delays_are_reported(live, song):
    started_s = time.monotonic()
    result = live("--file", song(seconds=0.5), "--json", "--lookahead", 20)
    assert time.monotonic() - started_s >= 0.5
    assert all(0 < row["delay_ms"] < 5000 for row in result.json)
    assert "(median)" in result.stderr


def test_notes_are_printed_where_they_begin(live, song):
    result = live("--file", song(seconds=1.0), "--no-wait", "--voicing-threshold", 0.001)
    assert result.exit_code == 0 and " Hz" in result.stdout


@pytest.mark.parametrize("stem", ["vocals", "accompaniment"])
def test_a_stem_of_a_file(live, song, tmp_path, stem):
    source = song(seconds=1.2, sampling_rate=48_000)
    result = live(
        "--file", source, "--stem", stem, "--delay", "short", "--silent", "--no-wait", "--record", tmp_path / "o"
    )
    assert result.exit_code == 0, result.stderr
    heard, found = (soundfile.read(tmp_path / "o" / name)[0] for name in ("heard.wav", f"{stem}.wav"))
    assert heard.shape == found.shape and np.abs(found).max() > 1e-4
    assert "0.26 s" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--no-wait",), "--file"),
        (("--silent",), "--stem"),
        (("--file", "a.wav", "--stem", "vocals", "--no-wait"), "--silent"),
        (("--lookahead", "500"), "150"),
    ],
)
def test_options_that_do_not_go_together(live, arguments, message):
    result = live(*arguments)
    assert result.exit_code == 2 and message in result.stderr


class Cards(ModuleType):
    """A `sounddevice` with a microphone that hears `heard`, a second of it at once, and a loudspeaker."""

    class PortAudioError(Exception):
        pass

    def __init__(self, heard=None):
        super().__init__("sounddevice")
        self.heard, self.played = heard, []
        cards = self

        class Stream:
            def __init__(self, samplerate, device, channels, dtype, latency, callback, blocksize=256):
                self.callback, self.channels, self.blocksize = callback, channels, blocksize
                self.ending, self.thread = threading.Event(), None

            def start(self):
                self.thread = threading.Thread(target=self.run)
                self.thread.start()

            def close(self):
                self.ending.set()
                if self.thread is not None:
                    self.thread.join()

        class InputStream(Stream):
            def run(self):
                for start in range(0, len(cards.heard), self.blocksize):
                    block = cards.heard[start : start + self.blocksize, : self.channels]
                    self.callback(block, len(block), None, SimpleNamespace(input_overflow=start == 0))

        class OutputStream(Stream):
            def run(self):
                while not self.ending.wait(0.001):
                    block = np.empty((self.blocksize, self.channels), dtype=np.float32)
                    self.callback(block, len(block), None, None)
                    cards.played.append(block)

        self.InputStream, self.OutputStream = InputStream, OutputStream

    def query_devices(self, device=None, kind=None):
        if kind is None:
            return "" if self.heard is None else "0 Microphone"
        if self.heard is None or device == "foo":
            raise ValueError(f"No {kind} device matching {device!r}")
        return {"max_input_channels": 2, "default_samplerate": 22_050.0}


@pytest.fixture
def cards(monkeypatch):
    """`cards(heard)` pretends that these devices are there, and that Ctrl-C is pressed once all is heard."""

    def install(heard=None):
        module = Cards(heard)
        monkeypatch.setitem(sys.modules, "sounddevice", module)
        return module

    return install


def test_a_microphone_until_it_is_stopped(live, cards, monkeypatch, tmp_path):
    heard = np.random.default_rng(0).uniform(-0.5, 0.5, (22_050, 2)).astype(np.float32)
    cards(heard)
    blocks = _live_sound.Microphone.blocks

    def until_all_is_heard(self, signals):
        count = 0
        for block, heard_s in blocks(self, signals):
            count += block.shape[1]
            yield block, heard_s
            if count == len(heard):
                signals._note(2, None)  # Ctrl-C

    monkeypatch.setattr(_live_sound.Microphone, "blocks", until_all_is_heard)
    result = live("--record", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.stderr
    assert soundfile.read(tmp_path / "out" / "heard.wav")[0] == pytest.approx(heard, abs=1e-7)
    assert result.json  # all came at once, so only the newest frames were read
    assert "frames were left out" in result.stderr and "s were lost" in result.stderr


def test_a_stem_is_played_to_its_end(live, cards, song, tmp_path):
    module = cards(np.zeros((10, 2), dtype=np.float32))
    source = song(seconds=0.8)
    arguments = ("--file", source, "--stem", "accompaniment", "--delay", "short")
    result = live(*arguments, "--record", tmp_path / "out")
    assert result.exit_code == 0, result.stderr
    written = soundfile.read(tmp_path / "out" / "accompaniment.wav", dtype="float32")[0]
    played = np.concatenate(module.played)
    played = played[np.abs(played).sum(axis=1) > 0]  # without what was missing
    assert len(played) >= 0.9 * len(written)
    assert np.isin(played[:, 0], written[:, 0]).all()


def test_devices_that_are_not_there(live, cards, majl, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    result = majl("live", "--list-devices")
    assert result.exit_code == 2 and "pip install 'majl_hf[live]'" in result.stderr
    cards()
    assert "There is no sound device" in majl("live", "--list-devices").stderr
    result = live()
    assert result.exit_code == 2 and "--list-devices" in result.stderr and "--file SONG" in result.stderr
    cards(np.zeros((10, 2), dtype=np.float32))
    assert "0 Microphone" in majl("live", "--list-devices").stdout
    assert "'foo'" in live("--input-device", "foo").stderr


def test_a_library_that_is_missing_is_named(majl, monkeypatch, tmp_path):
    (tmp_path / "sounddevice.py").write_text("raise OSError('PortAudio library not found')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    assert "libportaudio2" in majl("live", "--list-devices").stderr


def test_the_roll_shows_the_last_seconds(monkeypatch):
    from majl_hf.cli._live_listeners import _Roll

    roll = _Roll()
    roll.columns.extend([60.1, 60.4, None, 72.0])
    picture = str(roll.picture(90.0))
    assert "C5 +0 ct   523.3 Hz   delay 90 ms" in picture
    assert json.dumps(picture).count("\\u25cf") == 1  # the others are an octave below
