"""Facts of the registered parts by preset: parameters, multiplications per second of audio, what they declare.

Models are built without memory and run without values, so that a network of 100 million parameters is described in a
moment.
"""

from __future__ import annotations

import contextlib
import time
from unittest import mock

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel, PreTrainedModel

from .models import backbones_majl  # noqa: F401  (registers the parts and their presets)
from .models.presets_majl import PRESETS, preset_config, preset_names

SECONDS = 10  # of audio that work and speed are measured on


def describe_preset(name: str) -> dict:
    """What a preset declares and how many parameters it has.

    Returns:
        `name`, `kind`, `model_type`, `class`, `num_parameters` (both None where a package that it needs is not
        installed, and `note` says which), `sampling_rate`, `context_s` (None where it is unbounded), and as the kind
        has them `num_channels`, `alignment`, `hop_length`, `num_bins`, `first_bin_hz`, `bin_cents`.
    """
    preset, config = PRESETS[name], preset_config(name)
    facts = {
        "name": name,
        "kind": preset.kind,
        "model_type": config.model_type,
        "class": None,
        "num_parameters": None,
        "sampling_rate": config.sampling_rate,
        "context_s": None if config.context is None else round(config.context / config.sampling_rate, 4),
    }
    declared = (
        ("num_channels", "alignment")
        if preset.kind == "separator"
        else ("hop_length", "num_bins", "first_bin_hz", "bin_cents")
    )
    facts |= {key: getattr(config, key) for key in declared}
    try:
        part = _without_memory(name)
    except ImportError as error:
        return {**facts, "note": str(error)}
    num_parameters = sum(parameter.numel() for parameter in part.parameters())
    return {**facts, "class": type(part).__name__, "num_parameters": num_parameters}


def describe_presets(for_tests: bool | None = False) -> list[dict]:
    """`describe_preset` of all presets, separators first; of parts of other packages only those that are installed."""
    names = [*preset_names("separator", for_tests), *preset_names("pitch_estimator", for_tests)]
    facts = [describe_preset(name) for name in names]
    return [fact for fact in facts if "note" not in fact or not fact["model_type"].startswith("majl-foreign")]


def gmac_per_second(name: str) -> float:
    """Billions of multiply-adds of one forward pass, for each second of audio. Fourier transforms are not counted.

    Raises:
        ImportError: a package that the part needs is not installed.
    """
    part = _without_memory(name)
    recurrent = [_count_instead(layer) for layer in part.modules() if isinstance(layer, torch.nn.RNNBase)]
    with torch.no_grad(), _runs_without_values(), FlopCounterMode(display=False) as counter:
        part(torch.zeros(_input_shape(part), device="meta"))
    num_macs = counter.get_total_flops() / 2 + sum(sum(counts) for counts in recurrent)
    return num_macs / SECONDS / 1e9


@contextlib.contextmanager
def _runs_without_values():
    """Stand-ins for what cannot be asked of tensors without values: `istft`, which looks at them, and autocast, which
    does not know their device."""
    with (
        mock.patch.object(torch, "istft", _istft_shape),
        mock.patch.object(torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext()),
        mock.patch.object(torch, "is_autocast_enabled", lambda *args: False),
    ):
        yield


def _istft_shape(spectrum: torch.Tensor, *args, length: int, **kwargs) -> torch.Tensor:
    """Shape of what `torch.istft` returns, which looks at values that are not there."""
    return spectrum.real.new_zeros(*spectrum.shape[:-2], length)


def _count_instead(layer: torch.nn.RNNBase) -> list[int]:
    """Let a recurrent layer return nothing but a shape, and note its multiply-adds in the list that is returned: every
    weight is used once a step. Counted step by step it would take minutes, and a fused kernel is not counted at all."""
    num_weights = sum(parameter.numel() for key, parameter in layer.named_parameters() if key.startswith("weight"))
    num_outputs = layer.hidden_size * (2 if layer.bidirectional else 1)
    counts = []

    def forward(states: torch.Tensor) -> tuple[torch.Tensor, None]:
        counts.append(num_weights * states.shape[0] * states.shape[1])
        return states.new_zeros(*states.shape[:2], num_outputs), None

    layer.forward = forward
    return counts


def real_time_factor(name: str, num_passes: int = 3) -> float:
    """Seconds of computing for each second of audio, the fastest of `num_passes` forward passes on random weights with
    torch's current number of threads. Says something only where the machine is idle."""
    torch.manual_seed(0)
    part = AutoModel.from_config(preset_config(name)).eval()
    audio = 0.1 * torch.randn(_input_shape(part))
    seconds = []
    with torch.inference_mode():
        for _ in range(num_passes + 1):  # one to warm up
            start = time.perf_counter()
            part(audio)
            seconds.append(time.perf_counter() - start)
    return min(seconds[1:]) / SECONDS


def _without_memory(name: str) -> PreTrainedModel:
    with torch.device("meta"):
        part = AutoModel.from_config(preset_config(name)).eval()
    return part.to("meta")  # tables that come from elsewhere, such as mel filters


def _input_shape(part: PreTrainedModel) -> tuple[int, ...]:
    """Shape of `SECONDS` of one recording."""
    config = part.config
    channels = (config.num_channels,) if hasattr(config, "num_channels") else ()
    return (1, *channels, SECONDS * config.sampling_rate)
