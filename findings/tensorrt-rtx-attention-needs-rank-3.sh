#!/usr/bin/env bash
# TensorRT-RTX builds ONNX's Attention in float32, or with heads of 8, if the inputs have rank 3, and not if they have rank 4.
#
# Packages: tensorrt-rtx-cu13 1.7.1.116 (builds for sm_89; needs no GPU), onnx 1.23.2.
# Documentation: ONNX's Operators, Attention 23: (batch, heads, length, size) and (batch, length, heads * size) with q_num_heads are two
#   layouts of one op, which takes float32. TensorRT-RTX's parser accepts all of them; only the error of a build speaks of kernels.
# Expected: both layouts build, or neither.
# Seen: both parse. Rank 3 builds in float32 and in float16 with heads of 8, 64 and 264. Rank 4 builds in float16 from 12 to 256 and
#   otherwise ends in "not supported by a dedicated kernel".
# For diffusion models: PyTorch's exporter writes scaled_dot_product_attention as Attention with rank 4 at opset 23. Float32 plans and
#   small heads (tiny models of tests, heads of 8) need rank 3, MatMul and Softmax, or opset 18.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check onnx==1.23.2 tensorrt-rtx-cu13==1.7.1.116
cd "$place"
"$place/venv/bin/python" - <<'END'
import onnx
import tensorrt_rtx as trt
from onnx import TensorProto, helper

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16
BUILDS = {
    (FLOAT, 64, 3): True,
    (FLOAT, 64, 4): False,
    (HALF, 8, 3): True,
    (HALF, 8, 4): False,
    (HALF, 12, 4): True,
    (HALF, 64, 3): True,
    (HALF, 64, 4): True,
    (HALF, 256, 4): True,
    (HALF, 264, 3): True,
    (HALF, 264, 4): False,
}


class Silent(trt.ILogger):
    def __init__(self):
        trt.ILogger.__init__(self)
        self.errors = []

    def log(self, severity, message):
        if severity <= trt.ILogger.Severity.ERROR:
            self.errors.append(message)


def build(dtype, size, rank):
    shape = [2, 2, 64, size] if rank == 4 else [2, 64, 2 * size]
    heads = {} if rank == 4 else {"q_num_heads": 2, "kv_num_heads": 2}
    graph = helper.make_graph(
        [helper.make_node("Attention", ["q", "k", "v"], ["y"], **heads)],
        "g",
        [helper.make_tensor_value_info(name, dtype, shape) for name in "qkv"],
        [helper.make_tensor_value_info("y", dtype, shape)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    onnx.checker.check_model(model, full_check=True)
    log = Silent()
    builder = trt.Builder(log)
    network = builder.create_network(0)
    parser = trt.OnnxParser(network, log)
    if not parser.parse(model.SerializeToString()):
        raise SystemExit(f"changed: it doesn't parse: {parser.get_error(0).desc()}")
    config = builder.create_builder_config()
    config.num_compute_capabilities = 1
    config.set_compute_capability(trt.ComputeCapability.SM89, 0)
    return builder.build_serialized_network(network, config) is not None, log.errors


for (dtype, size, rank), expected in BUILDS.items():
    built, errors = build(dtype, size, rank)
    kind = "float32" if dtype == FLOAT else "float16"
    print(f"{kind}, heads of {size}, rank {rank}: {'builds' if built else 'cannot be built'}")
    if built != expected or (not built and "dedicated kernel" not in " ".join(errors)):
        raise SystemExit("changed: another outcome was recorded")
print("as recorded: the layout decides")
END
