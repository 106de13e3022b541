"""Pseudo labels: a pitch for songs with stems, vocals for songs with a pitch, each with a confidence and its origin.

from majl_hf.pseudo_labels import PseudoLabelConfig, run_pseudo_labels

run_pseudo_labels(PseudoLabelConfig(rows="runs/data/combined", out="runs/pseudo"))

config.py       a stage of kind `label` in a recipe
teachers.py     what labels: checkpoints, other packages, functions
reading.py, labelling.py                     one row in, one labelled row out
run.py, report.py                            all rows, over processes, resumable; counts, card, figure
"""

from .config import PseudoLabelConfig
from .run import PseudoLabelReport, run_pseudo_labels

__all__ = ["PseudoLabelConfig", "PseudoLabelReport", "run_pseudo_labels"]
