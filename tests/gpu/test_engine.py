"""The engine on a GPU against itself on the CPU. `make gpu-check` runs these; without a GPU each is
skipped by name, with one a backend that can't be opened is a failure."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fgdm import machine
from fgdm.engine import Engine
from fgdm.errors import BackendError

from benchmarks.statistics import psnr

pytestmark = pytest.mark.gpu

BUNDLE = Path(__file__).parents[2] / "bundles" / "scenes"
PROMPTS = ["two dogs beside a house under a tree", "a boat on the sea", "a cat and a ball"]


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
    """The same candidate is chosen, and the picture is within 35 dB."""
    with open_on(backend) as engine:
        assert not any("host's memory" in note for note in engine.notes), engine.notes
        for seed, prompt in enumerate(PROMPTS):
            ours, expected = (e.generate(prompt, seed=seed) for e in (engine, cpu))
            assert ours.chosen == expected.chosen
            assert psnr(ours.image, expected.image) >= 35


@pytest.mark.parametrize("backend", ["cuda", "tensorrt"])
def test_segfree_costs_what_cfg_costs(backend: str) -> None:
    """Two rows either way; within 5 %."""
    with open_on(backend) as engine:
        seconds = {}
        for guidance in ("cfg", "segfree", "cfg", "segfree"):
            runs = [
                engine.generate(PROMPTS[0], seed=i, guidance=guidance, candidates=1).timings[
                    "total"
                ]
                for i in range(6)
            ]
            seconds[guidance] = float(np.median(runs[1:]))
        assert seconds["segfree"] <= 1.05 * seconds["cfg"]
