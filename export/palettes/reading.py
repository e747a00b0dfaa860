"""palette.json: a palette's description, checked and completed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from ..errors import ExportError
from .attributes import read_attributes
from .built_in import BUILT_IN
from .colors import pascal_voc_color
from .forms import add_plurals, normal_form

MAX_CLASSES = 255  # label 255 means unlabeled
DEFAULT_TOLERANCE = 28  # FG-DM's COCO-Stuff palette has colours 32 apart
KINDS = ("thing", "background")
PASCAL_VOC = "pascal-voc"

#: A built-in palette's name, a JSON file, or a palette's description.
PaletteSource: TypeAlias = Mapping[str, Any] | Path | str


def read_palette(source: PaletteSource) -> dict[str, Any]:
    """The palette as a bundle stores it.

    `source` is a name of `BUILT_IN`, the path of a JSON file (write ./NAME for a file that is
    called like a built-in palette), or what such a file holds:
    ``{"name": ..., "tolerance": ..., "colors": ..., "classes": [{"name", "color", "kind",
    "synonyms"}, ...]}`` with colours as three numbers in 0..255 and kind "thing" or "background";
    synonyms may be left out. A class's index is its place. ``"colors": "pascal-voc"`` gives classes
    without a colour that of `pascal_voc_color`. ``forms``, all lower case, are name, synonyms, and
    their plurals; one that an attribute of several classes claims stays with it. ``tolerance``, 28
    if left out, is how far a decoded colour may lie from its class's, per channel. ``attributes``,
    which a palette may have: see `read_attributes`.

    Raises:
        ExportError: the file can't be read, or a class is malformed or can't be told from another.
    """
    description = source if isinstance(source, Mapping) else _read_file(source)
    name, classes = description.get("name"), description.get("classes")
    if not isinstance(name, str) or not name:
        raise ExportError(f"the palette's name is {name!r}; expected a string that isn't empty")
    tolerance = description.get("tolerance", DEFAULT_TOLERANCE)
    if type(tolerance) is not int or not 0 <= tolerance <= 255:
        raise ExportError(f"palette {name}: tolerance is {tolerance!r}; expected 0 to 255")
    colors = description.get("colors")
    if colors not in (None, PASCAL_VOC):
        raise ExportError(
            f"palette {name}: colors is {colors!r}; expected {PASCAL_VOC!r}, or a color per class"
        )
    if not isinstance(classes, list) or not 1 <= len(classes) <= MAX_CLASSES:
        given = len(classes) if isinstance(classes, list) else classes
        raise ExportError(
            f"palette {name} has {given!r} classes; expected a list of 1 to {MAX_CLASSES}"
        )
    entries = [
        _entry(name, index, entry, pascal_voc_color(index) if colors else None)
        for index, entry in enumerate(classes)
    ]
    _refuse_repeats(name, entries)
    attributes = read_attributes(
        name, description.get("attributes"), (entry["name"] for entry in entries)
    )
    claimed = {word for one in attributes if one["present"] for word in one["words"]}
    add_plurals((entry["forms"] for entry in entries), claimed)
    made = {"name": name, "tolerance": tolerance, "classes": entries}
    return {**made, "attributes": attributes} if attributes else made


def _read_file(source: Path | str) -> Mapping[str, Any]:
    path = BUILT_IN.get(source, Path(source)) if isinstance(source, str) else source
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ExportError(
            f"can't read the palette {source}: {error}; expected a JSON file or one of "
            + ", ".join(BUILT_IN)
        ) from error
    if not isinstance(description, dict):
        raise ExportError(
            f"the palette {source} holds a {type(description).__name__}, not an object"
        )
    return description


def _entry(palette: str, index: int, entry: Any, default_color: Any) -> dict[str, Any]:
    where = f"palette {palette}, class {index}"
    if not isinstance(entry, Mapping):
        raise ExportError(f"{where} is {entry!r}; expected an object")
    name, color, kind = entry.get("name"), entry.get("color", default_color), entry.get("kind")
    synonyms = entry.get("synonyms", [])
    if not _names_something(name):
        raise ExportError(f"{where}: name is {name!r}; expected a string that isn't empty")
    if not (
        isinstance(color, (list, tuple))
        and len(color) == 3
        and all(type(channel) is int and 0 <= channel <= 255 for channel in color)
    ):
        raise ExportError(f"{where} ({name}): color is {color!r}; expected 3 numbers in 0..255")
    if kind not in KINDS:
        raise ExportError(f"{where} ({name}): kind is {kind!r}; expected one of {KINDS}")
    if not isinstance(synonyms, (list, tuple)) or not all(map(_names_something, synonyms)):
        raise ExportError(f"{where} ({name}): synonyms are {synonyms!r}; expected a list of words")
    if entry.get("index", index) != index:
        raise ExportError(f"{where} ({name}): index is {entry['index']!r}; expected {index}")
    return {
        "index": index,
        "name": name,
        "color": list(color),
        "kind": kind,
        "synonyms": list(synonyms),
        "forms": list(dict.fromkeys(normal_form(word) for word in (name, *synonyms))),
    }


def _names_something(word: Any) -> bool:
    return isinstance(word, str) and bool(normal_form(word))


def _refuse_repeats(palette: str, entries: list[dict[str, Any]]) -> None:
    owners: dict[Any, str] = {}
    for entry in entries:
        for key in (tuple(entry["color"]), *entry["forms"]):
            if key in owners:
                raise ExportError(
                    f"palette {palette}: {key} stands for both {owners[key]} and {entry['name']}; "
                    "every colour, name and synonym must belong to one class"
                )
            owners[key] = entry["name"]
