"""TensorRT-RTX, which is strongly typed, takes the float16 graphs as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.tiny_models import GRAPHS

trt = pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx isn't installed")


@pytest.mark.parametrize("name", GRAPHS)
def test_float16_graphs_parse(name: str, tiny_fp16_bundle: Path) -> None:
    logger = trt.Logger(trt.Logger.ERROR)
    network = trt.Builder(logger).create_network(0)
    parser = trt.OnnxParser(network, logger)
    parsed = parser.parse_from_file(str(tiny_fp16_bundle / f"{name}.onnx"))
    assert parsed, [parser.get_error(i).desc() for i in range(parser.num_errors)]
    manifest = json.loads((tiny_fp16_bundle / "manifest.json").read_text())
    types = {trt.float16: "float16", trt.float32: "float32", trt.int64: "int64", trt.bool: "bool"}
    for ports, count, get in (
        ("inputs", network.num_inputs, network.get_input),
        ("outputs", network.num_outputs, network.get_output),
    ):
        actual = {get(i).name: types[get(i).dtype] for i in range(count)}
        assert actual == {port["name"]: port["dtype"] for port in manifest["graphs"][name][ports]}
