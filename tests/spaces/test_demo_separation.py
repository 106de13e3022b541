"""A file in, stems and pitch out, without the web: lengths, sums, error messages, and nothing left behind."""

import json
import threading

import numpy as np
import pytest
import soundfile

from majl_hf.audio import AudioError, read_audio
from majl_hf.demo import downloads as downloads_room
from majl_hf.demo import fragments
from majl_hf.demo.downloads import DOWNLOADS, download_path
from majl_hf.demo.limits import Limits
from majl_hf.demo.separation import Progress, SeparatedSong, SeparationStopped, separate_file
from majl_hf.demo.sessions import Session
from majl_hf.demo.voicing import describe_voice
from majl_hf.errors import MajlError
from majl_hf.export import read_f0_csv


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "result"
    folder.mkdir()
    return folder


def run(model, path, folder, limits=None, **arguments):
    return list(separate_file(model, path, path.name, folder, limits or Limits(), **arguments))


@pytest.fixture(scope="module")
def song(tiny_model, make_song, tmp_path_factory):
    folder = tmp_path_factory.mktemp("song")
    path, mixture = make_song(folder / "ein Lied (live).wav", seconds=3.0)
    (folder / "result").mkdir()
    *steps, song = run(tiny_model, path, folder / "result")
    return song, steps, mixture


def read(path):
    return soundfile.read(path, dtype="float32", always_2d=True)[0].T


def test_stems_add_up_to_the_song(song):
    song, steps, mixture = song
    assert isinstance(song, SeparatedSong) and song.name == "ein Lied (live)"
    assert (song.sampling_rate, song.num_channels, song.num_samples) == (44_100, *mixture.shape)
    wav = [read(song.folder / f"{stem}.wav") for stem in ("vocals", "accompaniment")]
    assert np.abs(sum(wav) - mixture).max() <= np.spacing(np.abs(mixture).max())
    flac = [read(song.folder / f"{track}.flac") for track in ("vocals", "accompaniment", "mixture")]
    np.testing.assert_array_equal(flac[0] + flac[1], flac[2])
    assert np.abs(flac[2] - mixture).max() <= 2.0**-24
    assert all(isinstance(step, Progress) and step.total_s == pytest.approx(3.0) for step in steps)
    assert steps[0].done_s == 0.0 and steps[-1].done_s == pytest.approx(3.0)
    vocals, rate = song.drawing_vocals
    assert rate == 8000 and vocals.shape == (24_000,)


def test_surround_is_mixed_down_with_a_note(tiny_model, make_song, tmp_path, folder):
    path, _ = make_song(tmp_path / "a.flac", seconds=0.5, num_channels=6)
    *_, song = run(tiny_model, path, folder)
    assert song.num_channels == 2 and "mixed down to stereo" in song.warnings[0]
    stems = [read(folder / f"{stem}.wav") for stem in ("vocals", "accompaniment")]
    assert np.abs(sum(stems) - read_audio(path, mixdown=True)[0]).max() < 1e-6


def test_every_download_can_be_made(song):
    song, _, _ = song
    for file, download in DOWNLOADS.items():
        path = download_path(song, file, 0.5)
        assert path.stat().st_size > 100, file
        heads = {"wav": b"RIFF", "lac": b"fLaC", "png": b"\x89PNG", "csv": b"time"}
        assert path.read_bytes().startswith(heads[file[-3:]]), file
        assert download_path(song, file, 0.5) == path
        assert bool(download.title) == download.offered
    assert not list(song.folder.glob("unfinished*"))


def test_downloads_follow_the_threshold(song):
    song, _, _ = song
    share = [(read_f0_csv(download_path(song, "f0.sung.csv", t))["f0_hz"] > 0).mean() for t in (0.01, 0.5, 0.99)]
    assert share[0] >= share[1] >= share[2] and share[0] > share[2]
    for threshold in (0.01, 0.99):
        np.testing.assert_allclose(
            read_f0_csv(download_path(song, "f0.csv", threshold))["f0_hz"], song.frames.f0_hz, atol=1e-3
        )


def test_a_download_that_fails_leaves_no_half_file(song, monkeypatch):
    song, _, _ = song
    broken = downloads_room.replace(
        DOWNLOADS["f0.csv"], file="new.csv", write=lambda path, *_: path.write_text("half") / 0
    )
    monkeypatch.setitem(DOWNLOADS, "new.csv", broken)
    with pytest.raises(ZeroDivisionError):
        download_path(song, "new.csv")
    assert not (song.folder / "new.csv").exists()


@pytest.mark.parametrize(("file", "threshold"), [("../secret", 0.5), ("f0.png", 1.5), ("f0.png", float("nan"))])
def test_what_is_not_offered(song, file, threshold):
    with pytest.raises(MajlError, match=r"There is no file|must be between 0 and 1"):
        download_path(song[0], file, threshold)


def test_figure(song):
    pytest.importorskip("plotly", reason="needs the extra demo")
    from majl_hf.demo.figure import pitch_figure

    song, _, _ = song
    voiced = np.arange(len(song.frames)) % 50 < 30
    figure = json.loads(pitch_figure(song, voiced, 0.3, "majl/a/spectrogram.png"))
    curve = next(trace for trace in figure["data"] if trace.get("name") == "f0")
    drawn = np.array([value is not None for value in curve["y"]])
    assert len(drawn) == len(voiced) and not (drawn & ~voiced).any() and drawn.sum() > 0
    assert all(bool(text) == sung for text, sung in zip(curve["text"], voiced, strict=True))
    assert figure["layout"]["images"][0]["source"] == "majl/a/spectrogram.png"
    assert figure["layout"]["images"][0]["sizex"] == pytest.approx(song.duration_s)
    assert figure["layout"]["shapes"][0]["y0"] == 0.3
    assert figure["layout"]["uirevision"]


def test_long_songs_are_drawn_with_fewer_points(song):
    pytest.importorskip("plotly", reason="needs the extra demo")
    from majl_hf.demo.figure import MAX_PITCH_POINTS, MAX_VOICING_POINTS, pitch_figure
    from majl_hf.models.decoding_majl import PitchFrames

    num_frames = 100_001
    frames = PitchFrames(np.arange(num_frames) * 0.01, *(np.full(num_frames, v) for v in (220.0, 0.9, 0.9, True)))
    long = downloads_room.replace(song[0], frames=frames, num_samples=44_100 * 1000)
    text = pitch_figure(long, np.ones(num_frames, dtype=bool), 0.3, "x")
    _, curve, voicing = json.loads(text)["data"]
    assert len(curve["y"]) <= MAX_PITCH_POINTS and len(voicing["y"]) <= MAX_VOICING_POINTS
    assert len(curve["y"]) * curve["dx"] == pytest.approx(1000, rel=1e-3)
    assert len(text) < 3_000_000


def test_the_name_of_a_file_is_text_whatever_it_contains(song):
    evil = '<img src=x onerror="alert(1)">'
    named = downloads_room.replace(song[0], name=evil, warnings=(evil,))
    session = Session("owner", in_cookie=True, song=named)
    pieces = [
        fragments.players_html(session, lambda file, **_: f"{file}?{evil}"),
        fragments.downloads_html(session, lambda file, **_: f"{file}?{evil}", 0.5),
        fragments.facts_html(named, describe_voice(named.frames.f0_hz, named.frames.voiced)),
        fragments.error_html(evil),
        fragments.note_html(evil),
    ]
    assert all("&lt;img" in piece and "<img" not in piece and 'onerror="' not in piece for piece in pieces)


@pytest.mark.parametrize(
    ("content", "match"),
    [(b"no audio at all, only words", "“notes.mp3” is not audio that can be decoded"), (b"", "“notes.mp3” is empty")],
)
def test_bad_files_are_reported_by_their_own_name(tiny_model, tmp_path, folder, content, match):
    path = tmp_path / "hidden" / "upload.mp3"
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(MajlError, match=match) as caught:
        list(separate_file(tiny_model, path, "notes.mp3", folder, Limits()))
    assert "hidden" not in str(caught.value)
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    ("limits", "match"),
    [(Limits(max_minutes=0.02), "longer than 0.02 minutes"), (Limits(max_compute_s=1e-9), "takes longer than the 0 s")],
)
def test_limits(tiny_model, make_song, tmp_path, folder, limits, match):
    path, _ = make_song(tmp_path / "long.wav")
    with pytest.raises(MajlError, match=match):
        run(tiny_model, path, folder, limits)
    assert not list(folder.iterdir())


def test_a_length_that_the_file_hides_is_found_while_decoding(tiny_model, make_song, tmp_path, folder, monkeypatch):
    path, _ = make_song(tmp_path / "long.wav")
    from majl_hf.demo import separation

    class Silent(separation.AudioReader):
        duration_s = property(lambda self: None, lambda self, value: None)

    monkeypatch.setattr(separation, "AudioReader", Silent)
    with pytest.raises(MajlError, match=r"longer than 0\.02 minutes"):
        run(tiny_model, path, folder, Limits(max_minutes=0.02))
    assert not list(folder.iterdir())


def test_stopping_leaves_nothing(tiny_model, make_song, tmp_path, folder):
    path, _ = make_song(tmp_path / "a.wav")
    stop = threading.Event()
    steps = separate_file(tiny_model, path, path.name, folder, Limits(), stop.is_set)
    assert next(steps).done_s == 0.0
    stop.set()
    with pytest.raises(SeparationStopped):
        list(steps)
    assert not list(folder.iterdir())


def test_dropping_the_work_leaves_nothing(tiny_model, make_song, tmp_path, folder):
    path, _ = make_song(tmp_path / "a.wav")
    steps = separate_file(tiny_model, path, path.name, folder, Limits())
    next(steps), next(steps)
    assert list(folder.iterdir())
    steps.close()
    assert not list(folder.iterdir())


def test_a_full_disk_is_the_servers_fault(tiny_model, make_song, tmp_path, folder, monkeypatch):
    path, _ = make_song(tmp_path / "a.wav")
    from majl_hf.demo import separation

    def full(self, block):
        raise AudioError(f"{self.path} cannot be written: No space left.") from OSError(28, "No space left on device")

    monkeypatch.setattr(separation.AudioWriter, "write", full)
    with pytest.raises(MajlError, match="could not be stored") as caught:
        run(tiny_model, path, folder)
    assert str(folder) not in str(caught.value)
    monkeypatch.undo()
    monkeypatch.setattr(separation, "_SPARE_BYTES", 1e18)
    with pytest.raises(MajlError, match="no room"):
        run(tiny_model, path, folder)


def test_limits_are_stated_and_read(monkeypatch):
    assert "up to 10 minutes and 100 MB" in Limits().describe()
    monkeypatch.setenv("MAJL_MAX_MINUTES", "2.5")
    assert Limits.from_environment().max_minutes == 2.5
    monkeypatch.setenv("MAJL_MAX_MINUTES", "many")
    with pytest.raises(MajlError, match="MAJL_MAX_MINUTES is 'many'"):
        Limits.from_environment()
    with pytest.raises(MajlError, match="above 0"):
        Limits(max_megabytes=0)
