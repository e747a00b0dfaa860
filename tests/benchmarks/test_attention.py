"""Rounds are compared in pairs, and both sides of the op's graph compute the same."""

from __future__ import annotations

from pathlib import Path

from benchmarks import attention

SCENES = Path(__file__).parents[2] / "bundles" / "scenes"


def test_a_slow_moment_that_both_sides_meet_changes_no_ratio() -> None:
    own = [(1.0, 1.0), (3.0, 4.0), (1.0, 1.0)]
    standard = [(2.0, 2.0), (6.0, 8.0), (2.0, 2.0)]
    found = attention.paired(own, standard)
    assert found.speedup == found.wall_speedup == 2 and found.quarters == (2, 2)
    assert (found.own_ms, found.standard_ms) == (1000, 2000)


def test_the_sides_take_turns_and_the_first_time_does_not_count() -> None:
    order = []

    def side(name: str, seconds: float) -> tuple[float, float]:
        order.append(name)
        return (100.0 if len(order) <= 2 else seconds), seconds

    found = attention.take_turns(3, (lambda: side("own", 1.0), lambda: side("standard", 3.0)))
    assert "".join(name[0] for name in order) == "soossoos"
    assert found.speedup == 3


def test_the_op_is_measured_against_what_it_equals() -> None:
    found = attention.measure_op(1, 1, [(2, 8, 32)])["2 x 8, 32 patches"]
    assert set(found) == {"plain", "segfree"}
    assert all(result["error"] < 1e-5 for result in found.values())
    assert any(result["error"] > 0 for result in found.values()), "both sides are the same kernel"
    assert found["plain"]["own_ms"] > 0


def test_levels_are_those_of_the_bundle() -> None:
    assert attention.bundle_levels(SCENES) == [(1, 64, 1024), (2, 64, 256), (4, 64, 64)]
