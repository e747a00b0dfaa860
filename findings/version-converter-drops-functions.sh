#!/usr/bin/env bash
# onnx.version_converter loses a model's own functions, even on the way to the opset that it has; the checker passes what is left.
#
# Packages: onnx 1.23.2; onnxruntime 1.32.0 runs the models.
# Documentation: convert_version returns the converted model, and raises RuntimeError where a conversion isn't supported. ONNX's IR
#   (version 8 and newer) has functions as a part of a model, which its nodes call by domain and name.
# Expected: the functions come along, converted or inlined; or an error.
# Seen: from opset 20 to 18, 20, 21 and 22 the model has no functions, while its node still calls one. onnx.checker with full_check
#   passes, since operators of domains that it doesn't know aren't its business; onnxruntime says that the function isn't registered.
#   Inlined first, the same model converts and computes the same.
# For diffusion models: PyTorch's exporter writes functions, and so does whoever keeps an operator with a plugin beside its meaning in
#   standard ones. onnx.inliner.inline_local_functions goes before the converter.
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
from onnx import TensorProto, helper, inliner, version_converter

OPSET = 20
standard = helper.make_opsetid("", OPSET)
function = helper.make_function("local", "Square", ["a"], ["b"], [helper.make_node("Mul", ["a", "a"], ["b"])], [standard], [])
graph = helper.make_graph(
    [helper.make_node("Square", ["x"], ["y"], domain="local")],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])],
)
model = helper.make_model(graph, opset_imports=[standard, helper.make_opsetid("local", 1)], functions=[function], ir_version=10)
onnx.checker.check_model(model, full_check=True)


def run(made):
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": np.array([1, 2, 3], np.float32)})[0].tolist()


def outcome(made):
    onnx.checker.check_model(made, full_check=True)
    try:
        return f"{len(made.functions)} functions, {run(made)}"
    except Exception as error:  # the package's own have no common class
        return f"{len(made.functions)} functions, {type(error).__name__}: {error}"


seen = {"as made": outcome(model)}
for opset in (18, 20, 21, 22):
    seen[f"opset {opset}"] = outcome(version_converter.convert_version(model, opset))
inlined = inliner.inline_local_functions(model)
seen["inlined, then opset 21"] = outcome(version_converter.convert_version(inlined, 21))
for name, what in seen.items():
    print(f"{name}: {what}")
whole = ["as made", "inlined, then opset 21"]
lost = all(
    what.startswith("0 functions, ") and "Square" in what and "not a registered function" in what
    for name, what in seen.items()
    if name not in whole
)
if not lost or not all(seen[name].endswith("[1.0, 4.0, 9.0]") for name in whole):
    raise SystemExit("changed: the converter does otherwise")
print("as recorded: functions are lost without a word")
END
