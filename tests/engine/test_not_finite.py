"""Weights that aren't numbers end in an error on every runtime, never in a black picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fgdm._core", reason="the C++ core is not built")

from fgdm import BackendError, Engine

from benchmarks.spoilt import spoil


@pytest.mark.parametrize("backend", ["cpu", "openvino"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("layer", ["decoder.conv_in.weight", "decoder.conv_out.bias"])
def test_a_decoder_that_makes_no_numbers_is_an_error(
    tiny_bundle: Path,
    tmp_path: Path,
    layer: str,
    value: float,
    backend: str,
    request: pytest.FixtureRequest,
) -> None:
    """A Clip at the decoder's end would make -1 of NaN on OpenVINO, and 1 of inf everywhere."""
    if backend == "openvino":
        request.getfixturevalue(backend)
    weights = "vae/diffusion_pytorch_model.safetensors"
    spoilt = spoil(tiny_bundle, tmp_path / "spoilt", weights, layer, value)
    with (
        Engine(spoilt, backend=backend, precision="fp32") as engine,
        pytest.raises(BackendError, match="of all maps are not finite"),
    ):
        engine.generate(
            "two dogs on the grass", candidates=2, condition_steps=2, num_inference_steps=2, seed=1
        )
