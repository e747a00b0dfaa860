"""Prompts for faces ask for what hand-written labels say, and nothing of them is dropped."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import pytest
from fgdm.export.palettes import read_palette

core = pytest.importorskip("fgdm._core", reason="the compiled core isn't built")

PROMPTS = Path(__file__).with_name("face_prompts.txt")


def labelled_prompts() -> list[tuple[str, frozenset[str]]]:
    """Prompts and their labels, in the words that the file explains."""
    made = []
    for line in PROMPTS.read_text().splitlines():
        prompt, bar, labels = line.partition(" | ")
        if bar and not line.startswith("#"):
            made.append((prompt, frozenset(label.strip() for label in labels.split(";"))))
    return made


@functools.cache
def palette_json() -> str:
    return json.dumps(read_palette("celebamask"))


def reading(prompt: str) -> frozenset[str]:
    """What the core reads, in the words of the labels."""
    text, not_understood = core.find_requirements(palette_json(), prompt, False)
    required: dict[str, list[Any]] = json.loads(text)
    said = {f"!{name}" for name in required["absent"]}
    for entry in required["objects"]:
        if isinstance(entry, str):
            said.add(entry)
        elif "color" in entry:
            said.add(f"{entry['class']}:{entry['color']}")
        else:
            said |= {entry["class"], f"{entry['class']}={entry['count']}"}
    for one in required.get("attributes", ()):
        said.add("~!" + one.removeprefix("no ") if one.startswith("no ") else f"~{one}")
    said |= {f"{one['subject']} {one['relation']} {one['object']}" for one in required["relations"]}
    said |= {f"?{words}" for words in not_understood}
    said |= {f"-{word}" for word in core.find_objects(palette_json(), prompt)[1]}
    return frozenset(said)


def test_there_are_enough_labelled_prompts() -> None:
    assert len(labelled_prompts()) >= 40


@pytest.mark.parametrize(("prompt", "labels"), labelled_prompts())
def test_a_prompt_for_a_face_asks_for_its_labels(prompt: str, labels: frozenset[str]) -> None:
    assert reading(prompt) == labels


# The attributes that CelebA annotates (Liu et al., ICCV 2015), as its files call them.
CELEBA = """
5_o_Clock_Shadow Arched_Eyebrows Attractive Bags_Under_Eyes Bald Bangs Big_Lips Big_Nose Black_Hair
Blond_Hair Blurry Brown_Hair Bushy_Eyebrows Chubby Double_Chin Eyeglasses Goatee Gray_Hair
Heavy_Makeup High_Cheekbones Male Mouth_Slightly_Open Mustache Narrow_Eyes No_Beard Oval_Face
Pale_Skin Pointy_Nose Receding_Hairline Rosy_Cheeks Sideburns Smiling Straight_Hair Wavy_Hair
Wearing_Earrings Wearing_Hat Wearing_Lipstick Wearing_Necklace Wearing_Necktie Young
"""


def documented() -> list[list[str]]:
    """The cells of the table of CelebA's attributes."""
    text = Path(__file__).parents[3].joinpath("docs", "compliance.md").read_text()
    rows = text.partition("| CelebA's attribute |")[2].splitlines()[2:]
    made = []
    for row in rows:
        if not row.startswith("| "):
            break
        made.append([cell.strip() for cell in row.strip("|").split("|")])
    return made


def test_the_documentation_has_every_attribute_of_celeba() -> None:
    assert [row[0] for row in documented()] == CELEBA.split()
    assert len(documented()) == 40


@pytest.mark.parametrize(("attribute", "prompt", "checked", "unchecked"), documented())
def test_the_documentation_says_what_is_read(
    attribute: str, prompt: str, checked: str, unchecked: str
) -> None:
    read = reading(prompt)
    told = {one for one in read if one[0] in "~:" or ":" in one}
    required = {one.replace("!", "no ") for one in read - told}
    assert required == {one for one in checked.split(", ") if one}, attribute
    words = set()
    for one in told:
        label, colored, color = one.removeprefix("~").partition(":")
        words.add(f"{color} {label}" if colored else label.replace("!", "no "))
    assert words == {one for one in unchecked.split(", ") if one}, attribute


def test_the_documentation_counts_what_a_map_decides() -> None:
    decided = sum(bool(checked) and not unchecked for _, _, checked, unchecked in documented())
    partly = sum(bool(checked) and bool(unchecked) for _, _, checked, unchecked in documented())
    text = Path(__file__).parents[3].joinpath("docs", "compliance.md").read_text()
    sentence = f"decides {decided}, checks the classes of {partly} and nothing of "
    assert sentence + f"{40 - decided - partly}:" in text
