"""Several corpora from one file: built, combined, checked; taken up again as a whole."""

import numpy as np
import pytest
import soundfile

from majl_hf.errors import MajlError
from majl_hf.rows.prepare import load_prepare_config

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
        path = tmp_path / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(seed).uniform(-0.4, 0.4, 2 * RATE), RATE, subtype="PCM_16")
    monkeypatch.setenv("MAJL_TEST_DATA", str(tmp_path))
    path = tmp_path / "corpora.yaml"
    path.write_text(CONFIG.format(out=tmp_path / "out"))
    return path


def test_the_script_builds_combines_checks_and_goes_on(config, tmp_path, load_script, monkeypatch, capsys):
    script = load_script("prepare_data")
    monkeypatch.setattr("sys.argv", ["prepare_data.py", str(config), "--processes", "1"])
    out = tmp_path / "out"

    def files():
        return {path: (path.stat().st_ino, path.stat().st_mtime_ns) for path in out.rglob("*") if path.is_file()}

    assert script.main() == 0
    said = capsys.readouterr().out
    assert "songs: 2 recordings" in said and "combined: 4 recordings" in said and said.count("good") == 3
    before = files()
    assert script.main() == 0  # all of it is there
    assert files() == before

    soundfile.write(tmp_path / "voices" / "e.wav", np.full(RATE, 0.1), RATE, subtype="PCM_16")
    capsys.readouterr()
    assert script.main() == 1  # another plan
    assert "0 recordings are gone, 1 are new" in capsys.readouterr().err
    assert files() == before
    monkeypatch.setattr("sys.argv", ["prepare_data.py", str(config), "--processes", "1", "--overwrite"])
    assert script.main() == 0
    assert "combined: 5 recordings" in capsys.readouterr().out
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
        (("out:", "- out:"), "is not a configuration"),
    ],
)
def test_a_wrong_file_is_refused(config, change, message):
    config.write_text(config.read_text().replace(*change))
    with pytest.raises(MajlError, match=message):
        load_prepare_config(config)


def test_wrong_shares_are_refused(config):
    config.write_text(config.read_text().replace("tempering: 1.0", "tempering: 2.0"))
    with pytest.raises(MajlError, match=r"combine\.sampling\.tempering"):
        load_prepare_config(config)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(MajlError, match=r"nothing\.yaml cannot be read"):
        load_prepare_config(tmp_path / "nothing.yaml")
