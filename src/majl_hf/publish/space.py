"""A Space on the Hub: a folder with its app, and the wheel of this package, which is not on a package index; a static
Space needs no wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from ..errors import PushError
from ..system.files import link
from .hub import PushReport, Target, list_files, push_folder

SDKS = ("gradio", "docker", "static")
_COLOURS = ("red", "yellow", "green", "blue", "indigo", "purple", "pink", "gray")
_MAX_DESCRIPTION = 60  # characters, the Hub's limit
_LEFT_OUT = re.compile(r"(^|/)(\.(?!gitattributes$)|__pycache__(/|$))|\.py[co]$")
_WHEEL = re.compile(r"\bmajl_hf-[\w.+]+-[\w.]+-[\w.]+-[\w.]+\.whl\b")


def push_space(source: str | Path, target: Target, wheel: str | Path | None = None) -> PushReport:
    """Upload a Space's folder and, unless it is static, a wheel of this package.

    Hidden files, byte code and wheels in the folder are left out.

    Args:
        source: folder with the app and a README.md whose metadata describes the Space.
        wheel: of this package; None builds one from the source tree of this installation.

    Raises:
        PushError: README.md lacks required metadata or names a missing file; requirements.txt names another wheel; no
            wheel and no source tree, or a wheel for a static Space; the Hub refuses.
    """
    folder = Path(source)
    metadata = check_space(folder)
    with tempfile.TemporaryDirectory(prefix="majl-push-") as temporary:
        built = Path(temporary, "built")
        staged = Path(temporary, "staged")
        staged.mkdir()
        if metadata["sdk"] != "static":
            wheel = build_wheel(built) if wheel is None else Path(wheel)
            if not wheel.is_file() or not _WHEEL.fullmatch(wheel.name):
                raise PushError(f"{wheel} is not a wheel of this package; `make wheel` in its source tree builds one.")
            _check_requirements(folder / "requirements.txt", wheel.name)
            link(wheel, staged / wheel.name)
        elif wheel is not None:
            raise PushError(f"{folder} is a static Space, which runs no Python; leave the wheel out.")
        for path in list_files(folder):
            name = path.relative_to(folder).as_posix()
            if not _LEFT_OUT.search(name) and not _WHEEL.fullmatch(path.name):
                (staged / name).parent.mkdir(parents=True, exist_ok=True)
                link(path, staged / name)
        return push_folder(staged, "space", target, message="Upload Space", delete=["*.whl"], space_sdk=metadata["sdk"])


def check_space(folder: Path) -> dict:
    """The metadata of a Space's README.md.

    Raises:
        PushError: metadata that the Hub would refuse or could not run.
    """
    import yaml
    from huggingface_hub import SpaceCard

    path = folder / "README.md"
    if not path.is_file():
        raise PushError(f"{folder} has no README.md, whose metadata describes the Space to the Hub; write one.")
    try:
        data = SpaceCard.load(path, ignore_metadata_errors=False).data.to_dict()
    except (ValueError, yaml.YAMLError) as error:
        raise PushError(f"The metadata of {path} cannot be read ({error}); correct the YAML between ---.") from error
    problems = [f"{name} is missing" for name in ("title", "sdk") if not data.get(name)]
    sdk = data.get("sdk")
    if sdk and sdk not in SDKS:
        problems.append(f"sdk is {sdk!r}, it must be one of {SDKS}")
    if sdk == "gradio" and not re.fullmatch(r"\d+(\.\d+){1,2}", str(data.get("sdk_version", ""))):
        problems.append(f"sdk_version is {data.get('sdk_version')!r}, it must be a version such as 6.0.0")
    app_file = data.get("app_file", {"gradio": "app.py", "static": "index.html"}.get(sdk))
    if app_file and not (folder / app_file).is_file():
        problems.append(f"app_file is {app_file!r}, which is not in the folder")
    for name in ("colorFrom", "colorTo"):
        if name in data and data[name] not in _COLOURS:
            problems.append(f"{name} is {data[name]!r}, it must be one of {_COLOURS}")
    if len(data.get("short_description") or "") > _MAX_DESCRIPTION:
        problems.append(f"short_description has {len(data['short_description'])} characters, max. {_MAX_DESCRIPTION}")
    if problems:
        raise PushError(f"The metadata of {path} is not valid: {'; '.join(problems)}. Correct it.")
    return data


def _check_requirements(path: Path, wheel_name: str) -> None:
    named = set(_WHEEL.findall(path.read_text(encoding="utf-8"))) if path.is_file() else set()
    if other := sorted(named - {wheel_name}):
        raise PushError(f"{path} names {', '.join(other)}, but the wheel is {wheel_name}; use that name.")


def build_wheel(folder: Path) -> Path:
    """Build from the source tree that this package is imported from; only its build backend is needed, no network."""
    root = Path(__file__).resolve().parents[3]
    project = root / "pyproject.toml"
    is_ours = project.is_file() and tomllib.loads(project.read_text(encoding="utf-8"))["project"]["name"] == "majl_hf"
    if not is_ours:
        raise PushError("This installation has no source tree to build a wheel from; pass a wheel.")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    process = subprocess.run(command, cwd=root, capture_output=True, text=True)
    if process.returncode:
        lines = (process.stderr or process.stdout).strip().splitlines()
        raise PushError(
            f"The wheel could not be built ({lines[-1] if lines else f'exit code {process.returncode}'}). Run: pip "
            "install 'majl_hf[dev]', or pass a wheel."
        )
    return next(folder.glob("*.whl"))
