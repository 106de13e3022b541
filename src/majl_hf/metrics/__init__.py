"""Numbers of one clip (`separation`, `melody`), the same as modules of the `evaluate` library (`modules`), and what a
list of them says (`statistics`).
"""
