"""What a prompt asks for beside objects, on the page: counts, places, absences, colours."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright isn't installed")

import fgdm
from fgdm.engine import Engine
from playwright.sync_api import expect

from tests.studio.conftest import (
    SIDE,
    Opened,
    Watched,
    chips,
    click_cell,
    index,
    open_map,
    palette_picture,
    until_painted,
    write_prompt,
)

PROMPT = "two dogs to the left of a red house, no people, near a tree"
FURTHER = ["2 × dog", "red house", "2 × dog left of house", "no person"]


def test_what_is_asked_for_can_be_changed(studio: Watched) -> None:
    page = studio.page
    write_prompt(page, PROMPT)
    asked = page.locator("#objects .chip")
    expect(asked).to_have_text(["dog", "house", "tree", *FURTHER])
    expect(page.locator("#objects-note")).to_contain_text("near a tree")
    page.click("#objects [aria-label='Remove red house']")
    page.click("#objects [aria-label='Remove 2 × dog']")
    page.click("#objects [aria-label='Remove tree']")
    page.fill("#object-add", "zeppelin")
    page.press("#object-add", "Enter")
    expect(page.locator("#objects-note")).to_contain_text("no class zeppelin")
    page.fill("#object-add", "people")
    page.press("#object-add", "Enter")
    expect(asked).to_have_text(["dog", "house", "person", "dog left of house"])
    page.click("#objects [aria-label='Remove house']")
    expect(asked).to_have_text(["dog", "person"])
    page.click("#generate")
    until_painted(page)
    body = studio.bodies[-1]
    assert body["requirements"] == {"objects": ["dog", "person"], "relations": [], "absent": []}
    assert body["select"] == "compliance" and "objects" not in body
    page.click("#objects-reset")
    expect(asked).to_have_count(7)
    write_prompt(page, "a dog beside a house and two dogs under a tree")
    expect(asked).to_have_text(
        [
            *["dog", "house", "tree", "at least 3 × dog"],
            *["dog beside house", "2 × other dog under tree"],
        ]
    )
    page.click("#objects [aria-label='Remove tree']")
    expect(asked).to_have_text(["dog", "house", "at least 3 × dog", "3 × dog beside house"])


def test_candidates_tell_what_they_meet(studio: Watched, engine: Engine) -> None:
    """Each has a tick, a cross or a dash for each requirement, as the engine says; the one that
    meets most is painted, or, where recall alone decides, the one that the engine paints then."""
    page = studio.page
    write_prompt(page, PROMPT, candidates=4, seed=3)
    for choice in ("compliance", "recall"):
        page.select_option("#select", choice)
        page.click("#generate")
        until_painted(page)
        result = engine.generate(
            PROMPT,
            candidates=4,
            condition_steps=2,
            num_inference_steps=2,
            seed=3,
            select=choice,
            stop_at_recall=0 if choice == "recall" else None,
            stop_at_compliance=0 if choice == "compliance" else None,
        )
        kinds = [one.kind for one in result.requirements]
        first = kinds.index("count")
        for shown, candidate in zip(
            page.locator(".candidate").all(), result.candidates, strict=True
        ):
            signs = shown.locator(".further > span").evaluate_all(
                "all => all.map(s => s.className)"
            )
            words = {True: "met", False: "unmet", None: "unchecked"}
            assert signs == [words[met] for met in candidate.met[first:]]
            label = shown.get_attribute("aria-label") or ""
            assert label.count(": met") == signs.count("met")
            assert label.count(": not met") == signs.count("unmet")
            assert shown.locator(".further .icon").count() == len(signs)
        painted = page.locator(".candidate").nth(result.chosen).locator(".badge")
        expect(painted).to_have_text("painted")
        # The history says the same of the painted one.
        further = [met for met in result.met[first:] if met is not None]
        expect(page.locator("#history li").first.locator(".quiet")).to_have_text(
            f"Seed 3 · recall {len(result.found)} of {len(result.requested)} · "
            f"{sum(further)} of {len(further)} further"
        )


def test_maps_that_are_not_painted_say_why(open_page: Opened, engine: Engine) -> None:
    """A request's filters refuse maps; the strip marks them, whatever else they hold."""
    quick = {"candidates": 3, "condition_steps": 2, "num_inference_steps": 2}
    request = {"prompt": "a dog beside a house", "seed": 3, "forbid": ["person"], **quick}
    page = open_page().page
    link = page.evaluate("async (r) => (await import('/studio/link.js')).toHash(r)", request)
    page = open_page("/" + link).page
    expect(page.locator("#extra")).to_contain_text("forbid")
    page.click("#generate")
    until_painted(page)
    result = engine.generate(
        "a dog beside a house",
        seed=3,
        forbid=["person"],
        candidates=3,
        condition_steps=2,
        num_inference_steps=2,
        stop_at_recall=0,
    )
    refused = [candidate.refused for candidate in result.candidates]
    assert "person" in refused and not refused[result.chosen]
    shown = page.locator(".candidate")
    assert shown.locator(".refused").all_inner_texts() == [
        f"not painted: {what}" if what else "" for what in refused
    ]
    for what, label in zip(
        refused,
        shown.evaluate_all("all => all.map((each) => each.getAttribute('aria-label'))"),
        strict=True,
    ):
        assert ("not painted: person" in label) == bool(what)
    expect(shown.nth(result.chosen).locator(".badge")).to_have_text("painted")


def test_the_answer_follows_the_map(studio: Watched, engine: Engine) -> None:
    page = studio.page
    write_prompt(page, "two dogs left of a red house, no people")
    labels = np.full((SIDE, SIDE), index(engine, "grass"), np.uint8)
    labels[30:44, 44:60] = index(engine, "house")
    labels[36:44, 4:14] = index(engine, "dog")
    labels[30:44, 34:38] = index(engine, "person")
    open_map(page, palette_picture(engine, labels))
    text = page.locator("#recall strong")
    expect(text).to_have_text("All objects are there, and 0 of 3 further requirements are met")
    assert chips(page, ".chip") == {
        **{"dog": "found", "house": "found", "2 × dog": "unmet"},
        **{"2 × dog left of house": "unmet", "no person": "unmet", "red house": "unchecked"},
    }
    # A second dog is drawn, and the person deleted.
    page.click("#palette li button:has-text('dog')")
    page.click("#tools [data-tool=brush]")
    click_cell(page, "#map-view", 24, 40)
    expect(text).to_have_text("All objects are there, and 2 of 3 further requirements are met")
    page.click("#tools [data-tool=select]")
    click_cell(page, "#map-view", 36, 36)
    page.click("#tool-options [data-act=delete]")
    expect(text).to_have_text("The map holds everything that was asked for")
    assert engine.palette is not None
    page.click("#paint")
    until_painted(page)
    required = engine.find_requirements("two dogs left of a red house, no people").requirements
    assert fgdm.check_map(studio.labels(), required, engine.palette).joint


def test_a_link_keeps_what_the_form_does_not_show(open_page: Opened) -> None:
    """Requirements, the choice, and options of the engine that have no field."""
    page = open_page().page
    request = {
        **{"prompt": "a house", "model": "scenes", "candidates": 2, "select": "recall"},
        **{"requirements": {"objects": [{"class": "kite", "at_least": 2, "at_most": 3}]}},
        **{"sampler": "ddim", "forbid": [{"classes": ["bus"], "min_area": 0.9}]},
    }
    link = page.evaluate("async (r) => (await import('/studio/link.js')).toHash(r)", request)
    studio = open_page("/" + link)
    page = studio.page
    expect(page.locator("#objects .chip")).to_have_text(["kite", "2 to 3 × kite"])
    expect(page.locator("#select")).to_have_value("recall")
    expect(page.locator("#extra")).to_contain_text("sampler, forbid")
    page.evaluate("document.getElementById('more').open = true")
    page.fill("#steps", "2")
    page.fill("#map-steps", "2")
    page.click("#generate")
    until_painted(page)
    sent = studio.bodies[-1]
    assert {name: sent[name] for name in ("requirements", "sampler", "forbid")} == {
        name: request[name] for name in ("requirements", "sampler", "forbid")
    }
    assert "select" not in sent
    page.click("#extra-drop")
    expect(page.locator("#extra")).to_be_hidden()
