"""A small bundle, and the two runtimes: TensorRT-RTX itself, and a stand-in for TensorRT."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from fgdm import machine

from tests.export.plans.small_bundle import write_bundle

FAKE = Path(__file__).parent / "fake_tensorrt"

Behave = Callable[..., None]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips by name what needs TensorRT-RTX where it isn't installed."""
    if find_spec("tensorrt_rtx") is None:
        reason = pytest.mark.skip(reason="tensorrt-rtx isn't installed (x86-64 wheels only)")
        for item in items:
            if item.get_closest_marker("tensorrt_rtx"):
                item.add_marker(reason)


@pytest.fixture(scope="session")
def pristine_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("small") / "bundle")


@pytest.fixture
def bundle(pristine_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the small bundle, without plans."""
    return Path(shutil.copytree(pristine_bundle, tmp_path / "bundle"))


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> Iterator[Behave]:
    """Puts the stand-in in the place of the package `tensorrt`, here and in child processes.

    The fixture changes how it behaves in child processes; see its module.
    """
    monkeypatch.syspath_prepend(str(FAKE))
    path = os.pathsep.join([str(FAKE), *(entry for entry in sys.path if entry)])
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setattr(machine, "find_gpus", lambda: (machine.Gpu("L4", "24 GiB", "1", "8.9"),))

    def behave(**behaviour: Any) -> None:
        monkeypatch.setenv("FAKE_TENSORRT", json.dumps(behaviour))

    behave()
    yield behave
    sys.modules.pop("tensorrt", None)
