"""Pictures that explain a result: the contact sheet of its candidates, alone or with the image."""

from __future__ import annotations

import math

from fgdm import drawing
from fgdm.drawing import Chip
from fgdm.factor_result import Candidate
from fgdm.result import Result
from PIL import Image, ImageDraw

_MAP_SIDE = 192  # pixels: the least side of a map on the sheet
_LEAST_WIDTH = 440
_MARGIN = 24
_GAP = 16
_PAD = 12  # inside a card
_ARROW = 72
_TITLE = 26
_BODY = 17
_CHIP = 15


def candidates_picture(result: Result) -> Image.Image:
    """A contact sheet: every candidate with its recall, its found and missing classes, and a tick
    or a cross for each other requirement that a map can meet.

    Under the prompt, one card a candidate in the order of their indices. Missing classes are
    crossed out; the chosen card has a border and a label that says so.
    """
    maps = [drawing.enlarge(candidate.map, _MAP_SIDE) for candidate in result.candidates]
    map_width, map_height = maps[0].size
    columns = _columns(len(maps))
    chips = [
        drawing.chip_rows(_candidate_chips(result, candidate), _CHIP, map_width)
        for candidate in result.candidates
    ]
    chip_height = max(len(rows) for rows in chips) * drawing.chip_row_height(_CHIP)
    card_width = map_width + 2 * _PAD
    card_height = _PAD + map_height + _PAD + _BODY + 10 + chip_height + _PAD
    width = 2 * _MARGIN + max(columns * card_width + (columns - 1) * _GAP, _LEAST_WIDTH)
    header = _header(result, width)
    rows = math.ceil(len(maps) / columns)
    height = header.height + rows * card_height + (rows - 1) * _GAP + _MARGIN

    sheet = Image.new("RGB", (width, height), drawing.PAGE)
    sheet.paste(header, (0, 0))
    draw = ImageDraw.Draw(sheet)
    for position, candidate in enumerate(result.candidates):
        row, column = divmod(position, columns)
        left = _MARGIN + column * (card_width + _GAP)
        top = header.height + row * (card_height + _GAP)
        box = (left, top, left + card_width, top + card_height)
        _draw_card(draw, box, chosen=position == result.chosen)
        sheet.paste(maps[position], (left + _PAD, top + _PAD))
        text_top = top + _PAD + map_height + _PAD
        _draw_recall(draw, left + _PAD, text_top, map_width, candidate)
        drawing.draw_chips(draw, left + _PAD, text_top + _BODY + 10, chips[position], _CHIP)
        if position == result.chosen:
            drawing.pill(draw, (left + card_width // 2, top - 2), "chosen", _BODY)
    return sheet


def overview_picture(result: Result) -> Image.Image:
    """The contact sheet, an arrow, and the painted image beside it: a request at one glance."""
    sheet = candidates_picture(result)
    top = _header(result, sheet.width).height
    room = sheet.height - _MARGIN - top
    side = min(room - _PAD - _BODY, 640)
    scale = side / max(result.image.size)
    size = (round(result.image.width * scale), round(result.image.height * scale))
    painted = result.image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    left = sheet.width + _ARROW + _MARGIN
    middle = top + room // 2

    width = left + painted.width + _MARGIN
    overview = Image.new("RGB", (width, sheet.height), drawing.PAGE)
    overview.paste(sheet, (0, 0))
    draw = ImageDraw.Draw(overview)
    _draw_arrow(draw, sheet.width, sheet.width + _ARROW, middle)
    top = middle - (painted.height + _PAD + _BODY) // 2
    overview.paste(painted, (left, top))
    frame = (left - 5, top - 5, left + painted.width + 4, top + painted.height + 4)
    draw.rectangle(frame, outline=drawing.CHOSEN, width=5)
    text = drawing.ellipsize("the painted image", _BODY, painted.width)
    below = (left, top + painted.height + _PAD)
    draw.text(below, text, font=drawing.font(_BODY), fill=drawing.QUIET)
    return overview


def _columns(count: int) -> int:
    """Up to five maps in one row; more make a sheet twice as wide as high, at most ten wide."""
    return min(count, max(5, min(10, math.ceil(math.sqrt(2 * count)))))


def _candidate_chips(result: Result, candidate: Candidate) -> list[Chip]:
    missing = set(candidate.missing)
    chips = [Chip(name, result.colors.get(name), name in missing) for name in result.requested]
    return chips + [
        Chip(one.text, None, missing=not met, met=met)
        for one, met in zip(result.requirements, candidate.met, strict=False)
        if one.kind != "present" and met is not None
    ]


def _header(result: Result, width: int) -> Image.Image:
    """The prompt, and what of it is looked for."""
    room = width - 2 * _MARGIN
    prompt = drawing.wrap(f"“{result.prompt}”", _TITLE, room, lines=2)
    notes = drawing.wrap(_summary(result), _BODY, room, lines=3)
    if result.unrecognized:
        note = "not in the palette: " + ", ".join(result.unrecognized)
        notes += drawing.wrap(note, _BODY, room, lines=2)
    height = _MARGIN + len(prompt) * (_TITLE + 8) + len(notes) * (_BODY + 8) + _GAP
    header = Image.new("RGB", (width, height), drawing.PAGE)
    draw = ImageDraw.Draw(header)
    y = _MARGIN
    for line in prompt:
        draw.text((_MARGIN, y), line, font=drawing.font(_TITLE), fill=drawing.TEXT)
        y += _TITLE + 8
    for note in notes:
        draw.text((_MARGIN, y), note, font=drawing.font(_BODY), fill=drawing.QUIET)
        y += _BODY + 8
    return header


def _summary(result: Result) -> str:
    count = len(result.candidates)
    maps = "1 map" if count == 1 else f"{count} maps"
    if not result.candidates[result.chosen].steps:
        return "the map was given"
    if not result.labels.size:
        return f"{maps}; the first one is painted"
    if not result.requested:
        return f"{maps}; no class of the palette is requested, so the first one is painted"
    classes = ", ".join(result.requested)
    return f"{maps}, searched for {classes}; the best one is painted"


def _draw_card(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], *, chosen: bool) -> None:
    if chosen:
        draw.rounded_rectangle(box, radius=8, fill=drawing.CARD, outline=drawing.CHOSEN, width=5)
    else:
        draw.rounded_rectangle(box, radius=8, fill=drawing.CARD, outline=drawing.LINE)


def _draw_recall(
    draw: ImageDraw.ImageDraw, left: int, top: int, width: int, candidate: Candidate
) -> None:
    """The map's number, and where it was left, on the left; found / requested on the right."""
    font = drawing.font(_BODY)
    left_at = f", step {candidate.steps}" if candidate.pruned else ""
    if candidate.failed:
        left_at = f", failed at step {candidate.steps}"
    if candidate.refused:
        left_at = ", refused"
    draw.text((left, top), f"map {candidate.index + 1}{left_at}", font=font, fill=drawing.QUIET)
    requested = len(candidate.found) + len(candidate.missing)
    if not requested:
        return
    text = f"recall {len(candidate.found)}/{requested}"
    color = drawing.MISSING if candidate.missing else drawing.FOUND
    draw.text((left + width - drawing.text_width(text, _BODY), top), text, font=font, fill=color)


def _draw_arrow(draw: ImageDraw.ImageDraw, left: int, right: int, middle: int) -> None:
    draw.line((left, middle, right - 20, middle), fill=drawing.CHOSEN, width=10)
    head = [(right - 28, middle - 26), (right, middle), (right - 28, middle + 26)]
    draw.polygon(head, fill=drawing.CHOSEN)
