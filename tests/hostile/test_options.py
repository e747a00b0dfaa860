"""Protects that no option of any type and range, nor any command line, breaks an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.workers import attack

SLICE = 100
ALL = 2000


def run(bundle: Path, seed: str, cases: range) -> None:
    failures = attack("tests.hostile.options", [str(bundle), seed], cases)
    assert not failures, f"{len(failures)} failed\n" + "\n".join(map(str, failures[:20]))


def test_combinations_of_options(small_bundle: Path, hostile_seed: str) -> None:
    run(small_bundle, hostile_seed, range(SLICE))


@pytest.mark.nightly
def test_two_thousand_combinations_of_options(small_bundle: Path, hostile_seed: str) -> None:
    run(small_bundle, hostile_seed, range(SLICE, ALL))
