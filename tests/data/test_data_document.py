"""docs/data.md: its `majl data` lines and Python blocks run as they stand, on tiny corpora in their places."""

import re
import shlex
from pathlib import Path

from corpus_files import MIR1K_RATE, steady_clip, write, write_mir1k
from typer.testing import CliRunner

from majl_hf.cli import app

DOCUMENT = (Path(__file__).parents[2] / "docs/data.md").read_text(encoding="utf-8")


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)


def test_commands_and_blocks_run(tmp_path, monkeypatch):
    write_mir1k(tmp_path / "corpora/mir1k", {"amy_1_01": steady_clip(), "ben_2_01": steady_clip()})
    for name, audio in zip(("accompaniment", "vocals"), steady_clip(), strict=True):
        write(tmp_path / "songs" / "one" / f"{name}.wav", audio, MIR1K_RATE)
    monkeypatch.chdir(tmp_path)

    commands = [line for block in code_blocks("bash") for line in block.splitlines() if line.startswith("majl ")]
    assert len(commands) == 3
    for command in commands:
        arguments = [argument.replace("~", str(tmp_path)) for argument in shlex.split(command)[1:]]
        result = CliRunner().invoke(app, [*arguments, "--processes", "1"])
        assert result.exit_code == 0, f"{command}: {result.output}"
    for number, block in enumerate(code_blocks("python")):
        exec(compile(block, f"docs/data.md, Python block {number}", "exec"), {"__name__": "__main__"})
