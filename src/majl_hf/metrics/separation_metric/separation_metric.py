"""SDR, NSDR and SI-SDR of separated vocals as a module of the `evaluate` library; the numbers come from `majl_hf`."""

import datasets
import evaluate
import numpy as np

from majl_hf.metrics.separation import separation_scores
from majl_hf.metrics.statistics import mean_scores

_DESCRIPTION = """\
SDR = 10 log10(|s|^2 / |s - e|^2) over all channels and the whole clip, NSDR = SDR(estimate) - SDR(mixture), and SI-SDR
with one scale per clip. Clips whose reference is silent are skipped and counted.
"""

_KWARGS_DESCRIPTION = """\
Args:
    predictions: estimated sources, each (num_channels, num_samples), full scale at 1; arrays of one dtype.
    references: true sources, each of the shape of its estimate.
    mixtures: what was separated, each of the shape of its estimate.
Returns:
    sdr_db, nsdr_db, si_sdr_db: means over the clips that have a finite value, in dB.
    count: clips whose reference is not silent. skipped: the others.
Example:
    >>> import numpy as np
    >>> from majl_hf.metrics.modules import load_metric
    >>> vocals = np.array([[3.0, 0.0, -3.0, 0.0]])
    >>> error = np.array([[0.0, 0.3, 0.0, -0.3]])
    >>> metric = load_metric("separation")
    >>> scores = metric.compute(predictions=[vocals + error], references=[vocals], mixtures=[vocals + 10 * error])
    >>> round(scores["sdr_db"], 3), round(scores["nsdr_db"], 3)
    (20.0, 20.0)
"""

_CITATION = """\
@inproceedings{leroux2019sdr,
  author = {Le Roux, Jonathan and Wisdom, Scott and Erdogan, Hakan and Hershey, John R.},
  title = {{SDR} -- Half-baked or Well Done?},
  booktitle = {ICASSP},
  year = {2019}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class SeparationMetric(evaluate.Metric):
    def _info(self):
        signal = datasets.List(datasets.List(datasets.Value("float32")))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": signal, "references": signal, "mixtures": signal}),
        )

    def _compute(self, predictions, references, mixtures):
        rows = [
            separation_scores(np.asarray(reference), np.asarray(estimate), np.asarray(mixture))
            for reference, estimate, mixture in zip(references, predictions, mixtures, strict=True)
        ]
        return mean_scores(rows)
