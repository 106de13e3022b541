"""`separate`: one call for whoever has samples in memory and wants the parts of the song."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from .checkpoints.loading import load_model

if TYPE_CHECKING:
    from .models.modeling_majl import MajlModel


def separate(
    audio, sampling_rate: int, model: str | MajlModel = "majl-base", device: str = "auto", **options
) -> dict[str, Any]:
    """Vocals, accompaniment and the sung pitch of a song.

    Args:
        audio: float array or tensor of shape `(num_channels, num_samples)` or `(num_samples,)`, one or two channels,
            full scale at 1.
        sampling_rate: of `audio`, in Hz.
        model: a shipped name, a folder, a Hub id, or a loaded `MajlModel`. The model of the last name is kept in
            memory, so further calls do not load it again.
        device: "auto", "cpu", "cuda" or "mps"; a loaded model stays where it is.
        options: `batch_size`, `voicing_policy` and `voicing_threshold`, as of the pipeline.

    Returns:
        The pipeline's dict: `vocals` and `accompaniment`, float32 arrays of the shape of `audio`, whose sum is `audio`;
        `sampling_rate`; `times_s`, `f0_hz`, `voicing`, `voiced` and `confidence`, arrays of shape `(num_frames,)`.

    Raises:
        MajlError: the model cannot be loaded, or the device is not there.
        ValueError: audio or options that do not fit.
    """
    from .models.pipeline_majl import MajlPipeline

    loaded = _load(model, device) if isinstance(model, str) else model
    run = MajlPipeline(loaded, device=loaded.device)
    array = audio.detach().cpu().numpy() if hasattr(audio, "detach") else audio
    return run({"array": array, "sampling_rate": sampling_rate}, **options)


_load = lru_cache(maxsize=1)(load_model)
