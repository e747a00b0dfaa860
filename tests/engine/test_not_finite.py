"""Weights that aren't numbers end in an error on every runtime, never in a black picture."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fgdm._core", reason="the C++ core is not built")

from fgdm import BackendError, Engine, machine
from safetensors import safe_open


def spoil(bundle: Path, copy: Path, file: str, tensor: str, value: float) -> Path:
    """A copy of a bundle in which a tensor begins with `value`, hashes corrected.

    The tensor is overwritten where it lies, since graphs find their weights by offsets.
    """
    shutil.copytree(bundle, copy)
    content = bytearray((copy / file).read_bytes())
    length = int.from_bytes(content[:8], "little")
    start = 8 + length + json.loads(content[8 : 8 + length])[tensor]["data_offsets"][0]
    content[start : start + 2] = np.float16(value).tobytes()
    (copy / file).write_bytes(content)
    with safe_open(copy / file, "np") as tensors:  # it is the tensor, and it is float16
        read = tensors.get_tensor(tensor)
        assert read.dtype == np.float16
        np.testing.assert_array_equal(read.flat[0], np.float16(value))
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["files"][file]["sha256"] = hashlib.sha256(content).hexdigest()
    text = json.dumps(manifest)
    (copy / "manifest.json").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (copy / "manifest.sha256").write_text(f"{digest}  manifest.json\n")
    return copy


@pytest.mark.parametrize("backend", ["cpu", "openvino"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("layer", ["decoder.conv_in.weight", "decoder.conv_out.bias"])
def test_a_decoder_that_makes_no_numbers_is_an_error(
    tiny_bundle: Path, tmp_path: Path, layer: str, value: float, backend: str
) -> None:
    """A Clip at the decoder's end would make -1 of NaN on OpenVINO, and 1 of inf everywhere."""
    if not any(backend in runtime.providers for runtime in machine.find_runtimes()):
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
