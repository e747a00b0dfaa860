#!/usr/bin/env bash
# ONNX Runtime's IOBinding: an output bound "to a device" is allocated by the first run, and every later run writes into it.
#
# Package: onnxruntime 1.32.0 (CPU provider, Python API).
# Documentation: the I/O binding page offers bind_output(name, device), without a buffer, for outputs whose shape isn't known beforehand;
#   its examples run
#   once.
# Expected: each run allocates what it needs; an OrtValue that get_outputs() gave is the caller's own.
# Seen: the second run overwrites the OrtValue that the first one gave, and a run with more or fewer rows ends in INVALID_ARGUMENT until
#   bind_output is called again, which is what puts things right.
# For diffusion models: a server that binds once and runs batches as they come meets both: an earlier request's latents change under it,
#   and a batch of another size fails. Call bind_output before every run, or bind a buffer per shape.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
cd "$place"
"$place/venv/bin/python" - <<'END'
import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

graph = helper.make_graph(
    [helper.make_node("Mul", ["x", "x"], ["y"])],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", 2])],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
onnx.checker.check_model(model, full_check=True)
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
binding = session.io_binding()
binding.bind_output("y", "cpu")


def run(value, rows):
    x = np.full((rows, 2), value, np.float32)
    binding.bind_cpu_input("x", x)
    session.run_with_iobinding(binding)
    return binding.get_outputs()[0]


first = run(2, rows=1)
before = first.numpy().copy()
run(3, rows=1)
print("first output:", before, "and after a second run:", first.numpy())
if before.tolist() != [[4, 4]] or first.numpy().tolist() != [[9, 9]]:
    raise SystemExit("changed: the first output is the caller's own now")
try:
    run(2, rows=3)
except Exception as error:
    print("three rows:", type(error).__name__, "INVALID_ARGUMENT" in str(error) and "INVALID_ARGUMENT")
else:
    raise SystemExit("changed: an output bound to a device takes another shape")
binding.bind_output("y", "cpu")
again = run(2, rows=3)
print("after bind_output again:", again.shape(), "and the first output:", first.numpy())
if again.shape() != [3, 2] or first.numpy().tolist() != [[9, 9]]:
    raise SystemExit("changed: binding again has another effect")
print("as recorded: the first run decides the buffer")
END
