#!/usr/bin/env bash
# ONNX Runtime is asked for a compiled context, compiles none, and says nothing: there is no file, no error and no line in the log.
#
# Packages: onnxruntime 1.32.0 (CPU provider).
# Documentation: ONNX Runtime's page on EPContext says that it "creates the EP context cache model" with ep.context_enable = 1, at
#   ep.context_file_path.
# Expected: the file, or a word of why there is none where no execution provider of the session compiles.
# Seen: the session opens, no file is there, and nothing is logged at the level of warnings. ModelCompiler writes the graph
#   uncompiled, under the name of a compiled one; with its flag ERROR_IF_NO_NODES_COMPILED it refuses.
# For diffusion models: a service that means to compile a U-Net once compiles it at every start, for instance where its provider
#   was passed over. Look for the file, or compile with that flag.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 onnxruntime==1.32.0
cd "$place"
"$place/venv/bin/python" - 2>log <<'PYTHON'
from pathlib import Path

import onnx
import onnxruntime
from onnx import TensorProto, helper

graph = helper.make_graph(
    [helper.make_node("Relu", ["x"], ["y"])],
    "g",
    [helper.make_tensor_value_info("x", TensorProto.FLOAT, (4,))],
    [helper.make_tensor_value_info("y", TensorProto.FLOAT, (4,))],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
onnx.checker.check_model(model, full_check=True)
onnx.save(model, "model.onnx")

options = onnxruntime.SessionOptions()
options.log_severity_level = 2  # warnings
options.add_session_config_entry("ep.context_enable", "1")
options.add_session_config_entry("ep.context_file_path", "context.onnx")
onnxruntime.InferenceSession("model.onnx", options, providers=["CPUExecutionProvider"])
silent = not Path("context.onnx").exists()
print(f"with ep.context_enable: {'no file' if silent else 'a file'}")

plain = onnxruntime.SessionOptions()
onnxruntime.ModelCompiler(plain, "model.onnx").compile_to_file("compiled.onnx")
written = onnx.load("compiled.onnx")
uncompiled = [node.op_type for node in written.graph.node] == ["Relu"]
print(f"ModelCompiler writes {[node.op_type for node in written.graph.node]}")
refused = False
try:
    onnxruntime.ModelCompiler(
        plain, "model.onnx", flags=onnxruntime.OrtCompileApiFlags.ERROR_IF_NO_NODES_COMPILED
    ).compile_to_file("refused.onnx")
except Exception as error:
    refused = "Unable to compile any nodes" in str(error)
    print(f"with the flag: {error}")
if not (silent and uncompiled and refused):
    raise SystemExit("changed: not as recorded")
PYTHON
if grep -qi context log; then
  cat log
  echo "changed: the log speaks of it"
  exit 1
fi
echo "as recorded: nothing is written, and nothing is said"
