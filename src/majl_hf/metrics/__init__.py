"""Metrics of one clip (`separation`, `melody`), the same as modules of the `evaluate` library (`modules`), and
summaries over clips (`statistics`).
"""
