"""Export of results: the pitch as CSV and as a plot."""

from .f0_csv import F0CsvWriter, read_f0_csv

__all__ = ["F0CsvWriter", "read_f0_csv"]
