"""Time is what the container says: gaps, overlaps, late starts and wrong time stamps."""

import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from audio_files import length_and_peak_bytes, stereo_tones, write_packets

from majl_hf.audio import AudioReader
from majl_hf.audio.timeline import Frame, Timeline

RATE = 48000
FRAME = 960  # 20 ms
DAY_S = 24 * 3600.0


def _lay_out(starts_s, origin_s=0.0, num_samples=FRAME):
    """Frames that start at these times, with samples that count from 1 on."""
    timeline = Timeline(round(origin_s * RATE), RATE)
    frames = [
        Frame(
            np.arange(1 + i * num_samples, 1 + (i + 1) * num_samples)[None],
            None if start_s is None else round(start_s * RATE),
        )
        for i, start_s in enumerate(starts_s)
    ]
    return np.concatenate(list(timeline.lay_out(iter(frames))), axis=1)[0], timeline


def _starts(num_frames=200):
    return FRAME / RATE * np.arange(num_frames)


def _silences(laid_out):
    """Start and length in samples of every run of zeros."""
    edges = np.flatnonzero(np.diff(np.r_[False, laid_out == 0, False].astype(int)))
    return [(int(start), int(stop - start)) for start, stop in edges.reshape(-1, 2)]


def test_contiguous_frames_are_unchanged_wherever_the_clock_starts():
    for origin_s in (0.0, 5.0, -2.0, 30 * DAY_S):
        laid_out, timeline = _lay_out(origin_s + _starts(), origin_s)
        assert np.array_equal(laid_out, 1 + np.arange(200 * FRAME))
        assert timeline.notes() == [] and timeline.num_samples == laid_out.size


def test_frames_without_time_stamps_are_joined():
    laid_out, timeline = _lay_out([0.0, None, 0.04, None, None])
    assert np.array_equal(laid_out, 1 + np.arange(5 * FRAME)) and timeline.notes() == []


@pytest.mark.parametrize("step_s", [0.001, 1 / 300])
def test_rounded_and_jittering_stamps_move_nothing(step_s):
    random = np.random.default_rng(0)
    rounded = np.round(_starts() / step_s) * step_s
    jittering = _starts() + random.uniform(-0.009, 0.009, 200) * (np.arange(200) > 0)
    wild = _starts() + random.choice([0.0, 0.015, 0.3], 200) * (np.arange(200) % 50 < 30)  # but not all of a second
    for starts_s in (rounded, jittering, wild):
        laid_out, timeline = _lay_out(starts_s)
        assert np.array_equal(laid_out, 1 + np.arange(200 * FRAME)) and timeline.notes() == []


def test_one_lost_packet_and_a_long_pause_become_silence_of_their_length():
    starts_s = _starts()
    starts_s[50:] += 0.02
    starts_s[120:] += 60.0
    laid_out, timeline = _lay_out(np.round(starts_s, 3))
    assert _silences(laid_out) == [(50 * FRAME, FRAME), (121 * FRAME, 60 * RATE)]
    assert timeline.notes() == ["2 gaps, 60.0 s together, the first at 1.0 s, were filled with silence"]


def test_pauses_of_a_sleeping_encoder_are_filled_one_by_one():
    starts_s = np.r_[_starts(50), 1.0 + 0.4 * np.arange(1, 6), 3.5 + _starts(60)]  # a frame every 400 ms
    laid_out, timeline = _lay_out(starts_s)
    assert laid_out.size == round(starts_s[-1] * RATE) + FRAME
    for i, start_s in enumerate(starts_s):
        assert laid_out[round(start_s * RATE)] == 1 + i * FRAME
    assert timeline.notes()[0].startswith("6 gaps, 2.4 s together, the first at 1.0 s")


def test_a_lone_last_frame_is_followed_only_over_a_short_gap():
    near, _ = _lay_out(np.r_[_starts(50), 3.0])
    far, timeline = _lay_out(np.r_[_starts(50), 300.0])
    assert near.size == 3 * RATE + FRAME
    assert far.size == 51 * FRAME and "jump once, by 299.0 s" in timeline.notes()[0]


def test_packets_that_come_twice_are_heard_once():
    starts_s = np.r_[_starts(100), _starts(100)[60:], _starts(160)[100:]]
    laid_out, timeline = _lay_out(starts_s)
    assert np.array_equal(laid_out, np.r_[1 : 1 + 100 * FRAME, 1 + 140 * FRAME : 1 + 200 * FRAME])
    assert timeline.notes() == ["1 overlap of 0.80 s, at 2.0 s, was left out"]


def test_a_partial_overlap_is_cut_to_the_sample():
    starts_s = _starts()
    starts_s[100:] -= 0.03
    laid_out, _ = _lay_out(starts_s)
    assert np.array_equal(laid_out, np.r_[1 : 1 + 100 * FRAME, 1 + 101 * FRAME + FRAME // 2 : 1 + 200 * FRAME])


@pytest.mark.parametrize("wrong_s", [0.5, 900.0, -1.5, 5 * 3600.0, -DAY_S])
@pytest.mark.parametrize("num_wrong", [1, 8])
def test_a_few_wrong_stamps_are_not_believed(wrong_s, num_wrong):
    starts_s = _starts()
    starts_s[80 : 80 + num_wrong] += wrong_s
    laid_out, _ = _lay_out(starts_s)
    assert np.array_equal(laid_out, 1 + np.arange(200 * FRAME))


@pytest.mark.parametrize(
    "jump_s, words",
    [(5 * 3600.0, "by 5.0 h"), (26.5 * 3600, "by 26.5 h"), (-DAY_S, "back by 24.0 h"), (-30.0, "back by 30.0 s")],
)
def test_absurd_jumps_are_joined_and_reported(jump_s, words):
    starts_s = 100.0 + _starts(300)
    starts_s[120:] += jump_s
    starts_s[180:] += 0.5  # the clock is followed again
    laid_out, timeline = _lay_out(starts_s, 100.0)
    assert _silences(laid_out) == [(180 * FRAME, RATE // 2)]
    assert any(f"jump once, {words} at 2.4 s" in note for note in timeline.notes()) and not timeline.is_plausible


def test_several_recordings_in_one_file_are_joined():
    laid_out, timeline = _lay_out(np.tile(_starts(100), 3) + 7.0, 7.0)
    assert np.array_equal(laid_out, 1 + np.arange(300 * FRAME))
    assert "jump 2 times, first back by 2.0 s at 2.0 s" in timeline.notes()[0]


def test_a_clock_that_is_too_slow_leaves_no_sound_out():
    for speed in (0.0, 0.5):
        laid_out, timeline = _lay_out(np.r_[_starts(100), 2.0 + speed * _starts(100)])
        assert laid_out.size > 195 * FRAME and timeline.notes()


def test_a_late_start_is_silence_but_not_hours_of_it():
    laid_out, timeline = _lay_out(1.5 + _starts())
    assert _silences(laid_out) == [(0, 1.5 * RATE)]
    assert timeline.notes() == ["the sound starts 1.5 s after the file does: silence was put in front"]
    laid_out, timeline = _lay_out(DAY_S + _starts())
    assert _silences(laid_out) == [] and "by 24.0 h at 0.00 s" in timeline.notes()[0]


# From here on, containers.

GAP_S = (1.1, 2.4)
CONTAINERS = {
    "webm": ("libopus", 48000, {}),
    "live.webm": ("libopus", 48000, {"live": "1"}),
    "mkv": ("aac", 44100, {}),
    "mka": ("libmp3lame", 44100, {}),
    "m4a": ("aac", 44100, {}),
    "fragmented.mp4": ("aac", 48000, {"movflags": "empty_moov+frag_keyframe", "frag_duration": "500000"}),
    "ts": ("aac", 48000, {}),
    "mpg": ("mp2", 48000, {}),
    "flv": ("aac", 44100, {}),
    "ogg": ("libopus", 48000, {"page_duration": "20000"}),
}


def _read(source, block_size=65536):
    with AudioReader(source) as reader:
        audio = np.concatenate(list(reader.blocks(block_size)), axis=1)
    return audio, reader


def _shift(audio, reference, start_s, rate, length_s=0.4):
    """Samples by which a part of `reference` comes late in `audio`."""
    start, length, reach = round(start_s * rate), round(length_s * rate), round(0.1 * rate)
    part, wider = reference[0, start : start + length], audio[0, start - reach : start + length + reach]
    return int(np.correlate(wider, part, "valid").argmax()) - reach


def _noise(rate, seconds=4.0):
    """Stereo noise without high frequencies, which survives every encoder and is like itself at one place only."""
    noise = np.random.default_rng(0).standard_normal((2, round(seconds * rate)))
    smooth = np.stack([np.convolve(row, np.hanning(33), "same") for row in noise])
    return (0.3 * smooth / np.abs(smooth).max()).astype(np.float32)


@pytest.mark.parametrize("name", CONTAINERS)
def test_what_follows_a_gap_keeps_its_time(tmp_path, name):
    codec, rate, options = CONTAINERS[name]
    audio = _noise(rate)
    whole = write_packets(tmp_path / f"whole.{name}", codec, audio, rate, options=options)
    gaps = write_packets(
        tmp_path / f"gaps.{name}",
        codec,
        audio,
        rate,
        options=options,
        start_s=lambda time_s: None if GAP_S[0] <= time_s < GAP_S[1] else time_s,
    )
    expected, reader = _read(whole)
    assert reader.warnings == []
    found, reader = _read(gaps)
    assert len(reader.warnings) == 1 and "1 gap of 1.3 s" in reader.warnings[0], reader.warnings
    assert abs(found.shape[1] - expected.shape[1]) <= rate // 1000
    assert abs(_shift(found, expected, 3.0, rate)) <= rate // 1000
    assert not found[:, int(1.3 * rate) : int(2.3 * rate)].any()
    for again, _ in (_read(gaps, 777), _read(Path(gaps).read_bytes())):
        assert np.array_equal(found, again)


@pytest.mark.parametrize("name", ["webm", "mkv", "m4a", "ts", "mpg", "flv"])
def test_a_clock_that_starts_late_is_no_early_end(tmp_path, name):
    codec, rate, options = CONTAINERS[name]
    audio = _noise(rate)
    late = write_packets(
        tmp_path / f"late.{name}", codec, audio, rate, options=options, start_s=lambda time_s: time_s + 100.0
    )
    found, reader = _read(late)
    assert reader.warnings == []
    assert found.shape[1] / rate == pytest.approx(4.0, abs=0.06)
    assert reader.duration_s == pytest.approx(4.0, abs=0.06)


@pytest.mark.parametrize("name", ["mkv", "mp4", "mov", "ts", "mpg"])
def test_sound_that_starts_after_the_picture_stays_in_sync_with_it(tmp_path, name):
    rate = 48000
    audio = _noise(rate)
    codec = "mp2" if name == "mpg" else "aac"
    path = write_packets(tmp_path / f"a.{name}", codec, audio, rate, start_s=lambda time_s: time_s + 1.5, video_s=6.0)
    found, reader = _read(path)
    assert len(reader.warnings) == 1 and "starts 1.5 s after the file does" in reader.warnings[0]
    late = np.pad(audio, ((0, 0), (int(1.5 * rate), rate)))
    assert abs(_shift(found, late, 2.0, rate)) <= rate // 1000
    assert not found[:, : int(1.4 * rate)].any()


def test_a_sound_track_that_is_shorter_than_the_picture_is_not_cut_short(tmp_path):
    path = write_packets(tmp_path / "a.mkv", "libopus", _noise(48000, 2.0), 48000, video_s=5.0)
    assert _read(path)[1].warnings == []
    data = Path(path).read_bytes()
    assert any("cut short" in warning for warning in _read(data[: len(data) // 3])[1].warnings)


@pytest.mark.parametrize("before_wrap_s", [2.0, 1.7, 1000.0])
def test_the_clock_of_a_capture_starts_anywhere_and_wraps(tmp_path, before_wrap_s):
    start_s = 2**33 / 90000 - before_wrap_s
    path = write_packets(
        tmp_path / "a.ts",
        "aac",
        _noise(48000),
        48000,
        start_s=lambda time_s: None if GAP_S[0] <= time_s < GAP_S[1] else time_s + start_s,
    )
    found, reader = _read(path)
    assert found.shape[1] / 48000 == pytest.approx(4.03, abs=0.02)
    assert len(reader.warnings) == 1 and "1 gap of 1.3 s" in reader.warnings[0]


def test_captures_that_were_appended_are_joined(tmp_path):
    data = Path(write_packets(tmp_path / "a.ts", "aac", _noise(48000), 48000)).read_bytes()
    once, _ = _read(data)
    twice, reader = _read(data + data)
    assert twice.shape[1] == 2 * once.shape[1]
    assert "jump once, back by 4.0 s" in reader.warnings[0]


def test_vorbis_with_changing_windows_is_not_touched(tmp_path):
    clicks = stereo_tones(RATE)
    clicks[:, np.random.default_rng(0).integers(0, RATE, 60)] = 0.9
    soundfile.write(tmp_path / "a.ogg", clicks.T, 16000)
    found, reader = _read(tmp_path / "a.ogg")
    assert found.shape[1] == RATE and reader.warnings == []


def test_an_edit_list_that_delays_the_sound_of_a_video(tmp_path):
    """The sound is delayed by an empty edit of half a second, its priming skipped by the next one."""
    path = write_packets(tmp_path / "a.mp4", "aac", _noise(48000), 48000, video_s=4.0)
    data = Path(path).read_bytes()
    edits = struct.pack(">I4sIIIiIIiI", 40, b"elst", 0, 2, 500, -1, 0x10000, 3000, 1024, 0x10000)
    position = data.rindex(b"elst") - 4
    size = struct.unpack(">I", data[position : position + 4])[0]
    edited = bytearray(data[:position] + edits + data[position + size :])
    for box in (b"edts", b"trak", b"moov"):
        at = edited.rindex(box, 0, position) - 4
        struct.pack_into(">I", edited, at, struct.unpack_from(">I", edited, at)[0] + len(edits) - size)
    found, reader = _read(bytes(edited))
    whole, _ = _read(path)
    assert reader.warnings == ["the sound starts 0.50 s after the file does: silence was put in front"]
    late = np.pad(whole, ((0, 0), (RATE // 2, 0)))
    assert _shift(found, late, 1.0, RATE) == 0


def test_memory_does_not_grow_with_a_gap(tmp_path):
    path = write_packets(
        tmp_path / "a.webm",
        "libopus",
        _noise(48000, 3.0),
        48000,
        start_s=lambda time_s: time_s + 600.0 * (time_s > 1.5),
    )
    num_samples, peak_bytes = length_and_peak_bytes(path)
    assert num_samples / 48000 == pytest.approx(603.0, abs=0.01)
    assert peak_bytes < 2_000_000  # the silence alone takes 230 MB
