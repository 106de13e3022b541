"""Processes that tests start."""

import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor

import torch

# Processes are forked from one that has only done the imports, which take seconds.
_START = multiprocessing.get_context("forkserver")
_START.set_forkserver_preload(["majl_hf.training"])


def in_a_process(work: Callable, *arguments):
    """Result of `work(*arguments)`, a function of a test module, in a new process."""
    with ProcessPoolExecutor(1, _START) as pool:
        return pool.submit(work, *arguments).result()


def in_two_processes(work: Callable, *arguments) -> list:
    """Results, by rank, of `work(*arguments)`, a function of a test module, in two processes with the variables that
    torch's launcher sets."""
    port = 20000 + os.getpid() % 20000
    with ProcessPoolExecutor(2, _START) as pool:  # each waits for the other, so neither does the work of both
        return [future.result() for future in [pool.submit(_as_rank, rank, port, work, arguments) for rank in (0, 1)]]


def _as_rank(rank: int, port: int, work: Callable, arguments: tuple):
    numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    os.environ.update({name: str(value) for name, value in numbers.items()})
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    try:
        return work(*arguments)
    finally:  # even if it failed, so that the other one does not wait
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
