"""Forms of arguments that several commands take."""

from __future__ import annotations

import argparse
import json


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

    def each_once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        options = dict(pairs)
        if len(options) < len(pairs):
            raise argparse.ArgumentTypeError(f"{text!r:.200} says something twice; say it once")
        return options

    try:
        options = json.loads(value, object_pairs_hook=each_once)
    except (ValueError, RecursionError):
        options = None
    if not factor or not isinstance(options, dict):
        raise argparse.ArgumentTypeError(
            f"{text!r:.200} isn't FACTOR=OBJECT with a JSON object of options, e.g. "
            "'depth={\"candidates\": 4}'"
        )
    return factor, options


def number_of_factor(text: str) -> tuple[str, float]:
    """``depth=0.5``: a factor, and a number for it."""
    factor, _, value = text.partition("=")
    try:
        return factor, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} isn't FACTOR=NUMBER, e.g. depth=0.5") from None
