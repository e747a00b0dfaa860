"""Gaps between the steps of a request beside a burst."""

from __future__ import annotations

import pytest

from benchmarks.burst import change, describe, gaps

ALONE = [("map", 0.0), ("map", 1.0), ("map", 2.0), ("image", 5.0), ("image", 7.0)]
BESIDE = [("map", 0.0), ("map", 1.0), ("map", 5.0), ("image", 9.0), ("image", 11.0)]


def test_gaps_are_between_steps_of_one_factor() -> None:
    assert gaps(ALONE, "map") == [1.0, 1.0]
    assert gaps(ALONE, "image") == [2.0]


def test_the_change_is_between_factors() -> None:
    assert change(ALONE) == 3.0
    assert change(ALONE[:2]) == 0.0


def test_gaps_are_told_in_steps_of_the_request_alone() -> None:
    figures = describe([ALONE, ALONE], [BESIDE], "map")
    assert figures["step"] == 1.0
    assert figures["worst"] == 4.0
    assert figures["p99_per_step"] == pytest.approx(4.0, rel=0.01)
    assert (figures["change_alone"], figures["change"]) == (3.0, 4.0)
