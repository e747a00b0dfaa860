"""Recolouring tables name every class of one palette and only classes of the other."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fgdm.export.errors import ExportError
from fgdm.export.palettes import mapping, read_palette
from fgdm.export.palettes.built_in import TABLES
from fgdm.export.palettes.mappings import check_mapping

DOG_CAT = ("dog", "cat")


def palette(name: str, *classes: str) -> dict[str, Any]:
    return {
        "name": name,
        "classes": [
            {"name": entry, "color": [index, 0, 0], "kind": "thing"}
            for index, entry in enumerate(classes)
        ],
    }


@pytest.mark.parametrize("names", TABLES)
def test_tables_are_complete_and_in_the_palettes_order(names: tuple[str, str]) -> None:
    source, target = map(read_palette, names)
    table = mapping(*names)
    assert list(table) == [entry["name"] for entry in source["classes"]]
    assert set(table.values()) <= {entry["name"] for entry in target["classes"]} | {None}


@pytest.mark.parametrize("names", TABLES)
def test_classes_with_equal_names_stand_for_each_other(names: tuple[str, str]) -> None:
    source, target = map(read_palette, names)
    shared = {entry["name"] for entry in source["classes"]} & {
        entry["name"] for entry in target["classes"]
    }
    table = mapping(*names)
    assert {name: table[name] for name in shared} == {name: name for name in shared}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("couch", "sofa"),
        ("tv", "television receiver"),
        ("motorcycle", "minibike"),
        ("dog", "animal"),
        ("pizza", "food"),
        ("sky-other", "sky"),
        ("wall-brick", "wall"),
        ("window-other", "windowpane"),
        ("pavement", "sidewalk"),
        ("train", None),
        ("toothbrush", None),
        ("unlabeled", None),
    ],
)
def test_coco_stuff_to_ade20k(name: str, expected: str | None) -> None:
    assert mapping("coco-stuff", "ade20k")[name] == expected


def test_a_palette_of_a_bundle_gets_the_table_of_its_name() -> None:
    stored = json.loads(json.dumps(read_palette("coco-stuff")))
    assert mapping(stored, "ade20k") == mapping("coco-stuff", "ade20k")


def test_other_palettes_are_matched_by_name() -> None:
    made = mapping(palette("mine", "dog", "bench"), palette("yours", "tree", "dog"))
    assert made == {"dog": "dog", "bench": None}


def test_palettes_with_nothing_in_common() -> None:
    with pytest.raises(ExportError, match="mine and yours share no class name"):
        mapping(palette("mine", "dog"), palette("yours", "tree"))


def test_a_palette_that_only_has_the_name_of_a_built_in_one() -> None:
    with pytest.raises(ExportError, match="names classes that coco-stuff lacks: bicycle"):
        mapping(palette("coco-stuff", "person"), "ade20k")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"dog": "animal"}, "leaves out classes of from: cat;"),
        ({"dog": None, "cat": None, "cow": None, "ox": None}, "that from lacks: cow, ox;"),
        ({"dog": "animal", "cat": "pet"}, "that to lacks: pet;"),
    ],
)
def test_tables_that_do_not_fit(table: dict[str, str | None], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        check_mapping(table, palette("from", *DOG_CAT), palette("to", "animal"))


def test_a_table_that_fits() -> None:
    check_mapping(
        {"dog": "animal", "cat": None}, palette("from", *DOG_CAT), palette("to", "animal")
    )
