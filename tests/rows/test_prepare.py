"""Several corpora from one file: built, combined, checked; taken up again as a whole."""

import numpy as np
import pytest
from corpus_files import write
from typer.testing import CliRunner

from majl_hf.cli import app
from majl_hf.errors import ConfigError
from majl_hf.rows.prepare import PrepareConfig
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
