"""Protects that a key covers every weight file, and that the plugin finds no function body."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from fgdm.export.errors import ExportError
from fgdm.export.plans.graph_file import graph_bytes, read_graph_file

from tests.export.plans.small_bundle import WEIGHTS


def test_weights_and_op_of_a_graph(pristine_bundle: Path) -> None:
    backbone = read_graph_file(pristine_bundle, "backbone.onnx")
    assert (backbone.weight_files, backbone.weight_bytes) == ((WEIGHTS,), 4 * 4)
    assert (backbone.op, backbone.op_version) == ("SegFreeAttention", "1")
    assert read_graph_file(pristine_bundle, "vae_decoder.onnx").op is None


def test_half_weights_that_are_widened_count_twice(tiny_bundle: Path) -> None:
    found = read_graph_file(tiny_bundle, "text_encoder.onnx")
    stored = tiny_bundle / "text_encoder/model.safetensors"
    assert found.weight_files == ("text_encoder/model.safetensors",)
    assert 1.8 * stored.stat().st_size < found.weight_bytes < 2 * stored.stat().st_size


def test_every_weight_file_of_a_graph_is_found(tiny_bundle: Path) -> None:
    # The adapter shares the backbone's timestep embedding.
    assert read_graph_file(tiny_bundle, "adapter_segmentation.onnx").weight_files == (
        "adapter_segmentation/diffusion_pytorch_model.safetensors",
        "unet/diffusion_pytorch_model.safetensors",
    )


def test_stripping_removes_the_function_and_nothing_else(pristine_bundle: Path) -> None:
    path = pristine_bundle / "backbone.onnx"
    model = onnx.load_from_string(graph_bytes(path, strip_op=True))
    original = onnx.load(path, load_external_data=False)
    assert not model.functions and len(original.functions) == 1
    del original.functions[:]
    assert model == original
    assert graph_bytes(path, strip_op=False) == path.read_bytes()


def test_damaged_and_hostile_graphs(bundle: Path) -> None:
    path = bundle / "backbone.onnx"
    model = onnx.load(path, load_external_data=False)
    for location in ("/etc/passwd", "../weights.bin"):
        model.graph.initializer[0].external_data[0].value = location
        path.write_bytes(model.SerializeToString())
        with pytest.raises(ExportError, match=f"{location}.*outside the bundle"):
            read_graph_file(bundle, "backbone.onnx")
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(ExportError, match="can't read the graph"):
        read_graph_file(bundle, "backbone.onnx")
