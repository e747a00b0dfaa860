"""The studio's page in Chromium, over a service of the shipped bundle on a free port."""

from __future__ import annotations

import base64
import io
import json
import shutil
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

pytest.importorskip("fgdm._core", reason="the compiled core isn't built")

from fgdm import edit
from fgdm.engine import Engine
from fgdm.serve.models import Models
from fgdm.serve.settings import Settings
from PIL import Image

from tests.serve.conftest import SCENES, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page, Request

# What needs no page is tested without Playwright, too.
# ruff: noqa: PLC0415

CHROMIUM = shutil.which("chromium")
#: Where the page has no map yet.
SIDE = 64
#: Marks a page whose work has ended since `until_painted` looked, however short it was.
WATCH = """new MutationObserver(() => {
  const root = document.documentElement;
  root.toggleAttribute("data-test-ended", !root.hasAttribute("data-busy"));
}).observe(document, { subtree: true, attributeFilter: ["data-busy"] });"""


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    with Engine(SCENES, backend="cpu", threads=1) as opened:
        yield opened


@pytest.fixture(scope="session")
def address(engine: Engine) -> Iterator[str]:
    with serving(Models({"scenes": engine}), Settings(grace_seconds=1)) as found:
        yield found


# Playwright keeps an event loop running, and tests of other modules run their own.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    driver_module = pytest.importorskip("playwright.sync_api", reason="Playwright isn't installed")
    if CHROMIUM is None:
        pytest.skip("Chromium isn't installed (Debian: apt-get install chromium)")
    driver_module.expect.set_options(timeout=30_000)  # where all else is slow, so is the page
    with driver_module.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


class Watched:
    """A page, and what went wrong on it: messages on its console, requests to other hosts."""

    def __init__(self, page: Page, address: str) -> None:
        self.page, self.problems = page, list[str]()
        self.bodies: list[dict[str, Any]] = []
        page.on("console", lambda message: self._console(message.type, message.text))
        page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        page.on("request", lambda request: self._request(request, address))

    def _console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.problems.append(f"{kind}: {text}")

    def _request(self, request: Request, address: str) -> None:
        if not request.url.startswith((address + "/", "blob:" + address, "data:")):
            self.problems.append(f"off the origin: {request.url}")
        if request.url.endswith("/v1/studio/jobs"):
            self.bodies.append(dict(request.post_data_json or {}))

    def labels(self, factor: str = "segmentation") -> edit.Labels:
        """The class indices, or shades, that the last request gave for a factor."""
        given = self.bodies[-1]["factors"][factor]
        content = base64.b64decode(given.get("labels") or given["map"])
        return np.asarray(Image.open(io.BytesIO(content)))


Opened = Callable[..., Watched]


@pytest.fixture
def open_page(browser: Browser, address: str) -> Iterator[Opened]:
    """Opens a page; nothing may have gone wrong on it when the test ends, but what it expects."""
    opened: list[tuple[Watched, tuple[str, ...]]] = []

    def open_(
        path: str = "/", at: str = address, expected: tuple[str, ...] = (), **options: Any
    ) -> Watched:
        options.setdefault("viewport", {"width": 1440, "height": 900})
        watched = Watched(browser.new_page(**options), at)
        watched.page.set_default_timeout(30_000)
        watched.page.add_init_script(WATCH)
        watched.page.goto(at + path)
        watched.page.wait_for_selector("html[data-ready]")
        opened.append((watched, expected))
        return watched

    yield open_
    for watched, expected in opened:
        watched.page.context.close()
        left = [p for p in watched.problems if not any(words in p for words in expected)]
        assert not left


@pytest.fixture
def studio(open_page: Opened) -> Watched:
    return open_page()


def palette_picture(engine: Engine, labels: edit.Labels) -> bytes:
    """A map as PNG in the palette's colours."""
    assert engine.palette is not None
    colors = [tuple(entry["color"]) for entry in engine.palette["classes"]]
    return png(edit.to_picture(labels, colors))


def png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def index(engine: Engine, name: str) -> int:
    """A class's index."""
    assert engine.palette is not None
    return [entry["name"] for entry in engine.palette["classes"]].index(name)


def open_map(page: Page, content: bytes, button: str = "#map-open", name: str = "map.png") -> None:
    """Opens a file by a button of the page, and waits until the page has said what came of it."""
    from playwright.sync_api import FilePayload, expect

    page.evaluate("document.getElementById('error').textContent = ''")
    with page.expect_file_chooser() as chooser:
        page.click(button)
    chooser.value.set_files(FilePayload(name=name, mimeType="image/png", buffer=content))
    expect(page.locator("#error")).not_to_be_empty()


def at_cell(page: Page, selector: str, x: float, y: float, side: int = SIDE) -> tuple[float, float]:
    """Where on the screen a pixel of a map of `side` pixels is that fits its box."""
    box = page.locator(selector).bounding_box()
    assert box is not None
    scale = min(box["width"], box["height"]) / side
    left = box["x"] + (box["width"] - side * scale) / 2
    top = box["y"] + (box["height"] - side * scale) / 2
    return left + (x + 0.5) * scale, top + (y + 0.5) * scale


def click_cell(page: Page, selector: str, x: float, y: float) -> None:
    page.locator(selector).scroll_into_view_if_needed()
    page.mouse.click(*at_cell(page, selector, x, y))


def write_prompt(page: Page, prompt: str, **fields: object) -> None:
    """Fills the form, and waits until the prompt's objects are read."""
    for name, value in {"steps": 2, "map-steps": 2, "candidates": 2, "seed": 1, **fields}.items():
        if name in ("steps", "map-steps"):
            page.evaluate("document.getElementById('more').open = true")
        page.fill(f"#{name}", str(value))
    with page.expect_response("**/v1/studio/objects"):
        page.fill("#prompt", prompt)


def until_painted(page: Page) -> None:
    """Waits until what was begun since the last call, or the page's opening, has ended."""
    page.wait_for_selector("html[data-test-ended]", timeout=60_000)
    page.evaluate("document.documentElement.removeAttribute('data-test-ended')")
    assert not page.locator("#error.wrong").is_visible(), page.inner_text("#error")


def chips(page: Page, kind: str = ".chip:has(.swatch)") -> dict[str, str]:
    """What the recall under the map says of each requested object; of everything: ``.chip``."""
    page.evaluate("new Promise(requestAnimationFrame)")
    found = page.locator(f"#recall {kind}").evaluate_all(
        "chips => chips.map(chip => [chip.innerText.trim(), chip.classList[1]])"
    )
    return dict(found)


def shown_labels(studio: Watched) -> edit.Labels:
    """The map on the page, as a request would give it."""
    from playwright.sync_api import expect

    page = studio.page
    page.evaluate("document.getElementById('chain-box').open = true")
    page.select_option("#chain-segmentation", "given")
    page.click("#show-json")
    expect(page.locator("#dialog")).to_be_visible()
    page.select_option("#dialog select", "generate")
    expect(page.locator("#json")).to_contain_text('"factors"')
    studio.bodies.append(json.loads(page.inner_text("#json")))
    page.click("#dialog button:has-text('Close')")
    expect(page.locator("#dialog")).to_be_hidden()
    return studio.labels()


def pixels(page: Page, selector: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """What a picture on the page holds, RGB."""
    width, height, values = page.evaluate(
        """async (selector) => {
          let image;
          for (let tries = 100; ; --tries) {  // it may be replaced meanwhile
            image = document.querySelector(selector);
            try {
              await image.decode();
              break;
            } catch (error) {
              if (tries === 0) throw error;
              await new Promise(requestAnimationFrame);
            }
          }
          const { naturalWidth: width, naturalHeight: height } = image;
          const context = new OffscreenCanvas(width, height).getContext("2d");
          context.drawImage(image, 0, 0);
          return [width, height, [...context.getImageData(0, 0, width, height).data]];
        }""",
        selector,
    )
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]
