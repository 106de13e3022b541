"""The Parquet files of a built or combined corpus, `FOLDER/data/SPLIT-00000-of-00003.parquet`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal, get_args

from ..errors import CorpusError

Split = Literal["train", "validation", "test", "unused"]
SPLITS: tuple[str, ...] = get_args(Split)
SHARD_NAME = re.compile(rf"({'|'.join(SPLITS)})-(\d{{5}})-of-(\d{{5}})\.parquet")


def shard_name(split: str, number: int, count: int) -> str:
    """Name of file `number`, from 0, of the `count` of a split."""
    return f"{split}-{number:05d}-of-{count:05d}.parquet"


def split_of(path: Path) -> str:
    """The split in a file's name, even if unknown."""
    return path.name.partition("-")[0]


def find_shards(folder: Path) -> list[Path]:
    """The files of a corpus, sorted.

    Raises:
        CorpusError: there are none.
    """
    paths = sorted((folder / "data").glob("*.parquet"))
    if not paths:
        raise CorpusError(f"{folder / 'data'} has no *.parquet; give a folder made by `majl data build`.")
    return paths


def file_facts(path: str | Path) -> list:
    """What distinguishes a file from a later version of it: name, size in bytes, modification time.

    Raises:
        CorpusError: the file is missing or cannot be read.
    """
    try:
        status = Path(path).stat()
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror}); restore it.") from error
    return [Path(path).name, status.st_size, status.st_mtime_ns]
