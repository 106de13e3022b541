"""Ablations: a matrix of rows and seeds with equal budgets, trained, scored and written into a card.

config.py       the YAML file, in which equal budgets are checked
reduced.py      a corpus of fully labelled songs with labels taken away
plan.py         what a row means for one seed: folders and the configuration of each stage
run.py          train and score what is not done yet
results.py      the results file
card.py         the card, from results files alone
timing.py       how long it will take
"""

from .card import make_card, write_card
from .config import AblationConfig, load_ablation_config
from .plan import budgets, plan_run
from .reduced import assign_songs, make_reduced_corpus
from .results import collect_results, results_path, write_results
from .run import prepare, run_matrix

__all__ = [
    "AblationConfig",
    "assign_songs",
    "budgets",
    "collect_results",
    "load_ablation_config",
    "make_card",
    "make_reduced_corpus",
    "plan_run",
    "prepare",
    "results_path",
    "run_matrix",
    "write_card",
    "write_results",
]
