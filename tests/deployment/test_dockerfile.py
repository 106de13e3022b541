"""The Dockerfile, as far as it can be checked without a Docker engine: what it copies, installs and starts is there."""

import re
import tomllib
from pathlib import Path

import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "deployment/Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def instructions() -> list[tuple[str, str]]:
    """Name and arguments of each instruction, lines that go on joined."""
    lines = [line for line in TEXT.splitlines() if line and not line.lstrip().startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in re.sub(r"\\\n\s*", "", "\n".join(lines)).splitlines()]


def test_every_instruction_is_one_of_dockers():
    assert {name for name, _ in instructions()} == {
        "FROM", "WORKDIR", "ARG", "RUN", "COPY", "USER", "ENV", "EXPOSE", "ENTRYPOINT", "CMD"
    }  # fmt: skip


def test_what_is_copied_exists_and_reaches_the_builder():
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line.startswith("!")
    }
    copied = [arguments.split() for name, arguments in instructions() if name == "COPY"]
    sources = {source.removeprefix("./") for *some, _ in copied if "--from=wheel" not in some for source in some}
    assert sources == kept and all((ROOT / source).exists() for source in sources)
    needed = {PROJECT["readme"], *PROJECT["license-files"], "pyproject.toml", "src"}
    assert needed == sources  # all that a wheel is built from


def test_extras_python_and_user():
    assert "majl_hf-*.whl)[$EXTRAS]" in TEXT
    (default,) = re.findall(r"^ARG EXTRAS=([\w,-]+)$", TEXT, re.M)
    mentioned = re.findall(r"--build-arg\s+EXTRAS=([\w,-]+)", TEXT + (ROOT / "docs/catalogues.md").read_text("utf-8"))
    assert len(mentioned) == 2
    for extras in (default, *mentioned):
        assert {*extras.split(",")} <= set(PROJECT["optional-dependencies"])
    versions = re.findall(r"^FROM python:(\d+\.\d+)-slim", TEXT, re.M)
    minimum = PROJECT["requires-python"].removeprefix(">=")
    assert versions and all(tuple(map(int, v.split("."))) >= tuple(map(int, minimum.split("."))) for v in versions)
    names = [name for name, _ in instructions()]
    assert ("USER", "majl") in instructions() and names.index("USER") < names.index("ENTRYPOINT")


@pytest.mark.parametrize("command", re.findall(r"docker run [^\n]* majl (\w+ [^\n]*)$", TEXT, re.M))
def test_the_commands_of_its_comment_exist(command):
    from majl_hf.cli import app

    assert ("ENTRYPOINT", '["majl"]') in instructions()
    verb, *arguments = command.split()
    result = CliRunner().invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    assert all(argument in result.output for argument in arguments if argument.startswith("--"))
