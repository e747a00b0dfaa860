#!/usr/bin/env bash
# onnx.version_converter shifts every linear Upsample by a fraction of a pixel on the way to opset 11 or newer.
#
# Packages: onnx 1.23.2; onnxruntime 1.32.0 runs both models.
# Documentation: convert_version raises RuntimeError where a conversion isn't supported. ONNX's changelog: Upsample 9 and Resize 10 sample at
#   x / scale; Resize 11 has coordinate_transformation_mode for that, whose default is half_pixel.
# Expected: coordinate_transformation_mode="asymmetric", so that the numbers stay.
# Seen: opset 10 gives the same picture; opset 11, 13 and 18 give a Resize without the attribute, which is half_pixel: a ramp from 0 to
#   15 changes by 1.25. The checker passes.
# For diffusion models: older exports of upscalers, decoders and segmenters (PyTorch wrote Upsample before opset 11) come out shifted
#   by a quarter of a pixel, which looks like a little blur. Export again, or set the attribute by hand after converting.
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
from onnx import TensorProto, helper, numpy_helper, version_converter

graph = helper.make_graph(
    [helper.make_node("Upsample", ["x", "scales"], ["y"], mode="linear")],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 4, 4])],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 8, 8])],
    [numpy_helper.from_array(np.array([1, 1, 2, 2], np.float32), "scales")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)], ir_version=8)
onnx.checker.check_model(model, full_check=True)
x = np.arange(16, dtype=np.float32).reshape(1, 1, 4, 4)


def run(made):
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


before = run(model)
print("opset 9: ", before[0, 0, 0])
changes = {}
for opset in (10, 11, 13, 18):
    converted = version_converter.convert_version(model, opset)
    onnx.checker.check_model(converted, full_check=True)
    after = run(converted)
    changes[opset] = float(np.abs(after - before).max())
    print(f"opset {opset}:", after[0, 0, 0], f"largest change {changes[opset]:.2f}")
if changes != {10: 0.0, 11: 1.25, 13: 1.25, 18: 1.25}:
    raise SystemExit("changed: the converter has another effect")
print("as recorded: the picture moves from opset 11 on")
END
