"""Which class of another palette stands for a class: how a map is recoloured for a ControlNet."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..errors import ExportError
from .built_in import TABLES
from .reading import PaletteSource, read_palette


def mapping(from_palette: PaletteSource, to_palette: PaletteSource) -> dict[str, str | None]:
    """For each class of one palette, in its order, the class of the other that stands for it.

    None marks a class that the other palette has nothing like; it becomes unlabeled. COCO-Stuff has
    a table for ADE20K, on which public segmentation ControlNets were trained; other palettes are
    matched by equal class names.

    Raises:
        ExportError: a palette can't be read, the palettes share no class name, or the table for
            them doesn't fit (see `check_mapping`).
    """
    source, target = read_palette(from_palette), read_palette(to_palette)
    path = TABLES.get((source["name"], target["name"]))
    if path is not None:
        table: dict[str, str | None] = json.loads(path.read_text(encoding="utf-8"))
        check_mapping(table, source, target)
        return {name: table[name] for name in _names(source)}
    shared = set(_names(target)) & set(_names(source))
    if not shared:
        raise ExportError(
            f"palettes {source['name']} and {target['name']} share no class name, so a map of one "
            "can't be recoloured for the other; give their common classes the same names"
        )
    return {name: name if name in shared else None for name in _names(source)}


def check_mapping(
    table: Mapping[str, str | None], source: Mapping[str, Any], target: Mapping[str, Any]
) -> None:
    """Check that `table` says for every class of `source` which one of `target` stands for it.

    Raises:
        ExportError: the table leaves out a class, or names one that its palette lacks.
    """
    source_names, target_names = _names(source), _names(target)
    chosen = [name for name in table.values() if name is not None]
    for problem, names in (
        (f"leaves out classes of {source['name']}", _absent(source_names, table)),
        (f"names classes that {source['name']} lacks", _absent(table, source_names)),
        (f"names classes that {target['name']} lacks", _absent(chosen, target_names)),
    ):
        if names:
            raise ExportError(
                f"the mapping from palette {source['name']} to {target['name']} {problem}: "
                f"{', '.join(names)}; expected one class or null for each class of "
                f"{source['name']}"
            )


def _names(palette: Mapping[str, Any]) -> list[str]:
    return [entry["name"] for entry in palette["classes"]]


def _absent(names: Iterable[str], known: Iterable[str]) -> list[str]:
    present = set(known)
    return [name for name in dict.fromkeys(names) if name not in present]
