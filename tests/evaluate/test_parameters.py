"""A factor's own least area, where a request has none for all."""

from __future__ import annotations

from fgdm.evaluate.parameters import least_area


def test_the_factors_own_area_counts_where_they_differ() -> None:
    factors = {"segmentation": {"min_area": 0.006}, "parts": {"min_area": 0.01}}
    assert least_area({"min_area": None, "factors": factors}, "parts") == 0.01
    assert least_area({"min_area": 0.002, "factors": {}}, "parts") == 0.002
