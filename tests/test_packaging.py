"""The package matches pyproject.toml: declared imports, rooms that only import what they may, a complete wheel."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import majl_hf

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "majl_hf"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
MAX_CHECKPOINT_BYTES = 50_000_000

# The extra that each public module needs beyond the core.
ENTRIES = {
    "majl_hf": None,
    "majl_hf.audio": None,
    "majl_hf.cli": None,
    "majl_hf.checkpoints.loading": None,
    "majl_hf.separation": None,
    "majl_hf.export": None,
    "majl_hf.models.pipeline_majl": None,
    "majl_hf.publish.model": None,
    "majl_hf.publish.space": None,
    "majl_hf.publish.dataset": "data",
    "majl_hf.training": "train",
    "majl_hf.pseudo_labels": "train",
    "majl_hf.evaluation": "evaluate",
    "majl_hf.export.plot": "plot",
    "majl_hf.export.note_plot": "plot",
    "majl_hf.export.formats": None,
    "majl_hf.export.note_tables": None,
    "majl_hf.export.ultrastar": None,
    "majl_hf.export.jams_annotation": "jams",
    "majl_hf.export.musicxml": "musicxml",
    "majl_hf.export.onnx_folder": "export",
    "majl_hf.models.onnx_majl": None,
}
# Imported by these packages on our behalf: Trainer runs on accelerate and logs to tensorboard, model cards are jinja2.
INDIRECT = {"accelerate", "tensorboard", "jinja2"}
# torchaudio is optional, `_import_hooks.py` makes it importable; pydantic_core is the other half of pydantic.
OWN_RULE = {"torchaudio", "pydantic-core"}

# The map of the rooms says where these may be imported; pydantic_core as above.
EVERYWHERE = {"numpy", "torch", "transformers", "pydantic-core"}


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(extra: str | None) -> set[str]:
    """Distributions of the core and of one extra."""
    requirements = PROJECT["dependencies"] + (PROJECT["optional-dependencies"][extra] if extra else [])
    return {normalised(re.match(r"[\w.-]+", requirement).group()) for requirement in requirements}


def module_path(module: str) -> Path | None:
    """File of a module of this package, None for any other name."""
    if module.split(".")[0] != "majl_hf":
        return None
    path = PACKAGE.joinpath(*module.split(".")[1:])
    for candidate in (path / "__init__.py", path.with_suffix(".py")):
        if candidate.is_file():
            return candidate
    return None


def import_nodes(path: Path, inside_functions: bool):
    """Import statements of a file; those for type checkers do not count."""
    pending = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
        elif inside_functions or not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            pending += ast.iter_child_nodes(node)


def imported_modules(path: Path, inside_functions: bool = False) -> set[str]:
    """Absolute names of what a file imports; for `from package import name` both `package` and `package.name`."""
    parts = ("majl_hf", *path.relative_to(PACKAGE).with_suffix("").parts)
    package = parts[:-1]  # for `__init__.py` it is the folder, as for any module
    names: set[str] = set()
    for node in import_nodes(path, inside_functions):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
            continue
        base = package[: len(package) - node.level + 1] if node.level else ()
        source = ".".join([*base, *([node.module] if node.module else [])])
        names |= {source, *(f"{source}.{alias.name}" for alias in node.names)}
    return names


@cache
def reached_files(module: str) -> frozenset[Path]:
    """Files of this package that importing a module runs, parents included."""
    reached: set[Path] = set()
    pending = [module]
    while pending:
        name = pending.pop()
        for prefix in (name.rsplit(".", count)[0] for count in range(name.count(".") + 1)):
            path = module_path(prefix)
            if path is not None and path not in reached:
                reached.add(path)
                pending += imported_modules(path)
    return frozenset(reached)


installed_distributions = cache(packages_distributions)


def distributions(modules: set[str]) -> set[str]:
    """Distributions that third-party modules belong to."""
    found = set()
    for module in {name.split(".")[0] for name in modules} - {"majl_hf", "", *sys.stdlib_module_names}:
        found |= {normalised(name) for name in installed_distributions().get(module, [module])}
    return found


@pytest.mark.parametrize("entry", ENTRIES)
def test_imports_are_declared(entry):
    imported = set().union(*(imported_modules(path) for path in reached_files(entry)))
    undeclared = distributions(imported) - declared(ENTRIES[entry]) - OWN_RULE
    assert not undeclared, f"import {entry} needs {undeclared}, which its extra {ENTRIES[entry]!r} does not bring"


def test_declared_packages_are_imported():
    imported = set().union(*(imported_modules(path, inside_functions=True) for path in PACKAGE.rglob("*.py")))
    for extra in (None, "train", "evaluate", "plot", "jams", "musicxml", "onnx", "export"):
        unused = declared(extra) - distributions(imported) - INDIRECT
        assert not unused, f"{unused} of {extra or 'the core'} is never imported"


def test_the_map_of_the_rooms_names_each_and_its_packages():
    mapped: set[Path] = set()
    text = (ROOT / "docs" / "rooms.md").read_text(encoding="utf-8")
    for names, packages in re.findall(r"^\| (`.*?`) \| .* \| (.*?)\|$", text, re.MULTILINE):
        rooms = [PACKAGE / name for name in re.findall(r"`(.*?)`", names)]
        files = [file for room in rooms for file in ([room] if room.is_file() else room.rglob("*.py"))]
        imported = distributions(set().union(*(imported_modules(file, inside_functions=True) for file in files)))
        listed = {normalised(package) for package in re.findall(r"[\w-]+", packages)}
        assert imported - EVERYWHERE == listed - EVERYWHERE, f"packages of {names} in docs/rooms.md"
        mapped |= set(rooms)
    assert mapped == {path for path in PACKAGE.iterdir() if path.name not in ("__init__.py", "__pycache__")}


def test_the_reach_of_an_import_is_followed():
    # Makes sure that the tests above find something.
    assert PACKAGE / "models" / "streaming_majl.py" in reached_files("majl_hf.models.pipeline_majl")
    assert "soxr" in distributions(set().union(*(imported_modules(path) for path in reached_files("majl_hf.audio"))))


def test_models_travel():
    """Files that are copied beside a checkpoint: flat, and nothing but what docs/rooms.md names and each other."""
    folder = PACKAGE / "models"
    assert not [path for path in folder.iterdir() if path.is_dir() and path.name != "__pycache__"]
    for path in folder.glob("*.py"):
        if path.name == "__init__.py":
            continue
        assert path.stem.endswith("_majl"), path.name
        for node in import_nodes(path, inside_functions=True):
            if isinstance(node, ast.ImportFrom) and node.level:
                assert node.level == 1 and node.module and "." not in node.module, f"{path.name}: {ast.unparse(node)}"
            else:
                names = [node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
                foreign = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
                assert foreign <= {"torch", "numpy", "transformers", "numba", "onnxruntime"}, (
                    f"{path.name}: {ast.unparse(node)}"
                )


def test_versions_agree():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^## \[([\d.]+)\]", changelog, re.MULTILINE).group(1) == majl_hf.__version__
    assert re.search(r"^version: (.+)$", citation, re.MULTILINE).group(1) == majl_hf.__version__


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        yield archive


def test_wheel_contains_the_package_and_nothing_else(wheel):
    in_wheel = {name for name in wheel.namelist() if ".dist-info/" not in name}
    in_git = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "src/majl_hf"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if in_git.returncode:
        pytest.skip("not a git checkout, so there is nothing to compare the wheel with")
    assert in_wheel == {name.removeprefix("src/") for name in in_git.stdout.splitlines()}


def test_wheel_metadata(wheel):
    folder = f"majl_hf-{majl_hf.__version__}.dist-info"
    metadata = wheel.read(f"{folder}/METADATA").decode()
    assert "License-Expression: Apache-2.0" in metadata
    assert "Apache License" in wheel.read(f"{folder}/licenses/LICENSE").decode()
    assert "majl = majl_hf.cli:app" in wheel.read(f"{folder}/entry_points.txt").decode()


def test_shipped_checkpoints_are_small_and_have_a_card():
    folders = [path.parent for path in PACKAGE.glob("checkpoints/*/config.json")]
    if not folders:
        pytest.skip("this source tree has no checkpoint yet")
    for folder in folders:
        weights = list(folder.glob("*.safetensors"))
        assert weights and sum(path.stat().st_size for path in weights) <= MAX_CHECKPOINT_BYTES, folder.name
        card = (folder / "README.md").read_text(encoding="utf-8")
        assert "MIT" in card and "non-commercial" in card, folder.name
