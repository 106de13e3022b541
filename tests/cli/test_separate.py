"""`majl separate` and `majl pitch` on good input: what is written, where, and what is said."""

import os

import numpy as np
import pytest
import soundfile
from audio_files import png, write_film
from transformers import pipeline

from majl_hf.audio import ENCODINGS, AudioWriter, Quantiser, Tags, read_audio, read_tags
from majl_hf.cli._common import Format
from majl_hf.export import read_f0_csv

EXACT = {"wav-float": "wav", "wav-24": "wav", "wav-16": "wav", "flac": "flac"}


def test_the_formats_are_those_of_the_writer():
    assert [*Format] == [*ENCODINGS]


@pytest.mark.parametrize("format, extension", EXACT.items())
def test_three_files_that_add_up(majl, song, tmp_path, format, extension):
    source = song("It's a “söng”.wav")
    result = majl("separate", source, "-o", tmp_path / "out", "--format", format)
    assert result.exit_code == 0, result.stderr
    stem = tmp_path / "out" / "It's a “söng”"
    names = {f"{stem.name}.{end}" for end in (f"vocals.{extension}", f"accompaniment.{extension}", "f0.csv")}
    assert set(os.listdir(tmp_path / "out")) == names
    mixture, rate = read_audio(source)
    vocals, vocals_rate = read_audio(f"{stem}.vocals.{extension}")
    accompaniment, _ = read_audio(f"{stem}.accompaniment.{extension}")
    assert rate == vocals_rate and vocals.shape == accompaniment.shape == mixture.shape
    assert np.abs(vocals).max() > 1e-4
    if format == "wav-float":
        assert np.abs(vocals + accompaniment - mixture).max() <= np.spacing(np.abs(mixture).max())
    else:
        assert np.array_equal(vocals + accompaniment, Quantiser(ENCODINGS[format].bits)(mixture))
    f0 = read_f0_csv(f"{stem}.f0.csv")
    assert (f0["f0_hz"] > 0).all() and f0["time_s"][-1] == pytest.approx(1.5, abs=0.021)


def test_another_type_to_compute_in_changes_little(majl, song, tmp_path):
    vocals = []
    for dtype in ("float32", "bfloat16"):
        assert majl("separate", song(), "-o", tmp_path / dtype, "--dtype", dtype).exit_code == 0
        vocals.append(read_audio(tmp_path / dtype / "a.vocals.wav")[0])
    assert 0 < np.abs(vocals[1] - vocals[0]).max() < 0.1 * np.abs(vocals[0]).max()


@pytest.mark.parametrize("format", ["mp3", "m4a", "opus"])
def test_lossy_stems_almost_add_up(majl, tmp_path, format):
    time_s = np.arange(48_000) / 48_000
    tones = 0.2 * np.sin(2 * np.pi * np.array([[220], [330]]) * time_s)
    soundfile.write(tmp_path / "a.wav", tones.T, 48_000)
    arguments = ("separate", tmp_path / "a.wav", "--no-f0", "--format", format)
    assert majl(*arguments, "-o", tmp_path / "out", "--bit-rate", 192).exit_code == 0
    assert set(os.listdir(tmp_path / "out")) == {f"a.vocals.{format}", f"a.accompaniment.{format}"}
    stems = [read_audio(tmp_path / "out" / name)[0][:, : len(time_s)] for name in os.listdir(tmp_path / "out")]
    assert 10 * np.log10((tones**2).sum() / ((sum(stems) - tones) ** 2).sum()) > 25
    again = majl(*arguments, "-o", tmp_path / "out")
    assert again.exit_code == 1 and "exists already" in again.stderr


def test_a_rate_that_the_format_lacks_is_noted_once(majl, song, tmp_path):
    result = majl("separate", song(), "-o", tmp_path / "out", "--no-f0", "--format", "opus", "--json")
    assert result.json[0]["warnings"] == ["opus is written at 48000 Hz because it cannot store 22050 Hz"]
    assert read_audio(tmp_path / "out" / "a.vocals.opus")[1] == 48_000


@pytest.mark.parametrize(
    "name, num_channels, sampling_rate", [("a.mp3", 1, 44100), ("a.flac", 2, 8000), ("a.ogg", 2, 48000)]
)
def test_rate_channels_and_length_are_the_inputs(majl, song, tmp_path, name, num_channels, sampling_rate):
    source = song(name, 1.0, num_channels, sampling_rate)
    assert majl("separate", source, "-o", tmp_path / "out", "--no-f0").exit_code == 0
    for stem in ("vocals", "accompaniment"):
        info = soundfile.info(tmp_path / "out" / f"a.{stem}.wav")
        expected = (sampling_rate, num_channels, sampling_rate)
        assert (info.samplerate, info.channels, info.frames) == expected


def test_batch_size_and_threads_do_not_change_the_result(majl, song, tmp_path):
    source = song(seconds=40, sampling_rate=16000, num_channels=1)
    majl("separate", source, "-o", tmp_path / "one")
    majl("separate", source, "-o", tmp_path / "three", "--batch-size", 3, "--threads", 1)
    one, three = (read_audio(tmp_path / name / "a.vocals.wav")[0] for name in ("one", "three"))
    assert np.abs(one - three).max() < 1e-5
    f0 = [read_f0_csv(tmp_path / name / "a.f0.csv")["f0_hz"] for name in ("one", "three")]
    assert np.abs(1200 * np.log2(f0[0] / f0[1])).max() < 1


def test_only_what_is_wanted_is_written(majl, song, tmp_path):
    assert majl("separate", song(), "-o", tmp_path / "out", "--no-accompaniment", "--no-f0").exit_code == 0
    assert os.listdir(tmp_path / "out") == ["a.vocals.wav"]
    nothing = majl("separate", song(), "-o", tmp_path / "out", "--no-vocals", "--no-accompaniment", "--no-f0")
    assert nothing.exit_code == 2


def test_pitch_of_a_song_and_of_a_solo_voice(majl, song, tmp_path):
    source = song()
    assert majl("pitch", source, "-o", tmp_path / "song").exit_code == 0
    assert majl("pitch", source, "-o", tmp_path / "solo", "--solo").exit_code == 0
    curves = [read_f0_csv(tmp_path / folder / "a.f0.csv") for folder in ("song", "solo")]
    assert os.listdir(tmp_path / "solo") == ["a.f0.csv"]
    assert len(curves[0]["time_s"]) == len(curves[1]["time_s"])
    assert not np.array_equal(curves[0]["confidence"], curves[1]["confidence"])


def test_voicing_options(majl, song, tmp_path):
    source = song()
    for name, options in {
        "always": ["--voicing-policy", "always"],
        "never": ["--voicing-policy", "threshold", "--voicing-threshold", "0.9999"],
    }.items():
        assert majl("pitch", source, "-o", tmp_path / name, "--unvoiced-as-zero", *options).exit_code == 0
    assert (read_f0_csv(tmp_path / "always" / "a.f0.csv")["f0_hz"] > 0).all()
    assert (read_f0_csv(tmp_path / "never" / "a.f0.csv")["f0_hz"] == 0).all()


def test_json_is_one_line_a_file_and_a_summary(majl, song, tmp_path):
    song("in/a.wav"), song("in/deeper/b.wav")
    (tmp_path / "in" / "text.mp3").write_text("no song")
    result = majl("separate", tmp_path / "in", "-r", "-o", tmp_path / "out", "--json")
    assert result.exit_code == 1
    *files, summary = result.json
    done = {entry["input"]: entry for entry in files if entry["status"] == "done"}
    assert set(done) == {str(tmp_path / "in" / "a.wav"), str(tmp_path / "in" / "deeper" / "b.wav")}
    deeper = done[str(tmp_path / "in" / "deeper" / "b.wav")]
    assert deeper["outputs"]["vocals"] == str(tmp_path / "out" / "deeper" / "b.vocals.wav")
    assert all(os.path.exists(path) for entry in done.values() for path in entry["outputs"].values())
    assert deeper["duration_s"] == pytest.approx(1.5) and deeper["real_time_factor"] > 0
    (failed,) = (entry for entry in files if entry["status"] == "failed")
    assert failed["input"].endswith("text.mp3") and "not audio" in failed["error"]
    assert (summary["num_done"], summary["num_failed"], summary["stopped"]) == (2, 1, False)
    assert "text.mp3" in result.stderr


def test_a_warning_for_clipping_and_none_for_float(majl, tmp_path):
    audio = np.random.default_rng(0).uniform(-3, 3, (20_000, 1))
    soundfile.write(tmp_path / "loud.wav", audio, 16000, subtype="FLOAT")
    loud = majl("separate", tmp_path / "loud.wav", "-o", tmp_path / "out", "--format", "wav-24", "--json")
    assert loud.exit_code == 0 and "beyond full scale" in loud.json[0]["warnings"][0]
    exact = majl("separate", tmp_path / "loud.wav", "-o", tmp_path / "out2", "--json")
    assert exact.json[0]["warnings"] == []


def test_a_truncated_mp3_is_done_with_a_warning(majl, song, tmp_path):
    source = song("a.mp3", 6)
    source.write_bytes(source.read_bytes()[:20_000])
    result = majl("separate", source, "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert "cut short" in result.stderr


@pytest.mark.parametrize("format, has_cover", [("mp3", True), ("flac", True), ("wav-float", False)])
def test_tags_and_cover_are_carried_over(majl, tmp_path, format, has_cover):
    fields = {"title": "Söng", "artist": "Somebody", "track": "3"}
    with AudioWriter(tmp_path / "a.m4a", 16_000, 1, "m4a", tags=Tags(fields, png())) as writer:
        writer.write(np.random.default_rng(0).uniform(-0.1, 0.1, (1, 16_000)))
    assert majl("separate", tmp_path / "a.m4a", "-o", tmp_path / "out", "--format", format).exit_code == 0
    for stem in ("vocals", "accompaniment"):
        tags = read_tags(tmp_path / "out" / f"a.{stem}{ENCODINGS[format].extension}")
        assert tags == Tags({**fields, "title": f"Söng ({stem})"}, png() if has_cover else None)


def test_surround_is_mixed_down_or_refused(majl, song, tmp_path, tiny_model_folder):
    source = song("a.flac", 0.5, 6)
    result = majl("separate", source, "-o", tmp_path / "out", "--json")
    assert "mixed down to stereo" in result.json[0]["warnings"][0] and "mixed down" in result.stderr
    assert result.json[0]["num_channels"] == 2
    stems = [read_audio(tmp_path / "out" / f"a.{stem}.wav")[0] for stem in ("vocals", "accompaniment")]
    mixture, _ = read_audio(source, mixdown=True)
    assert stems[0].shape == mixture.shape
    assert np.abs(sum(stems) - mixture).max() <= np.spacing(np.abs(mixture).max())
    by_pipeline = pipeline("majl-separation-pitch", model=tiny_model_folder)(str(source))
    assert np.abs(by_pipeline["vocals"] - stems[0]).max() < 1e-6

    refused = majl("pitch", source, "-o", tmp_path / "out", "--overwrite", "--no-mixdown")
    assert refused.exit_code == 1 and "6 channels; one or two are needed. Allow the mixdown" in refused.stderr
    assert majl("pitch", song("b.flac", 0.5, 2), "-o", tmp_path / "out", "--no-mixdown").exit_code == 0


def test_a_sound_track_is_chosen_by_number_or_language(majl, tmp_path):
    noise = np.random.default_rng(0).integers(-3000, 3000, (2, 2, 8000)).astype(np.float32) / 2**15
    film = write_film(tmp_path / "film.mkv", dict(zip(("ger", "eng"), noise, strict=True)), sampling_rate=16_000)
    for name, options, expected in (("default", [], 0), ("1", ["--stream", 1], 1), ("eng", ["--stream", "eng"], 1)):
        result = majl("separate", film, "-o", tmp_path / name, *options, "--json")
        assert len(result.json[0]["warnings"]) == (name == "default")
        stems = [read_audio(path)[0] for path in list(result.json[0]["outputs"].values())[:2]]
        assert np.abs(sum(stems) - noise[expected]).max() < 1e-6
    wrong = majl("pitch", film, "-o", tmp_path / "out", "--stream", "2")
    assert wrong.exit_code == 1 and "no sound track 2; choose one of 0 (ger, " in wrong.stderr
