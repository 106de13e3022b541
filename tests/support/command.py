"""The command `majl` in this process."""

import json
from types import SimpleNamespace

from typer.testing import CliRunner

from majl_hf.cli import app


def run_majl(*arguments, stdin: bytes = b"") -> SimpleNamespace:
    """Run the command; JSON lines on stdout are parsed into `json`, and stdout is there as text and as bytes."""
    arguments = [str(argument) for argument in arguments]
    result = CliRunner().invoke(app, arguments, input=stdin)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    lines = [json.loads(line) for line in result.stdout.splitlines()] if "--json" in arguments else None
    return SimpleNamespace(
        exit_code=result.exit_code,
        stdout=result.stdout,
        stdout_bytes=result.stdout_bytes,
        stderr=result.stderr,
        json=lines,
    )
