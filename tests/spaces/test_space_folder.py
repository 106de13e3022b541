"""The Space's folder: metadata that the Hub accepts, the package's requirements, an app that finds its wheel."""

import os
import re
import subprocess
import sys
import sysconfig
import time
import tomllib
import venv
from pathlib import Path

import httpx
import pytest

from majl_hf.demo.limits import Limits
from majl_hf.publish.space import check_space

ROOT = Path(__file__).parents[2]
SPACE = ROOT / "spaces" / "majl-separation-pitch"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(lines) -> dict[str, str]:
    found = (re.match(r"([\w.-]+)(\[.*?\])?(.*)", line.split("#")[0].strip()) for line in lines)
    return {match[1].lower(): match[3].split(",")[0].strip() for match in found if match}


def test_metadata():
    metadata = check_space(SPACE)
    assert metadata["sdk"] == "gradio" and metadata["app_file"] == "app.py"
    assert metadata["license"] == "other" and metadata["license_name"]
    assert metadata["python_version"] == "3.12"  # the one of ZeroGPU that the package supports
    needed = requirements(PROJECT["optional-dependencies"]["demo"])["gradio"]
    assert int(metadata["sdk_version"].split(".")[0]) >= int(needed.removeprefix(">="))


def test_requirements_are_the_packages():
    lines = (SPACE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    extras = ("demo", "mcp", "jams", "musicxml")  # the Space offers notes in every format
    declared = [
        *PROJECT["dependencies"],
        *(line for extra in extras for line in PROJECT["optional-dependencies"][extra] if "majl_hf" not in line),
    ]
    declared.append("spaces>=0.51")  # only a Space needs it
    assert requirements(lines) == requirements(declared)


def test_the_readme_states_the_limits():
    text = " ".join((SPACE / "README.md").read_text(encoding="utf-8").split())
    limits = Limits()
    assert f"{limits.max_minutes:g} minutes and {limits.max_megabytes:g} MB" in text
    assert limits.grace_s == 120 and "two minutes after the page is closed" in text
    assert limits.keep_s == 3600 and "after an hour without use" in text


@pytest.mark.slow
def test_app_with_the_wheel_beside_it(tmp_path, tiny_model_folder):
    """In an environment that has the requirements and not the package, as a Space does."""
    pytest.importorskip("gradio", reason="needs the extra demo")
    space = tmp_path / "space"
    space.mkdir()
    for name in ("app.py", "requirements.txt", "README.md"):
        (space / name).write_text((SPACE / name).read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(space)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    # Nested .pth files are not read, so the editable install of the package stays out of sight.
    venv.create(tmp_path / "venv", with_pip=False)
    packages = next((tmp_path / "venv").glob("lib/python*/site-packages"))
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    environment = {
        **os.environ, "MAJL_MODEL": tiny_model_folder, "GRADIO_SERVER_NAME": "127.0.0.1", "TMPDIR": str(tmp_path),
        "PYTHONUNBUFFERED": "1",
    }  # fmt: skip
    process = subprocess.Popen(
        [tmp_path / "venv" / "bin" / "python", "app.py"],
        cwd=space, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    try:
        line = next((line for line in process.stdout if "serving at" in line), None)
        assert line is not None, process.communicate(timeout=10)
        url = line.split()[-1]
        assert url.startswith("http://127.0.0.1:")
        assert httpx.get(url, timeout=60).status_code == 200
        assert list(tmp_path.glob("majl-demo-*")) and list(tmp_path.glob("majl-wheel-*/majl_hf"))
    finally:
        process.terminate()
        process.wait(timeout=60)
    deadline_s = time.monotonic() + 10
    while list(tmp_path.glob("majl-*")) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    assert not list(tmp_path.glob("majl-*"))
