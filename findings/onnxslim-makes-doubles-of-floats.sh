#!/usr/bin/env bash
# onnxslim makes float64 numbers of a Constant's value_float and value_floats: the model that it returns is refused by runtimes.
#
# Packages: onnxslim 0.1.98; onnx 1.23.2 and onnxruntime 1.32.0 judge the models.
# Documentation: ONNX's Constant: value_float is the value for the sole element of a scalar float32 tensor, value_floats those of a 1D,
#   float32 tensor. onnxslim makes a model smaller and keeps what it computes.
# Expected: float32 initializers, as a Constant with a tensor becomes.
# Seen: both become initializers of type double, and Mul is refused for two types; in a model's function the Constant's own. With the
#   same number as a tensor (attribute `value`) the model is slimmed and runs.
# For diffusion models: graphs that are written with onnxscript or by hand have such constants for attention's scale, norms' epsilon and
#   the like; PyTorch's exporter writes tensors. onnxsim 0.8.1 keeps the type.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 onnxslim==0.1.98 onnxsim==0.8.1
cd "$place"
"$place/venv/bin/python" - <<'END'
import numpy as np
import onnx
import onnxruntime
import onnxsim
import onnxslim
from onnx import TensorProto, helper, numpy_helper

OPSET = 20
STANDARD = helper.make_opsetid("", OPSET)


def model(in_function, **value):
    """y = 2 x, where the 2 is a Constant of the graph or of a function."""
    body = [helper.make_node("Constant", [], ["two"], **value), helper.make_node("Mul", ["x", "two"], ["y"])]
    nodes, functions, opsets = body, [], [STANDARD]
    if in_function:
        functions = [helper.make_function("local", "Twice", ["x"], ["y"], body, [STANDARD], [])]
        nodes, opsets = [helper.make_node("Twice", ["x"], ["y"], domain="local")], [STANDARD, helper.make_opsetid("local", 1)]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
    )
    made = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made


def outcome(made):
    try:
        session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
        return str(session.run(None, {"x": np.array([1, 2], np.float32)})[0].tolist())
    except Exception as error:  # the package's own have no common class
        return "double" if "double" in str(error) else f"{type(error).__name__}: {error}"


tensor = numpy_helper.from_array(np.array(2, np.float32))
kinds = {
    "value": model(False, value=tensor),
    "value_float": model(False, value_float=2.0),
    "value_floats": model(False, value_floats=[2.0]),
    "value_float in a function": model(True, value_float=2.0),
}
right, wrong = str([2.0, 4.0]), "double"
seen = {}
for name, made in kinds.items():
    seen[name] = (outcome(made), outcome(onnxsim.simplify(made)[0]), outcome(onnxslim.slim(made)))
    print(f"{name}: as made {seen[name][0]}; onnxsim {seen[name][1]}; onnxslim {seen[name][2]}")
expected = {name: (right, right, right if name == "value" else wrong) for name in kinds}
if seen != expected:
    raise SystemExit("changed: another type, or it is refused otherwise")
print("as recorded: onnxslim's floats are doubles")
END
