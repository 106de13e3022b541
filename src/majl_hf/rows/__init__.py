"""Built corpora: rows of one schema as FLAC in Parquet, loadable by `datasets`.

`schema`, `shards` the layout; `convert` a track as a row and back; `reading` rows as tracks; `build`, `combine`,
`prepare` make a corpus; `check` inspects one; `cards` describes it.
"""
