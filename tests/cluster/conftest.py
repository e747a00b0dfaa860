"""What the tests of the cluster share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fgdm._core", reason="the compiled core isn't built")
pytest.importorskip("ray.serve", reason="Ray Serve isn't installed: pip install '.[cluster]'")

from fgdm.serve.cluster.scaling import CountedEngine

ROOT = Path(__file__).parents[2]
SCENES = ROOT / "bundles" / "scenes"
#: Options of the engine that make a small picture in a moment.
QUICK: dict[str, Any] = {
    "candidates": 2,
    "condition_steps": 2,
    "num_inference_steps": 4,
    "stop_at_recall": 0,
}


@pytest.fixture(scope="session")
def engine() -> Iterator[CountedEngine]:
    opened = CountedEngine(str(SCENES), backend="cpu", threads=1)
    with opened:
        yield opened
