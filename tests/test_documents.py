"""The documents are right: their code blocks run unchanged, links have targets."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from built_corpora import make_track, write_built
from corpus_files import MIR1K_RATE, steady_clip, write, write_mir1k
from documents import ROOT, code_blocks, run_block, run_line
from transformers.pipelines import PIPELINE_REGISTRY

from majl_hf import MajlModel
from majl_hf.checkpoints import SHIPPED
from majl_hf.models.modeling_majl import SHIPPED_CHECKPOINTS

CARDS = sorted((ROOT / "src/majl_hf/checkpoints").glob("*/README.md"))
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")), *CARDS]
# Its first block is a separate package, run by test_plugging_in.py.
RUN_ELSEWHERE = {"plugging_in_a_model.md"}
OTHERS = [path for path in ROOT.glob("*.md") if path not in DOCUMENTS]
SPACE = "---\ntitle: Sing\nsdk: gradio\nsdk_version: 6.0.0\n---\n"


@pytest.fixture
def workplace(tmp_path, monkeypatch, tiny_model_folder) -> Path:
    """The working directory and home of a reader of the documents: a song of two seconds and its words, tiny corpora,
    and the tiny model where a document has trained or downloaded one."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("MAJL_DATA", "MAJL_MUSIC"):  # set by documents; restored at the end
        monkeypatch.setenv(name, str(tmp_path / "corpora"))
    times_s = np.arange(2 * 44_100) / 44_100
    voice = 0.2 * np.sin(2 * np.pi * 220 * times_s) + 0.1 * np.sin(2 * np.pi * 440 * times_s)
    noise = 0.02 * np.random.default_rng(0).standard_normal((2, len(times_s)))
    soundfile.write(tmp_path / "song.wav", (voice + noise).T, 44_100, subtype="PCM_16")
    (tmp_path / "words.lrc").write_text("[00:00.10]Hello, my dear")
    (tmp_path / "lyrics").mkdir()

    write_mir1k(tmp_path / "corpora/mir1k", {"amy_1_01": steady_clip(), "ben_2_01": steady_clip()})
    for name, audio in zip(("accompaniment", "vocals"), steady_clip(), strict=True):
        write(tmp_path / "songs" / "one" / f"{name}.wav", audio, MIR1K_RATE)
    (tmp_path / "songs_validation").mkdir()
    for name in ("songs", "songs_validation"):
        shutil.copy(tmp_path / "song.wav", tmp_path / name)
    write_built(tmp_path / "runs/data/combined", [make_track("own/x"), make_track("mir1k/x")])
    for name in ("runs/majl-base", "runs/pretrained/spleeter-2stems"):
        MajlModel.from_pretrained(tiny_model_folder).save_pretrained(tmp_path / name)
    (tmp_path / "spaces/majl-separation-pitch").mkdir(parents=True)
    (tmp_path / "spaces/majl-separation-pitch/README.md").write_text(SPACE)
    (tmp_path / "spaces/majl-separation-pitch/app.py").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def majl_base(tiny_model_folder, monkeypatch):
    """`majl-base`: the checkpoint of the package, or the tiny model if the package has none."""
    if "majl-base" not in SHIPPED:
        for names in (SHIPPED, SHIPPED_CHECKPOINTS):
            monkeypatch.setitem(names, "majl-base", tiny_model_folder)
        default = PIPELINE_REGISTRY.supported_tasks["majl-separation-pitch"]["default"]
        monkeypatch.setitem(default, "model", (tiny_model_folder, "main"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("document", [path for path in DOCUMENTS if path.name not in RUN_ELSEWHERE], ids=name_of)
def test_code_blocks_run_one_after_the_other(document, workplace, majl_base):
    """Each Python block has its imports; what a line writes, a later one may read."""
    for number, (language, code) in enumerate(code_blocks(document.read_text(encoding="utf-8"))):
        run_block(language, code, f"{name_of(document)}, block {number}")
    if document.name == "README.md" and document.parent == ROOT:
        written = {path.name for path in Path("stems").iterdir()}
        assert written == {"song.vocals.wav", "song.accompaniment.wav", "song.f0.csv"}
        assert Path("flac/song.vocals.flac").is_file()
        assert {path.name for path in Path("solo").iterdir()} == {"song.vocals.f0.csv"}


def test_first_block_of_the_readme_returns_what_it_says(workplace, majl_base):
    names: dict = {}
    exec(code_blocks((ROOT / "README.md").read_text(encoding="utf-8"))[0][1], names)
    mixture = soundfile.read("song.wav", dtype="float32", always_2d=True)[0].T
    song = names["song"]
    assert song["vocals"].shape == song["accompaniment"].shape == mixture.shape
    assert np.abs(song["vocals"] + song["accompaniment"] - mixture).max() <= np.spacing(np.abs(mixture).max())
    assert len(song["times_s"]) == len(song["f0_hz"]) == len(song["voiced"])


@pytest.mark.parametrize("document", [*DOCUMENTS, *OTHERS], ids=name_of)
def test_links_and_scripts_exist(document):
    text = document.read_text(encoding="utf-8")
    targets = [link for link in re.findall(r"\]\(([^)#\s]+)", text) if "://" not in link]
    missing = [target for target in targets if not (document.parent / target).exists()]
    missing += [path for path in re.findall(r"\bscripts/[\w/]+\.(?:py|yaml)\b", text) if not (ROOT / path).exists()]
    assert not missing
    assert not re.search(r"^(<<<<<<<|=======|>>>>>>>)", text, re.MULTILINE), "a merge was left half done"


@pytest.mark.parametrize(
    "line",
    [
        "python scripts/train.py scripts/recipes/majl.yaml --steps 1",
        "python scripts/train.py",
        "python scripts/absent.py",
        "python scripts/train.py scripts/recipes/absent.yaml",
        "accelerate launch scripts/train.py scripts/recipes/majl.yaml --nonsense",
        "torchrun --nproc_per_node 2 -m majl_hf.cli label scripts/recipes/absent.yaml",
        "majl train scripts/recipes/majl.yaml --stages 1",
        "majl separate song.wav",
        "pip install .[absent]",
        "make absent",
        "somebody else",
    ],
)
def test_a_wrong_line_is_found(line, workplace):
    # Makes sure that the checks used above can fail.
    with pytest.raises(AssertionError):
        run_line(line.split(), line)


@pytest.mark.parametrize(
    ("code", "match"),
    [
        ("learning_rate: {separator: 0}", "learning_rate"),
        ("arguments: {save_step: 1}", "TrainingArguments has no save_step"),
        ("data: {source: []}", "source"),
        ("stages: {a: {kind: label, folder: x}}", "stage a has no {'folder'}"),
    ],
)
def test_a_wrong_yaml_block_is_found(code, match):
    with pytest.raises((AssertionError, ValueError), match=match):
        run_block("yaml", code, "here")
