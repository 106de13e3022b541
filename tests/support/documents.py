"""Runs or checks the documents' code blocks: see `test_documents.py`."""

import argparse
import importlib.util
import os
import re
import shlex
import sys
import tomllib
from contextlib import contextmanager
from pathlib import Path
from string import Template

import pytest
import typer
import yaml
from accelerate.commands.launch import launch_command_parser
from torch.distributed.run import get_args_parser as torchrun_parser
from typer.testing import CliRunner

from majl_hf.cli import app
from majl_hf.recipe import KINDS
from majl_hf.system.settings import merged, validated
from majl_hf.training.config import TrainingConfig

ROOT = Path(__file__).parents[2]
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
# Added to a line, so that it stays on this machine and small.
ADDED = {("push",): ["--dry-run"], ("data", "build"): ["--processes", "1"], ("data", "check"): ["--processes", "1"]}
# Do not end by themselves, or take hours: only their options are checked.
CHECKED = ("batch", "demo", "live", "train", "label", "calibrate", "evaluate")
# Variables that the text leaves to the reader.
LEFT_OPEN = {"RANK": "0", "HOST": "127.0.0.1", "CONFIG": "run.yaml"}
# Lines of other programs, which are not tested here.
FOREIGN = re.compile(r"(tensorboard --logdir \w+|hf auth login|\.ci/run)$")


def code_blocks(text: str) -> list[tuple[str, str]]:
    """(language, code) of the fenced blocks of a document, in order; drawings have no language."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run_block(language: str, code: str, where: str) -> None:
    """Run or check a block in the working directory.

    Raises:
        Whatever the block raises; AssertionError if it is wrong, or of an unknown kind.
    """
    if language == "python":
        exec(compile(code, where, "exec"), {"__name__": "__main__"})
    elif language == "bash":
        for line in code.replace("\\\n", " ").splitlines():
            if words := shlex.split(_expanded(line), comments=True):
                run_line(words, line)
    elif language == "yaml":
        check_yaml(yaml.safe_load(code))
    else:
        assert language in ("", "bibtex"), f"{where} is in {language!r}, which no test supports"


def run_line(words: list[str], line: str) -> None:
    """A line of a shell: `majl` runs, scripts get their options checked, other programs must be known by name."""
    match words:
        case ["majl", *arguments]:
            run_majl(arguments)
        case ["export", assignment]:
            name, value = assignment.split("=", 1)
            os.environ[name] = value
        case ["python", "-m", "majl_hf.evaluation.model_card", *arguments]:
            from majl_hf.evaluation.model_card import main

            check_options(main, "report.py", arguments)
        case ["python", script, *arguments]:
            check_script(script, arguments)
        case ["accelerate", "launch", *arguments]:
            check_launched(launch_command_parser().parse_args(arguments))
        case ["torchrun", *arguments]:
            check_launched(torchrun_parser().parse_args(arguments))
        case ["pip", "install", what]:
            named = re.fullmatch(r"\.(?:\[([\w,]+)\])?", what)
            assert named and set((named[1] or "train").split(",")) <= EXTRAS.keys(), line
        case ["make", target, *_]:
            assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE), line
        case _:
            assert FOREIGN.match(" ".join(words)), f"nothing here runs or checks: {line}"


def run_majl(arguments: list[str]) -> None:
    if arguments[0] in CHECKED or arguments[:2] == ["data", "prepare"]:
        check_typer(app, arguments)
        return
    for verb, added in ADDED.items():
        if tuple(arguments[: len(verb)]) == verb:
            arguments = [*arguments, *(word for word in added if word not in arguments)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, f"majl {shlex.join(arguments)}\n{result.output}\n{result.exception!r}"


def check_typer(app: typer.Typer, arguments: list[str]) -> None:
    """Raises AssertionError for options and files of this repository that do not exist."""
    command, rest = typer.main.get_command(app), list(arguments)
    while hasattr(command, "commands"):
        command = command.commands[rest.pop(0)]
    check_paths(rest)
    try:
        command.make_context(command.name, rest)
    except Exception as error:  # typer has its own copy of click's classes
        raise AssertionError(f"{command.name} does not take {shlex.join(arguments)}: {error}") from error


def check_paths(arguments: list[str]) -> None:
    for name in arguments:
        assert not name.startswith("scripts/") or (ROOT / name).is_file(), f"{name} is not there"


def check_launched(parsed) -> None:
    if parsed.module:
        assert parsed.training_script == "majl_hf.cli"
        check_typer(app, parsed.training_script_args)
    else:
        check_script(parsed.training_script, parsed.training_script_args)


def check_script(script: str, arguments: list[str]) -> None:
    """The script's own parser takes these arguments; nothing else of it runs."""
    path = ROOT / script
    assert path.is_file(), f"{script} is not there"
    check_paths(arguments)
    specification = importlib.util.spec_from_file_location(f"{path.stem}_document", path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module  # dataclasses look their module up
    specification.loader.exec_module(module)
    if hasattr(module, "app"):
        check_typer(module.app, arguments)
    else:
        check_options(module.main, script, arguments)


class _Parsed(BaseException):
    """Ends a script after its options."""


def check_options(main, script: str, arguments: list[str]) -> None:
    with _only_parsing(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", [script, *arguments])
        try:
            main()
        except _Parsed:
            return
        except SystemExit as error:
            raise AssertionError(f"{script} does not take {shlex.join(arguments)}") from error
    raise AssertionError(f"{script} reads no options")


@contextmanager
def _only_parsing():
    parse_args = argparse.ArgumentParser.parse_args

    def parse_and_end(self, args=None, namespace=None):
        parse_args(self, args, namespace)
        raise _Parsed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_and_end)
        yield


def check_yaml(values: dict) -> None:
    """A piece of a training run's file: its sections and keys exist."""
    for name, stage in values.get("stages", {}).items():
        keys = {*KINDS[stage.get("kind", "train")].model_fields, "kind", "extends"}
        assert stage.keys() <= keys, f"stage {name} has no {stage.keys() - keys}"
    values = {key: value for key, value in values.items() if key != "stages"}
    least = {
        "model": "majl-base",
        "data": {"sources": [{"kind": "music", "folder": "x"}]},
        "arguments": {"output_dir": "run", "max_steps": 1},
    }
    validated(TrainingConfig, merged(least, values), "a block")


def _expanded(line: str) -> str:
    line = re.sub(r"(?<![\w/])CONFIG\b", LEFT_OPEN["CONFIG"], line)
    line = Template(line).safe_substitute({**os.environ, **LEFT_OPEN})
    return re.sub(r"(^|[\s=])~", lambda found: found[1] + os.environ["HOME"], line)
