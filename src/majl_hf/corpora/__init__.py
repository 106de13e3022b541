"""Corpora: readers, each documented with its layout, traps and licence, and the types that all of them return.

`tracks`: recordings and their parts; `labels`: pitch curves; `notes`: notes, from which some of these are made;
`registry`: all readers by name.
"""
