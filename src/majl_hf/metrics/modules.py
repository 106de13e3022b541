"""The two metrics as modules of the `evaluate` library."""

from __future__ import annotations

from pathlib import Path

from ..errors import EvaluationError

_FOLDER = Path(__file__).parent
METRICS = ("separation", "melody")


def load_metric(name: str):
    """An `evaluate.Metric` of this package, loaded from its file: nothing is downloaded.

    Args:
        name: "separation" (SDR, NSDR, SI-SDR) or "melody" (RPA, RCA, OA, VR, VFA). `evaluate.load(folder)` on
            `majl_hf/metrics/NAME_metric` returns the same.

    Raises:
        EvaluationError: another name.
    """
    if name not in METRICS:
        raise EvaluationError(f"There is no metric {name!r}; the metrics are {', '.join(METRICS)}.")
    import evaluate

    # In memory: the library's cache on disk would be shared, and locked, between processes.
    return evaluate.load(str(_FOLDER / f"{name}_metric"), keep_in_memory=True)
