#!/usr/bin/env bash
# openvino.save_model turns weights beyond float16 into 65504, quietly and as a finite number.
#
# Package: openvino 2026.4.1.
# Documentation: save_model says that weights are compressed to float16 by default, and the conversion guide that the loss is minor
#   for most models. What happens beyond float16's range isn't said.
# Expected: such a tensor stays float32, or becomes inf (as a cast makes it), which some finite check would find.
# Seen: 1e6, 1e5 and -1e6 come back as 65504 and -65504 and 1e-8 as 0 in a tensor of ordinary weights. A tensor that consists mostly of
#   such values is kept in float32, so that a small test of the same thing passes.
# For diffusion models: attention masks filled with a large negative number, timesteps' frequencies and scales live among
#   weights; some decoders have weights like that. Pass compress_to_fp16=False and choose types before, where overflow is checked.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 onnx==1.23.2 openvino==2026.4.1
cd "$place"
"$place/venv/bin/python" - <<'END'
import numpy as np
import onnx
import openvino
from onnx import TensorProto, helper, numpy_helper


def saved(weights):
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, weights.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, weights.shape)],
        [numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    core = openvino.Core()
    openvino.save_model(core.read_model(model.SerializeToString()), "saved.xml")
    compiled = core.compile_model("saved.xml", "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return compiled(np.ones(weights.shape, np.float32))[0]


odd = np.array([1e6, 1e5, -1e6, 1e-8], np.float32)
usual = np.random.default_rng(0).standard_normal(60).astype(np.float32)
among_others = saved(np.concatenate([odd, usual]))[:4]
alone = saved(odd)
print("weights              ", odd)
print("among 60 usual ones  ", among_others)
print("alone                ", alone)
if among_others.tolist() != [65504, 65504, -65504, 0]:
    raise SystemExit("changed: large weights among usual ones are no longer clipped")
if not np.array_equal(alone, odd):
    raise SystemExit("changed: a tensor of large weights is no longer kept")
print("as recorded: clipped to the largest float16 without a warning")
END
