"""Pictures that the service checks, on the page: what was found on them, and painting again while
they lack something; nothing of it where nothing can check."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="Playwright isn't installed")

from fgdm.engine import Engine
from fgdm.requirements import Requirements
from fgdm.scorers import Score
from fgdm.serve.models import Models
from fgdm.serve.settings import Settings
from PIL import Image
from playwright.sync_api import expect

from tests.serve.conftest import serving
from tests.studio.conftest import Opened, Watched, until_painted, write_prompt

LACKS = Score(0.5, False, ("2 dog", "no person"), ("dog",))
PASSES = Score(1.0, True, (), ("dog", "2 dog", "no person"))


class InTurn:
    """A scorer that says what it was told to."""

    def __init__(self) -> None:
        self.scores: list[Score] = []

    def __call__(self, image: Image.Image, prompt: str, requirements: Requirements) -> Score:
        return self.scores.pop(0)


@pytest.fixture(scope="module")
def scorer() -> InTurn:
    return InTurn()


@pytest.fixture(scope="module")
def scored(engine: Engine, scorer: InTurn) -> Iterator[str]:
    models = Models({"scenes": engine}, scorers={"scenes": scorer})
    with serving(models, Settings(grace_seconds=1)) as address:
        yield address


def test_a_picture_is_painted_again_while_it_lacks_something(
    open_page: Opened, scored: str, scorer: InTurn
) -> None:
    studio = open_page("/", scored)
    page = studio.page
    found = page.locator("#picture-panel .scored")
    write_prompt(page, "two dogs, no people", candidates=3, seed=3, repaint=2)
    page.evaluate(
        """() => {
          window.told = [];
          const text = document.getElementById("progress-text");
          new MutationObserver(() => window.told.push(text.textContent)).observe(
            text, { childList: true, characterData: true, subtree: true });
        }"""
    )
    scorer.scores = [LACKS, PASSES]
    page.click("#generate")
    until_painted(page)
    assert studio.bodies[-1]["repaint"] == 2 and not scorer.scores
    expect(found.locator("strong")).to_have_text("The picture has what is asked for")
    expect(found.locator(".quiet")).to_have_text("picture 2 of 2 that were painted")
    expect(found.locator(".chip.met")).to_have_text(["dog", "2 × dog", "no person"])
    told = page.evaluate("window.told")
    assert any(text.startswith("Picture 2 of at most 3 · image: step") for text in told), told
    # All maps are there to choose from, and that of the second picture is marked.
    expect(page.locator(".candidate")).to_have_count(3)
    expect(page.locator(".candidate .badge:visible")).to_have_text("painted")
    assert page.locator(".candidate[aria-pressed=true] .badge").inner_text() == "painted"
    # The same field stands for Paint again; with 0 the picture is only checked.
    page.fill("#repaint", "0")
    scorer.scores = [LACKS]
    page.click("#paint")
    until_painted(page)
    assert studio.bodies[-1]["repaint"] == 0
    expect(found.locator("strong")).to_have_text("The picture lacks something")
    expect(found.locator(".chip.unmet")).to_have_text(["2 × dog", "no person"])
    expect(found.locator(".chip.met")).to_have_text(["dog"])
    assert found.locator("[aria-label='2 × dog: not met']").count() == 1
    expect(found.locator(".quiet")).to_be_empty()
    # A link has it.
    link = page.evaluate(
        "async (r) => (await import('/studio/link.js')).toHash(r)",
        {"prompt": "a dog", "model": "scenes", "candidates": 2, "repaint": 1},
    )
    again = open_page("/" + link, scored).page
    expect(again.locator("#repaint")).to_have_value("1")
    expect(again.locator("#extra")).to_be_hidden()


def test_without_a_scorer_there_is_no_field(tiny_bundle: Path, open_page: Opened) -> None:
    with (
        Engine(tiny_bundle, backend="cpu", threads=1) as tiny,
        serving(Models({"tiny": tiny}), Settings(grace_seconds=1)) as at,
    ):
        studio = open_page(at=at)
        page = studio.page
        expect(page.locator("#repaint")).to_be_hidden()
        write_prompt(page, "a dog", candidates=1)
        page.click("#generate")
        until_painted(page)
        assert "repaint" not in studio.bodies[-1]
        expect(page.locator("#picture-panel .scored")).to_be_hidden()


def test_a_bundles_own_segmenter_looks_at_the_picture(studio: Watched) -> None:
    page = studio.page
    write_prompt(page, "a dog", candidates=1, seed=3)
    page.click("#generate")
    until_painted(page)
    assert studio.bodies[-1]["repaint"] == 0
    found = page.locator("#picture-panel .scored")
    expect(found.locator(".chip")).to_have_text("dog")
