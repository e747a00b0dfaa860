"""The whole story without a mouse: from an empty page to candidates, the other one of them, a map
that is drawn on, its picture, and its JSON. No key is a trap."""

from __future__ import annotations

import json

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright isn't installed")

from fgdm import edit
from fgdm.engine import Engine
from playwright.sync_api import Page, expect

from tests.studio.conftest import Watched, chips, index, until_painted


def press(page: Page, *keys: str) -> None:
    for key in keys:
        page.keyboard.press(key)


def to(page: Page, selector: str) -> None:
    """Tab, until what is meant has the focus."""
    for _ in range(80):
        if page.evaluate("(s) => document.activeElement.matches(s)", selector):
            return
        press(page, "Tab")
    raise AssertionError(f"Tab doesn't reach {selector}")


def generate(page: Page) -> None:
    """Two maps of two steps, and the one that wasn't painted in the editor."""
    to(page, "#prompt")
    with page.expect_response("**/v1/studio/objects"):
        page.keyboard.type("a house and a ball")
    for field, text in (("candidates", "2"), ("seed", "4")):
        to(page, f"#{field}")
        press(page, "Control+a")
        page.keyboard.type(text)
    to(page, "#more summary")
    press(page, "Enter")
    for field in ("steps", "map-steps"):
        to(page, f"#{field}")
        page.keyboard.type("2")
    press(page, "Control+Enter")
    until_painted(page)
    to(page, ".candidate[aria-pressed=false]")
    press(page, "Enter")
    expect(page.locator(".candidate[aria-pressed=true] .badge")).to_be_hidden()


def draw(page: Page) -> None:
    """A ball by brush and polygon on a new map; a region moved, turned, doubled and deleted."""
    to(page, "#map-new")
    press(page, "Enter")
    to(page, "#tools button")
    press(page, "ArrowDown", "ArrowDown", "Enter")
    expect(page.locator("#tools [data-tool=brush]")).to_have_attribute("aria-pressed", "true")
    to(page, "#palette input")
    page.keyboard.type("ball")
    press(page, "Enter")
    for _ in range(3):  # back over the field and the tools
        press(page, "Shift+Tab")
        if page.evaluate("document.activeElement.matches('#map-view')"):
            break
    to(page, "#map-view")
    press(page, "]", "]", "]", "]", "Shift+ArrowUp", "Space", "Shift+ArrowRight", "Space")
    assert chips(page)["ball"] == "found"
    press(page, "p")
    for step in ("ArrowLeft", "ArrowDown", "ArrowLeft"):
        press(page, f"Shift+{step}", "Enter")
    press(page, "Backspace", "Shift+ArrowDown", "Enter", "c", "v", "Enter")
    expect(page.locator("#live")).to_contain_text("selected")
    press(page, "ArrowLeft", "r", "+", "Control+d", "Delete", "Control+z")


def read_json(page: Page) -> dict[str, object]:
    """What the dialog has; it keeps the focus, and gives it back."""
    page.locator(".skip").focus()
    to(page, "#show-json")
    press(page, "Enter")
    expect(page.locator("#json")).to_be_visible()
    for _ in range(6):
        press(page, "Tab")
        assert page.evaluate("document.activeElement.matches('dialog *, body')")
    made: dict[str, object] = json.loads(page.inner_text("#json"))
    press(page, "Escape")
    expect(page.locator("#show-json")).to_be_focused()
    return made


def test_by_keyboard_alone(studio: Watched, engine: Engine) -> None:
    page = studio.page
    generate(page)
    draw(page)
    press(page, "Control+Shift+Enter")
    until_painted(page)
    labels: edit.Labels = studio.labels()
    ball = index(engine, "ball")
    assert np.sum(labels == ball) > 100 and (labels != ball).any()
    press(page, "Shift+Tab")
    assert not page.evaluate("document.activeElement.matches('#map-view')")
    press(page, "?")
    expect(page.locator("#dialog")).to_be_visible()
    press(page, "Escape")
    expect(page.locator("#dialog")).to_be_hidden()
    # The picture that is shown is what the JSON is of.
    assert read_json(page) == studio.bodies[-1]
