#!/usr/bin/env bash
# ONNX's GroupNormalization loses its digits where a group's mean is large beside its spread.
#
# Packages: onnxruntime 1.32.0 (CPU), onnx 1.23.2 (reference evaluator), openvino 2026.4.1 (CPU).
# Documentation: ONNX's Operators, GroupNormalization 21: y = scale * (x - mean) / sqrt(variance + epsilon) + bias, with
#   stash_type 1 for a float32 variance. InstanceNormalization has the same formula.
# Expected: float32 rounding, as InstanceNormalization of the same groups has it in the same runtime (1e-5 at mean 100).
# Seen: an error of 3e-3 at mean 100 and 0.17 at mean 1000 (spread 1). ONNX defines the op by a function that takes the
#   variance as E[x^2] - E[x]^2; ONNX Runtime's CPU provider and the reference evaluator run that function. OpenVINO,
#   which has a kernel of its own, is right.
# For diffusion models: group normalisation stands before every convolution of a U-Net and a decoder. An exporter that writes
#   Reshape + InstanceNormalization is safe; one that is told opset 21 for the sake of GroupNormalization is not, and the
#   reference evaluator agrees with the wrong answer.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
cd "$place"
"$place/venv/bin/python" - <<'END'
import numpy as np
import onnx
import onnxruntime
import openvino
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

SHAPE, GROUPS, EPSILON = (1, 4, 16, 16), 2, 1e-5


def model(nodes, constants):
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, SHAPE)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made


def group():
    node = helper.make_node("GroupNormalization", ["x", "s", "b"], ["y"], epsilon=EPSILON, num_groups=GROUPS)
    return model([node], {"s": np.ones(4, np.float32), "b": np.zeros(4, np.float32)})


def instance():
    nodes = [
        helper.make_node("Reshape", ["x", "grouped"], ["a"]),
        helper.make_node("InstanceNormalization", ["a", "s", "b"], ["n"], epsilon=EPSILON),
        helper.make_node("Reshape", ["n", "whole"], ["y"]),
    ]
    constants = {
        "s": np.ones(GROUPS, np.float32),
        "b": np.zeros(GROUPS, np.float32),
        "grouped": np.array([1, GROUPS, -1]),
        "whole": np.array(SHAPE),
    }
    return model(nodes, constants)


def run(made, x):
    content = made.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return {
        "onnxruntime": session.run(None, {"x": x})[0],
        "onnx reference": ReferenceEvaluator(made).run(None, {"x": x})[0],
        "openvino": compiled(x)[0],
    }


errors = {}
for mean in (0, 100, 1000):
    x = (np.random.default_rng(0).standard_normal(SHAPE) + mean).astype(np.float32)
    exact = x.astype(np.float64).reshape(1, GROUPS, -1)
    exact = (exact - exact.mean(-1, keepdims=True)) / np.sqrt(exact.var(-1, keepdims=True) + EPSILON)
    for op, made in (("GroupNormalization", group()), ("InstanceNormalization", instance())):
        for runtime, y in run(made, x).items():
            errors[op, runtime, mean] = float(np.abs(y - exact.reshape(SHAPE)).max())
            print(f"mean {mean:4}  {op:21}  {runtime:14}  largest error {errors[op, runtime, mean]:.1e}")

for (op, runtime, mean), error in errors.items():
    loses = op == "GroupNormalization" and runtime != "openvino" and mean > 0
    wrong = error < 5e-4 if loses else error > 2e-4
    if wrong:
        raise SystemExit(f"changed: {op}, {runtime}, mean {mean}: error {error:.1e}")
print("as recorded: GroupNormalization cancels in onnxruntime and in the reference evaluator")
END
