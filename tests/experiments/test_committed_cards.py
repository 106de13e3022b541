"""The cards in model_cards/ are what their commands make of the results beside them."""

import shutil
from pathlib import Path

import pytest

CARDS = Path(__file__).parents[2] / "model_cards"
COMMANDS = {
    "ablations.md": ("ablate", ["unread.yaml", "--report-only", "--results", "{results}", "--card", "{card}"]),
    "backbones.md": ("backbone_table", ["--report-only", "--folder", "{folder}"]),
    "rivals.md": ("compare_rivals", ["--report-only", "--results", "{results}/rivals.json", "--card", "{card}"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_card_is_that_of_the_results(name, tmp_path, load_script):
    script, arguments = COMMANDS[name]
    results, card = tmp_path / "results", tmp_path / name
    shutil.copytree(CARDS / "results", results)
    places = {"results": results, "card": card, "folder": tmp_path}
    assert not load_script(f"experiments/{script}").main([argument.format(**places) for argument in arguments])
    assert card.read_text(encoding="utf-8") == (CARDS / name).read_text(encoding="utf-8"), f"run {script}.py again"
