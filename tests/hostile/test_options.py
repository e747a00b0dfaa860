"""Protects that no option of any type and range, nor any command line, breaks an engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.workers import attack

ALL = 2000


@pytest.mark.nightly
def test_two_thousand_combinations_of_options(small_bundle: Path, hostile_seed: str) -> None:
    failures = attack("tests.hostile.options", [str(small_bundle), hostile_seed], range(ALL))
    assert not failures, f"{len(failures)} failed\n" + "\n".join(map(str, failures[:20]))
