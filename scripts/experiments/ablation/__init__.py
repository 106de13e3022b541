"""Ablations: a matrix of variants and seeds with equal budgets, trained, scored and written into a card.

config.py       the YAML file, and the recipe of a variant for one seed
reduced.py      a corpus of fully labelled songs with labels removed
run.py          train and score what is not done yet
results.py      the results file
card.py         the card, from results files alone
"""
