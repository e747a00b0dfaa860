"""What people come for, end to end on the bundle that ships: a prompt, its maps, a changed map, the
picture painted again; the three stories of the paper's editor (FG-DM, A.2.2, figures 2, 6, 21)."""

from __future__ import annotations

import base64
import io
import json
import re

import httpx
import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright isn't installed")

from fgdm import edit
from fgdm.engine import Engine
from PIL import Image
from playwright.sync_api import expect

from tests.studio.conftest import (
    SIDE,
    Opened,
    Watched,
    at_cell,
    chips,
    click_cell,
    index,
    open_map,
    palette_picture,
    pixels,
    png,
    until_painted,
    write_prompt,
)


@pytest.fixture
def scene(engine: Engine) -> edit.Labels:
    """Grass under the sky, and a house on it."""
    labels = np.full((SIDE, SIDE), index(engine, "sky"), np.uint8)
    labels[36:] = index(engine, "grass")
    labels[20:46, 6:24] = index(engine, "house")
    return labels


def test_from_a_prompt_to_a_picture(studio: Watched, engine: Engine) -> None:
    """Chips as it is typed, candidates as they are sampled, the one that was painted, another one
    chosen and painted; then the same again from the link."""
    page = studio.page
    prompt = "a zeppelin and a dog beside a house"
    write_prompt(page, prompt, candidates=3, seed=11, **{"map-steps": 6})
    expect(page.locator("#objects .chip")).to_have_text(["dog", "house", "dog beside house"])
    expect(page.locator("#objects-note")).to_contain_text("zeppelin")
    page.evaluate(
        """() => {
          window.seen = [];
          const note = document.getElementById("strip-note");
          new MutationObserver(() => window.seen.push(note.textContent)).observe(
            note, { childList: true, characterData: true, subtree: true });
        }"""
    )
    page.click("#generate")
    until_painted(page)
    seen = page.evaluate("window.seen")
    assert any(re.fullmatch(r"3 maps, step [1-6] of 6", text) for text in seen), seen

    # What is shown is what the engine makes of the same request.
    result = engine.generate(
        prompt, candidates=3, seed=11, condition_steps=6, num_inference_steps=2, stop_at_recall=0
    )
    scores = page.locator(".candidate .score").all_inner_texts()
    assert scores == [f"{len(c.found)}/2" for c in result.candidates]
    expect(page.locator(".candidate").nth(result.chosen).locator(".badge")).to_have_text("painted")
    shown = pixels(page, "#picture-panel .after")
    assert (shown == np.asarray(result.image)).all()

    other = (result.chosen + 1) % 3
    page.locator(".candidate").nth(other).click()
    page.click("#paint")
    until_painted(page)
    assert (studio.labels() == result.candidates[other].labels).all()
    assert studio.bodies[-1]["seed"] == 11
    expect(page.locator("#history li")).to_have_count(2)
    # The candidates stay to choose from.
    expect(page.locator(".candidate")).to_have_count(3)
    page.locator("#history li button").last.click()
    expect(page.locator("#prompt")).to_have_value("a zeppelin and a dog beside a house")


def test_a_link_holds_the_request(
    studio: Watched, open_page: Opened, scene: edit.Labels, engine: Engine
) -> None:
    page = studio.page
    write_prompt(page, "a house", candidates=4, seed=77, negative="rain")
    open_map(page, palette_picture(engine, scene))
    page.evaluate("document.getElementById('chain-box').open = true")
    page.select_option("#chain-segmentation", "given")
    page.click("#copy-link")
    page.wait_for_url("**/#r=*")
    again = open_page("/" + page.evaluate("location.hash"))
    for field, value in {
        "prompt": "a house",
        "negative": "rain",
        "seed": "77",
        "candidates": "4",
    }.items():
        expect(again.page.locator(f"#{field}")).to_have_value(value)
    again.page.click("#show-json")
    body = json.loads(again.page.inner_text("#json"))
    assert body["seed"] == 77 and body["num_inference_steps"] == 2
    again.bodies.append(body)
    assert (again.labels() == scene).all()


def test_a_result_is_made_again_from_its_json(studio: Watched, address: str) -> None:
    """To the byte, with nothing but the JSON; once the form has changed it is that of the form."""
    page = studio.page
    write_prompt(page, "two dogs beside a house", candidates=3, seed="")
    page.click("#generate")
    until_painted(page)
    page.click("#show-json")
    body = json.loads(page.inner_text("#json"))
    assert body == studio.bodies[-1] and body["seed"] >= 0
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        page.click("#picture-files button")
    shown = download.value.path().read_bytes()
    with httpx.Client(base_url=address, timeout=60) as http:
        job = http.post("/v1/studio/jobs", json=body).json()["id"]
        http.get(f"/v1/studio/jobs/{job}/events")
        assert http.get(f"/v1/jobs/{job}/images/0").content == shown
    page.fill("#candidates", "2")
    page.click("#show-json")
    assert json.loads(page.inner_text("#json"))["candidates"] == 2
    page.select_option("#dialog select", "result")
    expect(page.locator("#json")).to_contain_text('"candidates": 3')


def test_a_link_of_a_painted_part(
    studio: Watched, open_page: Opened, scene: edit.Labels, engine: Engine
) -> None:
    """Opens with the picture, the mask over it and the map to edit, and paints the same again; a
    map that is edited on goes into the next link."""
    page = studio.page
    write_prompt(page, "a house and the sun", seed=5)
    open_map(page, palette_picture(engine, scene))
    page.click("#paint")
    until_painted(page)
    page.click("#palette li button:has-text('sun')")
    page.click("#tools [data-tool=brush]")
    click_cell(page, "#map-view", 50, 12)
    page.select_option("#where", "changed")
    page.click("#paint")
    until_painted(page)
    painted = pixels(page, "#picture-panel .after")
    sent = studio.bodies[-1]
    page.click("#copy-link")
    page.wait_for_url("**/#p=*")

    again = open_page("/" + page.evaluate("location.hash"))
    other = again.page
    expect(other.locator("#where")).to_have_value("mask")
    expect(other.locator(".view.mask")).to_be_visible()
    expect(other.locator("#chain-segmentation")).to_have_value("sampled")
    other.click("#show-json")
    assert json.loads(other.inner_text("#json")) == sent
    other.keyboard.press("Escape")
    other.click("#paint")
    until_painted(other)
    assert (pixels(other, "#picture-panel .after") == painted).all()
    for field in ("factors", "image", "mask", "seed", "prompt"):
        assert decoded(again.bodies[-1][field]) == decoded(sent[field])

    # The map can be edited, and the next link has it.
    other.click("#palette li button:has-text('kite')")
    other.click("#tools [data-tool=brush]")
    click_cell(other, "#map-view", 30, 12)
    other.select_option("#where", "all")
    other.click("#copy-link")
    expect(other.locator("#error")).not_to_be_empty()
    third = open_page("/" + other.evaluate("location.hash"))
    third.page.click("#show-json")
    third.bodies.append(json.loads(third.page.inner_text("#json")))
    assert third.labels()[12, 30] == index(engine, "kite")
    assert "mask" not in third.bodies[-1]


def decoded(field: object) -> object:
    """A request's field, with the pixels of what is a picture."""
    if isinstance(field, dict):
        return {name: decoded(value) for name, value in field.items()}
    if isinstance(field, str) and field.startswith("iVBOR"):
        picture = Image.open(io.BytesIO(base64.b64decode(field)))
        return picture.mode, picture.size, picture.tobytes()
    return field


def test_cancel(studio: Watched) -> None:
    page = studio.page
    write_prompt(page, "a house", steps=100, candidates=8, **{"map-steps": 100})
    page.click("#generate")
    expect(page.locator("#progress-text")).to_contain_text("step")
    page.click("#cancel")
    expect(page.locator("#progress-text")).to_have_text("Cancelled")
    expect(page.locator("#generate")).to_be_enabled()
    expect(page.locator("#history li")).to_have_count(0)


def test_add_an_object_from_a_second_map_and_move_it(
    studio: Watched, engine: Engine, scene: edit.Labels
) -> None:
    page = studio.page
    source = scene.copy()
    dog = np.zeros((SIDE, SIDE), np.bool_)
    dog[38:48, 30:44] = True
    dog[34:38, 40:46] = True
    source[dog] = index(engine, "dog")
    write_prompt(page, "a dog beside a house")
    open_map(page, palette_picture(engine, scene))
    assert chips(page) == {"dog": "missing", "house": "found"}

    page.click("#tab-second")
    open_map(page, palette_picture(engine, source), "#second-panel button >> nth=0")
    click_cell(page, "#second-panel .view", 36, 42)
    expect(page.locator("#map-view")).to_be_focused()
    assert chips(page) == {"dog": "found", "house": "found"}
    # Dragged eight to the right, then four down by keys, then put down.
    page.mouse.move(*at_cell(page, "#map-view", 36, 42))
    page.mouse.down()
    page.mouse.move(*at_cell(page, "#map-view", 40, 42), steps=3)
    page.mouse.move(*at_cell(page, "#map-view", 44, 42), steps=3)
    page.mouse.up()
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.press("Control+Shift+Enter")
    until_painted(page)
    piece, x, y = edit.lift(source, dog)
    assert (studio.labels() == edit.paste(scene, piece, x + 8, y + 4)).all()
    assert "candidates" not in studio.bodies[-1]
    expect(page.locator("#picture-panel .after")).to_be_visible()

    # Undone as one change; the map is the one that was opened.
    page.locator("#map-view").focus()
    page.keyboard.press("Control+z")
    assert chips(page) == {"dog": "missing", "house": "found"}


def test_flip_and_resize_a_person(studio: Watched, engine: Engine, scene: edit.Labels) -> None:
    page = studio.page
    person = np.zeros((SIDE, SIDE), np.bool_)
    person[30:50, 40:46] = True
    person[34:37, 46:54] = True  # an arm to the right
    before = scene.copy()
    before[person] = index(engine, "person")
    write_prompt(page, "a person beside a house")
    open_map(page, palette_picture(engine, before))
    click_cell(page, "#map-view", 42, 40)
    expect(page.locator("#tool-options [data-act=fliph]")).to_be_visible()
    page.click("#tool-options [data-act=fliph]")
    # The lower right handle, dragged to half as large again.
    page.mouse.move(*at_cell(page, "#map-view", 53.5, 49.5))
    page.mouse.down()
    page.mouse.move(*at_cell(page, "#map-view", 56, 55), steps=4)
    page.mouse.move(*at_cell(page, "#map-view", 60.5, 59.5), steps=4)
    page.mouse.up()
    page.click("#tool-options [data-act=done]")
    page.click("#paint")
    until_painted(page)
    piece, x, y = edit.lift(before, person)
    larger = edit.flipped(edit.resized(piece, 21, 30))
    assert (studio.labels() == edit.paste(edit.erase(before, person), larger, x, y)).all()


def test_write_into_a_sketch(studio: Watched, engine: Engine, scene: edit.Labels) -> None:
    page = studio.page
    write_prompt(page, "a house")
    open_map(page, palette_picture(engine, scene))
    page.click("#factor-tabs [data-factor=sketch]")
    page.click("#tools [data-tool=line]")
    page.mouse.move(*at_cell(page, "#map-view", 10, 50))
    page.mouse.down()
    page.mouse.move(*at_cell(page, "#map-view", 50, 50), steps=5)
    page.mouse.up()
    page.click("#tools [data-tool=text]")
    page.fill("#tool-options input[type=text]", "HI")
    click_cell(page, "#map-view", 20, 20)
    page.evaluate("document.getElementById('chain-box').open = true")
    page.select_option("#chain-sketch", "given")
    page.click("#paint")
    until_painted(page)
    sketch = studio.labels("sketch")
    assert set(np.unique(sketch)) == {0, 255}
    assert sketch[50, 10:51].all() and not sketch[60:].any()
    written = sketch[10:30, 20:50]
    assert 20 < (written > 0).sum() < written.size / 2
    assert (studio.labels() == scene).all()


def test_repaint_where_the_map_changed(studio: Watched, engine: Engine, scene: edit.Labels) -> None:
    """Outside the change the picture stays to the bit, and the slider shows before and after."""
    page = studio.page
    write_prompt(page, "a house and the sun")
    open_map(page, palette_picture(engine, scene))
    page.click("#paint")
    until_painted(page)
    page.select_option("#where", "changed")
    page.click("#paint")
    expect(page.locator("#error")).to_contain_text("The map has not changed")
    page.click("#palette li button:has-text('sun')")
    page.click("#tools [data-tool=brush]")
    click_cell(page, "#map-view", 50, 12)
    page.click("#paint")
    until_painted(page)
    first, second = (pixels(page, f"#picture-panel .{name}") for name in ("old", "after"))
    differs = (first != second).any(2)
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    assert rows.size and rows.min() >= 2 * 7 and rows.max() < 2 * 18
    assert columns.min() >= 2 * 45 and columns.max() < 2 * 56
    expect(page.locator(".divider input")).to_be_visible()

    # Painted by hand: an empty mask is refused, one by keys is taken.
    page.select_option("#where", "mask")
    page.click("#paint")
    expect(page.locator("#error")).to_contain_text("Paint on the picture")
    page.locator(".view.mask").focus()
    page.keyboard.press("Space")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Space")
    page.click("#paint")
    until_painted(page)
    assert {"image", "mask"} <= set(studio.bodies[-1])


def test_several_seeds_and_a_refined_map(
    studio: Watched, engine: Engine, scene: edit.Labels
) -> None:
    page = studio.page
    write_prompt(page, "a house", seed=5)
    open_map(page, palette_picture(engine, scene))
    page.fill(".paint input[type=number]", "2")
    page.check("#refine")
    page.click("#paint")
    until_painted(page)
    assert studio.bodies[-1]["n"] == 2
    assert studio.bodies[-1]["factors"]["segmentation"]["strength"] == 0.5
    thumbs = page.locator(".thumb")
    expect(thumbs).to_have_count(2)
    first = page.get_attribute("#picture-panel .after", "src")
    thumbs.nth(1).click()
    expect(thumbs.nth(1)).to_have_attribute("aria-pressed", "true")
    assert page.get_attribute("#picture-panel .after", "src") != first


def test_factors_sampled_and_left_out(studio: Watched) -> None:
    page = studio.page
    write_prompt(page, "a house", candidates=1)
    page.evaluate("document.getElementById('chain-box').open = true")
    page.select_option("#chain-depth", "sampled")
    page.fill("[aria-label='Prompt of depth alone']", "a castle")
    page.select_option("#chain-sketch", "given")
    page.click("#generate")
    expect(page.locator("#error")).to_contain_text("no map of sketch")
    page.select_option("#chain-sketch", "out")
    page.click("#factor-tabs [data-factor=normal]")
    expect(page.locator("#still .empty")).to_contain_text("no map of normal")
    page.select_option("#map-use", "sampled")
    expect(page.locator("#chain-normal")).to_have_value("sampled")
    page.click("#generate")
    until_painted(page)
    assert studio.bodies[-1]["factors"] == {"depth": {"prompt": "a castle"}, "normal": {}}

    # Normals are looked at: no brush could mean them, and no key reaches the hidden map.
    sampled = pixels(page, "#still img")
    assert sampled.shape == (SIDE, SIDE, 3) and len(np.unique(sampled.reshape(-1, 3), axis=0)) > 50
    expect(page.locator("#still")).to_contain_text("which way each surface faces")
    expect(page.locator("#tools")).to_be_hidden()
    # Given the next time, as it was sampled, when painting and when generating.
    page.select_option("#map-use", "given")
    page.click("#paint")
    until_painted(page)
    content = base64.b64decode(studio.bodies[-1]["factors"]["normal"]["map"])
    assert (np.asarray(Image.open(io.BytesIO(content)).convert("RGB")) == sampled).all()
    with page.expect_download() as download:
        page.click("#map-save")
    assert (np.asarray(Image.open(download.value.path()).convert("RGB")) == sampled).all()

    page.click("#factor-tabs [data-factor=depth]")
    expect(page.locator("#tools")).to_be_visible()
    shades = page.evaluate(
        """() => new Set(document.querySelector("#map-view canvas").getContext("2d")
             .getImageData(0, 0, 64, 64).data).size"""
    )
    assert shades > 10


def test_a_picture_of_a_pose_is_given(studio: Watched) -> None:
    """And a file that is none is refused in words; what is drawn on a factor that is left out is
    used."""
    page = studio.page
    write_prompt(page, "a person")
    page.click("#factor-tabs [data-factor=pose]")
    expect(page.locator("#map-use")).to_have_value("out")
    open_map(page, b"none", "#still button")
    expect(page.locator("#error")).to_contain_text("damaged")
    expect(page.locator("#map-use")).to_have_value("out")
    pose = np.zeros((SIDE, SIDE, 3), np.uint8)
    pose[10:50, 30:34] = (255, 85, 0)
    open_map(page, png(pose), "#still button", "pose.png")
    expect(page.locator("#map-use")).to_have_value("given")
    assert (pixels(page, "#still img") == pose).all()
    page.click("#factor-tabs [data-factor=sketch]")
    page.click("#tools [data-tool=brush]")
    click_cell(page, "#map-view", 30, 30)
    expect(page.locator("#map-use")).to_have_value("given")
    expect(page.locator("#error")).to_contain_text("sketch was left out")
    page.click("#show-json")
    factors = json.loads(page.inner_text("#json"))["factors"]
    assert set(factors) == {"pose", "sketch"}
    # The link brings the picture back.
    page.keyboard.press("Escape")
    page.click("#copy-link")
    page.wait_for_url("**/#r=*")
    page.reload()
    page.wait_for_selector("html[data-ready]", state="attached")
    page.click("#factor-tabs [data-factor=pose]")
    assert (pixels(page, "#still img") == pose).all()
