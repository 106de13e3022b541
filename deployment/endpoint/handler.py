"""A Hugging Face Inference Endpoint that separates songs; beside a model in its repository.

    majl push model OWNER/NAME --endpoint deployment/endpoint

uploads it with requirements.txt and the wheel of `majl_hf`, which is on no index and is unpacked here. An installed
package takes precedence. `MAJL_MAX_MINUTES` and `MAJL_MAX_MEGABYTES` set the limits.

A request is the bytes of an audio file, or JSON:

    {"inputs": "<the file in base64>", "parameters": {"files": ["vocals.flac", "notes.mid"], "name": "My song.mp3"}}

The answer has numbers about the song, its pitch and notes, and the files in base64.
"""

import atexit
import base64
import binascii
import importlib.util
import shutil
import sys
import tempfile
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

DEFAULT_FILES = ("vocals.flac", "accompaniment.flac")
NEEDED = 'the bytes of an audio file, or JSON {"inputs": "<the file in base64>", "parameters": {...}}'


def find_package(folder: Path) -> None:
    """Make `majl_hf` importable."""
    if importlib.util.find_spec("majl_hf") is not None:
        return
    wheels = sorted(folder.glob("majl_hf-*.whl"))
    if not wheels:
        raise RuntimeError(f"The package majl_hf is not installed, and there is no majl_hf-*.whl in {folder}.")
    unpacked = tempfile.mkdtemp(prefix="majl-wheel-")
    atexit.register(shutil.rmtree, unpacked, ignore_errors=True)
    with zipfile.ZipFile(wheels[-1]) as wheel:
        wheel.extractall(unpacked)
    sys.path.insert(0, unpacked)


class EndpointHandler:
    """What the server of an endpoint calls.

    Args:
        path: Folder of the model's repository.
    """

    def __init__(self, path: str = ""):
        find_package(Path(path or Path(__file__).parent))
        from majl_hf.checkpoints.loading import load_model
        from majl_hf.demo.limits import Limits

        has_model = bool(path) and (Path(path) / "config.json").is_file()
        self.model, self.limits = load_model(path if has_model else "majl-base"), Limits.from_environment()

    def __call__(self, data: dict[str, Any]) -> dict[str, Any]:
        """Separate one song.

        Args:
            data: `inputs`, bytes or base64; `parameters`, all optional: `files`, names of downloads of the demo, such
                as `vocals.wav`, `notes.mid` or `f0.csv` (default: both stems as flac); `name` of the song's file;
                `voicing_threshold`, `note_threshold` and `min_note_s`.

        Returns:
            JSON-serialisable dict: `sampling_rate`, `num_channels`, `num_samples`, `warnings`; `pitch`, lists of
            `times_s`, `f0_hz`, `voicing`, `confidence` and `voiced`; `notes`, a list of dicts; `files`, base64 by name.

        Raises:
            ValueError: what was sent is not as described, not audio, or beyond the limits.
        """
        from majl_hf.demo.decisions import Settings, transcribe
        from majl_hf.demo.downloads import DOWNLOADS, download_path
        from majl_hf.demo.separation import SeparatedSong, separate_file
        from majl_hf.errors import MajlError

        parameters = data.get("parameters") or {}
        known = {"files", "name", *Settings.__dataclass_fields__}
        if not isinstance(parameters, dict) or not known.issuperset(parameters):
            raise ValueError(f"parameters is {parameters!r}; an object with some of {sorted(known)} is needed.")
        files = parameters.get("files", DEFAULT_FILES)
        if isinstance(files, str) or not set(DOWNLOADS).issuperset(files):
            raise ValueError(f"files is {files!r}; a list with some of {', '.join(DOWNLOADS)} is needed.")
        audio = self._audio(data.get("inputs"))
        with tempfile.TemporaryDirectory(prefix="majl-endpoint-") as folder:
            source, results = Path(folder, "song"), Path(folder, "results")
            source.write_bytes(audio)
            results.mkdir()
            try:
                settings = Settings.of_model(self.model.config).changed(parameters)
                name = str(parameters.get("name") or "song")
                *_, song = separate_file(self.model, source, name, results, self.limits)
                assert isinstance(song, SeparatedSong)
                transcription = transcribe(song, settings)
                stored = {file: download_path(song, file, settings).read_bytes() for file in files}
            except (MajlError, TypeError) as error:
                raise ValueError(str(error)) from error
        frames = transcription.frames
        return {
            "sampling_rate": song.sampling_rate,
            "num_channels": song.num_channels,
            "num_samples": song.num_samples,
            "warnings": list(song.warnings),
            "pitch": {name: values.tolist() for name, values in vars(frames).items()},
            "notes": [asdict(note) for note in transcription.notes],
            "files": {file: base64.b64encode(content).decode("ascii") for file, content in stored.items()},
        }

    def _audio(self, inputs) -> bytes:
        if isinstance(inputs, str):
            if len(inputs) > 4 / 3 * self.limits.max_bytes + 4:
                raise ValueError(f"The file has more than {self.limits.max_megabytes:g} MB, which are the most here.")
            try:
                inputs = base64.b64decode(inputs, validate=True)
            except (binascii.Error, ValueError):
                raise ValueError(f"The text that was sent as inputs is not base64; needed is {NEEDED}.") from None
        if not isinstance(inputs, bytes | bytearray):
            raise ValueError(f"inputs is of type {type(inputs).__name__}; needed is {NEEDED}.")
        if not inputs:
            raise ValueError(f"inputs is empty; needed is {NEEDED}.")
        if len(inputs) > self.limits.max_bytes:
            raise ValueError(f"The file has more than {self.limits.max_megabytes:g} MB, which are the most here.")
        return bytes(inputs)
