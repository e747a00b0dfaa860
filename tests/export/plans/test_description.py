"""Protects that a plan with other inputs, outputs or profiles than ordered isn't kept."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from fgdm.export.errors import ExportError
from fgdm.export.plans.description import Description, Layer, Tensor, check, from_log

# What TensorRT-RTX 1.7.1 logs after a build, shortened.
LOG = """\
Layers:
Name: entry_myl0_0, LayerType: signal, Inputs: [], Constants: [], Outputs: [], TacticName: , \
StreamId: 0, EventId: 6, Metadata: \n\
Name: __myl_MulSum_myl0_1, LayerType: kgen, Inputs: [ { Name: sample, Dimensions: [2,4,16,16], \
Datatype: Float }], Outputs: [], TacticName: __myl_MulSum_0x1, StreamId: 0, Metadata: [ONNX Layer: \
/up/Mul][ONNX Layer: node_of_mean | /attn2/SegFreeAttention (SegFreeAttention)]

I/O Tensors:
 Name: sample, IOMode: Input, DataType: Half, Dimensions: [2,4,16,16], Location: Device, \
IsShapeInferenceIO: false, ProfileInfo: [ { MinShape: [2,4,16,16], OptShape: [2,4,16,16], \
MaxShape: [2,4,16,16], Format: Row major linear FP16 format (kLINEAR) }]
 Name: argmax_mask, IOMode: Input, DataType: Bool, Dimensions: [2,48], Location: Device, \
IsShapeInferenceIO: false, ProfileInfo: [ { MinShape: [2,48], OptShape: [2,48], MaxShape: [2,48], \
Format: Row major linear BOOL format (kLINEAR) }]
 Name: noise_pred, IOMode: Output, DataType: Float, Dimensions: [2,4,16,16], Location: Device, \
IsShapeInferenceIO: false, ProfileInfo: [ { Format: Row major linear FP32 format (kLINEAR) }]
"""

COVERS: dict[str, Any] = {
    "graph": "backbone",
    "inputs": [
        {"name": "sample", "dtype": "float16", "shapes": [[2, 4, 16, 16]]},
        {"name": "argmax_mask", "dtype": "bool", "shapes": [[2, 48]]},
    ],
    "outputs": [{"name": "noise_pred", "dtype": "float32", "shapes": [[2, 4, 16, 16]]}],
}


def test_the_builders_log_is_read() -> None:
    description = from_log(LOG)
    assert description.layers == (
        Layer("entry_myl0_0", "signal", ()),
        Layer(
            "__myl_MulSum_myl0_1",
            "kgen",
            ("/up/Mul", "node_of_mean | /attn2/SegFreeAttention (SegFreeAttention)"),
        ),
    )
    shape = (2, 4, 16, 16)
    assert description.tensors[0] == Tensor("sample", True, "float16", shape, ((shape,) * 3,))
    assert description.tensors[2] == Tensor("noise_pred", False, "float32", shape, ())
    check(description, COVERS)


def changed(tensor: str, **changes: Any) -> Description:
    description = from_log(LOG)
    tensors = [replace(t, **changes) if t.name == tensor else t for t in description.tensors]
    return Description((), tuple(tensors))


@pytest.mark.parametrize(
    ("description", "message"),
    [
        (changed("sample", name="latent"), "latent wasn't expected; sample is missing"),
        (changed("sample", dtype="float32"), "sample is float32, expected float16"),
        (changed("sample", ranges=(((1, 4, 16, 16), (2, 4, 16, 16), (2, 4, 16, 16)),)), "sample"),
        (changed("sample", ranges=(((2, 4, 16, 16),) * 3,) * 2), "sample has the shapes"),
        (changed("noise_pred", shape=(2, 4, 16, 8)), "noise_pred has the shapes"),
        (changed("noise_pred", shape=(2, 4, 16)), "noise_pred has the shapes"),
    ],
)
def test_every_difference_is_named(description: Description, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        check(description, COVERS)


def test_dynamic_outputs_and_static_inputs_agree() -> None:
    check(changed("noise_pred", shape=(-1, 4, -1, -1)), COVERS)
    check(changed("sample", ranges=()), COVERS)
