"""Sections that every model card of this package shares: use, outputs, limits, speed, citation.

The texts are `templates/*.md.jinja`; figures in them come from the model's config and from a file of
`scripts/benchmark.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import EvaluationError
from ..models.pitch_majl import bins_to_hz

TEMPLATES = Path(__file__).parent / "templates"


def card_sections(checkpoint: str | Path, address: str | None = None, benchmark: dict | None = None) -> dict[str, Any]:
    """`use`, `outputs`, `limits`, `speed`, `citation` as Markdown, and the model's `config`.

    Args:
        checkpoint: folder of the model.
        address: Hub id that the example loads; None for the model that comes with the package.
        benchmark: content of a benchmark file; None leaves `speed` empty.

    Raises:
        EvaluationError: no model in that folder.
    """
    from jinja2 import Environment, StrictUndefined

    from ..checkpoints.loading import checkpoint_sha256
    from ..models.configuration_majl import MajlConfig

    if not (Path(checkpoint) / "config.json").is_file():
        raise EvaluationError(
            f"{checkpoint} has no config.json, from which a card takes the model's rates; give the model's folder."
        )
    config = MajlConfig.from_pretrained(checkpoint)
    pitch = config.pitch_estimator_config
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=False)
    values = {
        "address": address,
        "benchmark": benchmark,
        "checkpoint_sha256": checkpoint_sha256(checkpoint),
        "config": config,
        "hop_ms": 1000 * config.frame_hop_s,
        "lowest_hz": pitch.first_bin_hz,
        "highest_hz": bins_to_hz(pitch.num_bins - 1, pitch),
    }
    names = ["use", "outputs", "limits", "citation"] + (["speed"] if benchmark else [])
    texts = {
        name: environment.from_string((TEMPLATES / f"{name}.md.jinja").read_text(encoding="utf-8")).render(values)
        for name in names
    }
    return {"config": config, "speed": "", **texts}
