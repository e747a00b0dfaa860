"""What goes wrong, and who can't use a mouse: lost connections, hostile files, keyboard, screen
readers, narrow screens, keys of the service."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright isn't installed")

from fgdm import edit
from fgdm.engine import Engine
from fgdm.serve.models import Models
from fgdm.serve.settings import Settings
from PIL import Image
from playwright.sync_api import Page, expect

from tests.serve.conftest import SCENES, serving
from tests.studio.conftest import (
    SIDE,
    Opened,
    Watched,
    chips,
    index,
    open_map,
    palette_picture,
    pixels,
    png,
    shown_labels,
    until_painted,
    write_prompt,
)

#: What Chromium itself writes on the console of answers that are errors, and of lost connections.
REFUSED = ("Failed to load resource",)


def test_the_page_is_small_and_strict(studio: Watched, address: str) -> None:
    """All files together are at most 250 KB, and the policy lets nothing in from elsewhere."""
    sizes = studio.page.evaluate(
        """() => [...performance.getEntriesByType("resource"),
          ...performance.getEntriesByType("navigation")]
          .filter(({ name }) => !name.includes("/v1/")).map(({ transferSize }) => transferSize)"""
    )
    assert len(sizes) > 25 and sum(sizes) <= 250_000
    # Every module is named on the page, so that none waits for another one; those that nothing can
    # be painted without come first, and no style sheet is waited for.
    folder = Path(__file__).parents[2] / "engine" / "studio"
    modules = {str(path.relative_to(folder)) for path in folder.rglob("*.js")}
    page = studio.page.request.get(address + "/").text()
    assert set(re.findall(r'"/studio/([\w/]+\.js)"', page)) == modules
    before, _, _ = page.partition("<template")
    first = {"first.js"}
    while more := {name for file in first for name in imports(folder / file)} - first:
        first |= more
    assert set(re.findall(r'"/studio/([\w/]+\.js)"', before)) == first
    assert "stylesheet" not in page and page.count("<style>") == 2
    answer = studio.page.request.get(address + "/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    assert studio.page.request.get(address + "/studio/../engine.py").status == 404
    assert studio.page.request.get(address + "/studio/%2e%2e/engine.py").status == 404


def imports(module: Path) -> set[str]:
    """What a module of the studio's own folder imports at once."""
    return set(re.findall(r'^import .* from "\./([\w/]+\.js)";', module.read_text(), re.MULTILINE))


def test_every_text_is_in_one_file() -> None:
    """Also: every text that is asked for is there, and none is there for nothing."""
    folder = Path(__file__).parents[2] / "engine" / "studio"
    texts = folder / "texts.js"
    names = set(re.findall(r'^  "?([\w.-]+)"?: ', texts.read_text(), re.MULTILINE))
    others = [path for path in folder.rglob("*.*") if path != texts]
    sources = "\n".join(path.read_text() for path in others if path.suffix in (".js", ".html"))
    used = set(re.findall(r"""\bt\(\s*["']([\w.-]+)["']""", sources))
    used |= set(re.findall(r'data-[tlp]="([\w.-]+)"', sources))
    used |= set(re.findall(r'\bt\([^()]*\? "([\w.-]+)"', sources))
    used |= set(re.findall(r'\bt\([^()]*: "([\w.-]+)"\)', sources))
    assert used <= names
    families = set(re.findall(r"t\(`([\w.]*)\$\{", sources))
    ends = set(re.findall(r"t\(`\$\{[^}]*\}(\.\w+)`", sources))
    unused = {
        name
        for name in names - used
        if not name.startswith(tuple(f for f in families if f)) and not name.endswith(tuple(ends))
    }
    assert not unused
    page = (folder / "index.html").read_text()
    words = re.sub(
        r"<title>.*?</title>|<h1>.*?</h1>|<!--.*?-->|<kbd>.*?</kbd>|<[^>]*>", "", page, flags=re.S
    )
    assert not words.split()


def test_undo_and_recall_follow_every_stroke(studio: Watched, engine: Engine) -> None:
    page = studio.page
    write_prompt(page, "a kite and the sun")
    open_map(page, palette_picture(engine, np.full((SIDE, SIDE), index(engine, "sky"), np.uint8)))
    assert chips(page) == {"kite": "missing", "sun": "missing"}
    page.click("#palette li button:has-text('kite')")
    page.click("#tools [data-tool=brush]")
    page.locator("#map-view").focus()
    for _ in range(12):
        page.keyboard.press("[")
    page.keyboard.press("Space")
    page.keyboard.press("Space")
    assert chips(page) == {"kite": "small", "sun": "missing"}
    for _ in range(8):
        page.keyboard.press("]")
    page.keyboard.press("Space")
    page.keyboard.press("Space")
    assert chips(page) == {"kite": "found", "sun": "missing"}
    page.keyboard.press("Control+z")
    page.keyboard.press("Control+z")
    assert chips(page) == {"kite": "missing", "sun": "missing"}
    page.keyboard.press("Control+y")
    page.keyboard.press("Control+Shift+z")
    assert chips(page) == {"kite": "found", "sun": "missing"}


def test_saved_maps_are_exact(studio: Watched, engine: Engine, tmp_path: Path) -> None:
    """In the palette's colours and as class numbers, and both open again as they were."""
    page = studio.page
    labels = np.random.default_rng(1).integers(0, 23, (SIDE, SIDE)).astype(np.uint8)
    labels[:8, :8] = edit.UNLABELED
    open_map(page, png(labels))
    assert engine.palette is not None
    colors = [tuple(entry["color"]) for entry in engine.palette["classes"]]
    names = {"#map-save": "segmentation.png", "#map-labels": "segmentation-classes.png"}
    for button, name in names.items():
        with page.expect_download() as download:
            page.click(button)
        assert download.value.suggested_filename == name
        download.value.save_as(tmp_path / name)
    saved = Image.open(tmp_path / "segmentation.png").convert("RGBA")
    values = np.asarray(saved)
    known = labels != edit.UNLABELED
    assert (values[known][:, :3] == np.array(colors, np.uint8)[labels[known]]).all()
    assert not values[~known][:, 3].any()
    assert (np.asarray(Image.open(tmp_path / "segmentation-classes.png")) == labels).all()
    for name in ("segmentation.png", "segmentation-classes.png"):
        open_map(page, png(np.zeros((SIDE, SIDE), np.uint8)))
        open_map(page, (tmp_path / name).read_bytes())
        page.fill("#prompt", "a house")
        assert (shown_labels(studio) == labels).all()


def broken() -> bytes:
    return png(np.zeros((SIDE, SIDE, 3), np.uint8))[:60]


def huge_header() -> bytes:
    """A PNG of a few bytes that says it has a thousand million pixels."""
    header = struct.pack(">IIBBBBB", 40000, 30000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in ((b"IHDR", header), (b"IDAT", zlib.compress(b"0")), (b"IEND", b""))
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


def other_palette() -> bytes:
    return png(np.full((SIDE, SIDE, 3), (190, 64, 64), np.uint8))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (broken, "damaged"),
        (lambda: b"", "damaged"),
        (lambda: b"<svg xmlns='http://www.w3.org/2000/svg'/>", "damaged"),
        (huge_header, "40000 × 30000"),
        (other_palette, "another palette"),
        (lambda: png(np.full((SIDE, SIDE), 200, np.uint8)), "class numbers"),
    ],
)
def test_files_that_are_no_map(studio: Watched, content: Callable[[], bytes], words: str) -> None:
    open_map(studio.page, content())
    expect(studio.page.locator("#error")).to_contain_text(words)
    expect(studio.page.locator("#tools [aria-label^=Undo]")).to_be_disabled()


def test_a_file_of_100_mb(studio: Watched, tmp_path: Path) -> None:
    """It is refused by its size, before it is read."""
    file = tmp_path / "large.png"
    with file.open("wb") as stream:
        stream.truncate(100 * 2**20)
    with studio.page.expect_file_chooser() as chooser:
        studio.page.click("#map-open")
    chooser.value.set_files(file)
    expect(studio.page.locator("#error")).to_contain_text("100 MB; at most 32 MB")


def test_a_map_of_another_size_is_brought_to_this_one(studio: Watched, engine: Engine) -> None:
    large = np.full((200, 100), index(engine, "sea"), np.uint8)
    open_map(studio.page, palette_picture(engine, large))
    expect(studio.page.locator("#error")).to_contain_text("100 × 200; it was brought to 64 × 64")


def test_a_lost_connection(open_page: Opened, engine: Engine) -> None:
    """The events break off twice; the page says so, goes on, and has the picture in the end."""
    studio = open_page(expected=REFUSED)
    page = studio.page
    write_prompt(page, "a house", candidates=4, **{"map-steps": 6, "steps": 8})
    turns = itertools.count()

    def flaky(route: Any) -> None:
        if next(turns) < 2:
            route.abort("connectionreset")
        else:
            route.continue_()

    page.route("**/events", flaky)
    page.click("#generate")
    expect(page.locator("#banner")).to_contain_text("connection to the service is lost")
    until_painted(page)
    expect(page.locator("#banner")).to_be_hidden()
    expect(page.locator("#history li")).to_have_count(1)


@contextlib.contextmanager
def process(port: int) -> Iterator[str]:
    """The address of ``fgdm serve``, which is killed in the end."""
    command = [sys.executable, "-m", "fgdm", "serve", str(SCENES), "--port", str(port)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as service:
        assert service.stdout is not None
        try:
            yield service.stdout.readline().rpartition(" ")[2].strip()
        finally:
            service.kill()


def test_a_service_that_restarts(open_page: Opened) -> None:
    """It has forgotten the job; the page offers to send it again."""
    with process(0) as at:
        studio = open_page(at=at, expected=REFUSED)
        page = studio.page
        write_prompt(page, "a house", candidates=8, **{"map-steps": 60})
        page.click("#generate")
        expect(page.locator("#progress-text")).to_contain_text("step")
    expect(page.locator("#banner")).to_contain_text("connection to the service is lost")
    with process(int(at.rpartition(":")[2])):
        expect(page.locator("#banner")).to_contain_text("forgotten")
        page.click("#banner button")
        expect(page.locator("#banner")).to_be_hidden()
        expect(page.locator("#progress-text")).to_contain_text("step")
        page.click("#cancel")
        expect(page.locator("#progress-text")).to_have_text("Cancelled")


def test_two_tabs_work_at_once(open_page: Opened) -> None:
    pages = [open_page().page, open_page().page]
    for page, seed in zip(pages, (1, 2), strict=True):
        write_prompt(page, "a house", seed=seed)
        page.click("#generate")
    for page in pages:
        page.wait_for_selector("html[data-painted]", timeout=60_000, state="attached")
        expect(page.locator("#history li")).to_have_count(1)


def test_errors_of_the_service_are_told(open_page: Opened) -> None:
    page = open_page(expected=REFUSED).page
    write_prompt(page, "a house", size="12y")
    page.evaluate("document.getElementById('size').removeAttribute('pattern')")
    page.click("#generate")
    expect(page.locator("#error")).to_contain_text("WIDTHxHEIGHT")
    page.fill("#prompt", "")
    page.click("#generate")
    expect(page.locator("#error")).to_contain_text("Write what")


@pytest.fixture
def keyed(engine: Engine) -> Iterator[str]:
    """The address of a service that asks for a key."""
    with serving(Models({"scenes": engine}), Settings(api_keys=("secret",))) as at:
        yield at


def test_a_service_with_keys(keyed: str, browser: Any) -> None:
    """The page is open to all, and asks for the key that its requests need."""
    page = browser.new_page()
    page.goto(keyed)
    page.fill("#dialog input", "wrong")
    page.click("#dialog .primary")
    page.fill("#dialog input", "secret")
    page.click("#dialog .primary")
    page.wait_for_selector("html[data-ready]")
    expect(page.locator("#bundle option")).to_have_text(["scenes"])
    page.close()


def test_nothing_keeps_people_out_of_the_key(keyed: str, browser: Any) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = browser.new_page()
    page.goto(keyed)
    page.wait_for_selector("#dialog input")
    _assert_accessible(axe, page)
    page.close()


@pytest.mark.parametrize(("scheme", "width"), [("light", 360), ("dark", 1440)])
def test_nothing_keeps_people_out(
    open_page: Opened, engine: Engine, scheme: str, width: int
) -> None:
    """axe-core finds nothing serious, and nothing is wider than the screen."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = open_page(viewport={"width": width, "height": 800}, color_scheme=scheme).page
    write_prompt(page, "a dog beside a house")
    page.evaluate("document.getElementById('chain-box').open = true")
    open_map(page, palette_picture(engine, np.zeros((SIDE, SIDE), np.uint8)))
    page.click("#generate")
    until_painted(page)
    _assert_accessible(axe, page)
    page.click("#show-help")
    _assert_accessible(axe, page)
    page.keyboard.press("Escape")
    page.click("#show-json")
    _assert_accessible(axe, page)
    page.keyboard.press("Escape")
    page.click("#tab-second")
    page.click("#factor-tabs [data-factor=sketch]")
    _assert_accessible(axe, page)
    page.click("#factor-tabs [data-factor=pose]")
    _assert_accessible(axe, page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def _assert_accessible(axe: Any, page: Page) -> None:
    found = axe.Axe().run(page).response["violations"]
    serious = [
        (entry["id"], [node["html"][:120] for node in entry["nodes"]][:3])
        for entry in found
        if entry["impact"] in ("serious", "critical")
    ]
    assert not serious


@pytest.fixture
def pictures_alone(tmp_path: Path) -> Path:
    """The shipped bundle without its maps: a chain of the image alone."""
    manifest = json.loads((SCENES / "manifest.json").read_text())
    manifest["factors"] = [{**manifest["factors"][-1], "conditionings": []}]
    manifest["graphs"] = {
        name: graph
        for name, graph in manifest["graphs"].items()
        if not name.startswith(("adapter", "controlnet"))
    }
    for file in SCENES.iterdir():
        if not file.name.startswith("manifest."):
            (tmp_path / file.name).symlink_to(file.resolve())
    text = json.dumps(manifest)
    (tmp_path / "manifest.json").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (tmp_path / "manifest.sha256").write_text(f"{digest}  manifest.json\n")
    return tmp_path


@pytest.mark.nightly
def test_a_bundle_without_maps(pictures_alone: Path, open_page: Opened, engine: Engine) -> None:
    """Nothing of maps is shown; pictures are painted, and a part of one is painted again. A bundle
    with maps beside it has all of it."""
    with (
        Engine(pictures_alone, backend="cpu", threads=1) as alone,
        serving(Models({"alone": alone, "scenes": engine}), Settings()) as at,
    ):
        studio = open_page(at=at)
        page = studio.page
        for hidden in ("#map-card", "#strip-card", "#tab-second", "#candidates", "#object-add"):
            expect(page.locator(hidden)).to_be_hidden()
        page.fill("#prompt", "a dog")
        page.fill("#seed", "4")
        page.evaluate("document.getElementById('more').open = true")
        page.fill("#steps", "20")  # long enough to be seen at work
        page.keyboard.press("Control+Shift+Enter")
        expect(page.locator("#error")).to_contain_text("generate one first")
        page.click("#generate")
        until_painted(page)
        first = pixels(page, "#picture-panel .after")
        painted = alone.generate("a dog", seed=4, num_inference_steps=20)
        assert (first == np.asarray(painted.image)).all()
        expect(page.locator("#history .quiet")).to_have_text("Seed 4")
        page.select_option("#where", "mask")
        page.locator(".view.mask").focus()
        page.keyboard.press("Space")
        page.keyboard.press("Space")
        page.click("#paint")
        until_painted(page)
        second = pixels(page, "#picture-panel .after")
        assert 0 < (first != second).any(2).mean() < 0.2
        assert {"image", "mask"} <= set(studio.bodies[-1]) and "factors" not in studio.bodies[-1]
        page.select_option("#bundle", "scenes")
        expect(page.locator("#map-view")).to_be_visible()
        page.select_option("#bundle", "alone")
        expect(page.locator("#map-card")).to_be_hidden()


def test_another_bundle(tiny_bundle: Path, open_page: Opened) -> None:
    """Another bundle with another palette opens as well."""
    with (
        Engine(tiny_bundle, backend="cpu", threads=1) as engine,
        serving(Models({"tiny": engine}), Settings()) as at,
    ):
        page = open_page(at=at).page
        expect(page.locator("#palette li").first).to_be_visible()
