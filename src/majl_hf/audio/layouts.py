"""Layouts of channels, by FFmpeg's names, and the mix of surround to stereo."""

from collections.abc import Sequence

import av
import numpy as np

from ..errors import AudioError

# The layout of each number of channels if a file names none, in the order of flac and wav.
USUAL_LAYOUTS = {1: "mono", 2: "stereo", 3: "3.0", 4: "quad", 5: "5.0", 6: "5.1", 7: "6.1", 8: "7.1"}
_MINUS_3_DB = 0.5**0.5
_SHARES = {  # of each channel in left and right
    **dict.fromkeys(("FL", "FLC"), (1.0, 0.0)),
    **dict.fromkeys(("FR", "FRC"), (0.0, 1.0)),
    "FC": (_MINUS_3_DB, _MINUS_3_DB),
    **dict.fromkeys(("BL", "SL", "WL", "TFL", "TSL", "TBL"), (_MINUS_3_DB, 0.0)),
    **dict.fromkeys(("BR", "SR", "WR", "TFR", "TSR", "TBR"), (0.0, _MINUS_3_DB)),
    **dict.fromkeys(("BC", "TC", "TFC", "TBC"), (0.5, 0.5)),  # one surround for both sides: -3 dB, and halved in power
    **dict.fromkeys(("LFE", "LFE2"), (0.0, 0.0)),
}


def channels_of(layout: av.AudioLayout) -> tuple[str, ...]:
    """FFmpeg's names of the channels ("FL", "FR", "FC", ...), in order; none if the file does not say."""
    names = tuple(channel.name for channel in layout.channels)
    return () if "NONE" in names else names


class Mixdown:
    """The stereo mix of a surround signal, by ITU-R BS.775: centre and surrounds at -3 dB, LFE left out.

    Args:
        num_channels: Of the signal.
        channels: Their names, as of `channels_of`; if there are none, the usual layout for this number is assumed.

    Attributes:
        note (str): What is mixed, in words.

    Raises:
        AudioError: There is no standard mix of these channels.
    """

    def __init__(self, num_channels: int, channels: Sequence[str]):
        layout = ""
        if not channels and num_channels in USUAL_LAYOUTS:
            layout = f", taken as {USUAL_LAYOUTS[num_channels]}"
            channels = channels_of(av.AudioLayout(USUAL_LAYOUTS[num_channels]))
        names = " ".join(channels) or "channels without names"
        if not channels or not {*channels} <= {*_SHARES}:
            raise AudioError(f"there is no standard mix of {names}. Mix the file down to stereo first.")
        self._shares = np.array([_SHARES[name] for name in channels], dtype=np.float32)
        self.note = f"{num_channels} channels ({names}{layout}) are mixed down to stereo"

    def __call__(self, block: np.ndarray) -> np.ndarray:
        """`(num_channels, num_samples)` to `(2, num_samples)`, float32; nothing is clipped."""
        stereo = np.zeros((2, block.shape[1]), dtype=np.float32)
        for samples, shares in zip(block, self._shares, strict=True):  # in this order, whatever the block sizes
            stereo += shares[:, None] * samples
        return stereo
