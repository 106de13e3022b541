"""Audio samples and sampling rates as callers have them, in the form that the models take."""

import numpy as np

MIN_SAMPLING_RATE, MAX_SAMPLING_RATE = 4_000, 768_000  # Hz


def float_samples(audio) -> np.ndarray:
    """Samples as a float32 array of the same shape, full scale at 1.

    Args:
        audio: An array, a tensor on any device, or nested lists. Integers of 8, 16 and 32 bits are divided by the full
            scale of their type, int16 by 32768; unsigned ones are silent in the middle of their range, as in wav files.

    Raises:
        ValueError: other types, or lists of unequal lengths.
    """
    if hasattr(audio, "detach"):  # a tensor
        audio = audio.detach().cpu()
        audio = (audio.float() if audio.is_floating_point() else audio).numpy()  # NumPy has no bfloat16
    try:
        array = np.asarray(audio)
    except ValueError as error:
        raise ValueError(f"Samples that form no array were given ({error}); channels need equal lengths.") from error
    if array.dtype.kind == "f":
        return array.astype(np.float32, copy=False)
    if array.dtype.kind not in "iu" or array.dtype.itemsize > 4:
        raise ValueError(
            f"Samples of type {array.dtype} were given; floats with full scale at 1, or integers of 8, 16 or 32 bits "
            "are needed. Convert them first, such as with numpy.asarray(samples, dtype='int16')."
        )
    full_scale = 2.0 ** (8 * array.dtype.itemsize - 1)
    middle = full_scale if array.dtype.kind == "u" else 0.0
    return ((array - middle) / full_scale).astype(np.float32)


def check_sampling_rate(sampling_rate) -> int:
    """The rate as an int, from a number or its text.

    Raises:
        ValueError: it is not a whole number of Hz, or not a plausible one.
    """
    try:
        rate = float(sampling_rate)
    except (TypeError, ValueError):
        rate = 0.5
    if not rate.is_integer():
        raise ValueError(f"The sampling rate is {sampling_rate!r}; a whole number of Hz is needed, such as 44100.")
    if not MIN_SAMPLING_RATE <= rate <= MAX_SAMPLING_RATE:
        raise ValueError(
            f"The sampling rate is {sampling_rate} Hz; rates from {MIN_SAMPLING_RATE} to {MAX_SAMPLING_RATE} Hz are "
            "supported. Resample the audio, or correct the rate that was given."
        )
    return int(rate)
