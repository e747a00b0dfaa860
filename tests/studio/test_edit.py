"""fgdm.edit and its twin in the page answer the same cases; the engine agrees where it can."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fgdm import edit, errors
from fgdm.engine import Engine
from PIL import Image

from tests.studio.cases import CASES, LETTERS, answer, labels
from tests.studio.conftest import Watched

_IN_PAGE = Path(__file__).with_name("answer.js").read_text()
BY_NAME = pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])


@BY_NAME
def test_in_python(case: dict[str, Any]) -> None:
    assert json.loads(json.dumps(answer(case))) == case["expected"]


@pytest.fixture(scope="module")
def in_page(browser: Any, address: str) -> Any:
    page = browser.new_page()
    page.goto(address)
    yield lambda case: page.evaluate(_IN_PAGE, [case, LETTERS])
    page.close()


@BY_NAME
def test_in_the_page(case: dict[str, Any], in_page: Any) -> None:
    made = in_page(case)
    assert made == case["expected"]


def test_both_agree_on_random_maps(in_page: Any) -> None:
    """Sizes, angles, paths and masks that nobody thought of."""
    draw = random.Random(5)
    for _ in range(60):
        width, height = draw.randint(1, 24), draw.randint(1, 24)
        rows = ["".join(draw.choice(".aab?") for _ in range(width)) for _ in range(height)]
        mask = ["".join(draw.choice("##.") for _ in range(width)) for _ in range(height)]
        mask[draw.randrange(height)] = "#" * width
        piece = {"labels": [row.replace("?", "c") for row in rows], "mask": mask}
        points = [
            [draw.uniform(-3, width + 3), draw.uniform(-3, height + 3)]
            for _ in range(draw.randint(3, 6))
        ]
        for call, arguments in (
            ("erase", {"labels": rows, "mask": mask}),
            ("region_at", {"labels": rows, "x": width // 2, "y": height // 2}),
            ("components", {"labels": rows, "label": 1}),
            ("move", {"labels": rows, "mask": mask, "dx": draw.randint(-5, 5), "dy": 2}),
            ("rotated", {"piece": piece, "degrees": draw.randint(-400, 400)}),
            ("resized", {"piece": piece, "width": draw.randint(1, 40), "height": 7}),
            (
                "stroke",
                {"labels": rows, "points": points, "radius": draw.uniform(0.3, 5), "label": 2},
            ),
            ("polygon", {"labels": rows, "points": points, "label": 2}),
        ):
            case = {"call": call, "arguments": arguments}
            assert in_page(case) == json.loads(json.dumps(answer(case))), case


def test_recall_and_decoding_are_the_engines(engine: Engine) -> None:
    """A picture of random colours, near the palette's and far from them, given as a map."""
    assert engine.palette is not None
    classes = engine.palette["classes"]
    generator = np.random.default_rng(3)
    colors = np.array([entry["color"] for entry in classes])
    blocks = colors[generator.integers(0, len(colors), (16, 16))].repeat(4, 0).repeat(4, 1)
    picture = (blocks + generator.integers(-90, 90, blocks.shape)).clip(0, 255).astype(np.uint8)
    result = engine.generate(
        "a dog, a house, a tree, a kite and a bus",
        factors={"segmentation": {"map": Image.fromarray(picture)}},
        num_inference_steps=2,
    )
    decoded = edit.from_picture(
        picture, [tuple(entry["color"]) for entry in classes], engine.palette["tolerance"]
    )
    # What is near no colour is painted as the nearest; those are the factor's unknown pixels.
    known = decoded != edit.UNLABELED
    assert (~known).sum() == result.factors["segmentation"].unknown_pixels > 0
    assert (result.labels[known] == decoded[known]).all()
    names = [entry["name"] for entry in classes]
    requested = [names.index(name) for name in result.requested]
    assert len(requested) == 5
    measured = edit.measure(result.labels, requested)
    assert measured.recall == result.recall
    assert [names[i] for i in measured.found] == list(result.found)
    assert [names[i] for i in measured.missing] == list(result.missing)
    assert measured.smallest_area == pytest.approx(result.candidates[0].smallest_area)


def test_arguments_stay_as_they_are() -> None:
    given = labels(["aab", ".b.", "..."])
    before = given.copy()
    region = edit.region_at(given, 0, 0)
    edit.erase(given, region)
    edit.stroke(given, [(1, 1)], 2, 3)
    edit.polygon(given, [(0, 0), (3, 0), (0, 3)], 2)
    edit.move(given, region, 1, 1)
    edit.recolor(given, 1, 2)
    assert (given == before).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda m: edit.region_at(m, 3, 0), "outside the map of 3x1"),
        (lambda m: edit.region_at(m.astype(int), 0, 0), "uint8"),
        (lambda m: edit.erase(m, m), "bool of the map's shape"),
        (lambda m: edit.erase(m, m == 1, 300), "0 to 254"),
        (lambda m: edit.lift(m, m == 9), "empty"),
        (lambda m: edit.stroke(m, [(0, 0)], 0, 1), "radius above 0"),
        (lambda m: edit.stroke(m, [], 1, 1), "at least 1"),
        (lambda m: edit.polygon(m, [(0, 0), (1, float("nan")), (1, 1)], 1), "finite"),
        (lambda m: edit.rotated(edit.lift(m, m == 1)[0], float("inf")), "degrees"),
        (lambda m: edit.resized(edit.lift(m, m == 1)[0], 0, 1), "at least 1 pixel"),
        (lambda m: edit.flipped(edit.lift(m, m == 1)[0], "both"), "horizontal"),
        (lambda m: edit.replace_background(m, m.T, [1]), "expected this one's"),
        (lambda m: edit.measure(m, [255]), "0 to 254"),
        (lambda m: edit.measure(m, [1], 2), "0 to 1"),
        (lambda m: edit.to_picture(m, [(0, 0, 0)]), "palette has 1 colours"),
        (lambda m: edit.from_picture(m, [(0, 0, 0)]), "height, width, 3"),
        (lambda m: edit.History().record(m, m.T), "shape changed"),
    ],
)
def test_refusals_say_what_is_expected(call: Any, words: str) -> None:
    with pytest.raises(errors.RequestError, match=words):
        call(labels(["aab"]))


def test_a_thousand_strokes_stay_bounded(studio: Watched) -> None:
    """On a map of 512x512, with undo: under 100 MB, and the newest can be taken back."""
    made = studio.page.evaluate(
        """async () => {
          const { map } = await import("/studio/edit/regions.js");
          const { stroke } = await import("/studio/edit/strokes.js");
          const { MapDocument } = await import("/studio/document.js");
          const doc = new MapDocument({ output: "labels", name: "m" }, map(512, 512), []);
          let bytes = 0;
          for (let i = 0; i < 1000; i++) {
            doc.begin();
            const across = [[(37 * i) % 512, 0], [(91 * i) % 512, 512]];
            doc.drawn(stroke(doc.labels, across, 12, i % 23));
            doc.end();
            bytes = Math.max(bytes, doc.history.bytes);
          }
          const before = doc.labels.data.slice();
          doc.undo();
          const changed = before.some((label, i) => label !== doc.labels.data[i]);
          doc.redo();
          const same = before.every((label, i) => label === doc.labels.data[i]);
          return { bytes, changed, same, steps: doc.history.done.length };
        }"""
    )
    assert made["bytes"] <= 64 * 2**20 and made["steps"] > 200
    assert made["changed"] and made["same"]
