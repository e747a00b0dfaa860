"""Palette colours that follow a rule."""

from __future__ import annotations


def pascal_voc_color(index: int) -> list[int]:
    """The colour (RGB, 0..255) that PASCAL VOC gives class `index`, which lies in 0..255.

    The index's bits are dealt out to red, green and blue in turn, lowest bit first; each channel
    takes its bits from the highest down. So classes below 64 differ by 64 or more in some channel,
    others by 32 or more. FG-DM colours all its label maps so.
    """
    return [
        sum((index >> (3 * place + channel) & 1) << (7 - place) for place in range(3))
        for channel in range(3)
    ]
