#!/usr/bin/env bash
# OpenVINO's plugin for ONNX Runtime offers no device on an AMD processor, where OpenVINO runs, and the provider inside
# onnxruntime-openvino too.
#
# Packages: onnxruntime-ep-openvino 1.8.1 in onnxruntime 1.31.1; onnxruntime-openvino 1.24.1; openvino 2026.4.1.
# Documentation: the package's page calls it the way to run OpenVINO in ONNX Runtime from now on; OpenVINO's own device list has
#   the processor.
# Expected: the plugin lists a CPU device wherever the OpenVINO that it carries finds "CPU".
# Seen: on AMD EPYC it registers without a word and get_ep_devices() has ONNX Runtime's own device alone. In the same place
#   openvino.Core().available_devices is ["CPU"], and a session of onnxruntime-openvino runs on it. On Intel's it lists one.
# For diffusion models: a service that moves from onnxruntime-openvino to the plugin falls back to ONNX Runtime's own kernels on
#   half of a mixed fleet, without an error where it asks for the devices that are there.
set -euo pipefail
vendor=$(awk -F': ' '/^vendor_id/ {print $2; exit}' /proc/cpuinfo)
case $vendor in AuthenticAMD | GenuineIntel) ;; *)
  echo "not shown here: the processor's vendor is \"$vendor\""
  exit ;;
esac
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
for name in plugin inside openvino; do "${PYTHON:-python3}" -m venv "$place/$name"; done
install() { "$place/$1/bin/pip" install --quiet --disable-pip-version-check "${@:2}"; }
install plugin onnxruntime==1.31.1 onnxruntime-ep-openvino==1.8.1
install inside onnxruntime-openvino==1.24.1 numpy==2.4.6 onnx==1.23.2
install openvino openvino==2026.4.1
cd "$place"

plugin=$(plugin/bin/python - <<'END'
import onnxruntime
import onnxruntime_ep_openvino

onnxruntime.register_execution_provider_library("openvino", onnxruntime_ep_openvino.get_library_path())
devices = [device for device in onnxruntime.get_ep_devices() if device.ep_name.startswith("OpenVINO")]
print("CPU" if any(device.device.type.name == "CPU" for device in devices) else "none")
END
)
inside=$(inside/bin/python - <<'END'
import numpy as np
import onnxruntime
from onnx import TensorProto, helper

graph = helper.make_graph(
    [helper.make_node("Add", ["x", "x"], ["y"])],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, (4,))],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, (4,))],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
session = onnxruntime.InferenceSession(
    model.SerializeToString(), providers=[("OpenVINOExecutionProvider", {"device_type": "CPU"})]
)
(y,) = session.run(None, {"x": np.ones(4, np.float32)})
print("CPU" if y.sum() == 8 and session.get_providers()[0].startswith("OpenVINO") else "none")
END
)
alone=$(openvino/bin/python -c 'import openvino; print(*openvino.Core().available_devices)')
echo "$vendor: the plugin offers $plugin; onnxruntime-openvino runs on $inside; OpenVINO finds $alone"
expected=none
[ "$vendor" = GenuineIntel ] && expected=CPU
[ "$plugin" = $expected ] && [ "$inside" = CPU ] && [[ "$alone" = *CPU* ]] || {
  echo "changed: expected $expected, CPU and CPU"
  exit 1
}
