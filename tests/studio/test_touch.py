"""Fingers, pens, and screens of every size."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright isn't installed")

from fgdm import edit
from fgdm.engine import Engine
from playwright.sync_api import Page, expect

from tests.studio.conftest import (
    SIDE,
    Opened,
    Watched,
    at_cell,
    index,
    open_map,
    palette_picture,
    shown_labels,
    until_painted,
    write_prompt,
)

Cell = tuple[float, float]


class Fingers:
    """What fingers and a pen do on the map, as the browser's own events."""

    def __init__(self, page: Page) -> None:
        self.page, self.cdp = page, page.context.new_cdp_session(page)

    def touch(self, kind: str, *places: Cell) -> None:
        points = [{"x": x, "y": y, "id": i} for i, (x, y) in enumerate(places)]
        self.cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    def drag(self, *cells: Cell) -> None:
        places = [at_cell(self.page, "#map-view", *cell) for cell in cells]
        self.touch("touchStart", places[0])
        for (x, y), (to_x, to_y) in itertools.pairwise(places):
            for i in range(1, 9):
                self.touch("touchMove", (x + (to_x - x) * i / 8, y + (to_y - y) * i / 8))
        self.touch("touchEnd")

    def pinch(self, before: tuple[Cell, Cell], after: tuple[Cell, Cell]) -> None:
        """Two fingers, one after the other, in screen pixels."""
        self.touch("touchStart", before[0])
        self.touch("touchStart", *before)
        for i in range(1, 9):
            moved = [
                tuple(a + (b - a) * i / 8 for a, b in zip(old, new, strict=True))
                for old, new in zip(before, after, strict=True)
            ]
            self.touch("touchMove", *moved)  # type: ignore[arg-type]
        self.touch("touchEnd", after[0])
        self.touch("touchEnd")

    def pen(self, *cells: Cell, force: float, button: str = "left") -> None:
        places = [at_cell(self.page, "#map-view", *cell) for cell in cells]
        kinds = ["mousePressed", *["mouseMoved"] * (len(places) - 1), "mouseReleased"]
        for kind, (x, y) in zip(kinds, [*places, places[-1]], strict=True):
            how: dict[str, Any] = {"pointerType": "pen", "force": force, "button": button}
            self.cdp.send(
                "Input.dispatchMouseEvent",
                {"type": kind, "x": x, "y": y, "buttons": 1, "clickCount": 1, **how},
            )


@pytest.fixture
def phone(open_page: Opened) -> Watched:
    return open_page(has_touch=True, is_mobile=True, viewport={"width": 360, "height": 740})


def scene(engine: Engine) -> edit.Labels:
    labels = np.full((SIDE, SIDE), index(engine, "sky"), np.uint8)
    labels[40:] = index(engine, "grass")
    return labels


def draw(page: Page, tool: str) -> None:
    page.click("#palette li button:has-text('kite')")
    page.click(f"#tools [data-tool={tool}]")
    page.evaluate("document.getElementById('map-view').scrollIntoView({block: 'center'})")


def test_a_finger_draws_and_two_move_the_view(phone: Watched, engine: Engine) -> None:
    page = phone.page
    fingers = Fingers(page)
    kite = index(engine, "kite")
    write_prompt(page, "a kite")
    open_map(page, palette_picture(engine, scene(engine)))
    draw(page, "brush")
    fingers.drag((10, 10), (40, 10), (40, 30))
    drawn = shown_labels(phone)
    assert (drawn[10, 12:40] == kite).all() and (drawn[12:30, 40] == kite).all()
    assert not (drawn[20:] == kite)[:, :30].any()

    # Two fingers: the first one has begun nothing, whatever the tool.
    zoom = page.locator("#map-zoom span")
    for tool in ("fill", "brush", "select"):
        draw(page, tool)
        page.click("#map-zoom [aria-label^=Fit]")
        fitted = zoom.inner_text()
        page.evaluate("document.getElementById('map-view').scrollIntoView({block: 'center'})")
        a, b = (at_cell(page, "#map-view", *cell) for cell in ((20, 30), (40, 30)))
        fingers.pinch((a, b), ((a[0] - 60, a[1]), (b[0] + 60, b[1])))
        assert int(zoom.inner_text()[:-2]) > 1.8 * int(fitted[:-2])
        assert page.evaluate("window.visualViewport.scale") == 1
        assert (shown_labels(phone) == drawn).all()
    before = page.locator("#map-view .pixels").bounding_box()
    page.evaluate("document.getElementById('map-view').scrollIntoView({block: 'center'})")
    fingers.pinch((a, b), ((a[0] + 40, a[1] + 30), (b[0] + 40, b[1] + 30)))
    after = page.locator("#map-view .pixels").bounding_box()
    assert before and after and abs(after["width"] - before["width"]) < 1
    # A tap is a tap.
    draw(page, "fill")
    page.click("#map-zoom [aria-label^=Fit]")
    page.evaluate("document.getElementById('map-view').scrollIntoView({block: 'center'})")
    page.touchscreen.tap(*at_cell(page, "#map-view", 30, 50))
    assert (shown_labels(phone)[40:] == kite).all()


def test_a_pens_pressure(studio: Watched, engine: Engine) -> None:
    """It makes the brush thinner, for every event that the browser has put together."""
    page = studio.page
    pen = Fingers(page)
    kite = index(engine, "kite")
    write_prompt(page, "a kite")
    open_map(page, palette_picture(engine, scene(engine)))
    draw(page, "brush")
    page.locator("#brush-size").fill("6")
    pen.pen((8, 10), (30, 10), force=0.1)
    pen.pen((8, 28), (30, 28), force=1)
    drawn = shown_labels(studio)
    thin, thick = ((drawn[rows] == kite).sum(0).max() for rows in (slice(0, 19), slice(19, 40)))
    assert 3 <= thin <= 6 and 11 <= thick <= 13
    # Events that came within one frame keep their own places and pressures.
    page.locator("#brush-size").fill("2")
    page.evaluate(
        """([from, to]) => {
          const view = document.getElementById("map-view");
          view.setPointerCapture = () => {};
          const event = (kind, [clientX, clientY], pressure, rest = {}) => new PointerEvent(kind, {
            pointerId: 9, pointerType: "pen", bubbles: true, button: 0, clientX, clientY, pressure,
            ...rest });
          const middle = [(from[0] + to[0]) / 2, from[1] - 60];
          view.dispatchEvent(event("pointerdown", from, 0.05));
          view.dispatchEvent(event("pointermove", to, 0.05, { coalescedEvents: [
            event("pointermove", middle, 1), event("pointermove", to, 0.05)] }));
          view.dispatchEvent(event("pointerup", to, 0));
          // The other end of the pen.
          view.dispatchEvent(event("pointerdown", middle, 1, { button: 5 }));
          view.dispatchEvent(event("pointerup", middle, 0, { button: 5 }));
        }""",
        [at_cell(page, "#map-view", x, 56) for x in (36, 60)],
    )
    made = shown_labels(studio)
    new = made == kite
    assert new[56, 36] and new[56, 60] and not new[56, 44:54].any()
    assert new[44:, 42].sum() > new[44:, 54].sum() > 0
    assert 8 <= (made == edit.UNLABELED).sum() <= 21


POINTERS = """
(steps) => {
  const view = document.getElementById("map-view");
  view.setPointerCapture = () => {};
  for (const [kind, pointerType, pointerId, clientX, clientY] of steps)
    view.dispatchEvent(new PointerEvent(`pointer${kind}`, {
      pointerId, pointerType, bubbles: true, button: 0, clientX, clientY, pressure: 1 }));
}
"""


def test_a_hand_under_the_pen_draws_nothing(studio: Watched, engine: Engine) -> None:
    """Whether it came before the pen, or comes while it draws; it neither draws nor moves the view.
    Once the pen is up a finger draws again."""
    page = studio.page
    kite = index(engine, "kite")
    write_prompt(page, "a kite")
    open_map(page, palette_picture(engine, scene(engine)))
    draw(page, "brush")
    page.locator("#brush-size").fill("1")
    zoom = page.locator("#map-zoom span").inner_text()

    def step(kind: str, pointer: str, number: int, x: float, y: float) -> tuple[object, ...]:
        return (kind, pointer, number, *at_cell(page, "#map-view", x, y))

    hand = [step("down", "touch", 1, 50, 50), step("move", "touch", 1, 40, 50)]
    rests = [step("move", "touch", 1, 30, 58), step("down", "touch", 2, 55, 30)]
    moves = [step("move", "touch", 2, 45, 20), step("up", "touch", 1, 30, 58)]
    line = [step("move", "pen", 9, 20, 10), step("move", "pen", 9, 30, 10)]
    before, after = step("down", "pen", 9, 10, 10), step("up", "pen", 9, 30, 10)
    page.evaluate(POINTERS, [*hand, before, line[0], *rests, *moves, line[1], after])
    page.evaluate(POINTERS, [step("up", "touch", 2, 45, 20)])
    drawn = shown_labels(studio) == kite
    assert drawn[10, 10:31].all() and not drawn[13:].any()
    assert page.locator("#map-zoom span").inner_text() == zoom
    page.evaluate(
        POINTERS, [*hand, step("move", "touch", 1, 30, 50), step("up", "touch", 1, 30, 50)]
    )
    assert (shown_labels(studio) == kite)[50, 31:50].all()


REACHABLE = """
() => {
  const hidden = [];
  const all = document.querySelectorAll("button, select, input, textarea, summary, [tabindex='0']");
  for (const element of all) {
    if (element.disabled || !element.checkVisibility({ visibilityProperty: true })) continue;
    element.scrollIntoView({ block: "center", inline: "center" });
    const { left, top, width, height } = element.getBoundingClientRect();
    const [x, y] = [left + width / 2, top + height / 2];
    const found = document.elementFromPoint(x, y);
    const isIt = found && (element.contains(found) || found.closest("label")?.contains(element));
    const isIn = left >= -0.5 && left + width <= innerWidth + 0.5;
    if (!isIt || !isIn)
      hidden.push([element.outerHTML.slice(0, 90), found?.outerHTML.slice(0, 60), left, width]);
  }
  scrollTo(0, 0);
  return hidden;
}
"""


@pytest.mark.parametrize(("width", "height"), [(360, 740), (820, 1180), (3840, 2160)])
def test_everything_can_be_reached(
    open_page: Opened, engine: Engine, width: int, height: int
) -> None:
    """At every width: no field is covered or cut off, nothing is wider than the screen, and on the
    largest one the words grow with it."""
    page = open_page(viewport={"width": width, "height": height}, has_touch=width < 1000).page
    write_prompt(page, "two dogs to the left of a house, no people")
    page.evaluate("document.getElementById('chain-box').open = true")
    page.select_option("#chain-segmentation", "refined")
    page.click("#generate")
    expect(page.locator("#error")).to_contain_text("no map of segmentation")
    page.select_option("#chain-segmentation", "sampled")
    if width != 820:
        page.click("#generate")
        until_painted(page)
    else:
        open_map(page, palette_picture(engine, scene(engine)))
    steps: list[Callable[[], object]] = [
        lambda: page.click("#tools [data-tool=select]"),
        lambda: page.locator("#map-view").press("Enter"),
        lambda: page.click("#tools [data-tool=text]"),
        lambda: page.click("#tools [data-tool=polygon]"),
        lambda: page.click("#factor-tabs [data-factor=sketch]"),
        lambda: page.click("#factor-tabs [data-factor=pose]"),
        lambda: page.click("#tab-second"),
    ]
    for step in steps:
        step()
        assert page.evaluate(REACHABLE) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    size = float(page.evaluate("parseFloat(getComputedStyle(document.body).fontSize)"))
    assert size >= (20 if width == 3840 else 14)
