"""Checkpoints that come with the package."""

from pathlib import Path

_FOLDER = Path(__file__).parent
SHIPPED = {path.parent.name: str(path.parent) for path in sorted(_FOLDER.glob("*/config.json"))}


def find_checkpoint(name_or_path: str) -> str:
    """Folder of a shipped checkpoint by its name; any other name or path unchanged."""
    return SHIPPED.get(str(name_or_path), str(name_or_path))
