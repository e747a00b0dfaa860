"""What the tests of data sets share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fgdm._core", reason="the compiled core isn't built")

from fgdm.evaluate.dataset import Listed, Maker, Recipe, Setup, make_dataset
from fgdm.tuning.prompts import Prompt

ROOT = Path(__file__).parents[3]
SCENES = ROOT / "bundles" / "scenes"
#: Options of the engine that make a small picture in a moment.
QUICK: dict[str, Any] = {
    "candidates": 2,
    "condition_steps": 1,
    "num_inference_steps": 1,
    "stop_at_recall": 0,
}
ENGINE: dict[str, Any] = {"backend": "cpu", "threads": 1, "policy": "throughput"}
PROMPTS = (
    Prompt("two dogs beside a house"),
    Prompt("a boat on the sea under the sun"),
    Prompt("a street", ("car", "road")),
)


def setup_of(**recipe: Any) -> Setup:
    given: dict[str, Any] = {"source": Listed(PROMPTS), "seed": 5, "options": QUICK, **recipe}
    return Setup(Recipe(**given), str(SCENES), ENGINE)


def files_of(folder: Path) -> dict[str, bytes]:
    """All files of a data set's samples, kept and rejected, by their path in it."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for part in ("samples", "rejected")
        for path in sorted((folder / part).rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="session")
def maker() -> Iterator[Maker]:
    with setup_of().open() as opened:
        yield opened


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six samples with depth maps."""
    folder = tmp_path_factory.mktemp("small") / "data"
    make_dataset(setup_of(optional=("depth",)), folder, 6)
    return folder
