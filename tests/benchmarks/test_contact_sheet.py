"""Every map and picture is on the sheet, side by side, none over another."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.contact_sheet import contact_sheet


def test_each_result_has_a_card_of_its_own() -> None:
    colours = [(200, 30 * n, 10) for n in range(6)]
    results: list[Any] = [
        SimpleNamespace(
            map=Image.new("RGB", (64, 64), colours[2 * n]),
            image=Image.new("RGB", (128, 128), colours[2 * n + 1]),
        )
        for n in range(3)
    ]
    pixels = np.asarray(contact_sheet(results, ["one", "two", "three"], columns=2))
    places = {}
    for colour in colours:
        rows, columns = np.nonzero((pixels == colour).all(-1))
        assert len(rows) == 192 * 192
        places[colour] = rows.min(), columns.min()
    maps, images = ([places[colour] for colour in colours[n::2]] for n in (0, 1))
    for at_map, at_image in zip(maps, images, strict=True):
        assert at_image == (at_map[0], at_map[1] + 192)
    assert maps[0][0] == maps[1][0] < maps[2][0]
    assert maps[0][1] == maps[2][1] < maps[1][1]
