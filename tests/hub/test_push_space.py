"""A Space goes to the Hub with the wheel of this package; a Space that the Hub could not run is refused beforehand."""

import shutil
from pathlib import Path

import pytest
from hub_client import push, refused

ROOT = Path(__file__).parents[2]
WHEEL = "majl_hf-0.1.0-py3-none-any.whl"
PULL = """
import hashlib, pathlib
from huggingface_hub import HfApi, snapshot_download
folder = pathlib.Path(snapshot_download(**arguments))
files = {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}
result = [files, HfApi().space_info(arguments["repo_id"]).sdk]
"""
README = "---\ntitle: Sing\nemoji: 🎤\ncolorFrom: blue\ncolorTo: pink\nsdk: gradio\nsdk_version: 6.3.0\n---\n# Sing\n"


@pytest.fixture
def folder(tmp_path) -> Path:
    """A Space's folder, with files that do not belong on the Hub, and a wheel beside it."""
    folder = tmp_path / "space"
    for name, text in {
        "README.md": README,
        "app.py": "print('a demo')",
        "requirements.txt": f"./{WHEEL}\n",
        "assets/note.txt": "la",
        ".env": "SECRET=1",
        ".git/config": "",
        "__pycache__/app.cpython-311.pyc": "",
        "majl_hf-0.0.1-py3-none-any.whl": "an old one",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    (tmp_path / WHEEL).write_text("a wheel")
    return folder


def test_goes_and_comes_back(hub, hub_client, folder, tmp_path):
    report = hub_client.push("space", folder, "tester/space", wheel=str(tmp_path / WHEEL))
    assert hub.repositories["spaces", "tester/space"].private
    files, sdk = hub_client.run(PULL, repo_id="tester/space", repo_type="space")
    assert sdk == "gradio"
    files.pop(".gitattributes")
    assert files.pop("README.md") == README
    assert files == {
        "app.py": "print('a demo')", "requirements.txt": f"./{WHEEL}\n", "assets/note.txt": "la", WHEEL: "a wheel",
    }  # fmt: skip
    assert report["files"].keys() == {*files, "README.md"}

    # The wheel of an earlier version goes when a newer one comes.
    newer = tmp_path / "majl_hf-0.2.0-py3-none-any.whl"
    shutil.copy(tmp_path / WHEEL, newer)
    (folder / "requirements.txt").write_text(f"./{newer.name}\n")
    hub_client.push("space", folder, "tester/space", wheel=str(newer))
    assert [path for path in hub.files("spaces", "tester/space") if path.endswith(".whl")] == [newer.name]


def test_the_space_of_this_repository_with_a_wheel_built_for_it():
    files = push("space", ROOT / "spaces/majl-separation-pitch", "me/space", dry_run=True)["files"]
    wheel = next(path for path in files if path.endswith(".whl"))
    assert wheel.startswith("majl_hf-") and files[wheel] > 1_000_000
    assert {"README.md", "app.py", "requirements.txt"} < files.keys()


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        (README, "# no metadata", "title is missing; sdk is missing"),
        ("sdk: gradio", "sdk: gradioo", r"sdk is 'gradioo', it must be one of"),
        ("sdk_version: 6.3.0", "", "sdk_version is None"),
        ("sdk_version: 6.3.0", "sdk_version: 6.3.0\napp_file: main.py", "app_file is 'main.py', which is not in"),
        ("colorTo: pink", "colorTo: mauve", "colorTo is 'mauve'"),
        ("title: Sing", f"title: Sing\nshort_description: {'a' * 61}", "short_description has 61 characters, max. 60"),
        ("title: Sing", "title: [Sing", "metadata of .*README.md cannot be read"),
    ],
)
def test_metadata_is_checked(folder, tmp_path, old, new, match):
    assert old in README
    (folder / "README.md").write_text(README.replace(old, new), encoding="utf-8")
    refused("space", folder, match, wheel=tmp_path / WHEEL)


def test_another_wheel_is_refused(folder, tmp_path):
    (folder / "requirements.txt").write_text("./majl_hf-0.0.9-py3-none-any.whl\n")
    refused("space", folder, r"names majl_hf-0.0.9-py3-none-any.whl, but the wheel is", wheel=tmp_path / WHEEL)
    refused("space", folder, r"absent.whl is not a wheel of this package", wheel=tmp_path / "absent.whl")
    (folder / "README.md").unlink()
    refused("space", folder, "has no README.md", wheel=tmp_path / WHEEL)


def test_a_static_space_goes_without_a_wheel(hub, hub_client, folder, tmp_path):
    (folder / "README.md").write_text(
        README.replace("sdk: gradio\nsdk_version: 6.3.0", "sdk: static"), encoding="utf-8"
    )
    refused("space", folder, "app_file is 'index.html', which is not in the folder")
    (folder / "index.html").write_text("<p>a page</p>")
    refused("space", folder, "a static Space, which runs no Python", wheel=str(tmp_path / WHEEL))
    report = hub_client.push("space", folder, "tester/static")
    assert "index.html" in report["files"] and not [name for name in report["files"] if name.endswith(".whl")]
    assert hub_client.run(PULL, repo_id="tester/static", repo_type="space")[1] == "static"
