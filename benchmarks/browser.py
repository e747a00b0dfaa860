"""The studio in Chromium, for measurements and pictures of it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright


@contextlib.contextmanager
def service(bundle: Path, *options: str) -> Iterator[str]:
    """The address of a service in a process of its own."""
    command = [sys.executable, "-m", "fgdm", "serve", str(bundle), "--port", "0", *options]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().rpartition(" ")[2].strip()
        finally:
            process.terminate()


@contextlib.contextmanager
def chromium() -> Iterator[Browser]:
    """The system's. SystemExit where there is none."""
    program = shutil.which("chromium")
    if program is None:
        raise SystemExit("Chromium isn't installed (Debian: apt-get install chromium)")
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


def opened(browser: Browser, address: str, width: int = 1440, height: int = 900) -> Page:
    """The page, once it can be used."""
    page = browser.new_page(viewport={"width": width, "height": height})
    page.set_default_timeout(120_000)
    page.goto(address)
    page.wait_for_selector("html[data-ready]", state="attached")
    return page


def until_painted(page: Page) -> None:
    """Until the request that was sent is answered."""
    page.wait_for_selector("html[data-busy]", state="attached")
    page.wait_for_selector("html:not([data-busy])", state="attached")
