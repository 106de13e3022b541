"""`majl demo`: the web demo on this machine."""

import os
import time
from typing import Annotated

import typer

from . import _common as c

NAME = "demo"


@c.command
def run(
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="A shipped name (see `majl models`), a folder or a Hub id.",
            metavar="NAME",
            show_default="MAJL_MODEL, else majl-base",
        ),
    ] = None,
    device: c.DeviceOption = c.Device.auto,
    host: Annotated[str, typer.Option("--host", help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[
        int | None, typer.Option("--port", min=1, max=65535, show_default="the first free one from 7860 on")
    ] = None,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Show the page in a browser.")] = True,
    max_minutes: Annotated[float | None, typer.Option("--max-minutes", help="Length of a song.")] = None,
    max_megabytes: Annotated[float | None, typer.Option("--max-megabytes", help="Size of a file.")] = None,
    mcp: Annotated[
        bool,
        typer.Option("--mcp", help="Let assistants call it: the page is an MCP server as well. Needs majl_hf[mcp]."),
    ] = False,
    threads: c.Threads = None,
) -> int:
    """Serve the web demo on this machine.

    A page in the browser: upload a song, listen to its parts, see its pitch, download the files.
    """
    from dataclasses import replace

    from ._interrupt import StopSignals

    # No telemetry: the user has not agreed to it.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from ..checkpoints.loading import load_model, silence_libraries
    from ..demo.app import launch
    from ..demo.limits import Limits

    given = {"max_minutes": max_minutes, "max_megabytes": max_megabytes}
    limits = replace(Limits.from_environment(), **{name: value for name, value in given.items() if value is not None})
    silence_libraries()
    loaded = load_model(model or os.environ.get("MAJL_MODEL") or "majl-base", device, threads)
    options = {"host": host, "port": port, "open_browser": open_browser, "mcp": mcp or None}
    with StopSignals() as signals, launch(loaded, limits, **options) as running:
        typer.echo(f"{running.url}  (Ctrl-C stops it and deletes all uploads)")
        while True:
            signals.check()
            time.sleep(0.1)
