"""Names of factors and control images, after which graphs and folders are called."""

from __future__ import annotations

from collections.abc import Container

from .errors import ExportError


def check_name(name: str) -> None:
    """Raises ExportError for a name that graphs and folders can't be called after."""
    plain = name.isascii() and name.replace("_", "a").isalnum()
    if not plain or name != name.lower() or name == "image" or f"_{name}".endswith("_hint"):
        raise ExportError(
            f"the condition's name is {name!r}; expected lower-case letters, digits and _, "
            "neither 'image' nor 'hint', and no '_hint' at its end"
        )


def unused_name(stem: str, taken: Container[str]) -> str:
    """`stem`, or ``stem_2``, ``stem_3`` and so on where that is taken."""
    name, number = stem, 1
    while name in taken:
        number += 1
        name = f"{stem}_{number}"
    return name
