"""Protects that a graph which TensorRT-RTX can't build is refused before anything is built."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from fgdm.export.errors import ExportError
from fgdm.export.plans.build import plan_orders
from fgdm.export.plans.limits import check_buildable
from fgdm.export.plans.options import Options
from onnx import TensorProto, helper

from tests.export.plans.small_bundle import reseal


def attention(path: Path, dtype: int, head_size: int, *, rank: int = 4) -> Path:
    """A graph with one Attention of two heads, whose queries' type must be inferred."""
    shape = [2, 2, 16, head_size] if rank == 4 else [2, 16, 2 * head_size]
    heads = {} if rank == 4 else {"q_num_heads": 2, "kv_num_heads": 2}
    nodes = [
        helper.make_node("Neg", ["x"], ["q"]),
        helper.make_node("Attention", ["q", "x", "x"], ["y"], name="/attn", **heads),
    ]
    ports = [helper.make_tensor_value_info(name, dtype, shape) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ports[:1], ports[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    onnx.save(model, path)
    return path


CASES = [
    (TensorProto.FLOAT, 64, "node /attn .Attention. computes in float32"),
    (TensorProto.FLOAT16, 8, "node /attn .Attention. has heads of 8, expected 9 to 256"),
    (TensorProto.BFLOAT16, 320, "has heads of 320, expected 9 to 256"),
]


@pytest.mark.parametrize(("dtype", "head_size", "reason"), CASES)
def test_what_cannot_be_built_is_named(
    tmp_path: Path, dtype: int, head_size: int, reason: str
) -> None:
    path = attention(tmp_path / "a.onnx", dtype, head_size)
    with pytest.raises(ExportError, match=rf"can't build a\.onnx: .*{reason}"):
        check_buildable("tensorrt-rtx", path)
    check_buildable("tensorrt", path)
    check_buildable("tensorrt-rtx", attention(path, dtype, head_size, rank=3))
    check_buildable("tensorrt-rtx", attention(path, TensorProto.FLOAT16, 40))


@pytest.mark.tensorrt_rtx
@pytest.mark.parametrize(
    ("dtype", "head_size", "rank", "builds"),
    [
        (TensorProto.FLOAT, 64, 4, False),
        (TensorProto.FLOAT16, 8, 4, False),
        (TensorProto.FLOAT16, 264, 4, False),
        (TensorProto.FLOAT16, 256, 4, True),
        (TensorProto.FLOAT16, 12, 4, True),
        (TensorProto.FLOAT, 8, 3, True),
    ],
)
def test_the_runtime_agrees(
    tmp_path: Path, dtype: int, head_size: int, rank: int, builds: bool
) -> None:
    trt: Any = pytest.importorskip("tensorrt_rtx")

    class Silent(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: object, message: str) -> None:
            pass

    path = attention(tmp_path / "a.onnx", dtype, head_size, rank=rank)
    log = Silent()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    assert parser.parse_from_file(str(path))
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    assert (builder.build_serialized_network(network, config) is not None) is builds
    refused = False
    try:
        check_buildable("tensorrt-rtx", path)
    except ExportError:
        refused = True
    assert refused is not builds


@pytest.mark.tensorrt_rtx
def test_a_build_does_not_start(bundle: Path) -> None:
    path = bundle / "controlnet_segmentation.onnx"
    model = onnx.load(path, load_external_data=False)
    scaled = next(node for node in model.graph.node if node.output[0] == "down_residual_0")
    scaled.output[0] = "sum"
    model.graph.node.append(
        helper.make_node("Attention", ["sum", "sum", "sum"], ["down_residual_0"], name="/attn")
    )
    model.opset_import[0].version = 23
    onnx.save(model, path)
    reseal(bundle)
    with pytest.raises(ExportError, match=r"can't build controlnet_segmentation\.onnx: node /attn"):
        plan_orders(bundle, Options("tensorrt-rtx", ("sm_89",)))
