"""Built corpora: rows of one schema as FLAC in Parquet, loadable by `datasets`.

`schema`, `shards` the layout; `index` which rows there are; `reading` rows as tracks, `convert` a track to a row and
back; `writing` corpora, resumed where they stopped; `build`, `combine` (with `duplicates`), `prepare` make a corpus;
`check` inspects one; `cards` describes it.
"""
