#!/usr/bin/env bash
# OpenVINO's own ONNX reader refuses a model whose operator is a function of the model itself, which every other reader expands.
#
# Packages: openvino 2026.4.1, onnx 1.23.2, onnxruntime 1.31.1.
# Documentation: an ONNX model may define functions (ModelProto.functions, since IR version 8); a node of such an operator is what the function's
#   body computes, for any reader that has no kernel of its own for it.
# Expected: OpenVINO computes what ONNX Runtime and onnx's reference do.
# Seen: read_model and compile_model raise "No conversion rule found for operations"; after onnx.inliner.inline_local_functions the same model
#   is read, and gives the same numbers.
# For diffusion models: custom operators are shipped with a body as a function so that runtimes without the kernel can run them. OpenVINO by
#   ONNX Runtime gets them expanded; by its own API they must be inlined first.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.31.1 openvino==2026.4.1
cd "$place"
"$place/venv/bin/python" - <<'END'
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper
from onnx.inliner import inline_local_functions
from onnx.reference import ReferenceEvaluator

standard, own = helper.make_opsetid("", 18), helper.make_opsetid("own", 1)
body = [helper.make_node("Sigmoid", ["x"], ["gate"]), helper.make_node("Mul", ["x", "gate"], ["y"])]
function = helper.make_function("own", "Swish", ["x"], ["y"], body, [standard])
ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
graph = helper.make_graph([helper.make_node("Swish", ["x"], ["y"], domain="own")], "gate", ends[:1], ends[1:])
model = helper.make_model(graph, opset_imports=[standard, own], functions=[function])
model.ir_version = 10
onnx.checker.check_model(model)
onnx.save(model, "model.onnx")
onnx.save(inline_local_functions(model), "inlined.onnx")

x = np.array([[-1.0, 0.0, 0.5, 2.0]], np.float32)
(expected,) = ReferenceEvaluator(model).run(None, {"x": x})
session = onnxruntime.InferenceSession("model.onnx", providers=["CPUExecutionProvider"])
np.testing.assert_allclose(session.run(None, {"x": x})[0], expected, rtol=1e-6)
try:
    openvino.compile_model("model.onnx", "CPU")
except Exception as error:
    said = str(error)
else:
    raise SystemExit("changed: OpenVINO reads the function now")
print("OpenVINO:", next(line for line in said.splitlines() if "conversion rule" in line).strip())
inlined = openvino.compile_model("inlined.onnx", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
np.testing.assert_allclose(inlined({"x": x})[0], expected, rtol=1e-5)
print("as recorded: read once it is inlined")
END
