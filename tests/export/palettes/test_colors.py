"""PASCAL VOC's colours, in which FG-DM paints label maps."""

from __future__ import annotations

import pytest
from fgdm.export.palettes.colors import pascal_voc_color

# As PASCAL VOC 2012 publishes them; its void border is class 255.
PUBLISHED = {
    0: (0, 0, 0),  # background
    1: (128, 0, 0),  # aeroplane
    2: (0, 128, 0),  # bicycle
    4: (0, 0, 128),  # boat
    7: (128, 128, 128),  # car
    8: (64, 0, 0),  # cat
    15: (192, 128, 128),  # person
    16: (0, 64, 0),  # potted plant
    20: (0, 64, 128),  # tv/monitor
    255: (224, 224, 192),  # void
}


@pytest.mark.parametrize(("index", "color"), PUBLISHED.items())
def test_published_colours(index: int, color: tuple[int, int, int]) -> None:
    assert tuple(pascal_voc_color(index)) == color


def test_every_index_deals_its_bits_to_red_green_and_blue() -> None:
    for index in range(256):
        bits = f"{index:09b}"  # bits[8] is the lowest
        red, green, blue = (
            int(bits[8 - channel] + bits[5 - channel] + bits[2 - channel], 2) * 32
            for channel in range(3)
        )
        assert pascal_voc_color(index) == [red, green, blue]
