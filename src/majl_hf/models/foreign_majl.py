"""Networks and functions of other packages as parts, in a wrapper that fulfils the contract.

A factory is registered under a name, `register_foreign("their-network", factory)`, and makes either

- an `nn.Module`, whose weights are saved and loaded with the model, trained if `trainable`, never re-initialised; or
- any other callable, such as a session of another runtime, which has no weights here and no gradient.

It takes and returns what the contract says: `(batch_size, num_channels, num_samples)` to the vocals of that shape, or
`(batch_size, num_samples)` to logits `(batch_size, num_frames, num_bins)`. A config contains only the factory's name
and arguments: a saved model can use only what the loading program has registered, so an untrusted config cannot run
code of its choice.
"""

from collections.abc import Callable
from dataclasses import field

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers import initialization as init

from .pitch_estimator_majl import PitchEstimator, PitchEstimatorConfig, num_pitch_frames
from .presets_majl import register_part
from .separator_majl import Separator, SeparatorConfig

FACTORIES: dict[str, Callable] = {}


def register_foreign(name: str, factory: Callable) -> None:
    """Register `factory(**config.arguments)` as `name`, replacing an earlier one."""
    FACTORIES[name] = factory


class ForeignSeparatorConfig(SeparatorConfig):
    """Configuration of `ForeignSeparator`.

    Args:
        name (`str`): Name of the registered factory.
        arguments (`dict`): Keyword arguments of the factory.
        trainable (`bool`): Whether the module's weights are trained; a frozen one also stays in evaluation mode.
        min_samples (`int`): Least number of samples that the module accepts; shorter mixtures are padded with silence.
    """

    model_type = "majl-foreign-separator"

    name: str = ""
    arguments: dict = field(default_factory=dict)
    trainable: bool = False
    min_samples: int = 1


class ForeignPitchEstimatorConfig(PitchEstimatorConfig):
    """Configuration of `ForeignPitchEstimator`; arguments as of `ForeignSeparatorConfig`."""

    model_type = "majl-foreign-pitch-estimator"

    name: str = ""
    arguments: dict = field(default_factory=dict)
    trainable: bool = False
    min_samples: int = 1


class ForeignNetwork(PreTrainedModel):
    """Base of parts whose `network` comes from another package and initialises its own weights. These are kept; weights
    that a saved file lacks are taken from a newly made network.

    Args:
        config: Config of the part; with `trainable` set to `False`, the network is frozen.
        part: Network or callable to wrap, instead of what `make_network` returns.
    """

    def __init__(self, config: PreTrainedConfig, part: Callable | None = None):
        super().__init__(config)
        self._is_built = False
        self._anew: dict[str, nn.Module] = {}
        part = self.make_network() if part is None else part
        self.network, self.function = (part, None) if isinstance(part, nn.Module) else (None, part)
        if self.network is not None:
            self.network.requires_grad_(self._is_trainable)
            for module in self.network.modules():
                module._non_persistent_buffers_set.clear()  # they would be undefined after from_pretrained
        self.post_init()
        self._is_built = True
        self.train(self.training)

    def make_network(self) -> Callable:
        """The network that belongs to the config, or any other callable."""
        raise NotImplementedError

    @property
    def _is_trainable(self) -> bool:
        return getattr(self.config, "trainable", True)

    def _init_weights(self, module: nn.Module):
        if not self._is_built or self.network is None:
            return
        name = next((name for name, layer in self.network.named_modules() if layer is module), None)
        if name is None:
            return
        if not self._anew:
            with torch.device("cpu"):
                self._anew = dict(self.make_network().named_modules())
        for key, tensor in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]:
            init.copy_(tensor, getattr(self._anew[name], key).to(tensor.device))

    def train(self, mode: bool = True):
        super().train(mode)
        if self.network is not None and not self._is_trainable:
            self.network.eval()
        return self


class _Foreign(ForeignNetwork):
    """What wrapped separators and pitch estimators share: how the foreign part is made and called."""

    def make_network(self) -> Callable:
        name = self.config.name
        if name not in FACTORIES:
            raise ValueError(
                f"The foreign part {name!r} is not registered; registered are {sorted(FACTORIES) or 'none'}. Import "
                "the module that calls register_foreign before this model is built."
            )
        with torch.device("cpu"):  # it may load its own weights, even where from_pretrained builds without memory
            return FACTORIES[name](**self.config.arguments)

    def _call(self, waveform: torch.Tensor) -> torch.Tensor:
        """The foreign part's output for a waveform of at least `min_samples`, in the waveform's type."""
        waveform = nn.functional.pad(waveform, (0, max(0, self.config.min_samples - waveform.shape[-1])))
        if self.network is not None:
            return self.network(waveform).to(waveform.dtype)
        with torch.no_grad():
            return torch.as_tensor(self.function(waveform.detach())).to(waveform)


class ForeignSeparator(_Foreign, Separator):
    """A separator of another package. `ForeignSeparator(config)` makes it by its factory; `ForeignSeparator(config,
    part)` wraps `part`, which can be saved and loaded only if a factory of that name is registered."""

    config_class = ForeignSeparatorConfig

    def estimate(self, mixture: torch.Tensor) -> torch.Tensor:
        vocals = self._call(mixture)
        if vocals.shape[:2] != mixture.shape[:2] or vocals.ndim != 3 or vocals.shape[2] < mixture.shape[2]:
            raise ValueError(
                f"The separator {self.config.name!r} returned {tuple(vocals.shape)} for a mixture of "
                f"{tuple(mixture.shape)}; it needs to return that shape, or more samples, of which the first are used."
            )
        return vocals[..., : mixture.shape[2]]


class ForeignPitchEstimator(_Foreign, PitchEstimator):
    """A pitch estimator of another package; made and wrapped as `ForeignSeparator`."""

    config_class = ForeignPitchEstimatorConfig

    def estimate(self, waveform: torch.Tensor) -> torch.Tensor:
        logits = self._call(waveform)
        num_frames = num_pitch_frames(waveform.shape[1], self.config.hop_length)
        wanted = (waveform.shape[0], num_frames, self.config.num_bins)
        if logits.ndim != 3 or logits.shape[::2] != wanted[::2] or logits.shape[1] < num_frames:
            raise ValueError(
                f"The pitch estimator {self.config.name!r} returned {tuple(logits.shape)}; it needs to return "
                f"{wanted}, or more frames, of which the first are used."
            )
        return logits[:, :num_frames]


register_part(ForeignSeparatorConfig, ForeignSeparator)
register_part(ForeignPitchEstimatorConfig, ForeignPitchEstimator)
