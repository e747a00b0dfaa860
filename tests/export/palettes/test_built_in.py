"""The built-in palettes hold the public class lists in the colours that models were trained on."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import pytest
from fgdm.export.palettes import BUILT_IN, read_palette
from fgdm.export.palettes.reading import DEFAULT_TOLERANCE

COUNTS = {"ade20k": 150, "celebamask": 19, "cityscapes": 34, "coco-stuff": 183}
PAINTED_BY_FG_DM = ("celebamask", "cityscapes", "coco-stuff")

# Categories that COCO numbers but annotates in no image (COCO-Stuff's README lists them).
NEVER_ANNOTATED = {12, 26, 29, 30, 45, 66, 68, 69, 71, 83, 91}

COCO_IDS = {
    1: "person",
    2: "bicycle",
    3: "car",
    18: "dog",
    44: "bottle",
    62: "chair",
    72: "tv",
    90: "toothbrush",
    92: "banner",
    106: "clouds",
    149: "road",
    157: "sky-other",
    173: "wall-other",
    182: "wood",
}
CITYSCAPES_IDS = {
    0: "unlabeled",
    7: "road",
    11: "building",
    21: "vegetation",
    23: "sky",
    24: "person",
    26: "car",
    33: "bicycle",
}

# From the ADE20K palette of the repository that trained sd-controlnet-seg.
ADE20K_COLORS = {
    "wall": (120, 120, 120),
    "building": (180, 120, 120),
    "sky": (6, 230, 230),
    "floor": (80, 50, 50),
    "tree": (4, 200, 3),
    "ceiling": (120, 120, 80),
    "road": (140, 140, 140),
    "bed": (204, 5, 255),
    "windowpane": (230, 230, 230),
    "grass": (4, 250, 7),
    "person": (150, 5, 61),
    "earth": (120, 120, 70),
    "table": (255, 6, 82),
    "mountain": (143, 255, 140),
    "chair": (204, 70, 3),
    "car": (0, 102, 200),
    "water": (61, 230, 250),
    "sofa": (11, 102, 255),
    "house": (255, 9, 224),
    "sea": (9, 7, 230),
    "boat": (173, 255, 0),
    "airplane": (0, 255, 82),
    "animal": (255, 0, 122),
    "clock": (102, 255, 0),
    "flag": (92, 0, 255),
}


@functools.cache
def palette(name: str) -> dict[str, Any]:
    return read_palette(name)


def names(palette_name: str) -> list[str]:
    return [entry["name"] for entry in palette(palette_name)["classes"]]


def colors(palette_name: str) -> dict[str, tuple[int, ...]]:
    return {entry["name"]: tuple(entry["color"]) for entry in palette(palette_name)["classes"]}


def least_distance(palette_name: str) -> int:
    """Of any two colours, in the channel where they differ most."""
    return min(
        max(abs(one - other) for one, other in zip(*pair, strict=True))
        for pair in itertools.combinations(colors(palette_name).values(), 2)
    )


def test_counts() -> None:
    assert {name: len(names(name)) for name in BUILT_IN} == COUNTS


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_palette_is_called_as_it_is_asked_for(name: str) -> None:
    assert palette(name)["name"] == name


@pytest.mark.parametrize("name", BUILT_IN)
def test_no_two_classes_share_a_name_colour_or_form(name: str) -> None:
    classes = palette(name)["classes"]
    forms = [form for entry in classes for form in entry["forms"]]
    assert len(set(forms)) == len(forms)
    assert len(set(names(name))) == len(set(colors(name).values())) == len(classes)


def test_coco_stuff_is_in_the_order_of_its_ids_with_unlabeled_last() -> None:
    listed = names("coco-stuff")
    assert {number: listed[number - 1] for number in COCO_IDS} == COCO_IDS
    assert listed[182] == "unlabeled"
    stuff = listed[91:182]
    assert stuff == sorted(stuff), "COCO-Stuff lists its 91 stuff classes alphabetically"
    kinds = [entry["kind"] for entry in palette("coco-stuff")["classes"]]
    assert kinds == ["thing"] * 91 + ["background"] * 92


def test_coco_stuff_classes_without_annotation_take_no_words() -> None:
    """A map never holds them, so a prompt must not ask for them."""
    classes = palette("coco-stuff")["classes"]
    unused = [entry for entry in classes if entry["name"].endswith("-unused")]
    assert {entry["index"] + 1 for entry in unused} == NEVER_ANNOTATED
    assert all("unused" in form for entry in unused for form in entry["forms"])


@pytest.mark.parametrize("name", PAINTED_BY_FG_DM)
def test_fg_dm_paints_maps_in_pascal_vocs_colours(name: str) -> None:
    listed = list(colors(name).values())
    # Class 0 is black; 1, 2 and 4 are full-size steps in one channel, 8 a half step in red.
    expected = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
    assert listed[:5] == expected
    assert listed[8] == (64, 0, 0)


def test_coco_stuff_colours_by_hand() -> None:
    assert colors("coco-stuff")["person"] == (0, 0, 0)
    assert colors("coco-stuff")["dog"] == (128, 64, 0)  # 17 = 0b10001
    assert colors("coco-stuff")["wood"] == (128, 96, 192)  # 181 = 0b10110101
    assert colors("coco-stuff")["unlabeled"] == (0, 224, 192)  # 182 = 0b10110110
    assert least_distance("coco-stuff") == 32


def test_ade20k_has_the_colours_of_sd_controlnet_seg() -> None:
    listed = colors("ade20k")
    assert {name: listed[name] for name in ADE20K_COLORS} == ADE20K_COLORS
    assert sum(entry["kind"] == "background" for entry in palette("ade20k")["classes"]) == 50


def test_ade20k_skyscraper_is_one_level_off_the_road_that_it_shares_a_colour_with() -> None:
    listed = colors("ade20k")
    assert listed["road"] == (140, 140, 140)
    assert listed["skyscraper"] == (140, 140, 141)


def test_cityscapes_is_in_the_order_of_its_ids() -> None:
    listed = names("cityscapes")
    assert {number: listed[number] for number in CITYSCAPES_IDS} == CITYSCAPES_IDS


def test_celebamask_is_in_the_order_of_its_labels() -> None:
    listed = names("celebamask")
    order = ["background", "skin", "nose", "eye_glasses"]
    assert listed[:4] == order
    assert (listed[13], listed[17], listed[18]) == ("hair", "neck", "cloth")


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_tolerance_reaches_as_far_as_no_colour_has_two_classes(name: str) -> None:
    """FG-DM's 28, or more where colours lie farther apart: half their least distance, exclusive."""
    unambiguous = (least_distance(name) - 1) // 2
    assert palette(name)["tolerance"] == max(DEFAULT_TOLERANCE, unambiguous)
