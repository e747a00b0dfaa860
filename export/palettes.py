"""palette.json: the classes of a map, their colours, and every word of a prompt that means them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import inflect

from .errors import ExportError

MAX_CLASSES = 255  # label 255 means unlabeled
DEFAULT_TOLERANCE = 28  # FG-DM's COCO-Stuff palette has colours 32 apart
KINDS = ("thing", "background")


def read_palette(source: Mapping[str, Any] | Path) -> dict[str, Any]:
    """The palette as a bundle stores it, from a description or the JSON file that holds one.

    A description is ``{"name": ..., "tolerance": ..., "classes": [{"name", "color", "kind",
    "synonyms"}, ...]}`` with colours as three numbers in 0..255 and kind "thing" or "background";
    synonyms may be left out. A class's index is its place. ``forms``, all lower case, are name,
    synonyms, and their plurals. ``tolerance``, 28 if left out, is how far a decoded colour may lie
    from its class's, per channel.

    Raises:
        ExportError: the file can't be read, or a class is malformed or can't be told from another.
    """
    description = _read(source) if isinstance(source, Path) else source
    name, classes = description.get("name"), description.get("classes")
    if not isinstance(name, str) or not name:
        raise ExportError(f"the palette's name is {name!r}; expected a string that isn't empty")
    tolerance = description.get("tolerance", DEFAULT_TOLERANCE)
    if type(tolerance) is not int or not 0 <= tolerance <= 255:
        raise ExportError(f"palette {name}: tolerance is {tolerance!r}; expected 0 to 255")
    if not isinstance(classes, list) or not 1 <= len(classes) <= MAX_CLASSES:
        given = len(classes) if isinstance(classes, list) else classes
        raise ExportError(
            f"palette {name} has {given!r} classes; expected a list of 1 to {MAX_CLASSES}"
        )
    entries = [_entry(name, index, entry) for index, entry in enumerate(classes)]
    _refuse_repeats(name, entries)
    _add_plurals(entries)
    return {"name": name, "tolerance": tolerance, "classes": entries}


def _read(path: Path) -> Mapping[str, Any]:
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExportError(f"can't read the palette {path}: {error}") from error
    if not isinstance(description, dict):
        raise ExportError(f"the palette {path} holds a {type(description).__name__}, not an object")
    return description


def _entry(palette: str, index: int, entry: Any) -> dict[str, Any]:
    where = f"palette {palette}, class {index}"
    if not isinstance(entry, Mapping):
        raise ExportError(f"{where} is {entry!r}; expected an object")
    name, color, kind = entry.get("name"), entry.get("color"), entry.get("kind")
    synonyms = entry.get("synonyms", [])
    if not isinstance(name, str) or not name.strip():
        raise ExportError(f"{where}: name is {name!r}; expected a string that isn't empty")
    if not (
        isinstance(color, (list, tuple))
        and len(color) == 3
        and all(type(channel) is int and 0 <= channel <= 255 for channel in color)
    ):
        raise ExportError(f"{where} ({name}): color is {color!r}; expected 3 numbers in 0..255")
    if kind not in KINDS:
        raise ExportError(f"{where} ({name}): kind is {kind!r}; expected one of {KINDS}")
    if not isinstance(synonyms, (list, tuple)) or not all(
        isinstance(word, str) and word.strip() for word in synonyms
    ):
        raise ExportError(f"{where} ({name}): synonyms are {synonyms!r}; expected a list of words")
    if entry.get("index", index) != index:
        raise ExportError(f"{where} ({name}): index is {entry['index']!r}; expected {index}")
    return {
        "index": index,
        "name": name,
        "color": list(color),
        "kind": kind,
        "synonyms": list(synonyms),
        "forms": list(dict.fromkeys(_normal(word) for word in (name, *synonyms))),
    }


def _normal(word: str) -> str:
    return " ".join(word.lower().split())


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


def _add_plurals(entries: list[dict[str, Any]]) -> None:
    """Append each form's plural, unless another class has that word already."""
    engine = inflect.engine()
    taken = {form for entry in entries for form in entry["forms"]}
    for entry in entries:
        for word in list(entry["forms"]):
            plural = engine.plural_noun(word)
            is_plural_already = word.endswith("s") and plural == word + "s"
            if plural and plural not in taken and not is_plural_already:
                taken.add(plural)
                entry["forms"].append(plural)
