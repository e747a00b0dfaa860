"""Forms of arguments that several commands take."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from pathlib import Path
from typing import Any

from fgdm.errors import RequestError


def picture_size(text: str) -> tuple[int, int]:
    """``512x768``, height first, in pixels."""
    height, separator, width = text.partition("x")
    if not separator or not height.isdecimal() or not width.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} isn't HEIGHTxWIDTH, e.g. 512x512")
    return int(height), int(width)


def whole_numbers(text: str) -> list[int]:
    """``3,6``: whole numbers, separated by commas."""
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} isn't a list of whole numbers, e.g. 3,6"
        ) from None


def numbers(text: str) -> list[float]:
    """``0.5,1``: numbers, separated by commas."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} isn't a list of numbers, e.g. 0.5,1") from None


def interval(text: str) -> list[float]:
    """``0,0.8``: two numbers, where something begins and where it ends."""
    ends = numbers(text)
    if len(ends) != 2:
        raise argparse.ArgumentTypeError(f"{text!r} isn't START,STOP, e.g. 0,0.8")
    return ends


def names(text: str) -> list[str]:
    """``dog,tree``: names, separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def text_of_factor(text: str) -> tuple[str, str]:
    """``depth=a street at night``: a factor, and a text for it."""
    factor, separator, value = text.partition("=")
    if not factor or not separator:
        raise argparse.ArgumentTypeError(f"{text!r} isn't FACTOR=..., e.g. depth=map.png")
    return factor, value


def options_of_factor(text: str) -> tuple[str, dict[str, object]]:
    """``depth={"candidates": 4}``: a factor, and a JSON object of options for it."""
    factor, _, value = text.partition("=")
    options = json_in(value, text)
    if not factor or not isinstance(options, dict):
        raise argparse.ArgumentTypeError(
            f"{text!r:.200} isn't FACTOR=OBJECT with a JSON object of options, e.g. "
            "'depth={\"candidates\": 4}'"
        )
    return factor, options


def json_in(text: str, argument: str | None = None) -> object:
    """The value of a JSON text, None where it is none. A key that is there twice is a mistake.

    argument: what the text is a part of, and errors show.
    """
    shown = text if argument is None else argument

    def each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        options = dict(pairs)
        if len(options) < len(pairs):
            raise argparse.ArgumentTypeError(f"{shown!r:.200} says something twice; say it once")
        return options

    try:
        value: object = json.loads(text, object_pairs_hook=each_once)
    except (ValueError, RecursionError):
        return None
    return value


def number_of_factor(text: str) -> tuple[str, float]:
    """``depth=0.5``: a factor, and a number for it."""
    return _named_number(text, "FACTOR=NUMBER, e.g. depth=0.5")


def scale(text: str) -> tuple[str, float]:
    """``style=0.8``: a LoRA, and its weight."""
    return _named_number(text, "NAME=SCALE, e.g. style=0.8")


def _named_number(text: str, form: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        if name:
            return name, float(value)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} isn't {form}")


def filters(text: str) -> list[Any]:
    """``person,bus``, or a JSON list of filters: what must not be painted.

    Raises ArgumentTypeError also for none at all: whoever forbids nothing has misspelt something.
    """
    value: object = names(text)
    if text.lstrip().startswith(("[", "{")):
        value = json_in(text)
    if not isinstance(value, list):
        raise argparse.ArgumentTypeError(
            f"{text!r:.200} isn't a JSON list, e.g. "
            '\'[{"classes": ["person", "car"], "min_area": 0.01}]\''
        )
    if not value:
        raise argparse.ArgumentTypeError(
            f"{text!r:.200} names no class, so that nothing would be forbidden; name one, or leave "
            "the option out"
        )
    return value


def load_function(option: str, name: str) -> Any:
    """The function that MODULE:FUNCTION, the value of an option, names, of a module that is
    installed or lies in the working folder. RequestError if there is none."""
    expected = f"{option} is {name!r}, expected MODULE:FUNCTION"
    module, _, function = name.partition(":")
    if not module or not function:
        raise RequestError(f"{expected}, such as my_module:my_function")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:  # whatever a module does when it is imported
        raise RequestError(
            f"{expected} of an importable module: {type(error).__name__}: {error}"
        ) from error
    if not callable(found):
        raise RequestError(f"{option} is {name!r}, which isn't a function")
    return found
