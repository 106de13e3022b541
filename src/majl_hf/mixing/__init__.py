"""Training items: how recordings are mixed, as functions of (seed, epoch, index).

`config` the YAML section; `items` the map-style dataset; `streaming` the same from rows in the order of the epoch;
`segments` signal steps; `transforms` steps of mixing; `clips` whole recordings for validation.
"""
