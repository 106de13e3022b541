"""RPA, RCA, OA, VR and VFA of a sung melody as a module of the `evaluate` library, over `mir_eval.melody`."""

import datasets
import evaluate

from majl_hf.metrics.melody import melody_scores
from majl_hf.metrics.statistics import mean_scores

_DESCRIPTION = """\
Raw pitch accuracy, raw chroma accuracy, overall accuracy, voicing recall and voicing false alarm of mir_eval.melody. A
pitch is right if it is strictly less than 50 cents off. The estimate gives a pitch in every frame and its voicing
separately, so raw accuracies do not depend on the voicing decision.
"""

_KWARGS_DESCRIPTION = """\
Args:
    predictions: one dict per clip: times_s, f0_hz (positive in every frame), voiced (flags).
    references: one dict per clip: times_s, f0_hz (0 where nothing is sung).
Returns:
    rpa, rca, oa, vr, vfa: means over clips, from 0 to 1 (vfa: lower is better).
    count: clips whose reference has a voiced frame. skipped: the others.
Example:
    >>> from majl_hf.metrics.modules import load_metric
    >>> times_s = [0.0, 0.02, 0.04, 0.06]
    >>> reference = {"times_s": times_s, "f0_hz": [0.0, 220.0, 220.0, 220.0]}
    >>> estimate = {"times_s": times_s, "f0_hz": [100.0, 220.0, 440.0, 221.0], "voiced": [False, True, True, False]}
    >>> scores = load_metric("melody").compute(predictions=[estimate], references=[reference])
    >>> [round(scores[name], 3) for name in ("rpa", "rca", "oa", "vr", "vfa")]
    [0.667, 1.0, 0.5, 0.667, 0.0]
"""

_CITATION = """\
@inproceedings{raffel2014mireval,
  author = {Raffel, Colin and McFee, Brian and Humphrey, Eric J. and Salamon, Justin and Nieto, Oriol and Liang, Dawen
            and Ellis, Daniel P. W.},
  title = {mir\\_eval: A Transparent Implementation of Common {MIR} Metrics},
  booktitle = {ISMIR},
  year = {2014}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class MelodyMetric(evaluate.Metric):
    def _info(self):
        numbers = datasets.List(datasets.Value("float64"))
        flags = datasets.List(datasets.Value("bool"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features(
                {
                    "predictions": {"times_s": numbers, "f0_hz": numbers, "voiced": flags},
                    "references": {"times_s": numbers, "f0_hz": numbers},
                }
            ),
        )

    def _compute(self, predictions, references):
        rows = [
            melody_scores(
                reference["times_s"], reference["f0_hz"], estimate["times_s"], estimate["f0_hz"], estimate["voiced"]
            )
            for reference, estimate in zip(references, predictions, strict=True)
        ]
        return mean_scores(rows)
