#!/usr/bin/env bash
# OpenVINO reads an ONNX Resize with antialias, exclude_outside or keep_aspect_ratio_policy and leaves them out.
#
# Packages: openvino 2026.4.1 (ONNX frontend); onnxruntime 1.31.1 beside it.
# Documentation: ONNX's Operators, Resize 11, 18 and 19, define the attributes. OpenVINO refuses what it can't convert:
#   half_pixel_symmetric ends in an OpConversionFailure.
# Expected: the attributes' effect, or an error as for half_pixel_symmetric.
# Seen: with antialias=1 or exclude_outside=1 the result is the same to the last bit as without; with keep_aspect_ratio_policy the
#   output has another shape than ONNX says (5x9 instead of 5x5). ONNX Runtime does as ONNX says.
# For diffusion models: shrinking a control image, a mask or a picture for an encoder in the graph (F.interpolate with antialias=True
#   exports so) aliases under OpenVINO alone. Shrink outside the graph, or by a depthwise convolution.
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
from onnx import TensorProto, helper, numpy_helper

x = np.random.default_rng(0).random((1, 1, 16, 16), np.float32)


def run(sizes, **attributes):
    graph = helper.make_graph(
        [helper.make_node("Resize", ["x", "", "", "sizes"], ["y"], **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(np.array(sizes, np.int64), "sizes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    core = openvino.Core()
    compiled = core.compile_model(core.read_model(content), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return session.run(None, {"x": x})[0], compiled(x)[0].copy()


for mode, attribute in (("linear", "antialias"), ("cubic", "antialias"), ("cubic", "exclude_outside")):
    without, with_it = run([1, 1, 5, 9], mode=mode), run([1, 1, 5, 9], mode=mode, **{attribute: 1})
    effect = [float(np.abs(a - b).max()) for a, b in zip(without, with_it, strict=True)]
    print(f"{mode}, {attribute}: changes onnxruntime by {effect[0]:.3f}, openvino by {effect[1]:.3f}")
    if effect[0] < 0.01 or effect[1] != 0:
        raise SystemExit(f"changed: {attribute} has another effect")
for policy in ("not_larger", "not_smaller"):
    theirs, other = run([5, 9], mode="linear", axes=[2, 3], keep_aspect_ratio_policy=policy)
    print(f"{policy}: onnxruntime {theirs.shape}, openvino {other.shape}")
    if theirs.shape[2] != theirs.shape[3] or other.shape != (1, 1, 5, 9):
        raise SystemExit(f"changed: {policy} has another effect")
try:
    run([1, 1, 5, 9], mode="linear", coordinate_transformation_mode="half_pixel_symmetric")
except Exception as error:
    print("half_pixel_symmetric:", type(error).__name__)
else:
    raise SystemExit("changed: half_pixel_symmetric is taken now")
print("as recorded: openvino drops the attributes silently")
END
