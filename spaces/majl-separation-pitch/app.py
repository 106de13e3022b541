"""The Space: starts the demo of `majl_hf`.

    python app.py

The package is on no index. A Space installs requirements.txt before its own files are there, so that file cannot name a
wheel; instead the wheel is beside this file and is unpacked here. An installed package takes precedence; in a clone of
the repository its source is used. `MAJL_MODEL` selects another model, `MAJL_MAX_MINUTES` and `MAJL_MAX_MEGABYTES` set
the limits.
"""

import atexit
import contextlib
import importlib.util
import os
import shutil
import signal
import sys
import tempfile
import threading
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent


def find_package() -> None:
    """Make `majl_hf` importable."""
    source = HERE.parents[1] / "src" if len(HERE.parents) > 1 else HERE
    if importlib.util.find_spec("majl_hf") is not None:
        return
    if (source / "majl_hf" / "__init__.py").is_file():
        sys.path.insert(0, str(source))
        return
    wheels = sorted(HERE.glob("majl_hf-*.whl"))
    if not wheels:
        sys.exit("app.py: the package majl_hf is not installed, and there is no majl_hf-*.whl beside this file.")
    unpacked = tempfile.mkdtemp(prefix="majl-wheel-")
    atexit.register(shutil.rmtree, unpacked, ignore_errors=True)
    with zipfile.ZipFile(wheels[-1]) as wheel:
        wheel.extractall(unpacked)
    sys.path.insert(0, unpacked)


def main() -> None:
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    with contextlib.suppress(ImportError):
        import spaces  # noqa: F401  (on ZeroGPU it comes before torch, which then reports a GPU)
    find_package()
    from majl_hf.checkpoints.loading import load_model
    from majl_hf.demo.app import launch
    from majl_hf.errors import MajlError

    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        model = load_model(os.environ.get("MAJL_MODEL") or "majl-base")
        with launch(model, mcp=importlib.util.find_spec("mcp") is not None) as running:
            print(f"serving at {running.url}", flush=True)
            stopped.wait()
    except MajlError as error:
        sys.exit(f"app.py: {error}")


if __name__ == "__main__":
    main()
