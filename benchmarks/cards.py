"""Pictures on cards, with a line of text under each."""

from __future__ import annotations

from pathlib import Path

from fgdm import drawing
from PIL import Image, ImageDraw

MARGIN, GAP = 24, 16
TITLE = 22
_PAD, _BODY = 10, 16


def card_size(width: int, height: int) -> tuple[int, int]:
    """Of a card for pictures of so many pixels."""
    return width + 2 * _PAD, height + 4 * _PAD + _BODY


def draw_card(
    sheet: Image.Image, corner: tuple[int, int], part: Image.Image, size: tuple[int, int], text: str
) -> None:
    """A card with its upper left corner there: the part in that size, and as much of the text as
    there is room for."""
    left, top = corner
    width, height = card_size(*size)
    draw = ImageDraw.Draw(sheet)
    draw.rounded_rectangle(
        (left, top, left + width, top + height), radius=8, fill=drawing.CARD, outline=drawing.LINE
    )
    sheet.paste(part.resize(size, Image.Resampling.LANCZOS), (left + _PAD, top + _PAD))
    below = (left + _PAD, top + size[1] + 2 * _PAD)
    text = drawing.ellipsize(text, _BODY, size[0])
    draw.text(below, text, font=drawing.font(_BODY), fill=drawing.TEXT)


def save(sheet: Image.Image, path: Path) -> None:
    """As PNG; what is there is replaced at the end."""
    partial = path.with_name(path.name + ".partial")
    sheet.save(partial, format="PNG", optimize=True)
    partial.replace(path)
