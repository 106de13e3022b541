"""The documents are right: Python blocks and `majl` lines of the README run as they stand, links lead somewhere."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import soundfile
from transformers.pipelines import PIPELINE_REGISTRY
from typer.testing import CliRunner

from majl_hf.checkpoints import SHIPPED
from majl_hf.cli import app
from majl_hf.models.modeling_majl import SHIPPED_CHECKPOINTS

ROOT = Path(__file__).parents[1]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
README = (ROOT / "README.md").read_text(encoding="utf-8")


def code_blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


PYTHON_BLOCKS = code_blocks(README, "python")
MAJL_LINES = [line for block in code_blocks(README, "bash") for line in block.splitlines() if line.startswith("majl ")]


@pytest.fixture
def song_folder(tmp_path, monkeypatch) -> Path:
    """The working directory: a folder with two seconds of `song.wav`, stereo."""
    times_s = np.arange(2 * 44_100) / 44_100
    voice = 0.2 * np.sin(2 * np.pi * 220 * times_s) + 0.1 * np.sin(2 * np.pi * 440 * times_s)
    noise = 0.02 * np.random.default_rng(0).standard_normal((2, len(times_s)))
    soundfile.write(tmp_path / "song.wav", (voice + noise).T, 44_100, subtype="PCM_16")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def majl_base(tiny_model_folder, monkeypatch):
    """`majl-base`: the checkpoint of the package, or the tiny model in its place where the package has none."""
    if "majl-base" not in SHIPPED:
        for names in (SHIPPED, SHIPPED_CHECKPOINTS):
            monkeypatch.setitem(names, "majl-base", tiny_model_folder)
        default = PIPELINE_REGISTRY.supported_tasks["majl-separation-pitch"]["default"]
        monkeypatch.setitem(default, "model", (tiny_model_folder, "main"))


def test_readme_has_examples():
    assert len(PYTHON_BLOCKS) >= 5 and len(MAJL_LINES) >= 6


@pytest.mark.parametrize("index", range(len(PYTHON_BLOCKS)))
def test_python_block_runs(index, song_folder, majl_base):
    exec(compile(PYTHON_BLOCKS[index], f"README.md, Python block {index}", "exec"), {"__name__": "__main__"})


def test_first_block_returns_what_it_says(song_folder, majl_base):
    names: dict = {}
    exec(PYTHON_BLOCKS[0], names)
    mixture = soundfile.read("song.wav", dtype="float32", always_2d=True)[0].T
    song = names["song"]
    assert song["vocals"].shape == song["accompaniment"].shape == mixture.shape
    assert np.abs(song["vocals"] + song["accompaniment"] - mixture).max() <= np.spacing(np.abs(mixture).max())
    assert len(song["times_s"]) == len(song["f0_hz"]) == len(song["voiced"])


def test_majl_lines_run(song_folder, majl_base):
    for line in MAJL_LINES:
        _, *arguments = shlex.split(line, comments=True)
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, f"{line}\n{result.output}"
    assert {"song.vocals.wav", "song.accompaniment.wav", "song.f0.csv"} == {p.name for p in Path("stems").iterdir()}
    assert Path("flac/song.vocals.flac").is_file()
    assert {p.name for p in Path("solo").iterdir()} == {"song.vocals.f0.csv"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_scripts_exist(document):
    text = document.read_text(encoding="utf-8")
    targets = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    missing = [target for target in targets if not (document.parent / target).exists()]
    missing += [path for path in re.findall(r"\bscripts/[\w/]+\.(?:py|yaml)\b", text) if not (ROOT / path).exists()]
    assert not missing


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_options_of_scripts_exist(document):
    """Options that a document gives to a script are in that script's text."""
    commands = "\n".join(code_blocks(document.read_text(encoding="utf-8"), "bash")).replace("\\\n", " ")
    for line in commands.splitlines():
        script = re.search(r"scripts/\w+\.py", line)
        if script:
            source = (ROOT / script.group()).read_text(encoding="utf-8")
            unknown = [
                option for option in re.findall(r"\s(--[\w-]+)", line[script.end() :]) if f'"{option}"' not in source
            ]
            assert not unknown, f"{script.group()} has no {unknown}"
