"""What a checkpoint is judged by while it trains."""

from .config import ValidationConfig


class Validation:
    def __init__(self, config: ValidationConfig):
        self.config = config

    def __call__(self, model) -> dict[str, float]:
        return {}
