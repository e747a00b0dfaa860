"""Takes the pictures of the studio in docs/figures: python -m docs.studio_pictures

The page is that of a service which the command starts, in Chromium without a window.
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page

from benchmarks.browser import chromium, opened, service, until_painted

PROMPT = "two dogs beside a house under a tree with a kite"
SEED = 21


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("bundle", type=Path, nargs="?", default=Path("bundles/scenes"))
    parser.add_argument("--output", type=Path, default=Path("docs/figures"))
    parser.add_argument("--seed", type=int, default=SEED)
    args = parser.parse_args()
    with service(args.bundle) as address, chromium() as browser:
        page = opened(browser, address, 1500, 990)
        _generate(page, args.seed)
        _save(page, args.output / "studio.png")
        _edit(page)
        _save(page, args.output / "studio-edit.png")
        page.emulate_media(color_scheme="dark")
        _take_from_second(page)
        _save(page, args.output / "studio-second.png")


def _generate(page: Page, seed: int) -> None:
    page.fill("#prompt", PROMPT)
    page.fill("#seed", str(seed))
    page.click("#generate")
    until_painted(page)


def _edit(page: Page) -> None:
    """The sun is drawn, the house selected and turned, the picture painted again."""
    page.click("#palette li button:has-text('sun')")
    page.click("#tools [data-tool=brush]")
    box = page.locator("#map-view").bounding_box()
    assert box is not None
    for _ in range(3):
        page.locator("#map-view").press("]")
    page.mouse.click(box["x"] + 0.86 * box["width"], box["y"] + 0.14 * box["height"])
    page.click("#paint")
    until_painted(page)
    page.click("#tools [data-tool=select]")
    page.mouse.click(box["x"] + 0.86 * box["width"], box["y"] + 0.14 * box["height"])
    page.mouse.move(0, 0)


def _take_from_second(page: Page) -> None:
    """A tree of another candidate hangs in the air over the map."""
    page.locator(".take").nth(8).click()
    box = page.locator("#second-panel .view").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + 0.57 * box["width"], box["y"] + 0.5 * box["height"])
    for key in ("Shift+ArrowLeft", "+", "+"):
        page.keyboard.press(key)
    page.mouse.move(0, 0)


def _save(page: Page, path: Path) -> None:
    page.wait_for_timeout(300)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(path, optimize=True)


if __name__ == "__main__":
    main()
