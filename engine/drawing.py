"""Drawing primitives of the pictures: fonts, fitted text, class chips, cards."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from fgdm.result import Color
from PIL import Image, ImageDraw, ImageFont

PAGE: Color = (246, 247, 249)
CARD: Color = (255, 255, 255)
LINE: Color = (217, 221, 227)
TEXT: Color = (28, 33, 40)
QUIET: Color = (102, 110, 122)
FOUND: Color = (26, 127, 55)
MISSING: Color = (197, 34, 31)
CHOSEN: Color = (9, 92, 214)

# Text longer than this never fits a picture; cutting first keeps huge prompts cheap.
_LONGEST_TEXT = 1000


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Pillow's built-in font, `size` pixels high."""
    return ImageFont.load_default(size)


def text_width(text: str, size: int) -> int:
    """Pixels that `text` takes on one line."""
    return round(font(size).getlength(text))


def ellipsize(text: str, size: int, width: int) -> str:
    """`text` on one line, cut with an ellipsis to at most `width` pixels."""
    text = " ".join(text[:_LONGEST_TEXT].split())
    if text_width(text, size) <= width:
        return text
    cuts = range(len(text))
    fitting = bisect_right(cuts, width, key=lambda cut: text_width(text[:cut] + "...", size))
    return text[: max(0, fitting - 1)].rstrip() + "..."


def wrap(text: str, size: int, width: int, lines: int) -> list[str]:
    """`text` broken at spaces into at most `lines` lines of `width` pixels; the last may be cut."""
    words = text[:_LONGEST_TEXT].split()
    wrapped: list[str] = []
    while words and len(wrapped) < lines - 1:
        count = 1
        while count < len(words) and text_width(" ".join(words[: count + 1]), size) <= width:
            count += 1
        wrapped.append(ellipsize(" ".join(words[:count]), size, width))
        words = words[count:]
    if words:
        wrapped.append(ellipsize(" ".join(words), size, width))
    return wrapped


def enlarge(picture: Image.Image, least: int) -> Image.Image:
    """A map enlarged by a whole factor, pixels kept sharp, until its short side is >= `least`."""
    factor = max(1, -(-least // min(picture.size)))
    size = (picture.width * factor, picture.height * factor)
    return picture.convert("RGB").resize(size, Image.Resampling.NEAREST)


@dataclass(frozen=True)
class Chip:
    """A name after a swatch of its colour, after a cross if it is missing, or after a tick."""

    name: str
    color: Color | None
    missing: bool = False
    met: bool = False


def chip_rows(chips: Sequence[Chip], size: int, width: int) -> list[list[Chip]]:
    """Chips from left to right in rows of at most `width` pixels."""
    rows: list[list[Chip]] = []
    used = 0
    for chip in chips:
        needed = _chip_width(chip, size)
        if not rows or used + needed > width:
            rows.append([])
            used = 0
        rows[-1].append(chip)
        used += needed
    return rows


def draw_chips(
    draw: ImageDraw.ImageDraw, left: int, top: int, rows: Sequence[Sequence[Chip]], size: int
) -> None:
    """Draws `chip_rows` with their upper left corner at (left, top)."""
    for row, chips in enumerate(rows):
        x = left
        y = top + row * chip_row_height(size)
        for chip in chips:
            _draw_chip(draw, x, y, chip, size)
            x += _chip_width(chip, size)


def chip_row_height(size: int) -> int:
    """Pixels from one row of chips to the next."""
    return size + size // 2


def _chip_width(chip: Chip, size: int) -> int:
    return _swatch(size) + size // 3 + text_width(chip.name, size) + size


def _swatch(size: int) -> int:
    return size - 2


def _draw_chip(draw: ImageDraw.ImageDraw, x: int, y: int, chip: Chip, size: int) -> None:
    side = _swatch(size)
    box = (x, y + 2, x + side, y + 2 + side)
    draw.rectangle(box, fill=CARD if chip.missing or chip.met else chip.color, outline=QUIET)
    if chip.missing:
        left, top, right, bottom = x + 3, y + 5, x + side - 3, y + side - 1
        draw.line((left, top, right, bottom), fill=MISSING, width=2)
        draw.line((left, bottom, right, top), fill=MISSING, width=2)
    elif chip.met:
        left, top, right, bottom = x + 3, y + 5, x + side - 3, y + side - 1
        knee = (left + (right - left) // 3, bottom)
        draw.line((left, (top + bottom) // 2, *knee), fill=FOUND, width=2)
        draw.line((*knee, right, top), fill=FOUND, width=2)
    text = (x + side + size // 3, y)
    draw.text(text, chip.name, font=font(size), fill=MISSING if chip.missing else TEXT)


def pill(draw: ImageDraw.ImageDraw, center: tuple[int, int], text: str, size: int) -> None:
    """A filled label around `center`."""
    x, y = center
    half_width = text_width(text, size) // 2 + size * 2 // 3
    half_height = size * 3 // 4
    box = (x - half_width, y - half_height, x + half_width, y + half_height)
    draw.rounded_rectangle(box, radius=half_height, fill=CHOSEN)
    draw.text((x, y), text, font=font(size), fill=CARD, anchor="mm")
