"""One song from its file to its results; commands and catalogues share it."""
