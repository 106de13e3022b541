"""The handler of an Inference Endpoint, called as its server does: JSON in, JSON out."""

import base64
import importlib.util
import io
import json
from pathlib import Path

import mido
import numpy as np
import pytest
import soundfile

FOLDER = Path(__file__).parents[2] / "deployment/endpoint"


@pytest.fixture(scope="module")
def handler(tiny_model_folder):
    spec = importlib.util.spec_from_file_location("handler", FOLDER / "handler.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EndpointHandler(tiny_model_folder)


@pytest.fixture(scope="module")
def song():
    stored = io.BytesIO()
    time_s = np.arange(2 * 16_000) / 16_000
    soundfile.write(stored, 0.2 * np.sin(2 * np.pi * 220 * time_s), 16_000, format="FLAC")
    return stored.getvalue()


def ask(handler, inputs, **parameters):
    request = {"inputs": inputs} | ({"parameters": parameters} if parameters else {})
    return json.loads(json.dumps(handler(request)))  # the server answers in JSON


def test_bytes_and_base64_give_the_same(handler, song):
    answer = ask(handler, song)
    assert answer == ask(handler, base64.b64encode(song).decode())
    assert answer["sampling_rate"] == 16_000 and answer["num_samples"] == 32_000
    stems = [
        soundfile.read(io.BytesIO(base64.b64decode(answer["files"][f"{stem}.flac"])))[0]
        for stem in ("vocals", "accompaniment")
    ]
    np.testing.assert_allclose(sum(stems), soundfile.read(io.BytesIO(song))[0], atol=1e-6)
    lengths = {len(values) for values in answer["pitch"].values()}
    assert len(lengths) == 1 and min(answer["pitch"]["f0_hz"]) > 0


def test_parameters_choose_files_and_settings(handler, song):
    few = ask(handler, song, files=["f0.csv", "notes.mid"], note_threshold=0.01, min_note_s=0.0, name="My song.mp3")
    assert set(few["files"]) == {"f0.csv", "notes.mid"}
    assert mido.MidiFile(file=io.BytesIO(base64.b64decode(few["files"]["notes.mid"]))).tracks
    none = ask(handler, song, files=[], voicing_threshold=0.99)
    assert none["files"] == {} and sum(none["pitch"]["voiced"]) <= sum(few["pitch"]["voiced"])


@pytest.mark.parametrize(
    ("inputs", "parameters", "message"),
    [
        (None, {}, "inputs is of type NoneType"),
        (b"", {}, "inputs is empty"),
        ("no base64!", {}, "is not base64"),
        (b"no audio", {"name": "talk.mp3"}, "“talk.mp3”"),
        ("song", {"files": ["../../secret"]}, "files is"),
        ("song", {"files": "vocals.wav"}, "files is"),
        ("song", {"format": "mp3"}, "parameters is"),
        ("song", {"min_note_s": -1}, "min_note_s is -1"),
        ("song", {"voicing_threshold": None}, "NoneType"),
    ],
)
def test_what_does_not_fit_is_explained(handler, song, inputs, parameters, message):
    with pytest.raises(ValueError, match=message):
        ask(handler, song if inputs == "song" else inputs, **parameters)


def test_limits_of_size_and_length(handler, song, monkeypatch):
    from dataclasses import replace

    monkeypatch.setattr(handler, "limits", replace(handler.limits, max_megabytes=len(song) / 2e6))
    for inputs in (song, base64.b64encode(song).decode()):
        with pytest.raises(ValueError, match="has more than"):
            ask(handler, inputs)
    monkeypatch.setattr(handler, "limits", replace(handler.limits, max_megabytes=1, max_minutes=0.02))
    with pytest.raises(ValueError, match=r"longer than 0\.02 minutes"):
        ask(handler, song)


def test_nothing_is_left_on_disk(handler, song, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    ask(handler, song)
    with pytest.raises(ValueError):
        ask(handler, b"no audio")
    assert list(tmp_path.iterdir()) == []
