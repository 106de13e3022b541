"""A separator from outside: one learned gain for each frequency."""

import torch
from transformers import AutoConfig, AutoModel
from transformers import initialization as init

from majl_hf.models.presets_majl import register_presets
from majl_hf.models.separator_majl import Separator, SeparatorConfig, SeparatorOutput


class BandGainConfig(SeparatorConfig):
    model_type = "band-gain"

    def __init__(self, num_bands=64, alignment=None, context=None, **kwargs):
        self.num_bands = num_bands
        super().__init__(alignment=alignment or 2 * num_bands, context=context or 2 * num_bands, **kwargs)


class BandGainSeparator(Separator):
    config_class = BandGainConfig

    def __init__(self, config):
        super().__init__(config)
        self.gains = torch.nn.Parameter(torch.zeros(config.num_bands + 1))
        self.post_init()

    def _init_weights(self, module):
        if isinstance(module, BandGainSeparator):
            init.zeros_(module.gains)

    def forward(self, mixture, **kwargs):
        self.check_mixture(mixture)
        length = 2 * self.config.num_bands
        padded = torch.nn.functional.pad(mixture, (0, -mixture.shape[-1] % length))
        spectrum = torch.fft.rfft(padded.unflatten(-1, (-1, length)))
        vocals = torch.fft.irfft(torch.sigmoid(self.gains) * spectrum, n=length).flatten(-2)
        return SeparatorOutput(vocals=vocals[..., : mixture.shape[-1]])


AutoConfig.register(BandGainConfig.model_type, BandGainConfig, exist_ok=True)
AutoModel.register(BandGainConfig, BandGainSeparator, exist_ok=True)
register_presets(BandGainConfig, {"band-gain": {}, "band-gain-16k": {"sampling_rate": 16_000, "num_channels": 1}})
