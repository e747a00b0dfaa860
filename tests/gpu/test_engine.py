"""The engine on a GPU against itself on the CPU. `make gpu-check` runs these; without a GPU each is
skipped by name, with one a backend that can't be opened is a failure."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
from fgdm import machine
from fgdm.engine import Engine
from fgdm.errors import BackendError

from gpu import arrays, parity
from gpu.parity import BUNDLE

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def cpu() -> Iterator[Engine]:
    with Engine(BUNDLE, backend="cpu", precision="fp32") as opened:
        yield opened


def open_on(backend: str) -> Engine:
    if not machine.find_gpus():
        pytest.skip("no NVIDIA GPU was found")
    try:
        return Engine(BUNDLE, backend=backend)
    except BackendError as error:
        if backend == "tensorrt" and "plan" in str(error):
            build = [sys.executable, "-m", "fgdm", "build", str(BUNDLE), "--target", "tensorrt"]
            if subprocess.run(build, check=False).returncode == 0:
                return Engine(BUNDLE, backend=backend)
        pytest.fail(f"backend {backend} can't be opened: {error}")


@pytest.mark.parametrize("backend", ["cuda", "tensorrt"])
def test_pictures_equal_the_cpus(backend: str, cpu: Engine) -> None:
    """The same candidate is chosen, and the picture differs by rounding."""
    with open_on(backend) as engine:
        assert parity.off_device(engine) == []
        rows = parity.compare(engine, cpu)
    assert [row for row in rows if not row.equal] == []


@pytest.mark.parametrize("backend", ["cuda", "tensorrt"])
def test_segfree_costs_what_cfg_costs(backend: str) -> None:
    with open_on(backend) as engine:
        assert parity.segfree_time(engine, runs=5) <= parity.MOST_TIME


_ON_THE_CARD = ("image", "start", "latents", "control image", "lifetime", "stream")


@pytest.mark.parametrize("name", _ON_THE_CARD)
def test_torch_tensors_come_and_go_on_the_card(name: str) -> None:
    with open_on("cuda") as engine:
        assert engine.dlpack_device == (2, 0)
        arrays.checks(engine, "cuda", "cuda")[name]()
