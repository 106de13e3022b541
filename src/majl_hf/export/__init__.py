"""What the results are written as: CSV of the pitch, pictures."""

from .f0_csv import F0CsvWriter, read_f0_csv

__all__ = ["F0CsvWriter", "read_f0_csv"]
