"""A separator from outside: one filter over time, learned."""

import torch
from transformers import AutoConfig, AutoModel

from majl_hf.models.separator_majl import Separator, SeparatorConfig, SeparatorOutput


class FilterConfig(SeparatorConfig):
    model_type = "learned-filter"

    def __init__(self, num_taps=65, **kwargs):
        self.num_taps = num_taps
        super().__init__(**{"context": num_taps // 2, **kwargs})


class FilterSeparator(Separator):
    config_class = FilterConfig

    def __init__(self, config):
        super().__init__(config)
        self.filter = torch.nn.Conv1d(1, 1, config.num_taps, padding="same", bias=False)
        self.post_init()

    def forward(self, mixture, **kwargs):
        channels = mixture.flatten(0, 1).unsqueeze(1)
        return SeparatorOutput(vocals=self.filter(channels).view_as(mixture).to(mixture))


AutoConfig.register("learned-filter", FilterConfig)
AutoModel.register(FilterConfig, FilterSeparator)
