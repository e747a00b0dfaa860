#!/usr/bin/env bash
# OpenVINO's Python API cuts a float timestep to an integer where the graph declares int64.
#
# Packages: openvino 2026.4.1; onnxruntime 1.31.1 beside it.
# Documentation: the docstring of CompiledModel.__call__ says of share_inputs=False that data is copied and cast up or down to the
#   input's type. That this goes from float to integer, and what becomes of a fraction, isn't said.
# Expected: an error, as ONNX Runtime raises for the same call, or a warning.
# Seen: 946.42 arrives as 946 and -0.9 as 0, silently.
# For diffusion models: many exported U-Nets declare timestep as int64. Euler, Heun and their relatives step at fractional
#   timesteps (946.42, 893.84, ...); under OpenVINO every step then asks the network about another noise level. Declare the
#   timestep as float32 when exporting.
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

timesteps = np.array([999.0, 946.42, 0.9, -0.9], np.float32)
graph = helper.make_graph(
    [helper.make_node("Cast", ["timestep"], ["y"], to=TensorProto.FLOAT)],
    "g",
    [helper.make_tensor_value_info("timestep", TensorProto.INT64, timesteps.shape)],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, timesteps.shape)],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
onnx.checker.check_model(model, full_check=True)
content = model.SerializeToString()
try:
    onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(None, {"timestep": timesteps})
except Exception as error:
    print("onnxruntime:", type(error).__name__, str(error)[:90])
else:
    raise SystemExit("changed: onnxruntime takes a float array for an int64 input")
core = openvino.Core()
seen = core.compile_model(core.read_model(content), "CPU")({"timestep": timesteps})[0]
print("openvino:", timesteps, "->", seen)
if seen.tolist() != [999, 946, 0, 0]:
    raise SystemExit("changed: openvino no longer cuts the fraction off")
print("as recorded: the fraction is cut off silently")
END
