"""A demo on a tiny model, served to this machine alone, and songs for it."""

import httpx
import numpy as np
import pytest
import soundfile

from majl_hf import MajlModel
from majl_hf.demo.limits import Limits

RATE = 44_100
GRACE_S = 1.0


@pytest.fixture(scope="session")
def tiny_model(tiny_model_folder):
    """Its weights are random, so it is made to hear a voice everywhere; notes begin where the song gets louder."""
    return MajlModel.from_pretrained(tiny_model_folder, voicing_bias=6.0).eval()


@pytest.fixture(scope="session")
def make_song():
    """`make_song(path, seed, seconds)` writes a stereo song, different for each seed; returns `(path, mixture)`."""

    def make(path, seed=0, seconds=2.0, num_channels=2):
        rng = np.random.default_rng(seed)
        times_s = np.arange(round(seconds * RATE)) / RATE
        voice = sum(np.sin(2 * np.pi * k * (200 + 20 * seed) * times_s) / k for k in range(1, 6))
        loudness = np.where(times_s % 0.6 < 0.4, 1.0, 0.1)
        mixture = loudness * (0.1 * voice + rng.uniform(-0.1, 0.1, (num_channels, len(times_s))))
        container = {".mp3": "MP3", ".flac": "FLAC"}.get(path.suffix, "WAV")
        subtype = "FLOAT" if container == "WAV" else None
        soundfile.write(path, mixture.T, RATE, format=container, subtype=subtype)
        return path, soundfile.read(path, dtype="float32", always_2d=True)[0].T

    return make


@pytest.fixture(scope="session")
def server(tiny_model):
    """A `RunningDemo` with small limits, which soon notices that a client has gone."""
    pytest.importorskip("gradio", reason="needs the extra demo")
    from majl_hf.demo.app import launch

    limits = Limits(max_minutes=0.5, max_megabytes=8.0, grace_s=GRACE_S)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GRADIO_TEMP_DIR", "")  # changed by the demo
        patch.setenv("GRADIO_HEARTBEAT_INTERVAL", "0.1")
        with launch(tiny_model, limits, host="127.0.0.1") as running:
            yield running


@pytest.fixture
def connect(server):
    """`connect()` gives a new `gradio_client.Client`; all are closed at the end."""
    from gradio_client import Client

    clients = []

    def make(**arguments):
        clients.append(Client(server.url, verbose=False, download_files=False, **arguments))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def fetch(server):
    """`fetch(client, address)`: the answer to a request with a client's cookies, or without any for `client=None`."""

    def get(client, address, **arguments):
        cookies = client.cookies if client else None
        return httpx.get(server.url + address, cookies=cookies, timeout=60, **arguments)

    return get
