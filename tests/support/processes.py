"""Processes that tests start: what this one can import, they can import."""

import os
import subprocess
import sys
from pathlib import Path


def environment(**variables: str) -> dict[str, str]:
    """For a child with one thread that imports what this process can, test modules included."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **variables}


def run_two_processes(path: Path, arguments: list[str]) -> str:
    """Standard output of a script that torch's launcher runs twice, with two ranks."""
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_addr", "127.0.0.1"]
    command += ["--master_port", str(20000 + os.getpid() % 20000), str(path), *arguments]
    process = subprocess.run(command, capture_output=True, text=True, env=environment(), timeout=560)
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout
