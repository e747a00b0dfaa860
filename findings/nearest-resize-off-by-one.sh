#!/usr/bin/env bash
# ONNX Runtime's nearest Resize takes the pixel before the right one, even where the sizes divide: 14 -> 2 gives pixels 0 and 6.
#
# Packages: onnxruntime 1.32.0 (CPU), openvino 2026.4.1 (CPU), onnx 1.23.2 (reference evaluator).
# Documentation: ONNX's Operators, Resize 19, asymmetric: x_original = x_resized / scale, scale = output / input; nearest_mode floor. Output
#   pixel 1 of 2 is input pixel 1 / (2 / 14) = 7. This is how exporters write PyTorch's mode="nearest".
# Expected: floor(i * input / output), pixel 7; PyTorch and the reference evaluator have that.
# Seen: 6 in ONNX Runtime and in OpenVINO alike: 2/14 is rounded to float32 first, so the quotient is just under 7. From 56 to 8 half of all
#   pixels are the neighbours. Of the sizes 1..64 -> 1..128, 185 pairs differ; doubling never does.
# For diffusion models: label maps and masks shrunk to the latents' size in the graph are shifted by a pixel at some sizes and not at others;
#   two runtimes agree on it, so comparing them finds nothing. Upsampling by 2 (a U-Net's) is exact.
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


def model(size, wanted):
    graph = helper.make_graph(
        [
            helper.make_node(
                "Resize",
                ["x", "", "", "sizes"],
                ["y"],
                mode="nearest",
                coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, size])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, wanted])],
        [numpy_helper.from_array(np.array([1, 1, wanted]), "sizes")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(made, full_check=True)
    return made


def run(size, wanted):
    x = np.arange(size, dtype=np.float32)[None, None]
    session = onnxruntime.InferenceSession(
        model(size, wanted).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"x": x})[0].ravel().astype(int)


def right(size, wanted):
    return np.arange(wanted) * size // wanted


x = np.arange(14, dtype=np.float32)[None, None]
core = openvino.Core()
other = core.compile_model(core.read_model(model(14, 2).SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x)[0]
reference = ReferenceEvaluator(model(14, 2)).run(None, {"x": x})[0]
print("14 -> 2: right", right(14, 2), "onnxruntime", run(14, 2), "openvino", other.ravel(), "reference", reference.ravel())
print("56 -> 8: right", right(56, 8), "onnxruntime", run(56, 8))
pairs = [
    (size, wanted)
    for size in range(1, 65)
    for wanted in range(1, 129)
    if not np.array_equal(run(size, wanted), right(size, wanted))
]
doubled = [size for size, wanted in pairs if wanted == 2 * size]
print(f"{len(pairs)} of {64 * 128} pairs of sizes differ, {len(doubled)} of them by doubling")
if run(14, 2).tolist() != [0, 6] or other.ravel().tolist() != [0, 6]:
    raise SystemExit("changed: 14 -> 2 takes other pixels")
if reference.ravel().tolist() != [0, 7] or not pairs or doubled:
    raise SystemExit("changed: other sizes differ now")
print("as recorded: both runtimes take pixel 6")
END
