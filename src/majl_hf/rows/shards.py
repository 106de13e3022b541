"""The Parquet files of a built or combined corpus, `FOLDER/data/SPLIT-00000-of-00003.parquet`: names, and what goes in
which."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from ..errors import CorpusError

SPLITS = ("train", "validation", "test", "unused")
SHARD_NAME = re.compile(rf"({'|'.join(SPLITS)})-(\d{{5}})-of-(\d{{5}})\.parquet")


class _Timed(Protocol):
    """Something that lasts."""

    @property
    def duration_s(self) -> float: ...


def shard_name(split: str, number: int, count: int) -> str:
    """Name of file `number`, from 0, of the `count` of a split."""
    return f"{split}-{number:05d}-of-{count:05d}.parquet"


def split_of(path: Path) -> str:
    """What a file's name says of its split, known or not."""
    return path.name.partition("-")[0]


def known_split_of(path: Path) -> str:
    """The split of a file.

    Raises:
        CorpusError: it is none of `SPLITS`.
    """
    split = split_of(path)
    if split not in SPLITS:
        raise CorpusError(f"{path} is of no split that is known; its name needs to begin with one of {SPLITS}.")
    return split


def find_shards(folder: Path) -> list[Path]:
    """The files of a corpus, sorted.

    Raises:
        CorpusError: there is none.
    """
    paths = sorted((folder / "data").glob("*.parquet"))
    if not paths:
        raise CorpusError(f"{folder / 'data'} holds no *.parquet; give a folder that `majl data build` has made.")
    return paths


@contextlib.contextmanager
def readable(path: Path) -> Iterator[None]:
    """What reading a broken file raises becomes a `CorpusError` that names it."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise CorpusError(
            f"{path} cannot be read ({error}). It is damaged or cut off; build the corpus again."
        ) from error


def cut_evenly(items: Sequence[_Timed], count: int) -> list[tuple]:
    """Cut into `count` runs of about equal duration; items keep their order, and runs without one are left out."""
    total_s = sum(item.duration_s for item in items)
    runs: list[list] = [[] for _ in range(count)]
    done_s = 0.0
    for item in items:
        middle_s = done_s + item.duration_s / 2
        runs[min(int(middle_s / total_s * count), count - 1)].append(item)
        done_s += item.duration_s
    return [tuple(run) for run in runs if run]


def file_facts(path: str | Path) -> list:
    """What tells a file from a later one of its name: name, bytes, modification time."""
    path = Path(path)
    status = path.stat()
    return [path.name, status.st_size, status.st_mtime_ns]
