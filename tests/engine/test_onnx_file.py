"""Protects that a graph which a tool has robbed of a part is told from a whole one, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from fgdm.errors import BundleError
from fgdm.export.functions import segfree_attention_function
from fgdm.export.op import OP_DOMAIN, OP_NAME
from fgdm.inspect import describe
from fgdm.manifest import Graph, Port
from fgdm.onnx_file import OP, check_graph, gaps, read_onnx
from hypothesis import given
from hypothesis import strategies as st
from onnx import compose, helper, version_converter

PORTS = {"q": [1, 2, 16, 8], "k": [1, 2, 4, 8], "v": [1, 2, 4, 8], "s": [1], "m": [1, 4]}
GRAPH = Graph(
    "backbone",
    "backbone.onnx",
    tuple(Port(name, "float32", tuple(shape)) for name, shape in PORTS.items()),
    (Port("y", "float32", (1, 2, 16, 8)),),
)


def model() -> onnx.ModelProto:
    """One call of the op, with its body."""
    types = dict.fromkeys(PORTS, onnx.TensorProto.FLOAT) | {"m": onnx.TensorProto.BOOL}
    made = helper.make_model(
        helper.make_graph(
            [helper.make_node(OP_NAME, list(PORTS), ["y"], domain=OP_DOMAIN, name="attn")],
            "g",
            [helper.make_tensor_value_info(n, types[n], shape) for n, shape in PORTS.items()],
            [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, PORTS["q"])],
        ),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid(OP_DOMAIN, 1)],
        functions=[segfree_attention_function()],
        ir_version=10,
    )
    onnx.checker.check_model(made, full_check=True)
    return made


def found(changed: onnx.ModelProto) -> list[str]:
    return gaps(read_onnx(changed.SerializeToString(), "backbone.onnx"), GRAPH)


def test_what_is_read_is_what_onnx_reads(tiny_bundle: Path) -> None:
    paths = sorted(tiny_bundle.glob("*.onnx"))
    assert "backbone.onnx" in [path.name for path in paths]
    for path in paths:
        read = read_onnx(path.read_bytes(), path.name)
        real = onnx.load(path, load_external_data=False)
        assert read.inputs == tuple(value.name for value in real.graph.input)
        assert read.outputs == tuple(value.name for value in real.graph.output)
        assert read.functions == {(f.domain, f.name): len(f.input) for f in real.functions}
        calls = [((n.domain, n.op_type), len(n.input)) for n in real.graph.node if n.domain]
        assert list(read.calls) == calls
    describe(tiny_bundle)


def test_the_op_is_the_one_that_export_writes() -> None:
    assert (OP_DOMAIN, OP_NAME) == OP
    assert found(model()) == []


def test_the_version_converter_drops_the_body_and_the_checker_passes() -> None:
    converted = version_converter.convert_version(model(), 19)
    onnx.checker.check_model(converted)
    assert found(converted) == ["1 node of fgdm::SegFreeAttention, whose function body is missing"]


def test_a_prefix_renames_the_op_and_its_inputs() -> None:
    renamed = found(compose.add_prefix(model(), "a_"))
    assert renamed[:2] == ["the input q, k, v, s, m is missing", "the output y is missing"]
    assert renamed[2] == (
        "1 node of fgdm::a_SegFreeAttention, which was fgdm::SegFreeAttention: it has been renamed"
    )


def _fewer(changed: onnx.ModelProto) -> None:
    del changed.graph.node[0].input[4:]


def _empty(changed: onnx.ModelProto) -> None:
    changed.graph.node[0].input[4] = ""


@pytest.mark.parametrize("change", [_fewer, _empty])
def test_an_input_that_a_call_has_lost(change: Callable[[onnx.ModelProto], None]) -> None:
    changed = model()
    change(changed)
    assert found(changed) == ["1 node of fgdm::SegFreeAttention with 4 inputs, expected 5"]


def test_an_unused_input_that_was_removed() -> None:
    changed = model()
    del changed.graph.input[3:]
    with pytest.raises(BundleError, match=r"backbone\.onnx has been changed.*input s, m is missin"):
        check_graph(changed.SerializeToString(), GRAPH)


@given(content=st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    try:
        read_onnx(content, "x")
    except BundleError as error:
        assert "x isn't an ONNX model" in str(error)
    whole = model().SerializeToString()
    with pytest.raises(BundleError):
        check_graph(whole[: len(whole) // 2] + content[:8] + b"\x07", GRAPH)
