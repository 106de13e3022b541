"""Corpora: one reader a file, each with its licence, layout and traps, and the types that all of them return.

`tracks` a recording and its parts; `labels` pitch curves; `notes` the notes they are made from; `registry` every reader
by name.
"""
