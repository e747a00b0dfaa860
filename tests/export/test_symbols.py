"""Protects that a graph's symbolic shapes become the sizes that the core gives it."""

from __future__ import annotations

import pytest
from fgdm.export.symbols import resolve


def test_every_symbol() -> None:
    shape = ("batch", 3, "height", "width_div_4", "image_height", "image_width")
    sizes = resolve(shape, batch=20, height=64, width=48, downscale=8)
    assert sizes == (20, 3, 64, 12, 512, 384)


@pytest.mark.parametrize("symbol", ["rows", "height_div_", "height_div_0", "height/8", "Width"])
def test_an_unknown_symbol_is_named(symbol: str) -> None:
    with pytest.raises(ValueError, match=symbol):
        resolve((symbol,), batch=1, height=8, width=8)


def test_a_size_that_a_stride_does_not_divide() -> None:
    with pytest.raises(ValueError, match="height 10 can't be divided as height_div_4 asks"):
        resolve(("height_div_4",), batch=1, height=10, width=8)
