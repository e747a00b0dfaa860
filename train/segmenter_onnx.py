"""``python -m fgdm.train.segmenter_onnx``: the segmenter's weights as the ONNX graph that a bundle
takes (``fgdm export --add-segmenter``), with the numbers in float16 as the bundle's others."""

from __future__ import annotations

import argparse
import io
import warnings
from pathlib import Path

import onnx
import torch
from torch.jit._trace import TracerWarning

from .half_weights import halve_weights
from .segmenter import Segmenter, load_segmenter

_OPSET = 17


def segmenter_onnx(segmenter: Segmenter) -> onnx.ModelProto:
    """Of `image`, float32 (1, 3, h, w) from -1 to 1, h and w multiples of 8, the `scores` of all
    classes, float32 (1, classes, h/2, w/2). Weights are float16, and cast as they are loaded."""
    buffer = io.BytesIO()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore", TracerWarning)
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            segmenter.eval(),
            (torch.zeros(1, 3, 64, 96),),
            buffer,  # type: ignore[arg-type]  # the tracing exporter takes streams
            dynamo=False,
            opset_version=_OPSET,
            input_names=["image"],
            output_names=["scores"],
            dynamic_axes={
                "image": {2: "image_height", 3: "image_width"},
                "scores": {2: "height", 3: "width"},
            },
        )
    model = onnx.load_from_string(buffer.getvalue())
    model.graph.output[0].type.tensor_type.shape.dim[0].dim_value = 1
    halve_weights(model.graph)
    onnx.checker.check_model(model, full_check=True)
    return model


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m fgdm.train.segmenter_onnx", description=__doc__
    )
    parser.add_argument("weights", type=Path, help="such as benchmarks/segmenter.safetensors")
    parser.add_argument("output", type=Path, help="the ONNX file")
    options = parser.parse_args(arguments)
    model = segmenter_onnx(load_segmenter(options.weights))
    options.output.write_bytes(model.SerializeToString(deterministic=True))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
