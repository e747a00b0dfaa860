"""The bundle that ships, as plans for GPUs that aren't here."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.full_size.measured import build_for_tensorrt_rtx

pytestmark = pytest.mark.full_size

BUNDLE = Path(__file__).parents[2] / "bundles" / "scenes"


def test_every_graph_builds_for_tensorrt_rtx(tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(BUNDLE, tmp_path / "scenes"))
    plans = build_for_tensorrt_rtx(bundle)
    built = {plan.metadata.graph for plan in plans if plan.metadata is not None}
    run = {path.stem for path in BUNDLE.glob("*.onnx")} - {"vae_encoder"}
    assert built == run
