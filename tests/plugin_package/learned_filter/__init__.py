"""A separator from outside: one filter over time, learned."""

import torch
from transformers import AutoConfig, AutoModel

from majl_hf.models.separator_majl import Separator, SeparatorConfig


class FilterConfig(SeparatorConfig):
    model_type = "learned-filter"
    num_taps: int = 65

    def __post_init__(self, **kwargs):
        self.context = self.num_taps // 2
        super().__post_init__(**kwargs)


class FilterSeparator(Separator):
    config_class = FilterConfig

    def __init__(self, config):
        super().__init__(config)
        self.filter = torch.nn.Conv1d(1, 1, config.num_taps, padding="same", bias=False)
        self.post_init()

    def estimate(self, mixture):
        channels = mixture.flatten(0, 1).unsqueeze(1)
        return self.filter(channels).view_as(mixture).to(mixture)


AutoConfig.register("learned-filter", FilterConfig)
AutoModel.register(FilterConfig, FilterSeparator)
