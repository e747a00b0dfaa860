"""The shipped bundle as an archive, and a small bundle to pack."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fgdm.packing import pack

SCENES = Path(__file__).resolve().parents[3] / "bundles/scenes"

MakeBundle = Callable[..., Path]


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped bundle as an archive."""
    archive = tmp_path_factory.mktemp("archive") / "scenes.fgdm"
    pack(SCENES, archive)
    return archive


@pytest.fixture
def bundle(make_bundle: MakeBundle) -> Path:
    """A small bundle with files that its manifest doesn't list."""
    made = make_bundle()
    (made / "plans/tensorrt").mkdir(parents=True)
    (made / "plans/profile.json").write_text("{}")
    (made / "plans/tensorrt/timing.cache").write_bytes(b"\x00" * 100)
    (made / "README.md").write_text("of the bundle")
    return made
