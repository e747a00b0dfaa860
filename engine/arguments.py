"""Forms of arguments that several commands take."""

from __future__ import annotations

import argparse


def picture_size(text: str) -> tuple[int, int]:
    """``512x768``, height first, in pixels."""
    height, separator, width = text.partition("x")
    if not separator or not height.isdecimal() or not width.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} isn't HEIGHTxWIDTH, e.g. 512x512")
    return int(height), int(width)
