"""Every tool by mouse: what is on the page afterwards is what fgdm.edit makes of the same."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright isn't installed")

from fgdm import edit
from fgdm.engine import Engine
from playwright.sync_api import Page, expect

from tests.studio.conftest import (
    SIDE,
    Watched,
    at_cell,
    click_cell,
    index,
    open_map,
    palette_picture,
    shown_labels,
    write_prompt,
)


@pytest.fixture
def scene(engine: Engine) -> edit.Labels:
    """Two trees on grass, under the sky."""
    labels = np.full((SIDE, SIDE), index(engine, "sky"), np.uint8)
    labels[36:] = index(engine, "grass")
    labels[20:46, 6:24] = index(engine, "tree")
    labels[30:44, 40:50] = index(engine, "tree")
    return labels


@pytest.fixture
def page(studio: Watched, engine: Engine, scene: edit.Labels) -> Page:
    write_prompt(studio.page, "a tree")
    open_map(studio.page, palette_picture(engine, scene))
    studio.page.click("#palette li button:has-text('flower')")
    return studio.page


def drag(page: Page, *cells: tuple[float, float]) -> None:
    page.mouse.move(*at_cell(page, "#map-view", *cells[0]))
    page.mouse.down()
    for cell in cells[1:]:
        page.mouse.move(*at_cell(page, "#map-view", *cell), steps=4)
    page.mouse.up()


def test_fill_erase_and_polygon(
    studio: Watched, page: Page, scene: edit.Labels, engine: Engine
) -> None:
    flower = index(engine, "flower")
    page.click("#tools [data-tool=fill]")
    click_cell(page, "#map-view", 45, 35)
    expected = edit.flood(scene, 45, 35, flower)
    page.click("#tools [data-tool=erase]")
    drag(page, (5.2, 59.7), (30.1, 59.7))
    erased = edit.stroke(expected, [(5.7, 60.2), (30.6, 60.2)], 3, edit.UNLABELED)
    page.click("#tools [data-tool=polygon]")
    for cell in ((30.7, 4.6), (50.9, 4.8), (40.6, 18.7)):
        click_cell(page, "#map-view", *cell)
    page.click("#tool-options button")
    made = edit.polygon(erased, [(31.2, 5.1), (51.4, 5.3), (41.1, 19.2)], flower)
    # The mouse is at whole pixels of the screen, six to one of the map: edges may differ by one.
    assert (shown_labels(studio) != made).sum() <= 8


def test_line_has_the_brushs_width(
    studio: Watched, page: Page, scene: edit.Labels, engine: Engine
) -> None:
    page.click("#tools [data-tool=line]")
    page.locator("#brush-size").fill("1.5")
    drag(page, (10, 5), (50, 5))
    points = [(10.5, 5.5), (50.5, 5.5)]
    made = edit.stroke(scene, points, 1.5, index(engine, "flower"))
    assert (shown_labels(studio) == made).all()


def test_duplicate_delete_and_recolour(
    studio: Watched, page: Page, scene: edit.Labels, engine: Engine
) -> None:
    tree = edit.region_at(scene, 45, 35)
    page.click("#tools [data-tool=select]")
    click_cell(page, "#map-view", 45, 35)
    page.click("#tool-options [data-act=duplicate]")
    page.click("#tool-options [data-act=done]")
    piece, x, y = edit.lift(scene, tree)
    expected = edit.paste(scene, piece, x + 3, y + 1)
    assert (shown_labels(studio) == expected).all()
    page.click("#tools [aria-label^=Undo]")
    click_cell(page, "#map-view", 45, 35)
    page.click("#tool-options [data-act=delete]")
    assert (shown_labels(studio) == edit.erase(scene, tree)).all()
    page.click("#tools [aria-label^=Undo]")
    click_cell(page, "#map-view", 45, 35)
    page.click("#tool-options [data-act=class]")
    flower = index(engine, "flower")
    recolored = edit.recolor(scene, int(scene[35, 45]), flower)
    assert (shown_labels(studio) == recolored).all()


def test_the_handle_that_turns_is_seen(
    studio: Watched, page: Page, scene: edit.Labels, engine: Engine
) -> None:
    """Above what is selected, below where the map ends; a quarter of a turn by it."""
    kite = np.zeros((SIDE, SIDE), np.bool_)
    kite[2:8, 20:40] = True
    before = scene.copy()
    before[kite] = index(engine, "kite")
    open_map(page, palette_picture(engine, before))
    page.click("#tools [data-tool=select]")
    click_cell(page, "#map-view", 30, 5)
    expect(page.locator("#tool-options [data-act=done]")).to_be_visible()
    x, y = at_cell(page, "#map-view", 29.5, 7.5)
    page.mouse.move(x, y + 26)
    page.mouse.down()
    page.mouse.move(*at_cell(page, "#map-view", 15, 12), steps=4)
    page.mouse.move(*at_cell(page, "#map-view", 9.5, 4.5), steps=4)
    page.mouse.up()
    page.click("#tool-options [data-act=done]")
    piece, left, top = edit.lift(before, kite)
    turned = edit.rotated(piece, 90)
    made = edit.paste(edit.erase(before, kite), turned, left + 7, top - 7)
    assert (shown_labels(studio) == made).mean() > 0.995


def test_lasso_takes_several_classes(studio: Watched, page: Page, scene: edit.Labels) -> None:
    """What is drawn around moves as it is, whatever it holds; Escape gives it up."""
    page.click("#tools [data-tool=lasso]")
    drag(page, (2, 30), (30, 30), (30, 50), (2, 50))
    expect(page.locator("#live")).to_contain_text("selected")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    moved = shown_labels(studio)
    assert (moved[32:48, 40:44] == scene[32:48, 24:28]).all()
    assert (moved != scene).sum() > 100
    page.locator("#map-view").focus()
    page.keyboard.press("Escape")
    assert (shown_labels(studio) == scene).all()


def test_another_background(
    studio: Watched, page: Page, scene: edit.Labels, engine: Engine
) -> None:
    source = np.full((SIDE, SIDE), index(engine, "sea"), np.uint8)
    source[:20] = index(engine, "mountain")
    source[10:30, 30:40] = index(engine, "boat")
    page.click("#tab-second")
    open_map(page, palette_picture(engine, source), "#second-panel button >> nth=0")
    page.click("#second-panel button >> nth=1")
    assert engine.palette is not None
    things = [i for i, c in enumerate(engine.palette["classes"]) if c["kind"] == "thing"]
    assert (shown_labels(studio) == edit.replace_background(scene, source, things)).all()
