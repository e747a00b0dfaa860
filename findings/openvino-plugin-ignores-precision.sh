#!/usr/bin/env bash
# OpenVINO's plugin for ONNX Runtime computes in bfloat16 with "precision": "FP32", and takes keys that nobody knows.
#
# Packages: onnxruntime-ep-openvino 1.8.1 in onnxruntime 1.31.1.
# Documentation: ONNX Runtime's page of the OpenVINO provider lists `precision` with FP32, FP16 and ACCURACY ("keeps the model's
#   precision"), and the provider inside onnxruntime-openvino refuses a key that it doesn't know.
# Expected: float32 with "precision": "FP32", and an error for a key that nobody knows.
# Seen: an unknown key is taken in silence, `precision` with a line in the log ("is ignored"), which who logs errors alone doesn't
#   see. On a processor with bfloat16 (AMX, AVX512-BF16) the result has bfloat16's 8 bits with "FP32" and
#   "ACCURACY" as with no option at all; "load_config" with INFERENCE_PRECISION_HINT f32 is obeyed.
# For diffusion models: who moves from onnxruntime-openvino to the plugin and keeps the options gets pictures 30 to 40 dB from
#   before, on new Xeons alone. Say it in load_config: {"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.31.1 \
  onnxruntime-ep-openvino==1.8.1
cd "$place"
"$place/venv/bin/python" - <<'END'
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import onnxruntime_ep_openvino
from onnx import TensorProto, helper, numpy_helper

random = np.random.default_rng(0)
weights = random.standard_normal((256, 256)).astype(np.float32)
x = random.standard_normal((64, 256)).astype(np.float32)
graph = helper.make_graph(
    [helper.make_node("MatMul", ["x", "weights"], ["y"])],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, (64, 256))],
    [numpy_helper.from_array(weights, "weights")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
onnx.checker.check_model(model, full_check=True)
content = model.SerializeToString()
exact = x.astype(np.float64) @ weights

onnxruntime.register_execution_provider_library("openvino", onnxruntime_ep_openvino.get_library_path())
cpu = [
    device
    for device in onnxruntime.get_ep_devices()
    if device.ep_name == "OpenVINOExecutionProvider" and device.ep_metadata["ov_device"] == "CPU"
]
if not cpu:
    print("not shown here: the plugin offers no device on this processor (openvino-plugin-passes-amd-over.sh)")
    raise SystemExit


def error(options: dict[str, str]) -> float:
    session_options = onnxruntime.SessionOptions()
    session_options.add_provider_for_devices(cpu, options)
    session = onnxruntime.InferenceSession(content, session_options)
    (y,) = session.run(None, {"x": x})
    found = float(np.abs(y - exact).max() / np.abs(exact).max())
    print(f"{found:.1e} with {options}")
    return found


unknown = error({"no such option": "1"})  # an error is what should come
obeyed = error({"load_config": '{"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}'})
if obeyed > 1e-5:
    raise SystemExit("changed: load_config isn't obeyed")
dropped = [error({}), error({"precision": "FP32"}), error({"precision": "ACCURACY"})]
has_bfloat16 = any(
    word in Path("/proc/cpuinfo").read_text() for word in ("amx_bf16", "avx512_bf16")
)
if not has_bfloat16:
    print("as recorded, as far as a processor without bfloat16 shows: an unknown option is taken in silence")
elif min(dropped) < 1e-4:
    raise SystemExit("changed: float32 without load_config")
else:
    print("as recorded: only load_config gives float32; an unknown option is taken in silence")
END
