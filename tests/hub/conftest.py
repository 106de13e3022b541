"""A local Hub, and a process that talks to it."""

import os
import sys

import pytest
from hub_client import Client
from local_hub import LocalHub


@pytest.fixture(scope="session")
def _hub_server():
    with LocalHub() as hub:
        yield hub


@pytest.fixture
def hub(_hub_server):
    """`local_hub.LocalHub`, empty at the start of each test."""
    _hub_server.clear()
    return _hub_server


@pytest.fixture(scope="session")
def hub_client(_hub_server, tmp_path_factory):
    """A `Client` of the local Hub, logged in; its cache stays for the session."""
    folder = tmp_path_factory.mktemp("hub-client")
    modules = os.pathsep.join(filter(None, sys.path))  # it can import what this process can
    client = Client(_hub_server.environment(folder / "home") | {"PYTHONPATH": modules}, folder)
    yield client
    client.close()
