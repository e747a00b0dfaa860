"""Palettes: forms for finding objects in prompts, and refusal of what can't be told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fgdm.export.errors import ExportError
from fgdm.export.palettes import read_palette


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


def test_reads_a_file_and_its_own_output(tmp_path: Path) -> None:
    made = read_palette(palette(thing("dog", RED), thing("sky", BLUE, kind="background")))
    path = tmp_path / "palette.json"
    path.write_text(json.dumps(made))
    assert read_palette(path) == made


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
