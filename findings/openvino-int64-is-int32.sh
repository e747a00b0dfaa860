#!/usr/bin/env bash
# OpenVINO takes int64 inputs and gives int64 outputs, and computes in int32 between them without a word.
#
# Package: openvino 2026.4.1 (CPU).
# Documentation: the page of the CPU device lists INT32 and no INT64 among its precisions; nothing says what becomes of a larger
#   value. The compiled model reports int64 for input and output.
# Expected: exact sums, or an error.
# Seen: 2^30 + 2^30 = -2^31 and 2^31 + 2^31 = 0. (2^40 + 1) + (2^40 + 1) = 2.
# For diffusion models: a seed, a hash or a counter-based generator of noise inside the graph silently becomes another one; so do
#   byte offsets and products of sizes. Keep noise and seeds outside the graph, or in two int32 halves.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 openvino==2026.4.1
cd "$place"
"$place/venv/bin/python" - <<'END'
import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper

x = np.array([5, 2**30, 2**31, 2**40 + 1], np.int64)
graph = helper.make_graph(
    [helper.make_node("Add", ["x", "x"], ["y"])],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.INT64, x.shape)],
    [helper.make_tensor_value_info("y", TensorProto.INT64, x.shape)],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
onnx.checker.check_model(model, full_check=True)
core = openvino.Core()
compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU")
y = compiled(x)[0]
print("declared", compiled.inputs[0].element_type, "to", compiled.outputs[0].element_type)
print("exact   ", x + x)
print("openvino", y)
declared = {str(port.element_type) for port in (compiled.inputs[0], compiled.outputs[0])}
if not any("int64" in name for name in declared) or len(declared) != 1:
    raise SystemExit(f"changed: the compiled model reports {declared}")
if y.tolist() != [10, -(2**31), 0, 2]:
    raise SystemExit("changed: int64 sums are others now")
print("as recorded: sums wrap at 32 bits")
END
