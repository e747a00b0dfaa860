"""An axis asks for what it says and draws its line over what grows."""

from __future__ import annotations

import pytest

from benchmarks.scaling import AXES, REQUEST, fit


def test_points_ask_for_one_thing_more() -> None:
    assert AXES["candidates"].options(8) == {**REQUEST, "candidates": 8}
    assert AXES["size"].options(96) == {**REQUEST, "height": 96, "width": 96}


def test_time_over_pixels_is_a_line_when_it_grows_with_the_area() -> None:
    points = {
        side: {"seconds": 0.5 + 1e-4 * side**2, "peak_mb": 100.0 + side} for side in (64, 128, 256)
    }
    fitted = fit(AXES["size"], points)
    assert fitted["time"]["slope"] == pytest.approx(1e-4)
    assert fitted["time"]["intercept"] == pytest.approx(0.5)
    assert fitted["time"]["r_squared"] == pytest.approx(1)
    assert fitted["memory"]["r_squared"] < 1
