"""The measuring instrument that judges painted pictures sees what is there, and only that."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from fgdm.train.classes import CLASSES, INDEX, THINGS
from fgdm.train.figures import segmenter_figures
from fgdm.train.presets import CPU
from fgdm.train.segmenter import Segmenter, load_segmenter
from torch import Tensor

SHIPPED = Path(__file__).parents[2] / "benchmarks" / "segmenter.safetensors"


def test_the_shipped_segmenter_finds_every_class_and_imagines_none() -> None:
    figures = segmenter_figures(load_segmenter(SHIPPED), CPU.image_size, CPU.map_size, scenes=200)
    by_class = figures["by_class"]
    assert min(by_class["recall"].values()) >= 0.9, by_class["recall"]
    assert max(by_class["false_alarms"].values()) <= 0.05, by_class["false_alarms"]
    assert figures["recall"] >= 0.97
    assert figures["false_alarms"] <= 0.02


class _SeesOnly(Segmenter):
    """One class everywhere."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.index = INDEX[name]

    def forward(self, pictures: Tensor) -> Tensor:
        count, _, height, width = pictures.shape
        logits = torch.zeros(count, len(CLASSES), height // 2, width // 2)
        logits[:, self.index] = 1
        return logits


def test_a_segmenter_that_sees_one_thing_everywhere_is_found_out() -> None:
    figures = segmenter_figures(_SeesOnly("dog"), 32, 16, scenes=100)
    assert figures["by_class"]["recall"] == {name: float(name == "dog") for name in THINGS}
    assert figures["by_class"]["false_alarms"] == {name: float(name == "dog") for name in THINGS}
    assert figures["recall"] == figures["false_alarms"] == pytest.approx(1 / len(THINGS))
