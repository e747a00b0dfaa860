"""The prompts to tune for: those of a file, or ones made of the bundle's palette."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgdm.errors import RequestError
from fgdm.files import read_regular

#: How many are made where no file is given.
MADE = 16


@dataclass(frozen=True)
class Prompt:
    """A prompt; objects: the classes that recall counts, None for those that it names."""

    text: str
    objects: tuple[str, ...] | None = None


def read_prompts(path: Path) -> list[Prompt]:
    """A text file's lines, empty ones left out; or of a .json file a list of texts, or of objects
    with "prompt" and, if recall shall count those, "objects" (or "things").

    What is there several times is taken once: intervals are over prompts that differ. Raises
    RequestError for a file that can't be read or holds no prompt.
    """
    try:
        text = read_regular(path).decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"can't read the prompts in {path}: {error}") from None
    if path.suffix.lower() == ".json":
        prompts = [_entry(path, i, entry) for i, entry in enumerate(_list(path, text))]
    else:
        prompts = [Prompt(line.strip()) for line in text.split("\n") if line.strip()]
    if not prompts:
        raise RequestError(f"{path} holds no prompt; write one a line")
    return list(dict.fromkeys(prompts))


def made_prompts(classes: Sequence[str], count: int = MADE) -> list[Prompt]:
    """`count` prompts of one to four of the classes each, the same at every call.

    Raises RequestError if there is no class.
    """
    if not classes:
        raise RequestError(
            "this bundle has no palette of which prompts could be made; give --prompts FILE"
        )
    drawn = random.Random(0)
    prompts = []
    for i in range(count):
        names = drawn.sample(sorted(classes), min(1 + i % 4, len(classes)))
        text = " beside ".join(f"a {name}" for name in names)
        prompts.append(Prompt(text, tuple(names)))
    return prompts


def _list(path: Path, text: str) -> list[Any]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"{path} isn't JSON: {error}") from None
    if not isinstance(content, list):
        raise RequestError(f"{path} must hold a list of prompts, got {type(content).__name__}")
    return content


def _entry(path: Path, index: int, entry: object) -> Prompt:
    if isinstance(entry, str):
        return Prompt(entry)
    if isinstance(entry, dict) and isinstance(entry.get("prompt"), str):
        objects = entry.get("objects", entry.get("things"))
        if objects is None:
            return Prompt(entry["prompt"])
        if isinstance(objects, list) and all(isinstance(name, str) for name in objects):
            return Prompt(entry["prompt"], tuple(objects))
    raise RequestError(
        f'{path}, entry {index}, must be a text or {{"prompt": TEXT, "objects": [NAME, ...]}}, '
        f"got {entry!r:.60}"
    )
