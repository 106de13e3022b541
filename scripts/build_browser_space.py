"""Build the page that separates songs in the browser: a folder that any web server or a static Space serves.

    python scripts/build_browser_space.py DIR [--model NAME_OR_FOLDER] [--overwrite]

DIR contains the page of `spaces/majl-in-the-browser/`, onnxruntime-web from npm in `vendor/` (checked against
package-lock.json, kept in .cache/ for the next time) and the model's graphs in `model/`. The model is a shipped name, a
folder or a Hub id, or a folder that `majl export onnx` wrote.
"""

import argparse
import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from majl_hf.checkpoints import LICENCE_FILES
from majl_hf.errors import MajlError
from majl_hf.models.onnx_majl import is_onnx_folder

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "spaces" / "majl-in-the-browser"
CACHE = ROOT / ".cache"
RUNTIME = "onnxruntime-web"
# The modules, and the WebAssembly that each of them loads: without and with WebGPU.
VENDOR_FILES = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)
MODEL_FILES = ("README.md", "config.json", "separator.onnx", "pitch_estimator.onnx", "refiner.onnx")
REQUIRED_FILES = MODEL_FILES[:4]


class BuildError(Exception):
    """What is missing, and what to do."""


def build(target: Path, graphs: Path, overwrite: bool = False) -> None:
    """Write the page to `target`, whole or not at all.

    Args:
        target: Folder to write.
        graphs: Folder of an exported model, see `majl export onnx`.
        overwrite: Whether an existing folder is replaced.

    Raises:
        BuildError: the target exists, npm is missing or refuses, a wrong checksum, graphs that are missing.
    """
    if target.exists() and not overwrite:
        raise BuildError(f"{target} exists already; give another folder, or --overwrite to replace it.")
    if missing := [name for name in REQUIRED_FILES if not (graphs / name).is_file()]:
        raise BuildError(f"{graphs} lacks {', '.join(missing)}; `majl export onnx` writes such a folder.")
    archive = fetch_runtime()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
        built = Path(temporary, "built")
        shutil.copytree(PAGE, built, ignore=shutil.ignore_patterns("package*.json", "node_modules", ".*"))
        _unpack(archive, built / "vendor")
        (built / "model").mkdir()
        for name in (*MODEL_FILES, *LICENCE_FILES):
            if (graphs / name).is_file():
                shutil.copyfile(graphs / name, built / "model" / name)
        if target.exists():
            shutil.rmtree(target)
        built.rename(target)


def find_graphs(model: str, temporary: Path) -> Path:
    """The folder of an exported model; one that is not exported yet is, to `temporary`."""
    if is_onnx_folder(Path(model)):
        return Path(model)
    from majl_hf.checkpoints import find_checkpoint, licence_files
    from majl_hf.checkpoints.loading import load_model
    from majl_hf.cli.export import licence_sentence
    from majl_hf.export.onnx_folder import export_onnx

    licence = licence_sentence(model), licence_files(find_checkpoint(model))
    return export_onnx(load_model(model, "cpu"), temporary, model, *licence, weights="float16")


def fetch_runtime() -> Path:
    """The archive of onnxruntime-web that package-lock.json names, from .cache/ or else from npm."""
    package = json.loads((PAGE / "package-lock.json").read_text(encoding="utf-8"))["packages"][
        f"node_modules/{RUNTIME}"
    ]
    archive = CACHE / f"{RUNTIME}-{package['version']}.tgz"
    if not archive.is_file():
        npm = shutil.which("npm")
        if npm is None:
            raise BuildError(f"npm, which fetches {RUNTIME}, is not installed. Install Node.js.")
        with tempfile.TemporaryDirectory() as folder:
            command = [npm, "pack", f"{RUNTIME}@{package['version']}", "--silent", "--pack-destination", folder]
            process = subprocess.run(command, cwd=folder, capture_output=True, text=True)
            if process.returncode:
                raise BuildError(f"npm could not fetch {RUNTIME}: {process.stderr.strip() or process.returncode}")
            CACHE.mkdir(exist_ok=True)
            shutil.move(next(Path(folder).glob("*.tgz")), archive)
    digest = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != package["integrity"]:
        archive.unlink()
        raise BuildError(
            f"{archive.name} has the checksum {digest}, package-lock.json {package['integrity']}; try again."
        )
    return archive


def _unpack(archive: Path, folder: Path) -> None:
    folder.mkdir()
    with tarfile.open(archive) as package:
        for name in VENDOR_FILES:
            with package.extractfile(f"package/dist/{name}") as source, open(folder / name, "wb") as file:
                shutil.copyfileobj(source, file)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("target", type=Path, metavar="DIR")
    parser.add_argument("--model", default="majl-base", help="majl-base where not given", metavar="NAME_OR_FOLDER")
    parser.add_argument("--overwrite", action="store_true", help="replace DIR")
    arguments = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory() as temporary:
            build(arguments.target, find_graphs(arguments.model, Path(temporary, "graphs")), arguments.overwrite)
    except (BuildError, MajlError) as error:
        sys.exit(f"build_browser_space.py: {error}")
    size = sum(path.stat().st_size for path in arguments.target.rglob("*") if path.is_file())
    print(f"{arguments.target}: {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
