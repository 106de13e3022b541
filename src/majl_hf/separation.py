"""`separate`: one call from samples in memory to the parts of the song."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache
from numbers import Number
from typing import TYPE_CHECKING, Any

from .checkpoints.loading import is_exported, load_model

if TYPE_CHECKING:
    from .models.modeling_majl import MajlModel


def separate(
    audio,
    sampling_rate: int | None = None,
    model: str | os.PathLike | MajlModel = "majl-base",
    device: str = "auto",
    **options,
) -> dict[str, Any] | list[dict[str, Any]]:
    """Vocals, accompaniment, the sung pitch and notes of a song.

    Args:
        audio: array or tensor of shape `(num_channels, num_samples)` or `(num_samples,)`, one or two channels, float
            with full scale at 1 or integer (int16 is divided by 32768). Or what the pipeline takes: an audio file, and
            what `datasets` returns for an audio column. Or a list of these.
        sampling_rate: of arrays and tensors, in Hz; everything else has a rate of its own.
        model: a shipped name, a folder, a Hub id, or a loaded `MajlModel`. The last model loaded by name stays in
            memory, so further calls do not load it again. A folder that `majl export onnx` wrote needs no torch; it
            takes arrays with `sampling_rate`, and audio files.
        device: "auto", "cpu", "cuda" or "mps"; a loaded model stays where it is.
        options: `batch_size`, `voicing_policy`, `voicing_threshold`, `note_threshold`, `min_note_s` and `notes`, as of
            the pipeline.

    Returns:
        The pipeline's dict: `vocals` and `accompaniment`, float32 arrays of the shape of `audio`, whose sum is `audio`;
        `sampling_rate`; `times_s`, `f0_hz`, `voicing`, `voiced` and `confidence`, arrays of shape `(num_frames,)`;
        `notes`, a list of dicts. Of a list, a list of these.

    Raises:
        MajlError: the model cannot be loaded, the device is not there, or a file cannot be read.
        ValueError: audio or options that do not fit, or two sampling rates for one input.
    """
    loaded = _load(os.fspath(model), device) if isinstance(model, str | os.PathLike) else model
    if is_exported(loaded):
        return _separate_exported(loaded, audio, sampling_rate, **options)
    from .models.pipeline_majl import MajlPipeline

    run = MajlPipeline(loaded, device=loaded.device)
    return run(_with_rate(audio, sampling_rate), **options)


_load = lru_cache(maxsize=1)(load_model)


def _separate_exported(
    model,
    audio,
    sampling_rate: int | None,
    batch_size: int = 1,
    voicing_policy: str | None = None,
    voicing_threshold: float | None = None,
    notes: bool = True,
    **note_options,
) -> dict[str, Any] | list[dict[str, Any]]:
    """`separate` with an `OnnxModel`, as the pipeline does it."""
    import numpy as np

    from .audio import StreamResampler, read_audio
    from .models.samples_majl import float_samples
    from .models.streaming_majl import as_dict, separate_array

    if isinstance(audio, list | tuple) and not (audio and isinstance(audio[0], Number)):
        options = {"batch_size": batch_size, "voicing_policy": voicing_policy, "voicing_threshold": voicing_threshold}
        return [
            _separate_exported(model, item, sampling_rate, **options, notes=notes, **note_options) for item in audio
        ]
    if hasattr(audio, "__array__") or isinstance(audio, list | tuple):
        if sampling_rate is None:
            raise ValueError("Samples without a sampling rate were given; give sampling_rate in Hz.")
        array = float_samples(audio)
    else:
        array, sampling_rate = read_audio(audio, mixdown=True)
    result = separate_array(
        model,
        np.atleast_2d(array),
        sampling_rate,
        batch_size=batch_size,
        make_resampler=StreamResampler,
        policy=voicing_policy,
        threshold=voicing_threshold,
        read_notes=notes,
        **note_options,
    )
    return as_dict(result, array.shape, sampling_rate)


def _with_rate(audio, sampling_rate):
    """Audio as the pipeline takes it, with the rate that was given for it. A list of numbers is one array."""
    from .models.pipeline_majl import as_file_or_array
    from .models.samples_majl import check_sampling_rate

    is_list = isinstance(audio, list | tuple)
    if is_list and not (audio and isinstance(audio[0], Number)):
        return [_with_rate(item, sampling_rate) for item in audio]
    if sampling_rate is None:
        return audio
    rate = check_sampling_rate(sampling_rate)
    if is_list or hasattr(audio, "__array__"):
        return {"array": audio, "sampling_rate": rate}
    own = as_file_or_array(audio)
    if isinstance(own, Mapping) and check_sampling_rate(own.get("sampling_rate", rate)) == rate:
        return {**own, "sampling_rate": rate}
    raise ValueError(f"sampling_rate is {rate}, but {type(audio).__name__} input has a rate of its own: leave it out.")
