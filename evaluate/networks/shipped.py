"""Where the networks are that ship with the sources."""

from __future__ import annotations

from pathlib import Path


def shipped(path: Path) -> Path | None:
    """A file or folder of the source folder that this runs from or in; None where there is none."""
    for root in (Path(__file__).resolve().parents[2], Path.cwd()):
        if (root / path).exists():
            return root / path
    return None
