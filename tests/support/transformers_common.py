"""transformers' own common tests, which are in its source distribution but not in its wheel.

They are taken from the archive that `MAJL_TRANSFORMERS_SOURCE` names, or from `.cache/transformers-VERSION.tar.gz`,
which `make test` downloads. Some modules that they import are not in the archive; empty stand-ins replace them, so
that their tests (generation, export) are left out.
"""

import importlib
import os
import sys
import tarfile
import tempfile
from pathlib import Path

import transformers

ARCHIVE = Path(
    os.environ.get("MAJL_TRANSFORMERS_SOURCE")
    or Path(__file__).parents[2] / ".cache" / f"transformers-{transformers.__version__}.tar.gz"
)
PACKAGE = "transformers_common_tests"
STAND_INS = {
    "__init__.py": "",
    "exporters/__init__.py": "",
    "exporters/test_export.py": "class ExportTesterMixin: ...\n",
    "generation/__init__.py": "",
    "generation/test_utils.py": "class GenerationTesterMixin: ...\n",
    "utils/__init__.py": "",
    "utils/test_configuration_utils.py": "config_common_kwargs = {}\n",
}

_folder = None  # unpacked once, kept as long as the process lives


def _unpack() -> tempfile.TemporaryDirectory:
    folder = tempfile.TemporaryDirectory(prefix="transformers-tests-")
    package = Path(folder.name) / PACKAGE
    for name, text in STAND_INS.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with tarfile.open(ARCHIVE) as archive:
        for member in archive:
            parts = Path(member.name).parts  # transformers-VERSION/tests/NAME.py
            if len(parts) == 3 and parts[1] == "tests" and parts[2].endswith("_common.py"):
                (package / parts[2]).write_bytes(archive.extractfile(member).read())
    sys.path.insert(0, folder.name)
    return folder


def import_common(name: str):
    """Module `tests/NAME.py` of transformers' source.

    Raises:
        FileNotFoundError: there is no archive.
    """
    global _folder
    if not ARCHIVE.is_file():
        raise FileNotFoundError(f"{ARCHIVE} is not there; `make test` fetches transformers' source")
    _folder = _folder or _unpack()
    return importlib.import_module(f"{PACKAGE}.{name}")
