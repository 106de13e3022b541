"""Checkpoints that come with the package."""

from pathlib import Path

_FOLDER = Path(__file__).parent
LICENCE_FILES = ("LICENSE", "LICENSE.md")  # names of the text that a card's `license_link` may refer to
SHIPPED = {path.parent.name: str(path.parent) for path in sorted(_FOLDER.glob("*/config.json"))}


def find_checkpoint(name_or_path: str) -> str:
    """Folder of a shipped checkpoint by its name; any other name or path unchanged."""
    return SHIPPED.get(str(name_or_path), str(name_or_path))


def licence_files(folder: str | Path) -> list[Path]:
    """The texts of the licence of a checkpoint's weights that its folder has."""
    return [path for path in (Path(folder) / name for name in LICENCE_FILES) if path.is_file()]
