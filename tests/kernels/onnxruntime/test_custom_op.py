"""Protects the op in ONNX Runtime: a registered one replaces the graph's own function and agrees
with it. The library is the CUDA one's source over a kernel on the host, on the CPU provider.

Build it with cmake -DFGDM_TESTS=ON where onnxruntime_c_api.h is, and name it in FGDM_ORT_OPS_HOST.
"""

from __future__ import annotations

import ctypes
import os

import numpy as np
import onnx
import onnxruntime
import pytest
from fgdm.export.functions import segfree_attention_function
from onnx import TensorProto, helper

LIBRARY = os.environ.get("FGDM_ORT_OPS_HOST", "")
needs_library = pytest.mark.skipif(
    not LIBRARY, reason="FGDM_ORT_OPS_HOST doesn't name libfgdm_ort_ops_host.so"
)


def graph(function: bool, **attributes: str) -> bytes:
    """A graph of one node, with its function body or without."""
    inputs = {"q": "BHPd", "k": "BHTd", "v": "BHTd", "attn_scale": "B", "argmax_mask": "BT"}
    types = {"argmax_mask": TensorProto.BOOL}
    node = helper.make_node(
        "SegFreeAttention", list(inputs), ["out"], domain="fgdm", name="node", **attributes
    )
    values = [
        helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), list(shape))
        for name, shape in inputs.items()
    ]
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, list("BHPd"))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("fgdm", 1)]
    model = helper.make_model(
        helper.make_graph([node], "graph", values, [output]), opset_imports=opsets, ir_version=10
    )
    if function:
        model.functions.append(segfree_attention_function())
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def session(model: bytes, *, custom: bool) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    if custom:
        options.register_custom_ops_library(LIBRARY)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def inputs() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    shapes = {"q": (3, 4, 16, 8), "k": (3, 4, 5, 8), "v": (3, 4, 5, 8)}
    values = {n: draw.standard_normal(s).astype(np.float32) for n, s in shapes.items()}
    mask = np.array([[0, 1, 1, 1, 1], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool)
    return {**values, "attn_scale": np.array([1, -10, 0], np.float32), "argmax_mask": mask}


def calls() -> int:
    return ctypes.c_int.in_dll(ctypes.CDLL(LIBRARY), "fgdm_host_kernel_calls").value


@needs_library
@pytest.mark.parametrize("function", [True, False])
def test_a_registered_op_replaces_the_function_and_agrees(function: bool) -> None:
    expected = session(graph(True), custom=False).run(None, inputs())[0]
    before = calls()
    found = session(graph(function), custom=True).run(None, inputs())[0]
    assert calls() == before + 1
    np.testing.assert_allclose(found, expected, atol=1e-5)


@needs_library
def test_an_unknown_attribute_is_refused() -> None:
    with pytest.raises(Exception, match="argmax is none of"):
        session(graph(False, argmax="median"), custom=True)


@needs_library
def test_inputs_that_do_not_fit_each_other_are_refused() -> None:
    values = inputs()
    values["v"] = values["v"][:, :, :4]
    with pytest.raises(Exception, match="differ in their tokens"):
        session(graph(False), custom=True).run(None, values)
