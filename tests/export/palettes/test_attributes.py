"""Attributes of palettes: what a bundle stores of them, and refusal of what can't be meant."""

from __future__ import annotations

from typing import Any

import pytest
from fgdm.export.errors import ExportError
from fgdm.export.palettes import read_palette

CLASSES = [
    {"name": "hair", "color": [1, 0, 0], "kind": "background"},
    {"name": "left_eye", "color": [2, 0, 0], "kind": "thing", "synonyms": ["eye"]},
    {"name": "right_eye", "color": [3, 0, 0], "kind": "thing"},
]


def palette(*attributes: Any) -> dict[str, Any]:
    return {"name": "p", "classes": CLASSES, "attributes": list(attributes)}


def test_what_is_left_out_is_filled_in() -> None:
    made = read_palette(
        palette(
            {"name": "bald", "words": ["Bald", "shaved-head"], "absent": ["hair"]},
            {"name": "young", "shown": False},
        )
    )
    bald, young = made["attributes"]
    assert bald == {
        "name": "bald",
        "words": ["bald", "shaved head"],
        "present": [],
        "absent": ["hair"],
        "shown": True,
    }
    assert (young["words"], young["shown"]) == (["young"], False)
    assert read_palette(made) == made, "a bundle's palette can be exported again"


def test_a_plural_that_an_attribute_claims_is_no_form_of_one_class() -> None:
    made = read_palette(palette({"name": "eyes", "present": ["left_eye", "right_eye"]}))
    assert "eyes" not in made["classes"][1]["forms"]
    assert "eyes" in read_palette({"name": "p", "classes": CLASSES})["classes"][1]["forms"]


def test_a_palette_without_attributes_is_stored_without() -> None:
    assert "attributes" not in read_palette({"name": "p", "classes": CLASSES})


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({}, "attributes are {}; expected a list"),
        (["bald"], "attribute 0 is 'bald'; expected an object"),
        ([{"name": ""}], "name is ''"),
        ([{"name": "bald"}], "shown by no class"),
        ([{"name": "bald", "absent": ["hat"]}], "speaks of hat, which is no class"),
        ([{"name": "bald", "absent": "hair"}], "absent is 'hair'; expected a list"),
        ([{"name": "a", "present": ["hair"], "absent": ["hair"]}], "hair is both"),
        ([{"name": "a", "words": [], "shown": False}], "expected one or more"),
        ([{"name": "a", "words": ["?!"], "shown": False}], "none of them empty"),
        ([{"name": "a", "shown": "no"}], "shown is 'no'"),
        ([{"name": "a", "show": False}], "has 'show'; expected name, words"),
        ([{"name": "a", "shown": False}] * 2, "a stands for the attributes a and a"),
        (
            [{"name": "a", "words": ["w"], "shown": False}, {"name": "w", "shown": False}],
            "w stands for the attributes a and w",
        ),
    ],
)
def test_malformed_attributes(attributes: Any, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        read_palette({"name": "p", "classes": CLASSES, "attributes": attributes})
