"""Ablations: a matrix of rows and seeds with equal budgets, trained, scored and written into a card.

config.py       the YAML file, and the recipe that it makes of a row for one seed
reduced.py      a corpus of fully labelled songs with labels taken away
run.py          train and score what is not done yet
results.py      the results file
card.py         the card, from results files alone
"""
