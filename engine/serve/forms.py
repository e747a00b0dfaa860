"""Multipart bodies: their fields, their files, and lists and objects that came in pieces."""

from __future__ import annotations

import json
import re
from typing import Any

from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile

from .editing import FIELDS
from .errors import ApiError, wrong
from .requests import ENGINE_OPTIONS, ImageRequest

_KEY = re.compile(r"([^][]+)((?:\[[^][]*\])*)")
#: Fields that mean something.
_READ = {*ImageRequest.model_fields, *ENGINE_OPTIONS, *FIELDS}
#: Brackets of a field's name.
_DEEPEST = 8
#: Fields of objects that are words even where they could be read as JSON.
_WORDS = {"prompt", "negative_prompt", "direction", "region"}

#: What is left of a field's name, bracket by bracket, and its value.
_Piece = tuple[tuple[str, ...], str]


async def read_form(form: FormData) -> tuple[ImageRequest, dict[str, list[bytes]]]:
    """The fields of a multipart body, and its files by their fields' names (without ``[]``).

    What isn't OpenAI's is JSON where it can be read as such, else text. A list or an object may
    come in pieces, as OpenAI's client sends it: ``objects[]=dog``, ``inversion[steps]=20``; a list
    of objects only where all of them have the same fields. Raises ApiError (400).
    """
    fields: dict[str, Any] = {}
    files: dict[str, list[bytes]] = {}
    pieces: dict[str, list[_Piece]] = {}
    for key, value in form.multi_items():
        name, path = _parsed(key)
        if name in fields or (not path and (name in files or name in pieces)):
            raise wrong(name, f"{name} came more than once; expected one, or a list {name}[]")
        if isinstance(value, UploadFile):
            if path not in ((), ("",)):
                raise wrong(name, f"{key:.60} is a file; expected it as {name} or {name}[]")
            files.setdefault(name, []).append(await value.read())
        elif path:
            pieces.setdefault(name, []).append((path, value))
        else:
            fields[name] = value if name in ImageRequest.model_fields else _read_json(value)
    for name, given in pieces.items():
        try:
            fields[name] = _whole(name, given)
        except ApiError:
            if name in _READ:  # anything else is passed over
                raise
    try:
        return ImageRequest.model_validate(fields), files
    except ValidationError as error:
        first = error.errors()[0]
        param = ".".join(str(part) for part in first["loc"])
        raise wrong(param, f"{param}: {first['msg']}") from None


def _parsed(key: str) -> tuple[str, tuple[str, ...]]:
    """A field's name, and what stands in its brackets."""
    parts = _KEY.fullmatch(key)
    if parts is None:
        return key, ()
    path = tuple(re.findall(r"\[([^][]*)\]", parts[2]))
    if len(path) > _DEEPEST:
        raise wrong(parts[1], f"{key:.60} has more than {_DEEPEST} pairs of brackets")
    return parts[1], path


def _whole(name: str, pieces: list[_Piece], field: str = "") -> Any:
    """The list, object or value that came in pieces. field: whose value it is."""
    heads = {path[0] if path else None for path, _ in pieces}
    if heads == {None}:
        if len(pieces) > 1:
            raise _in_pieces(name)
        return pieces[0][1] if field in _WORDS else _read_json(pieces[0][1])
    if None in heads or ("" in heads and len(heads) > 1):
        raise _in_pieces(name)
    if "" not in heads:
        by_field: dict[str, list[_Piece]] = {}
        for path, value in pieces:
            by_field.setdefault(path[0], []).append((path[1:], value))
        return {head: _whole(name, inside, head) for head, inside in by_field.items()}
    by_place: dict[tuple[str, ...], list[str]] = {}
    for path, value in pieces:
        by_place.setdefault(path[1:], []).append(value)
    counts = {len(values) for values in by_place.values()}
    if len(counts) > 1:
        raise _in_pieces(name)
    return [
        _whole(name, [(path, values[i]) for path, values in by_place.items()])
        for i in range(counts.pop())
    ]


def _in_pieces(name: str) -> ApiError:
    return wrong(
        name,
        f"{name} came in pieces that can't be put together; send it as one field with JSON, in "
        f'Python extra_body={{"{name}": json.dumps(...)}}',
    )


def _read_json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
