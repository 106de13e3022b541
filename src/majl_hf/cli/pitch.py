"""`majl pitch`: the sung pitch of songs or solo voices, as CSV."""

from . import _common as c

NAME = "pitch"


@c.processing_command
def run(options: c.ProcessingOptions, solo: c.Solo = False, unvoiced_as_zero: c.UnvoicedAsZero = False) -> int:
    """Read the sung pitch of songs or solo voices.

    Writes NAME.f0.csv (time_s, f0_hz, voicing, confidence) into DIR.
    """
    from ..songs.writing import SongWriter
    from ._processing import process

    def make_writer(job, song):
        return SongWriter(job, song, options.overwrite, unvoiced_as_zero=unvoiced_as_zero)

    return process(NAME, options, {"f0": ".f0.csv"}, make_writer, separate=not solo)
