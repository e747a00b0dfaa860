"""Palettes: forms for finding objects in prompts, and refusal of what can't be told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fgdm.export.errors import ExportError
from fgdm.export.palettes import BUILT_IN, read_palette


def thing(name: Any, color: Any, *synonyms: Any, kind: str = "thing") -> dict[str, Any]:
    return {"name": name, "color": color, "kind": kind, "synonyms": list(synonyms)}


def palette(*classes: dict[str, Any]) -> dict[str, Any]:
    return {"name": "p", "classes": list(classes)}


RED, BLUE = [255, 0, 0], [0, 0, 255]


def test_forms_hold_names_synonyms_and_their_plurals() -> None:
    made = read_palette(
        palette(thing("Person", RED, "man", "child"), thing("bench", BLUE, "park  Bench"))
    )
    person, bench = made["classes"]
    assert set(person["forms"]) == {"person", "people", "man", "men", "child", "children"}
    assert set(bench["forms"]) == {"bench", "benches", "park bench", "park benches"}
    assert (person["index"], bench["index"]) == (0, 1)
    assert person["name"] == "Person"


def test_a_plural_that_is_another_class_stays_with_it() -> None:
    person, people = read_palette(palette(thing("person", RED), thing("people", BLUE)))["classes"]
    assert person["forms"] == ["person"]
    assert "people" in people["forms"]


@pytest.mark.parametrize("word", ["stairs", "clothes", "sheep", "series"])
def test_words_that_are_plural_already(word: str) -> None:
    (entry,) = read_palette(palette(thing(word, RED)))["classes"]
    assert entry["forms"] == [word]


def test_forms_are_spelled_as_the_object_finder_reads_a_prompt() -> None:
    (entry,) = read_palette(palette(thing("left_eye", RED, "T-shirt", "t shirt")))["classes"]
    assert entry["forms"] == ["left eye", "t shirt", "left eyes", "t shirts"]
    assert entry["name"] == "left_eye"


def test_colours_may_follow_pascal_vocs_rule() -> None:
    described = {"name": "dog", "kind": "thing"}
    made = read_palette(
        {"name": "p", "colors": "pascal-voc", "classes": [described, thing("sky", [1, 2, 3])]}
    )
    assert [entry["color"] for entry in made["classes"]] == [[0, 0, 0], [1, 2, 3]]
    assert read_palette(made) == made


def test_unknown_rule_for_colours() -> None:
    with pytest.raises(ExportError, match="colors is 'viridis'; expected 'pascal-voc'"):
        read_palette({**palette(thing("dog", RED)), "colors": "viridis"})


def test_reads_a_file_and_its_own_output(tmp_path: Path) -> None:
    made = read_palette(palette(thing("dog", RED), thing("sky", BLUE, kind="background")))
    path = tmp_path / "palette.json"
    path.write_text(json.dumps(made))
    assert read_palette(path) == read_palette(str(path)) == made


def test_a_file_called_like_a_built_in_palette_needs_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("cityscapes").write_text(json.dumps(palette(thing("dog", RED))))
    assert read_palette("cityscapes")["name"] == "cityscapes"
    assert read_palette("./cityscapes")["name"] == read_palette(Path("cityscapes"))["name"] == "p"


def test_a_name_that_is_neither_built_in_nor_a_file() -> None:
    with pytest.raises(ExportError, match=f"JSON file or one of {', '.join(BUILT_IN)}"):
        read_palette("coco")


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ([], "0 classes"),
        ([thing(str(i), [i % 256, 0, 0]) for i in range(256)], "256 classes"),
        ([thing("", RED)], "name is ''"),
        ([thing("dog", [0, 0])], "color is"),
        ([thing("dog", [0, 0, 256])], "color is"),
        ([thing("dog", [0, 0, 1.5])], "color is"),
        ([thing("dog", RED, kind="stuff")], "kind is 'stuff'"),
        ([thing("dog", RED, 7)], "synonyms are"),
        ([thing("dog", RED, "?!")], "synonyms are"),
        ([thing("wall-tile", RED), thing("tile", BLUE, "wall tile")], "wall tile stands for both"),
        ([{"name": "dog", "kind": "thing"}], "color is None"),
        ([thing("dog", RED), thing("cat", RED)], "stands for both dog and cat"),
        ([thing("dog", RED, "pet"), thing("cat", BLUE, "Pet")], "pet stands for both"),
        ([{**thing("dog", RED), "index": 3}], "index is 3; expected 0"),
        (["dog"], "expected an object"),
    ],
)
def test_malformed_classes(classes: list[Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        read_palette({"name": "p", "classes": classes})


@pytest.mark.parametrize("tolerance", [-1, 256, 2.5, "28"])
def test_malformed_tolerance(tolerance: Any) -> None:
    with pytest.raises(ExportError, match="expected 0 to 255"):
        read_palette({**palette(thing("dog", RED)), "tolerance": tolerance})


def test_tolerance_is_the_papers_unless_given() -> None:
    assert read_palette(palette(thing("dog", RED)))["tolerance"] == 28
    assert read_palette({**palette(thing("dog", RED)), "tolerance": 63})["tolerance"] == 63


@pytest.mark.parametrize("text", ["", "[1]", "\x00"])
def test_unreadable_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "palette.json"
    path.write_text(text)
    with pytest.raises(ExportError, match="palette"):
        read_palette(path)
    with pytest.raises(ExportError, match="can't read"):
        read_palette(tmp_path / "missing.json")
