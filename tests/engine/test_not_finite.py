"""Weights that aren't numbers end in an error on every runtime, never in a black picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fgdm._core", reason="the C++ core is not built")

from fgdm import BackendError, Engine, machine

from benchmarks.spoilt import spoil

PLUGINS = Path(__file__).resolve().parents[2] / "build/plugins"  # make test: OpenVINO's


@pytest.mark.parametrize("backend", ["cpu", "openvino"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("layer", ["decoder.conv_in.weight", "decoder.conv_out.bias"])
def test_a_decoder_that_makes_no_numbers_is_an_error(
    tiny_bundle: Path,
    tmp_path: Path,
    layer: str,
    value: float,
    backend: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A Clip at the decoder's end would make -1 of NaN on OpenVINO, and 1 of inf everywhere."""
    monkeypatch.syspath_prepend(str(PLUGINS))
    plugins = machine.find_plugins()
    if backend == "openvino" and not any(plugin.backend == backend for plugin in plugins):
        pytest.skip(f"needs ONNX Runtime with the {backend} provider")
    weights = "vae/diffusion_pytorch_model.safetensors"
    spoilt = spoil(tiny_bundle, tmp_path / "spoilt", weights, layer, value)
    with (
        Engine(spoilt, backend=backend, precision="fp32") as engine,
        pytest.raises(BackendError, match="of all maps are not finite"),
    ):
        engine.generate(
            "two dogs on the grass", candidates=2, condition_steps=2, num_inference_steps=2, seed=1
        )
