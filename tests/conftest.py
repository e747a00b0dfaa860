"""Fixtures that several folders of tests share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.tiny_models import TinyCheckpoint

# tests.tiny_models needs the packages that export needs; what runs without them, on a board or on a
# machine that is only there for its GPU, is tested without them.
# ruff: noqa: PLC0415


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    """A random checkpoint in Stable Diffusion 1.x's layout."""
    from tests.tiny_models import build_checkpoint

    return build_checkpoint(tmp_path_factory.mktemp("checkpoint"))


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: TinyCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint exported as a bundle."""
    from tests.tiny_models import build_bundle

    return build_bundle(tmp_path_factory.mktemp("bundle") / "tiny", tiny_checkpoint)


@pytest.fixture(scope="session")
def tiny_fp16_bundle(
    tiny_checkpoint: TinyCheckpoint, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The checkpoint exported as a strongly typed float16 bundle."""
    from tests.tiny_models import build_bundle

    return build_bundle(tmp_path_factory.mktemp("bundle") / "tiny_fp16", tiny_checkpoint, "fp16")
