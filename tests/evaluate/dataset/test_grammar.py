"""Prompts from templates: read by the engine as they are meant, and the same for a seed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fgdm import _core
from fgdm.errors import RequestError
from fgdm.evaluate.dataset import Grammar, Templates, Words, World
from fgdm.evaluate.dataset.grammar import read_rules
from fgdm.evaluate.dataset.sources import derived_seed

from tests.evaluate.dataset.conftest import SCENES

PALETTE: dict[str, Any] = json.loads((SCENES / "palette.json").read_text())
WORDS = Words.of_palette(PALETTE)


def grammar(*templates: str, **rules: tuple[str, ...]) -> Grammar:
    return Grammar({"prompt": templates, **rules}, WORDS)


def test_every_slot_is_read_by_the_engine_as_it_is_meant() -> None:
    """Things, counts and places of 200 prompts, as the core finds them."""
    made = grammar("{count} {thing} {relation} a {thing} with a {background}")
    palette = json.dumps(PALETTE)
    for seed in range(200):
        prompt = made.expand(seed)
        requested, unrecognized, _, _ = _core.find_objects(palette, prompt)
        assert len(requested) == 3 and not unrecognized, prompt
        text, unread = _core.find_requirements(palette, prompt, True)
        assert unread == [], prompt
        read = json.loads(text)
        assert len(read["relations"]) == 1, prompt
        word = prompt.split()[0]
        count = {"a": 1, "an": 1, "two": 2, "three": 3}[word]
        first = next(one for one in read["objects"] if one["class"] == requested[0])
        assert first["count"] == count, prompt


def test_words_agree_with_their_article_and_number() -> None:
    few = Words.of_palette(PALETTE, ["person", "umbrella", "bus"])
    made = Grammar({"prompt": ("{count} {thing} and a {thing}",)}, few)
    seen = {made.expand(seed) for seed in range(500)}
    assert {"two people and a bus", "an umbrella and a bus", "three buses and an umbrella"} <= seen
    assert not [text for text in seen if "a umbrella" in text or "two person" in text]


def test_rules_lead_to_rules() -> None:
    made = grammar("{scene}, {light}", scene=("a {thing}",), light=("at dusk", "at noon"))
    texts = {made.expand(seed).split(", ")[1] for seed in range(20)}
    assert texts == {"at dusk", "at noon"}


def test_a_prompt_names_no_thing_twice_while_there_are_others() -> None:
    few = Words.of_palette(PALETTE, ["dog", "cat"])
    made = Grammar({"prompt": ("{thing} {thing}",)}, few)
    assert {made.expand(seed) for seed in range(50)} == {"dog cat", "cat dog"}
    again = Grammar({"prompt": ("{thing} {thing} {thing}",)}, few)
    assert len(again.expand(1).split()) == 3


def test_a_seed_has_one_prompt() -> None:
    templates = Templates(grammar("{count} {thing} {relation} a {thing}"))
    prompts = [templates.prompt(3, index).text for index in range(50)]
    assert prompts == [templates.prompt(3, index).text for index in range(50)]
    assert len(set(prompts)) > 40
    assert prompts != [templates.prompt(4, index).text for index in range(50)]


def test_captions_of_the_world_name_what_the_palette_knows() -> None:
    palette = json.dumps(PALETTE)
    for index in range(50):
        prompt = World().prompt(1, index).text
        requested, *_ = _core.find_objects(palette, prompt)
        assert requested, prompt
    assert World().prompt(1, 0) == World().prompt(1, 0) != World().prompt(2, 0)


def test_seeds_are_all_different_and_fit_into_63_bits() -> None:
    seeds = {
        derived_seed(purpose, seed, index, attempt)
        for purpose in ("image", "prompt")
        for seed in range(5)
        for index in range(100)
        for attempt in range(3)
    }
    assert len(seeds) == 3000 and max(seeds) < 2**63
    assert sum(seeds) / len(seeds) == pytest.approx(2**62, rel=0.05)


@pytest.mark.parametrize(
    ("rules", "words"),
    [
        ({}, "no rule 'prompt'"),
        ({"prompt": ("a {thin}",)}, r"slot \{thin\}; there are thing, background"),
        ({"prompt": ("a {thing",)}, "a brace without its other one"),
        ({"prompt": ("{a}",), "a": ("{b}",), "b": ("x {a}",)}, "leads back to itself"),
        ({"prompt": ("x",), "thing": ("x",)}, "'thing' is a slot of its own"),
    ],
)
def test_wrong_grammars(rules: dict[str, tuple[str, ...]], words: str) -> None:
    with pytest.raises(RequestError, match=words):
        Grammar(rules, WORDS)


def test_palettes_without_what_is_asked_for() -> None:
    with pytest.raises(RequestError, match="no palette"):
        Words.of_palette(None)
    with pytest.raises(RequestError, match="'sky' is no thing of this palette, which has person"):
        Words.of_palette(PALETTE, ["sky"])
    only = {"classes": [{"index": 0, "name": "sheep", "color": [1, 2, 3]}]}
    assert Words.of_palette(only).things[0].plural == "sheep"
    with pytest.raises(RequestError, match="asks for a background; the palette has none"):
        Grammar({"prompt": ("{background}",)}, Words.of_palette(only))


def test_files_of_templates(tmp_path: Path) -> None:
    text, rules, wrong = (tmp_path / name for name in ("a.txt", "b.json", "c.json"))
    text.write_text("a {thing}\n\n two {thing} \n", encoding="utf-8")
    assert read_rules(text) == {"prompt": ("a {thing}", "two {thing}")}
    rules.write_text('{"prompt": ["{x}"], "x": ["a", "b"]}', encoding="utf-8")
    assert read_rules(rules) == {"prompt": ("{x}",), "x": ("a", "b")}
    wrong.write_text('{"prompt": "a"}', encoding="utf-8")
    with pytest.raises(RequestError, match="must be a JSON object of rules"):
        read_rules(wrong)
    with pytest.raises(RequestError, match="can't read the grammar"):
        read_rules(tmp_path / "none")
