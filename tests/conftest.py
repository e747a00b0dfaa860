"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.tiny_models import TinyCheckpoint

# tests.tiny_models needs the packages that export needs; what runs without them, on a board or on a
# machine that is only there for its GPU, is tested without them.
# ruff: noqa: PLC0415


def shared(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` fills, once for all test processes of this run."""
    from filelock import FileLock

    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    folder, ready = base / name, base / f"{name}.ready"
    with FileLock(base / f"{name}.lock"):
        if not ready.exists():
            make(folder)
            ready.touch()
    return folder


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> TinyCheckpoint:
    """A random checkpoint in Stable Diffusion 1.x's layout."""
    from tests.tiny_models import TinyCheckpoint, build_checkpoint

    return TinyCheckpoint.below(shared(tmp_path_factory, "checkpoint", build_checkpoint))


@pytest.fixture(scope="session")
def tiny_bundle(tiny_checkpoint: TinyCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint exported as a bundle."""
    from tests.tiny_models import build_bundle

    return shared(tmp_path_factory, "tiny", lambda folder: build_bundle(folder, tiny_checkpoint))


@pytest.fixture(scope="session")
def tiny_fp16_bundle(
    tiny_checkpoint: TinyCheckpoint, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The checkpoint exported as a strongly typed float16 bundle."""
    from tests.tiny_models import build_bundle

    return shared(
        tmp_path_factory,
        "tiny_fp16",
        lambda folder: build_bundle(folder, tiny_checkpoint, "fp16"),
    )
