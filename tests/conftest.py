"""Fixtures that several folders of tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from fgdm.export.signature import Precision

    from tests.tiny_models import TinyCheckpoint

# tests.tiny_models needs the packages that export needs; what runs without them, on a board or on a
# machine that is only there for its GPU, is tested without them.
# ruff: noqa: PLC0415

# Whoever runs the tests in the background has Ctrl-C ignored, and so would have the programs that
# the tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def shared(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` fills, once for all test processes of this run.

    FGDM_TEST_SHARED names a folder where it stays for other runs.
    """
    from filelock import FileLock

    base = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        base = base.parent
    base = Path(os.environ.get("FGDM_TEST_SHARED", base))
    base.mkdir(exist_ok=True)
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


def export(request: pytest.FixtureRequest, folder: Path, precision: Precision) -> None:
    from tests.tiny_models import build_bundle

    build_bundle(folder, request.getfixturevalue("tiny_checkpoint"), precision)


@pytest.fixture(scope="session")
def tiny_bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint exported as a bundle."""
    return shared(tmp_path_factory, "tiny", lambda folder: export(request, folder, "fp32"))


@pytest.fixture(scope="session")
def tiny_fp16_bundle(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The checkpoint exported as a strongly typed float16 bundle."""
    return shared(tmp_path_factory, "tiny_fp16", lambda folder: export(request, folder, "fp16"))


@pytest.fixture(scope="session")
def lora_bundle(tiny_checkpoint: TinyCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint with two LoRAs that requests weigh, both of all factors. Their files are in
    the folder `sources` beside it."""
    from tests.tiny_loras import build_lora_bundle, runtime_loras, write_loras

    def make(folder: Path) -> None:
        files = write_loras(folder / "sources", tiny_checkpoint)
        build_lora_bundle(folder / "bundle", tiny_checkpoint, runtime_loras=runtime_loras(files))

    return shared(tmp_path_factory, "loras", make) / "bundle"


@pytest.fixture(scope="session")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of the procedural world that have learnt nothing, and a bundle of all its factors."""
    from tests.untrained import build_bundle

    return shared(tmp_path_factory, "untrained", build_bundle)
