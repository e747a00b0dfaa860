"""Protects what the pictures tell: every map is there, whole, and exactly one is marked chosen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from fgdm import drawing
from fgdm.drawing import Chip
from fgdm.pictures import candidates_picture, overview_picture
from fgdm.result import Color, Result
from PIL import Image

MakeResult = Callable[..., Result]


def pixels_of(picture: Image.Image, color: Color) -> np.ndarray:
    """Where the picture has exactly this colour, (h, w) bool."""
    return np.asarray(np.all(np.asarray(picture) == color, axis=2))


def box_of(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a mask's true pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])


@pytest.mark.parametrize("map_size", [(64, 64), (256, 256), (128, 64), (7, 100)])
def test_every_map_is_shown_whole_by_a_whole_factor(
    make_result: MakeResult, map_size: tuple[int, int]
) -> None:
    result = make_result(map_size=map_size)
    sheet = candidates_picture(result)
    for candidate in result.candidates:
        color = candidate.map.getpixel((0, 0))
        assert isinstance(color, tuple)
        left, top, right, bottom = box_of(pixels_of(sheet, (color[0], color[1], color[2])))
        width, height = right - left + 1, bottom - top + 1
        assert min(width, height) >= 192
        assert width % map_size[0] == 0 and width // map_size[0] == height // map_size[1]
        shown = pixels_of(sheet, (color[0], color[1], color[2]))[top : bottom + 1, left : right + 1]
        assert shown.all()  # nothing is drawn over it


@pytest.mark.parametrize("best", [0, 3, 6, 11])
def test_the_border_of_the_chosen_color_encloses_the_chosen_map_alone(
    make_result: MakeResult, best: int
) -> None:
    found = [("dog", "house") if index == best else ("dog",) for index in range(12)]
    result = make_result(found=found, requested=("dog", "house"))
    assert result.chosen == best
    sheet = candidates_picture(result)
    left, top, right, bottom = box_of(pixels_of(sheet, drawing.CHOSEN))
    inside = []
    for candidate in result.candidates:
        color = candidate.map.getpixel((0, 0))
        assert isinstance(color, tuple)
        box = box_of(pixels_of(sheet, (color[0], color[1], color[2])))
        if left < box[0] and top < box[1] and box[2] < right and box[3] < bottom:
            inside.append(candidate.index)
    assert inside == [best]


def test_missing_classes_have_their_own_color_and_found_ones_their_swatch(
    make_result: MakeResult,
) -> None:
    complete = candidates_picture(make_result(found=[("dog", "house", "tree")]))
    assert not pixels_of(complete, drawing.MISSING).any()
    assert pixels_of(complete, drawing.FOUND).any()
    assert pixels_of(complete, (128, 0, 128)).any()
    partial = candidates_picture(make_result(found=[("dog", "tree")]))
    assert pixels_of(partial, drawing.MISSING).any()
    assert not pixels_of(partial, drawing.FOUND).any()
    assert not pixels_of(partial, (128, 0, 128)).any()


@pytest.mark.parametrize("count", [1, 2, 5, 10, 23, 100])
def test_any_number_of_maps_fits(make_result: MakeResult, count: int) -> None:
    """Each of them whole; of a hundred, 36 have the colour of an earlier one."""
    result = make_result(found=[("dog",)] * count)
    sheet = candidates_picture(result)
    assert max(sheet.size) < 4000
    colors = Counter(candidate.map.getpixel((0, 0)) for candidate in result.candidates)
    for color, maps in colors.items():
        assert isinstance(color, tuple)
        assert pixels_of(sheet, (color[0], color[1], color[2])).sum() == maps * 192 * 192


@pytest.mark.parametrize(
    "prompt", ["", "x" * 100_000, "word " * 100_000, "a\nb\x00\u202e", "🐕 龍 كلب"]
)
def test_odd_prompts_keep_the_sheet_within_bounds(make_result: MakeResult, prompt: str) -> None:
    """What is below the prompt is drawn as below any other, and the prompt keeps its margins."""
    sheet = candidates_picture(make_result(prompt=prompt, unrecognized=[prompt] * 50))
    assert sheet.height < 900
    usual = candidates_picture(make_result())
    assert sheet.width == usual.width
    cards = (0, usual.height - 250, usual.width, usual.height)
    below = (0, sheet.height - 250, sheet.width, sheet.height)
    assert sheet.crop(below).tobytes() == usual.crop(cards).tobytes()
    for left in (0, sheet.width - 20):
        margin = np.asarray(sheet.crop((left, 0, left + 20, sheet.height - 250)))
        assert (margin == drawing.PAGE).all()


def test_nothing_requested_and_unknown_colors_are_drawn(make_result: MakeResult) -> None:
    nothing = candidates_picture(make_result(found=[()], requested=()))
    for color in (drawing.FOUND, drawing.MISSING):  # of recall and classes
        assert not pixels_of(nothing, color).any()
    assert pixels_of(nothing, (0, 200, 40)).sum() == 192 * 192
    unknown = candidates_picture(make_result(found=[("yak",)], requested=("yak", "gnu")))
    found = candidates_picture(make_result(found=[("yak", "gnu")], requested=("yak", "gnu")))
    assert pixels_of(unknown, drawing.MISSING).any()
    assert not pixels_of(found, drawing.MISSING).any()


def test_overview_holds_the_sheet_and_the_image(make_result: MakeResult) -> None:
    result = make_result()
    sheet = np.asarray(candidates_picture(result))
    overview = overview_picture(result)
    assert (np.asarray(overview)[:, : sheet.shape[1]] == sheet).all()
    image = pixels_of(overview, (1, 2, 3))
    left, top, right, bottom = box_of(image)
    assert left > sheet.shape[1] and right < overview.width
    assert right - left + 1 >= result.image.width
    assert right - left == bottom - top and image[top : bottom + 1, left : right + 1].all()


def test_the_sheet_says_what_no_recall_chose(make_result: MakeResult) -> None:
    result = make_result(found=[()], requested=())
    sampled = result.candidates[0]
    pictures = {
        candidates_picture(replace(result, candidates=(candidate,))).tobytes()
        for candidate in (
            sampled,
            replace(sampled, steps=0),  # a map that was given
            replace(sampled, labels=np.zeros((0, 0), np.uint8)),  # of a factor of pictures
        )
    }
    assert len(pictures) == 3


def test_text_is_fitted_to_its_width() -> None:
    assert drawing.ellipsize("short", 16, 400) == "short"
    cut = drawing.ellipsize("a much longer line than fits", 16, 100)
    assert cut.endswith("...") and drawing.text_width(cut, 16) <= 100
    wrapped = drawing.wrap("one two three four five six seven eight nine ten", 16, 90, lines=3)
    assert len(wrapped) == 3 and wrapped[-1].endswith("...")
    assert all(drawing.text_width(line, 16) <= 90 for line in wrapped)


def test_chips_break_into_rows_and_keep_their_order() -> None:
    chips = [Chip(name, (0, 0, 0)) for name in ("dog", "park bench", "tree", "x" * 60)]
    rows = drawing.chip_rows(chips, 15, 180)
    assert [chip for row in rows for chip in row] == chips
    assert len(rows) > 1
