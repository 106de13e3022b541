"""Several corpora from one file: built, combined, checked; resumed as a whole."""

import json
import shutil

import numpy as np
import pytest
from corpus_files import MIR1K_RATE, steady_clip, tone, write, write_mir1k
from typer.testing import CliRunner

from majl_hf.cli import app
from majl_hf.errors import BadRecordings, ConfigError, MajlError
from majl_hf.rows.prepare import BuildJob, PrepareConfig
from majl_hf.system.settings import load_settings

RATE = 8_000
CONFIG = """
out: "{out}"
shard_minutes: 0.05
corpora:
  - corpus: stems
    folder: "${{MAJL_TEST_DATA}}/songs"
    name: songs
    options: {{licence: CC0-1.0}}
    splits: {{validation: [b]}}
  - {{corpus: voices, folder: "${{MAJL_TEST_DATA}}/voices", options: {{licence: CC0-1.0}}}}
combine: {{sampling: {{tempering: 1.0}}}}
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    """Path of a file for two corpora of two recordings each."""
    names = [f"songs/{song}/{part}" for song in "ab" for part in ("vocals", "accompaniment")] + ["voices/c", "voices/d"]
    for seed, name in enumerate(names):
        write(tmp_path / f"{name}.wav", np.random.default_rng(seed).uniform(-0.4, 0.4, 2 * RATE), RATE)
    monkeypatch.setenv("MAJL_TEST_DATA", str(tmp_path))
    path = tmp_path / "corpora.yaml"
    path.write_text(CONFIG.format(out=tmp_path / "out"))
    return path


def test_one_command_builds_combines_checks_and_resumes(config, tmp_path):
    out = tmp_path / "out"

    def files():
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.rglob("*") if path.is_file()}

    def prepare(*options):
        return CliRunner().invoke(app, ["data", "prepare", str(config), "--processes", "1", *options])

    result = prepare()
    assert result.exit_code == 0, result.output
    assert "songs: 2 recordings" in result.stdout and "combined: 4 recordings" in result.stdout
    assert result.stdout.count("good") == 3
    before = files()
    assert prepare().exit_code == 0  # all of it is there
    assert files() == before

    write(tmp_path / "voices" / "e.wav", np.full(RATE, 0.1), RATE)
    result = prepare()  # another plan
    assert result.exit_code == 1 and "0 recordings are gone, 1 are new" in result.stderr
    assert files() == before
    result = prepare("--overwrite", "--no-check")
    assert result.exit_code == 0 and "combined: 5 recordings" in result.stdout and "good" not in result.stdout
    after = files()
    assert all(after[path] == before[path] for path in before if path.is_relative_to(out / "songs"))

    config.write_text(config.read_text().replace(", options: {licence: CC0-1.0}}", "}"))
    result = prepare()
    assert result.exit_code == 1 and "options: {licence: ...} in the file of `majl data prepare`" in result.stderr


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("MAJL_TEST_DATA", "NOT_SET_ANYWHERE"), "variable NOT_SET_ANYWHERE"),
        (("splits:", "parts:"), "parts"),
        (("validation: [b]", "dev: [b]"), "dev"),
        (("name: songs", "name: voices"), "another `name`"),
        (("name: songs", "name: combined"), "another `name`"),
        (("out:", "- out:"), "is not a YAML file of settings"),
        (("tempering: 1.0", "tempering: 2.0"), r"combine\.sampling\.tempering: .*, got 2\.0"),
        (("tempering: 1.0", "temper: 2.0"), r"combine\.sampling\.temper"),
    ],
)
def test_a_wrong_file_is_refused(config, change, message):
    config.write_text(config.read_text().replace(*change))
    with pytest.raises(ConfigError, match=message):
        load_settings(config, PrepareConfig)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"nothing\.yaml cannot be read"):
        load_settings(tmp_path / "nothing.yaml", PrepareConfig)


# Bad recordings: each function makes some and returns their names; what is wrong is found at several stages.


def _bad_stems(folder):
    for song in ("good", "half", "rate", "short", "nan", "twice"):
        for part in ("vocals", "accompaniment"):
            write(folder / song / f"{part}.wav", tone(220, 1.0, RATE), RATE)
    (folder / "half" / "accompaniment.wav").unlink()
    write(folder / "rate" / "vocals.wav", tone(220, 1.0, 2 * RATE), 2 * RATE)
    write(folder / "short" / "vocals.wav", tone(220, 0.5, RATE), RATE)
    write(folder / "nan" / "vocals.wav", np.full(RATE, np.nan, np.float32), RATE)
    write(folder / "twice" / "vocals.flac", tone(220, 1.0, RATE), RATE)
    return ["half", "rate", "short", "nan", "twice"]


def _bad_voices(folder):
    for name in ("good", "text", "empty", "nan"):
        write(folder / f"{name}.wav", tone(220, 1.0, RATE), RATE)
    write(folder / "good.flac", tone(220, 1.0, RATE), RATE)
    (folder / "text.wav").write_text("la la la")
    write(folder / "empty.wav", np.zeros(0, np.float32), RATE)
    write(folder / "nan.wav", np.full(RATE, np.nan, np.float32), RATE)
    return ["good.wav", "text", "empty", "nan"]


def _bad_mir1k(folder):
    write_mir1k(folder, {f"{name}_1_01": steady_clip() for name in ("good", "unlabelled", "long", "broken", "mono")})
    (folder / "PitchLabel" / "unlabelled_1_01.pv").unlink()
    (folder / "PitchLabel" / "long_1_01.pv").write_text("57\n" * 999)
    (folder / "PitchLabel" / "broken_1_01.pv").write_bytes(b"\xff\xfe")
    write(folder / "Wavfile" / "mono_1_01.wav", tone(220, 1.0, MIR1K_RATE), MIR1K_RATE)
    return [f"{name}_1_01" for name in ("unlabelled", "long", "broken", "mono")]


def _bad_ultrastar(folder):
    text = "#TITLE:Song\n#ARTIST:A\n#MP3:a.ogg\n#BPM:150\n#LICENSE:creativecommons.org/licenses/by/4.0\n: 0 5 9 La\nE\n"
    for song in ("good", "silent", "wild", "unlicensed"):
        write(folder / song / "a.ogg", tone(220, 3.0, RATE), RATE)
        (folder / song / "a.txt").write_text(text)
    (folder / "silent" / "a.ogg").unlink()
    (folder / "wild" / "a.txt").write_text(text.replace(": 0", "B 0"))
    (folder / "unlicensed" / "a.txt").write_text(text.replace("creativecommons", "example"))
    return ["silent", "wild", "unlicensed"]


def _bad_ssvd(folder):
    for name in ("1", "2", "3"):
        write(folder / f"{name}.wav", tone(220, 1.0, RATE), RATE)
        (folder / f"{name}.txt").write_text("0.1 0.9 57\n")
    (folder / "2.txt").unlink()
    (folder / "3.txt").write_text("0.1 9.9 57\n")
    (folder / "4.txt").write_text("0.1 0.9 57\n")
    return ["2", "3", "4"]


def _bad_mir_st500(folder):
    (folder / "MIR-ST500.json").parent.mkdir()
    (folder / "MIR-ST500.json").write_text(json.dumps({name: [[0.1, 0.9, 57]] for name in "1234"}))
    for name in ("1.wav", "2.wav", "2.flac", "4.wav", "5.wav"):
        write(folder / name, tone(220, 1.0, RATE), RATE)
    write(folder / "4.wav", tone(220, 0.2, RATE), RATE)
    return ["002", "003", "004", "005"]


def _bad_musdb18_hq(folder):
    for song in ("good", "half", "uneven"):
        for stem in ("vocals", "drums", "bass", "other"):
            write(folder / "train" / song / f"{stem}.wav", tone(220, 1.0, RATE), RATE)
    (folder / "train" / "half" / "bass.wav").unlink()
    write(folder / "train" / "uneven" / "bass.wav", tone(220, 0.5, RATE), RATE)
    shutil.copytree(folder / "train" / "good", folder / "test" / "good")
    return ["half", "uneven", "test/good"]


BAD = {
    "stems": _bad_stems,
    "folder": _bad_stems,
    "voices": _bad_voices,
    "mir1k": _bad_mir1k,
    "ultrastar": _bad_ultrastar,
    "ssvd": _bad_ssvd,
    "mir_st500": _bad_mir_st500,
    "musdb18_hq": _bad_musdb18_hq,
}


@pytest.mark.parametrize("corpus", BAD)
def test_all_bad_recordings_are_named_at_once_or_skipped(tmp_path, corpus):
    ids = {f"{corpus}/{name}" for name in BAD[corpus](tmp_path / "in")}
    options = {"licence": "CC0-1.0"} if corpus in ("stems", "folder", "voices") else {}
    splits = {"validation": (min(ids).partition("/")[2],)}  # a bad one, which the split then lacks
    job = BuildJob(corpus=corpus, folder=tmp_path / "in", out=tmp_path / "out", options=options, splits=splits)
    with pytest.raises(BadRecordings, match=f"{len(ids)} of {len(ids) + 1} recordings cannot be used") as failure:
        job.run()
    assert set(failure.value.failures) == ids and all(failure.value.failures.values())
    written = job.run(skip_bad=True)
    assert written.num_rows == 1 and set(written.left_out) == ids
    assert set(json.loads((tmp_path / "out" / "build.json").read_text())["left_out"]) == ids
    with pytest.raises(BadRecordings):  # not allowed any more
        job.run()


def test_a_corpus_of_bad_recordings_only_is_refused(tmp_path):
    _bad_voices(tmp_path / "in")
    for name in ("good.wav", "good.flac", "nan.wav"):
        (tmp_path / "in" / name).unlink()
    job = BuildJob(corpus="voices", folder=tmp_path / "in", out=tmp_path / "out", options={"licence": "CC0-1.0"})
    with pytest.raises(BadRecordings, match="2 of 2"):
        job.run(skip_bad=True)
    write(tmp_path / "in" / "good.wav", tone(220, 1.0, RATE), RATE)
    with pytest.raises(MajlError, match="voices/good has no licence"):
        job.model_copy(update={"options": {}}).run(skip_bad=True)
