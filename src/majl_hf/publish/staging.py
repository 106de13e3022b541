"""Files put together for an upload without copying what is there already."""

import shutil
from pathlib import Path


def link(source: Path, target: Path) -> None:
    """Put `source` at `target`: as a link, or as a copy where links may not be made (on Windows, say)."""
    try:
        target.symlink_to(source.resolve())
    except OSError:
        shutil.copy2(source, target)
