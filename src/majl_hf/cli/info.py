"""`majl info`: facts about audio files, or about this installation."""

import platform
from pathlib import Path
from typing import Annotated

import typer

from . import _common as c

NAME = "info"


@c.command
def run(
    inputs: Annotated[
        list[str] | None, typer.Argument(help="Files, folders or globs.", metavar="INPUT", show_default=False)
    ] = None,
    recursive: c.Recursive = False,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout.")] = False,
) -> int:
    """Show the format of audio files, or the installation.

    Of files rate, channels and length; without input versions, devices and the default model.
    """
    return _describe_files(inputs, recursive, as_json) if inputs else _describe_installation(as_json)


def _describe_files(inputs: list[str], recursive: bool, as_json: bool) -> int:
    from rich.console import Console
    from rich.table import Table

    from ..audio import AudioError, AudioReader
    from ._inputs import find_inputs

    found = find_inputs(inputs, recursive)
    for sentence in found.left_out:
        typer.echo(c.shown(sentence), err=True)
    facts, failures = [], [{"input": refusal.source, "error": refusal.reason} for refusal in found.refused]
    for path, _ in found.files:
        try:
            with AudioReader(path) as reader:
                names = ("container", "codec", "sampling_rate", "num_channels", "num_samples", "duration_s")
                facts.append({"input": str(path), **{name: getattr(reader, name) for name in names}})
        except AudioError as error:
            failures.append({"input": str(path), "error": str(error)})
    if as_json:
        c.print_json({"files": facts, "failures": failures})
    elif facts:
        table = Table("file", "format", "rate in Hz", "channels", "duration in s", box=None, header_style="bold")
        for fact in facts:
            duration = "unknown" if fact["duration_s"] is None else f"{fact['duration_s']:.3f}"
            codec = f"{fact['container']} {fact['codec']}"
            table.add_row(
                _plain(c.shown(fact["input"])), codec, str(fact["sampling_rate"]), str(fact["num_channels"]), duration
            )
        Console(highlight=False).print(table)
    for failure in failures:
        typer.echo(f"failed: {c.shown(failure['input'])}: {failure['error']}", err=True)
    return c.EXIT_FAILED if failures else 0


def _describe_installation(as_json: bool) -> int:
    import torch
    from rich.console import Console
    from rich.table import Table

    from ..checkpoints import SHIPPED
    from ..system.provenance import __version__, package_versions

    devices = {"cpu": f"{torch.get_num_threads()} threads"}
    devices |= {f"cuda:{i}": torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())}
    if torch.backends.mps.is_available():
        devices["mps"] = platform.machine()
    versions = {"python": platform.python_version(), "majl_hf": __version__} | package_versions()
    default = SHIPPED.get("majl-base")
    facts = {"versions": versions, "devices": devices, "default_model": {"name": "majl-base", "folder": default}}
    if as_json:
        c.print_json(facts)
        return 0
    table = Table.grid(padding=(0, 2))
    for name, version in versions.items():
        table.add_row(name, version)
    for name, description in devices.items():
        table.add_row(f"device {name}", description)
    table.add_row("default model", _plain(f"majl-base in {Path(default)}" if default else "majl-base is not installed"))
    Console(highlight=False).print(table)
    return 0


def _plain(text: str):
    from rich.text import Text

    return Text(text, overflow="fold")
