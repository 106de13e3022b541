"""A Hub of our own, and processes that talk to it."""

import subprocess
import sys

import pytest
from local_hub import LocalHub


@pytest.fixture(scope="session")
def _hub_server():
    with LocalHub() as hub:
        yield hub


@pytest.fixture
def hub(_hub_server):
    """`local_hub.LocalHub`, empty at the start of each test."""
    with _hub_server.lock:
        _hub_server.repositories.clear()
        _hub_server.lfs.clear()
        _hub_server.requests.clear()
    return _hub_server


@pytest.fixture
def run_client(hub, tmp_path):
    """`run_client(code, *arguments, token=...)` runs Python code against the local Hub and returns the process."""

    def run(code: str, *arguments: str, **environment) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            env=hub.environment(tmp_path / "home", **environment),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )

    return run
