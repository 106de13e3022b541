"""A file in, stems and pitch out, without the web: lengths, sums, error messages, and nothing left behind."""

import dataclasses
import html as entities
import json
import re
import threading

import numpy as np
import pytest
import soundfile

from majl_hf.audio import AudioError, read_audio, to_24_bit_grid
from majl_hf.demo import fragments
from majl_hf.demo.decisions import Settings, transcribe
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


def settings_of(song, **values):
    return Settings.of_model(song.config).changed(values)


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
    flac = [read(song.folder / f"{track}.flac") for track in ("vocals", "accompaniment")]
    np.testing.assert_array_equal(sum(flac), to_24_bit_grid(mixture))
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
    settings = settings_of(song)
    assert transcribe(song, settings).notes
    heads = {
        ".wav": b"RIFF", ".flac": b"fLaC", ".png": b"\x89PNG", ".jpg": b"\xff\xd8", ".svg": b"<?xml", ".mid": b"MThd",
        ".html": b"<!DOCTYPE html>", ".npz": b"PK", ".jams": b"{", ".musicxml": b"<?xml",
    }  # fmt: skip
    for file, download in DOWNLOADS.items():
        path = download_path(song, file, settings)
        assert path.stat().st_size > 100, file
        assert path.read_bytes().startswith(heads.get(path.suffix, b"")), file
        assert download_path(song, file, settings) == path
        assert bool(download.title) == download.offered
    assert not list(song.folder.glob("unfinished*"))


def test_downloads_follow_the_settings_and_only_the_latest_is_kept(song):
    song, _, _ = song
    every = [settings_of(song, voicing_threshold=threshold) for threshold in (0.01, 0.5, 0.99)]
    share = [(read_f0_csv(download_path(song, "f0.sung.csv", s))["f0_hz"] > 0).mean() for s in every]
    assert share[0] >= share[1] >= share[2] and share[0] > share[2]
    assert len(list(song.folder.glob("*f0.sung.csv"))) == 1
    for settings in every:
        np.testing.assert_allclose(
            read_f0_csv(download_path(song, "f0.csv", settings))["f0_hz"], song.frames.f0_hz, atol=1e-3
        )
    rows = [
        len(download_path(song, "notes.csv", settings_of(song, min_note_s=length)).read_text().splitlines()) - 1
        for length in (0.02, 0.9)
    ]
    assert rows[0] > rows[1]
    assert rows == [len(transcribe(song, settings_of(song, min_note_s=length)).notes) for length in (0.02, 0.9)]


def test_the_melody_is_as_long_as_the_song(song):
    song, _, _ = song
    melody = read(download_path(song, "melody.flac", settings_of(song)))
    assert melody.shape == (1, song.num_samples)
    sung = [note for note in transcribe(song, settings_of(song)).notes if note.kind == "sung"]
    assert melody.any() == bool(sung)


def test_a_download_that_fails_leaves_no_half_file(song, monkeypatch):
    song, _, _ = song
    broken = dataclasses.replace(
        DOWNLOADS["f0.csv"], file="new.csv", write=lambda path, *_: path.write_text("half") / 0
    )
    monkeypatch.setitem(DOWNLOADS, "new.csv", broken)
    with pytest.raises(ZeroDivisionError):
        download_path(song, "new.csv")
    assert not (song.folder / "new.csv").exists()


def test_what_is_not_offered(song):
    with pytest.raises(MajlError, match=r"There is no file '\.\./secret'"):
        download_path(song[0], "../secret")


def test_the_page_shows_the_transcription(song):
    song, _, _ = song
    settings = settings_of(song, note_threshold=0.3)
    transcription = transcribe(song, settings)
    session = Session("owner", in_cookie=True, song=song)
    piece = fragments.notes_html(session, transcription, lambda file, **_: f"majl/a/{file}", settings)
    data = json.loads(entities.unescape(re.search("<pre hidden>(.*?)</pre>", piece)[1]))
    assert data["image"] == "majl/a/spectrogram.jpg" and data["threshold"] == song.config.voicing_threshold
    assert len(data["notes"]) == len(transcription.notes)
    assert f"note_threshold=0.3&amp;min_note_s={song.config.min_note_s}" in piece
    facts = fragments.facts_html(song, describe_voice(song.frames.f0_hz, song.frames.voiced), transcription.notes)
    assert f"<dt>Notes</dt><dd><strong>{len(transcription.notes)}</strong>" in facts
    listed = fragments.downloads_html(session, lambda file, **_: file, settings, has_notes=False)
    assert "notes.csv" not in listed and "melody.flac" not in listed and "notes.png" in listed


def test_the_name_of_a_file_is_text_whatever_it_contains(song):
    evil = '<img src=x onerror="alert(1)">'
    named = dataclasses.replace(song[0], file_name=f"{evil}.mp3", warnings=(evil,))
    settings = settings_of(named)
    session = Session("owner", in_cookie=True, song=named)
    pieces = [
        fragments.desk_html(session, lambda file, **_: f"{file}?{evil}"),
        fragments.downloads_html(session, lambda file, **_: f"{file}?{evil}", settings, True),
        fragments.facts_html(named, describe_voice(named.frames.f0_hz, named.frames.voiced), ()),
        fragments.notes_html(session, transcribe(named, settings), lambda file, **_: f"{file}?{evil}", settings),
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
