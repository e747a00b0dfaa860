"""The towers of a dual encoder as ONNX graphs, in the form that fgdm.scorers.DualEncoderScorer
takes, with the numbers in float16."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import onnx
import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning

from .dual_encoder import SIDE, DualEncoder
from .dual_encoder_files import IMAGE_ENCODER, TEXT_ENCODER
from .half_weights import halve_weights

_OPSET = 17


def image_encoder_onnx(model: DualEncoder) -> onnx.ModelProto:
    """Of `pixel_values`, float32 (n, 3, 128, 128), normalized as CLIP's, the `image_embeds`,
    float32 (n, 256), of length 1."""
    pictures = torch.zeros(2, 3, SIDE, SIDE)
    return _exported(model.image, pictures, "pixel_values", "image_embeds", {0: "batch"})


def text_encoder_onnx(model: DualEncoder) -> onnx.ModelProto:
    """Of `input_ids`, int64 (n, length), the `text_embeds`, float32 (n, 256), of length 1. length:
    up to 77 tokens; what follows the first that ends a text isn't read."""
    ids = torch.full((2, 5), model.text.end)
    return _exported(model.text, ids, "input_ids", "text_embeds", {0: "batch", 1: "length"})


def write_graphs(model: DualEncoder, folder: Path) -> None:
    """Both graphs, each under another name first."""
    for name, graph in (
        (IMAGE_ENCODER, image_encoder_onnx(model)),
        (TEXT_ENCODER, text_encoder_onnx(model)),
    ):
        partial = folder / f"{name}.partial"
        partial.write_bytes(graph.SerializeToString(deterministic=True))
        partial.replace(folder / name)


def _exported(
    tower: nn.Module, example: Tensor, given: str, result: str, axes: dict[int, str]
) -> onnx.ModelProto:
    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            tower.eval().cpu(),
            (example,),
            buffer,  # type: ignore[arg-type]  # the tracing exporter takes streams
            dynamo=False,
            opset_version=_OPSET,
            input_names=[given],
            output_names=[result],
            dynamic_axes={given: axes, result: {0: "batch"}},
        )
    model = onnx.load_from_string(buffer.getvalue())
    halve_weights(model.graph)
    onnx.checker.check_model(model, full_check=True)
    return model
