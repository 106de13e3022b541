"""`majl pitch`: the sung pitch of songs or solo voices, as CSV."""

from typing import Annotated

import typer

from . import _common as c

NAME = "pitch"


@c.command
def run(
    inputs: c.Inputs,
    output_dir: c.OutputDir,
    solo: Annotated[
        bool, typer.Option("--solo", help="The input is a solo voice already: do not separate it.")
    ] = False,
    recursive: c.Recursive = False,
    overwrite: c.Overwrite = False,
    as_json: c.AsJson = False,
    model: c.ModelName = "majl-base",
    device: c.DeviceOption = c.Device.auto,
    voicing_policy: c.Policy = None,
    voicing_threshold: c.Threshold = None,
    unvoiced_as_zero: c.UnvoicedAsZero = False,
    batch_size: c.BatchSize = 1,
    threads: c.Threads = None,
    debug: c.Debug = False,
) -> int:
    """Read the sung pitch: writes NAME.f0.csv (time_s, f0_hz, voicing, confidence) into DIR."""
    from ._processing import Settings, process

    settings = Settings(
        model, device, threads, voicing_policy, voicing_threshold, batch_size, overwrite,
        separate=not solo, unvoiced_as_zero=unvoiced_as_zero, debug=debug,
    )  # fmt: skip
    return process(
        NAME,
        inputs,
        output_dir,
        {"f0": ".f0.csv"},
        settings,
        recursive=recursive,
        as_json=as_json,
        skip_own_outputs=False,
    )
