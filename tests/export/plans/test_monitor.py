"""Protects that progress only rises and ends at one, whatever phases a builder reports."""

from __future__ import annotations

from fgdm.export.plans.monitor import Fraction


def test_inner_phases_are_part_of_their_parents_step() -> None:
    fraction = Fraction()
    fraction.start("outer", None, 4)
    fraction.step("outer", 0)
    assert fraction.value == 0.25
    fraction.start("inner", "outer", 2)
    fraction.step("inner", 0)
    assert fraction.value == 0.375
    fraction.step("inner", 1)
    fraction.finish("inner")
    fraction.step("outer", 1)
    assert fraction.value == 0.5
    fraction.start("inner", "outer", 10)  # a name may be used again
    fraction.step("inner", 0)
    assert fraction.value == 0.525


def test_it_never_falls_nor_exceeds_one() -> None:
    fraction = Fraction()
    fraction.start("outer", None, 2)
    for step in range(5):
        fraction.step("outer", step)
        fraction.start("inner", "outer", 0)
        fraction.step("inner", 3)
    assert fraction.value == 1.0
    fraction.start("second outer", None, 10)
    fraction.step("second outer", 0)
    fraction.step("never started", 1)
    assert fraction.value == 1.0
