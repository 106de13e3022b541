"""`majl live`: the pitch of a voice while it is sung, or a song without its voice while it plays."""

import contextlib
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from . import _common as c

NAME = "live"
Stem = StrEnum("Stem", ("vocals", "accompaniment"))
Delay = StrEnum("Delay", ("short", "medium", "long"))  # the names of LIVE_SETTINGS


@c.command
def run(
    file: Annotated[
        Path | None, typer.Option("--file", help="Play a file as if it were heard.", metavar="SONG", dir_okay=False)
    ] = None,
    stem: Annotated[
        Stem | None, typer.Option("--stem", help="Play this part of a song, instead of reading the pitch of a voice.")
    ] = None,
    delay: Annotated[
        Delay, typer.Option("--delay", help="Of --stem: a longer one separates better; see docs/live.md.")
    ] = Delay.medium,
    lookahead_ms: Annotated[
        int, typer.Option("--lookahead", min=0, max=150, help="What a pitch waits for.", metavar="MS")
    ] = 40,
    input_device: Annotated[
        str | None, typer.Option("--input-device", help="Number or part of a name.", show_default="the system's")
    ] = None,
    output_device: Annotated[
        str | None, typer.Option("--output-device", help="Number or part of a name.", show_default="the system's")
    ] = None,
    list_devices: Annotated[bool, typer.Option("--list-devices", help="Show the sound devices and exit.")] = False,
    record: Annotated[
        Path | None,
        typer.Option("--record", help="Folder for what is heard and found.", metavar="DIR", file_okay=False),
    ] = None,
    silent: Annotated[bool, typer.Option("--silent", help="Do not play the stem.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Take --file as time passes, or at once.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per frame and line.")] = False,
    model: Annotated[
        str, typer.Option("--model", "-m", help="A shipped name, a folder, or a Hub id[@REVISION].", metavar="NAME")
    ] = "majl-base",
    device: c.DeviceOption = c.Device.auto,
    voicing_threshold: c.Threshold = None,
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="CPU threads.", show_default="1; of --stem all cores"),
    ] = None,
    overwrite: c.Overwrite = False,
) -> int:
    """Read the pitch of a voice while it is sung, or remove the voice from a song while it plays.

    Without --stem, one voice is heard, and its pitch is shown about 0.1 s
    later. With --stem, a song is heard, and a part of it is played.

    Ends with Ctrl-C. Sound devices need: pip install 'majl_hf[live]'
    """
    if list_devices:
        from ._live_sound import list_devices as devices

        typer.echo(devices())
        return 0
    if stem is None and silent:
        raise typer.BadParameter("--silent goes with --stem; without it nothing is played")
    if file is None and not wait:
        raise typer.BadParameter("--no-wait goes with --file; a microphone hears as time passes")
    if stem is not None and not wait and not silent:
        raise typer.BadParameter("--no-wait goes with --silent; sound is played as time passes")
    from ..checkpoints.loading import load_model, silence_libraries
    from ..models.live_majl import LIVE_SETTINGS
    from ._inputs import check_output_dir
    from ._interrupt import Stopped, StopSignals
    from ._live_listeners import PitchListener, Recorder, StemPlayer
    from ._live_sound import FileSound, Microphone, Player

    if record is not None:
        check_output_dir(record)
    silence_libraries(model)
    # The pitch of short windows takes longer on several threads that wait for each other.
    loaded = load_model(model, device, threads or (1 if stem is None else None), None, voicing_threshold)
    rate = None if stem is None else loaded.parts().config.sampling_rate
    with contextlib.ExitStack() as stack:
        sound = FileSound(file, rate, paced=wait) if file is not None else Microphone(input_device, rate)
        stack.callback(sound.close)
        recorder = Recorder(record, sound, stem, overwrite)
        stack.callback(recorder.discard)
        if stem is None:
            listener = PitchListener(loaded, sound.rate, lookahead_ms, voicing_threshold, as_json, wait, recorder)
        else:
            setting, player = LIVE_SETTINGS[delay.value], None
            if not silent:
                player = Player(output_device, sound.rate, sound.num_channels, setting.hop_s / 2)
                stack.callback(player.close)
            listener = StemPlayer(loaded, sound, stem, setting, player, as_json, recorder)
        listener.live.warm_up()
        with StopSignals() as signals, listener, contextlib.suppress(Stopped):  # how a microphone ends
            for block, heard_s in sound.blocks(signals):
                recorder.heard(block)
                listener.take(block, heard_s)
            listener.finish(signals)
        recorder.commit()
    for sentence in listener.summary():
        typer.echo(sentence, err=True)
    if sound.num_lost:
        typer.echo(f"{sound.num_lost / sound.rate:.1f} s were lost", err=True)
    return 0
