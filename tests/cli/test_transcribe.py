"""`majl transcribe`: notes of melodies of pure tones, in every format, and what is said when something does not fit."""

import os
import signal
import sys
from dataclasses import astuple

import numpy as np
import pytest
import soundfile
from listening import RATE, listening_model, melody
from note_readers import PICTURES, READERS, page_data, read_midi, read_npz
from transformers import pipeline
from typer.testing import CliRunner
from ultrastar_parser import parse_ultrastar

from majl_hf import MajlModel
from majl_hf.audio import AudioWriter, Tags, read_audio, read_tags
from majl_hf.cli import _processing, _transcription_writer, app
from majl_hf.cli._transcription_writer import EXPORTS
from majl_hf.models import streaming_majl
from majl_hf.models.streaming_majl import separate_stream

PITCHES = [60, 62, 64.3, 64.3, 57]
NAME = "It's a “söng” – 🎤"
# How far a format may be from the notes, in seconds and semitones: scores and games count in beats and semitones, and
# a MIDI note begins with the pitch of its first frame.
TOLERANCES = {
    "midi": (0.001, 0.3),
    "ultrastar": (0.08, 0.51),
    "musicxml": (0.2, 0.51),
    "labels": (1e-5, 0.0051),
    "html": (1e-4, 0.0051),
}


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("listening-model")
    listening_model().save_pretrained(folder)
    return str(folder)


@pytest.fixture
def transcribe(majl, model_folder, tmp_path):
    """`transcribe(song, *arguments)` into `tmp_path / "out"`, with JSON."""

    def run(*arguments, model=model_folder, out=tmp_path / "out"):
        return majl("transcribe", *arguments, "-o", out, "--json", model=model)

    return run


@pytest.fixture
def sung(tmp_path):
    """`sung(name, pitches)` writes a melody below `tmp_path` and returns its path."""

    def make(name="a.wav", pitches=PITCHES, **options):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, melody(pitches, **options).T, RATE)
        return path

    return make


@pytest.fixture
def no_work(monkeypatch):
    """Nothing may be computed."""
    monkeypatch.setattr(streaming_majl, "separate_stream", lambda *arguments, **keywords: pytest.fail("computed"))


def onsets_of(notes) -> list[float]:
    return [note[0] for note in notes]


def test_every_format_has_the_notes(transcribe, sung, tmp_path):
    song = sung(f"{NAME}.wav")
    result = transcribe(song, "--export", ", ".join(EXPORTS).upper(), "--stems", "--format", "flac")
    assert result.exit_code == 0, result.stderr
    outputs = result.json[0]["outputs"]
    endings = [*EXPORTS.values(), ".vocals.flac", ".accompaniment.flac", ".wav"]
    assert set(os.listdir(tmp_path / "out")) == {NAME + ending for ending in endings}
    contents = {name: (tmp_path / "out" / f"{NAME}{ending}").read_bytes() for name, ending in EXPORTS.items()}
    exact = np.array(READERS["npz"](contents["npz"]))
    assert exact[:, 0] == pytest.approx(1 + 0.6 * np.arange(5), abs=0.03)
    assert exact[:, 1] - exact[:, 0] == pytest.approx(0.4, abs=0.05)
    assert exact[:, 2] == pytest.approx(PITCHES, abs=0.15)
    for name in READERS:
        notes = np.array(READERS[name](contents[name]))
        if name == "musicxml":  # counts from the first bar
            notes[:, :2] += exact[0, 0] - notes[0, 0]
        times_s, semitones = TOLERANCES.get(name, (1e-5, 1e-3))
        assert np.abs(notes[:, :2] - exact[:, :2]).max() < times_s, name
        assert np.abs(notes[:, 2] - exact[:, 2]).max() < semitones, name
    assert result.json[0]["num_notes"] == 5 and set(outputs) == {*EXPORTS, "audio", "vocals", "accompaniment"}
    assert PICTURES["svg"](contents["svg"]) == 5 and PICTURES["png"](contents["png"]) > 1000
    assert page_data(contents["html"].decode())["image"].startswith("data:image/jpeg;base64,")
    assert 'src="It%27s' in contents["html"].decode()

    sound, rate = read_audio(tmp_path / "out" / f"{NAME}.melody.flac")
    assert (sound.shape, rate) == ((1, read_audio(song)[0].shape[1]), RATE)
    assert not sound[0, : round(0.9 * RATE)].any()
    for onset_s, _, midi in exact:
        inside = sound[0, round((onset_s + 0.05) * RATE) : round((onset_s + 0.3) * RATE)]
        spectrum = np.abs(np.fft.rfft(inside * np.hanning(len(inside)), 2**17))
        assert 12 * np.log2(spectrum.argmax() * RATE / 2**17 / 440) + 69 == pytest.approx(midi, abs=0.1)

    header = parse_ultrastar(contents["ultrastar"]).header
    assert (header["TITLE"], header["MP3"], header["VOCALS"]) == (NAME, f"{NAME}.wav", f"{NAME}.vocals.flac")
    assert header["INSTRUMENTAL"] == f"{NAME}.accompaniment.flac"
    assert (tmp_path / "out" / header["MP3"]).read_bytes() == song.read_bytes()
    stems = [read_audio(tmp_path / "out" / header[name])[0] for name in ("VOCALS", "INSTRUMENTAL")]
    assert np.abs(sum(stems) - read_audio(song)[0]).max() < 1e-6


def test_the_help_names_every_format():
    text = "".join(CliRunner().invoke(app, ["transcribe", "--help"]).stdout.split())  # lines break anywhere
    assert ",".join(EXPORTS) in text


def test_midi_and_csv_of_a_folder(transcribe, sung, tmp_path):
    sung("in/a.wav", [60]), sung("in/deeper/b.wav", [])
    (tmp_path / "in" / "text.mp3").write_text("no song")
    result = transcribe(tmp_path / "in", "-r")
    assert result.exit_code == 1
    assert sorted(os.listdir(tmp_path / "out")) == ["a.mid", "a.notes.csv", "deeper"]
    assert len(read_midi((tmp_path / "out/a.mid").read_bytes())) == 1
    assert read_midi((tmp_path / "out/deeper/b.mid").read_bytes()) == []
    assert {entry["input"]: entry.get("num_notes") for entry in result.json[:-1]} == {
        str(tmp_path / "in" / name): num_notes
        for name, num_notes in (("a.wav", 1), ("deeper/b.wav", 0), ("text.mp3", None))
    }


def test_of_silence_there_is_no_karaoke_song(transcribe, sung, tmp_path):
    song = sung(pitches=[], sampling_rate=RATE)
    assert transcribe(song, "--export", "csv,labels,npz").exit_code == 0
    assert read_npz((tmp_path / "out/a.npz").read_bytes()) == []
    failed = transcribe(song, "--export", "ultrastar,midi", out=tmp_path / "other")
    assert failed.exit_code == 1 and "no notes" in failed.json[0]["error"]
    assert os.listdir(tmp_path / "other") == []


def test_shorter_and_doubtful_notes_are_left_out(transcribe, sung, tmp_path):
    song = sung(pitches=[60, 62, 60, 62], rest_s=0.0)
    durations_s = {}
    for name, options in {"all": [], "long": ["--min-note-s", 0.7], "sure": ["--note-threshold", 0.999]}.items():
        assert transcribe(song, "--export", "npz", *options, out=tmp_path / name).exit_code == 0
        notes = read_npz((tmp_path / name / "a.npz").read_bytes())
        durations_s[name] = [offset_s - onset_s for onset_s, offset_s, _ in notes]
    assert durations_s["all"] == pytest.approx([0.4] * 4, abs=0.05)
    assert min(durations_s["long"]) > 0.699 and durations_s["sure"] == pytest.approx([1.6], abs=0.05)


def test_the_same_notes_by_every_door(transcribe, sung, tmp_path, model_folder):
    song = sung("a.wav", np.tile(PITCHES, 4))
    small = MajlModel.from_pretrained(model_folder)
    small.config.window_s = 0.7
    small.save_pretrained(tmp_path / "small")
    rows = []
    for number, folder in enumerate((model_folder, tmp_path / "small")):
        assert transcribe(song, "--export", "npz", model=folder, out=tmp_path / f"{number}").exit_code == 0
        rows.append(read_npz((tmp_path / f"{number}/a.npz").read_bytes()))
        notes = pipeline("majl-separation-pitch", model=str(folder))(str(song), batch_size=2)["notes"]
        rows.append([(note["onset_s"], note["offset_s"], note["midi"]) for note in notes])
    audio, rate = read_audio(song)
    for size in (317, 10_000):
        blocks = np.split(audio, range(size, audio.shape[1], size), axis=1)
        chunks = separate_stream(MajlModel.from_pretrained(model_folder), blocks, rate, read_notes=True)
        rows.append([astuple(note)[:3] for chunk in chunks for note in chunk.notes])
    assert len(rows[0]) == 20
    for other in rows[1:]:
        np.testing.assert_allclose(other, rows[0], atol=1e-3)


def test_a_solo_voice_is_not_separated(transcribe, sung, tmp_path):
    song = sung("a.vocals.wav")
    assert transcribe(song.parent, "--solo", "--export", "npz").json[0]["num_notes"] == 5
    assert "written by this command" in transcribe(song.parent).stderr


# Pictures and sound


def test_a_page_plays_the_song_if_it_is_beside_it(transcribe, sung, tmp_path):
    song = sung(pitches=[60])
    for out, formats, player in ((tmp_path / "other", "html", False), (tmp_path, "html,csv", True)):
        assert transcribe(song, "--export", formats, out=out).exit_code == 0
        assert ('src="a.wav"' in (out / "a.html").read_text(encoding="utf-8")) == player


def test_of_a_long_song_there_is_no_spectrogram(transcribe, sung, tmp_path, monkeypatch):
    monkeypatch.setattr(_transcription_writer, "MAX_DRAWN_S", 1.2)
    (warning,) = transcribe(sung(pitches=[60, 62]), "--export", "html").json[0]["warnings"]
    assert "have no spectrogram" in warning
    data = page_data((tmp_path / "out/a.html").read_text(encoding="utf-8"))
    assert data["image"] == "" and len(data["notes"]) == 2


def test_the_melody_has_the_tags_of_the_song_and_is_no_song(transcribe, tmp_path):
    with AudioWriter(tmp_path / "a.flac", RATE, 1, "flac", tags=Tags({"title": "Söng", "artist": "Me"})) as writer:
        writer.write(melody([60]))
    assert transcribe(tmp_path / "a.flac", "--export", "melody", out=tmp_path).exit_code == 0
    assert read_tags(tmp_path / "a.melody.flac").fields == {"title": "Söng (melody)", "artist": "Me"}
    assert len(transcribe(tmp_path, "--export", "csv").json) == 2  # the song and the summary


# Lyrics


def test_words_are_laid_on_notes(transcribe, sung, tmp_path):
    lyrics = tmp_path / "words.lrc"
    lyrics.write_text("[ti:Song]\n[ar:Singer]\n[la:en]\n[00:01.00]Hello, my\n[00:02.80]dear one\n")
    result = transcribe(sung(), "--export", "ultrastar", "--lyrics", lyrics, "--bpm", 120)
    assert result.exit_code == 0, result.stderr
    song = parse_ultrastar((tmp_path / "out/a.txt").read_bytes())
    assert [[note.text for note in line] for line in song.lines] == [["Hel", "lo, ", "my "], ["dear ", "one "]]
    header = {name: song.header[name] for name in ("TITLE", "ARTIST", "LANGUAGE", "BPM")}
    assert header == {"TITLE": "Song", "ARTIST": "Singer", "LANGUAGE": "English", "BPM": "240.000"}


def test_words_without_notes_are_named(transcribe, sung, tmp_path):
    (tmp_path / "words.txt").write_text("la " * 40 + "\n\n" + "lo " * 40)
    result = transcribe(sung(pitches=[60]), "--export", "csv", "--lyrics", tmp_path / "words.txt")
    warning, without_times = result.json[0]["warnings"]
    assert "no times" in without_times
    assert result.exit_code == 0 and "have no note and are left out" in warning and warning.endswith(" ...")
    assert result.stderr.count("have no note") == 1


def test_words_beyond_the_end_are_left_out(transcribe, sung, tmp_path):
    lyrics = tmp_path / "words.lrc"
    lyrics.write_text("[00:01.00]la la la\n[09:00.00]far beyond\n")
    (warning,) = transcribe(sung(), "--export", "labels", "--lyrics", lyrics, "--language", "en").json[0]["warnings"]
    assert warning.endswith("left out: far beyond")
    assert "beyond" not in (tmp_path / "out/a.labels.txt").read_text(encoding="utf-8")


def test_a_slow_tempo_has_a_finer_grid(transcribe, sung, tmp_path):
    result = transcribe(sung(pitches=[60, 64, 62, 65]), "--export", "npz", "--quantise", "--bpm", 10)
    notes = read_npz((tmp_path / "out/a.npz").read_bytes())
    assert result.exit_code == 0
    assert onsets_of(notes) == pytest.approx([1.0, 1.6, 2.2, 2.8], abs=0.13)


def test_a_folder_of_lyrics(transcribe, sung, tmp_path):
    sung("in/a.wav"), sung("in/deeper/b.wav")
    (tmp_path / "lyrics" / "deeper").mkdir(parents=True)
    (tmp_path / "lyrics" / "deeper" / "b.txt").write_text("one two three four five")
    result = transcribe(
        tmp_path / "in", "-r", "--export", "labels", "--lyrics", tmp_path / "lyrics", "--language", "en"
    )
    assert result.exit_code == 0
    assert "a.json" in result.json[0]["warnings"][0]
    assert "no times" in result.json[1]["warnings"][0]
    assert "three" in (tmp_path / "out/deeper/b.labels.txt").read_text(encoding="utf-8")
    assert "three" not in (tmp_path / "out/a.labels.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "content, message",
    [(b"", "no words"), (b"caf\xe9", "save the lyrics as UTF-8"), (b"[offset:x]\n[00:01.00]la", "milliseconds")],
)
def test_lyrics_that_cannot_be_read_fail_before_the_work(transcribe, sung, tmp_path, no_work, content, message):
    (tmp_path / "words.txt").write_bytes(content)
    result = transcribe(sung(), "--lyrics", tmp_path / "words.txt")
    assert result.exit_code == 1 and message in result.json[0]["error"] and os.listdir(tmp_path / "out") == []


def test_lyrics_are_not_overwritten(transcribe, sung, tmp_path, no_work):
    song = sung("out/a.wav")
    words = tmp_path / "out" / "a.txt"
    words.write_text("la la la")
    for lyrics in (words, tmp_path / "out"):
        result = transcribe(song, "--export", "ultrastar", "--lyrics", lyrics, "--overwrite")
        assert result.exit_code == 1 and "would replace the lyrics" in result.json[0]["error"]
    assert words.read_text() == "la la la" and sorted(os.listdir(tmp_path / "out")) == ["a.txt", "a.wav"]


# Files


def test_a_song_beside_its_results_is_not_copied(transcribe, sung, tmp_path):
    song = sung("out/Some One - A song.wav")
    assert transcribe(song, "--export", "ultrastar").exit_code == 0
    assert sorted(os.listdir(tmp_path / "out")) == ["Some One - A song.txt", "Some One - A song.wav"]
    header = parse_ultrastar((tmp_path / "out/Some One - A song.txt").read_bytes()).header
    assert (header["ARTIST"], header["TITLE"], header["MP3"]) == ("Some One", "A song", song.name)


def test_title_and_artist_are_those_of_the_tags(transcribe, tmp_path):
    with AudioWriter(tmp_path / "a - b.flac", RATE, 1, "flac", tags=Tags({"title": "Söng", "artist": "Me"})) as writer:
        writer.write(melody([60]))
    transcribe(tmp_path / "a - b.flac", "--export", "npz")
    arrays = np.load(tmp_path / "out/a - b.npz")
    assert (str(arrays["title"]), str(arrays["artist"])) == ("Söng", "Me")


def test_a_name_that_a_format_cannot_express_fails_before_the_work(transcribe, sung, tmp_path, no_work):
    result = transcribe(sung("two\nlines.wav"), "--export", "csv,ultrastar")
    assert result.exit_code == 1 and "rename the file" in result.json[0]["error"]
    assert os.listdir(tmp_path / "out") == []


def test_results_are_kept_unless_overwritten(transcribe, sung, tmp_path):
    song = sung(pitches=[60])
    assert transcribe(song, "--export", "csv,ultrastar").exit_code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    again = transcribe(song, "--export", "labels,ultrastar", "--min-note-s", 0.01)
    assert again.exit_code == 1 and "exists already" in again.json[0]["error"]
    assert before == {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert transcribe(song, "--export", "labels,ultrastar", "--overwrite", "--bpm", 100).exit_code == 0
    assert b"#BPM:400" in (tmp_path / "out/a.txt").read_bytes()


def test_a_failure_at_the_end_leaves_nothing(transcribe, sung, tmp_path, monkeypatch):
    def full(writers):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_transcription_writer, "commit_together", full)
    result = transcribe(sung(), "--export", "csv,ultrastar,html,melody", "--stems")
    assert result.exit_code == 1 and "No space left" in result.json[0]["error"]
    assert os.listdir(tmp_path / "out") == []


def test_a_full_disk_while_the_melody_is_written_leaves_nothing(transcribe, sung, tmp_path, monkeypatch):
    def full(*arguments):
        yield np.zeros(100, dtype=np.float32)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_transcription_writer, "render_melody", full)
    result = transcribe(sung(), "--export", "csv,html,melody")
    assert result.exit_code == 1 and "No space left" in result.json[0]["error"]
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals are sent")
def test_a_signal_leaves_nothing(transcribe, sung, tmp_path, monkeypatch):
    def interrupted(*arguments, **keywords):
        for chunk in separate_stream(*arguments, **keywords):
            os.kill(os.getpid(), signal.SIGINT)
            yield chunk

    monkeypatch.setattr(streaming_majl, "separate_stream", interrupted)
    result = transcribe(sung(), "--export", "csv,ultrastar,html,melody", "--stems")
    assert result.exit_code == 130 and result.json[-1]["stopped"] is True and os.listdir(tmp_path / "out") == []


def test_one_format_to_stdout(majl, transcribe, sung, tmp_path, model_folder):
    song = sung()
    transcribe(song, "--export", "midi")
    piped = majl("transcribe", "-", "-o", "-", "--export", "midi", model=model_folder, stdin=song.read_bytes())
    assert piped.exit_code == 0 and read_midi(piped.stdout_bytes) == read_midi((tmp_path / "out/a.mid").read_bytes())
    karaoke = majl("transcribe", song, "-o", "-", "--export", "ultrastar", model=model_folder)
    assert parse_ultrastar(karaoke.stdout_bytes).header["MP3"] == "a.wav"
    sound = majl("transcribe", song, "-o", "-", "--export", "melody", model=model_folder)
    assert sound.stdout_bytes.startswith(b"fLaC")


# Tempo


def test_notes_on_the_grid_of_the_tempo(transcribe, sung, tmp_path):
    assert transcribe(sung(), "--export", "npz,midi", "--bpm", 100, "--quantise").json[0]["bpm"] == 100
    notes = np.array(read_npz((tmp_path / "out/a.npz").read_bytes()))
    steps = (notes[:, :2] - float(np.load(tmp_path / "out/a.npz")["first_beat_s"])) / 0.15
    assert np.abs(steps - np.round(steps)).max() < 1e-6 and (notes[:, 2] == [60, 62, 64, 64, 57]).all()
    played = np.array(read_midi((tmp_path / "out/a.mid").read_bytes()))
    assert np.abs(played - notes).max() < 0.001


def test_a_missing_tempo_is_noted(transcribe, sung):
    (warning,) = transcribe(sung(pitches=[60]), "--quantise").json[0]["warnings"]
    assert "no tempo was found" in warning and "--bpm" in warning


# Wrong usage


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--export", "midi,mp3"], ", ".join(EXPORTS)),
        (["--export", " , "], "separated by commas"),
        (["--language", "klingon"], "ISO 639-1"),
        (["--note-threshold", 1.5], "note_threshold is 1.5"),
        (["--min-note-s", -1], "min_note_s is -1"),
        (["--bpm", 0], "--bpm"),
        (["--lyrics", "absent.txt"], "absent.txt"),
        (["b.wav", "--lyrics", "words.txt"], "--lyrics FILE takes one song and 2 are given"),
        (["-o", "-"], "-o - writes one format"),
        (["-o", "-", "--export", "midi", "--stems"], "-o - writes one format"),
    ],
)
def test_what_does_not_fit_is_wrong_usage(majl, sung, tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(_processing, "load_model", lambda *arguments: pytest.fail("nothing may be loaded"))
    monkeypatch.chdir(tmp_path)
    sung("a.wav", [60]), sung("b.wav", [60])
    (tmp_path / "words.txt").write_text("la")
    output = [] if "-o" in arguments else ["-o", "out"]
    result = majl("transcribe", "a.wav", *output, *arguments)
    assert result.exit_code == 2 and message in " ".join(result.stderr.replace("│", " ").split())


def test_a_missing_package_is_named(majl, sung, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    result = majl("transcribe", sung(pitches=[60]), "-o", "out", "--export", "jams")
    assert result.exit_code == 2 and "pip install 'majl_hf[jams]'" in result.stderr
