"""Protects that no bundle, whatever is in it, takes the process down or gets a bare exception."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hostile.workers import attack

SLICE = 100
ALL = 10_000


def run(bundle: Path, seed: str, cases: range) -> None:
    failures = attack("tests.hostile.bundles", [str(bundle), seed], cases)
    assert not failures, f"{len(failures)} failed\n" + "\n".join(map(str, failures[:20]))


def test_spoilt_bundles(small_bundle: Path, hostile_seed: str) -> None:
    run(small_bundle, hostile_seed, range(SLICE))


@pytest.mark.nightly
def test_ten_thousand_spoilt_bundles(small_bundle: Path, hostile_seed: str) -> None:
    run(small_bundle, hostile_seed, range(SLICE, ALL))
