"""Float16 graphs: what is float16, what stays float32, and how far from float32 they are."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from fgdm.export.bundle import export_bundle
from fgdm.export.check import check_graph, open_model, open_session, relative_error, run_session
from fgdm.export.emulation import rounded
from fgdm.export.errors import ExportError
from fgdm.export.graphs import decoder_graph
from fgdm.export.onnx_export import export_graph
from fgdm.export.overflow import check_overflow
from fgdm.export.weights import WeightStore
from onnx import TensorProto

from tests.export.test_graphs import backbone_inputs, unet_reference
from tests.tiny_models import TinyCheckpoint

#: What one graph writes and another reads; the host computes or reads everything else.
BETWEEN_GRAPHS = (
    "encoder_hidden_states",
    "hint",
    "intrablock_residual",
    "deep_features",
    "down_residual",
    "mid_residual",
)
FLOAT32_OPS = {"InstanceNormalization", "LayerNormalization", "Softmax", "ReduceMean", "Sin", "Cos"}
PRODUCTS = {"Conv", "MatMul", "Gemm"}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    torch.manual_seed(21)
    with torch.no_grad():
        yield


def graphs(bundle: Path) -> dict[str, onnx.ModelProto]:
    return {
        path.stem: onnx.load(path, load_external_data=False)
        for path in sorted(bundle.glob("*.onnx"))
    }


def types(model: onnx.ModelProto) -> tuple[onnx.GraphProto, dict[str, int]]:
    """The graph with its functions inlined, and the inferred element type of every value."""
    inlined = onnx.inliner.inline_local_functions(model)
    graph = onnx.shape_inference.infer_shapes(inlined, check_type=True, strict_mode=True).graph
    known = {entry.name: entry.data_type for entry in graph.initializer}
    for entry in (*graph.value_info, *graph.input, *graph.output):
        known[entry.name] = entry.type.tensor_type.elem_type
    return graph, known


def manifest(bundle: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
    return content


# Which type is where.


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_only_what_passes_between_graphs_has_their_precision(
    precision: str, request: pytest.FixtureRequest
) -> None:
    bundle: Path = request.getfixturevalue(
        {"fp32": "tiny_bundle", "fp16": "tiny_fp16_bundle"}[precision]
    )
    described = manifest(bundle)
    assert described["precision"] == precision
    for name, model in graphs(bundle).items():
        graph = described["graphs"][name]
        assert graph["precision"] == precision
        for ports, values in (("inputs", model.graph.input), ("outputs", model.graph.output)):
            assert [port["name"] for port in graph[ports]] == [value.name for value in values]
            for port, value in zip(graph[ports], values, strict=True):
                expected = {"input_ids": "int64", "argmax_mask": "bool"}.get(value.name, "float32")
                if precision == "fp16" and value.name.startswith(BETWEEN_GRAPHS):
                    expected = "float16"
                onnx_type = TensorProto.DataType.Name(value.type.tensor_type.elem_type)
                assert port["dtype"] == expected, (name, value.name)
                assert onnx_type == {"float32": "FLOAT"}.get(expected, expected.upper())


def test_products_are_float16_and_statistics_float32(tiny_fp16_bundle: Path) -> None:
    seen = set()
    for name, model in graphs(tiny_fp16_bundle).items():
        graph, known = types(model)
        for node in graph.node:
            used = {known[value] for value in (*node.input, *node.output) if value}
            if node.op_type in FLOAT32_OPS:
                assert TensorProto.FLOAT16 not in used, (name, node.name)
            if node.op_type in PRODUCTS:
                assert used == {TensorProto.FLOAT16}, (name, node.name)
            seen.add(node.op_type)
    assert seen >= FLOAT32_OPS | PRODUCTS


def test_residual_stream_is_float16(tiny_fp16_bundle: Path) -> None:
    model = graphs(tiny_fp16_bundle)["backbone"]
    graph, known = types(model)
    sums = [node for node in graph.node if node.name.endswith(("resnets.0.Add_1", "_blocks.0.Add"))]
    assert len(sums) > 5
    assert all(known[node.output[0]] == TensorProto.FLOAT16 for node in sums)


def test_no_cast_is_needless(tiny_fp16_bundle: Path) -> None:
    for name, model in graphs(tiny_fp16_bundle).items():
        _, known = types(model)
        casts = [node for node in model.graph.node if node.op_type == "Cast"]
        assert casts, name
        made_by_casts = {node.output[0] for node in casts}
        done = set()
        for node in casts:
            (to,) = (attribute.i for attribute in node.attribute)
            assert known[node.input[0]] != to, f"{name}: {node.name} casts to the type it reads"
            assert node.input[0] not in made_by_casts, f"{name}: {node.name} casts a cast"
            assert (node.input[0], to) not in done, f"{name}: {node.name} casts once more"
            done.add((node.input[0], to))


def test_a_missing_cast_is_refused(tiny_fp16_bundle: Path, tmp_path: Path) -> None:
    """The exporter's last step is ONNX's checker with strict type inference."""
    model = graphs(tiny_fp16_bundle)["vae_decoder"]
    onnx.checker.check_model(str(tiny_fp16_bundle / "vae_decoder.onnx"), full_check=True)
    cast = next(node for node in model.graph.node if node.name.endswith("Mul.to_float16"))
    for node in model.graph.node:
        node.input[:] = [
            cast.input[0] if entry == cast.output[0] else entry for entry in node.input
        ]
    with pytest.raises(onnx.shape_inference.InferenceError, match="inconsistent type"):
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)


def test_both_precisions_read_the_same_weights(tiny_bundle: Path, tiny_fp16_bundle: Path) -> None:
    def external(bundle: Path) -> dict[tuple[str, str], dict[str, str]]:
        return {
            (name, entry.name): {item.key: item.value for item in entry.external_data}
            for name, model in graphs(bundle).items()
            for entry in model.graph.initializer
            if entry.external_data and entry.data_type == TensorProto.FLOAT16
        }

    assert external(tiny_fp16_bundle) == external(tiny_bundle)
    files = [manifest(bundle)["files"] for bundle in (tiny_bundle, tiny_fp16_bundle)]
    weights = [{k: v for k, v in one.items() if k.endswith(".safetensors")} for one in files]
    assert weights[0] == weights[1]


def test_nodes_are_named_after_their_layers(tiny_fp16_bundle: Path) -> None:
    names = {node.name for node in graphs(tiny_fp16_bundle)["backbone"].graph.node}
    assert {
        "down_blocks.0.attentions.0.transformer_blocks.0.attn2.SegFreeAttention",
        "up_blocks.1.resnets.0.conv1.Conv",
        "mid_block.attentions.0.transformer_blocks.0.attn1.Softmax.to_float16",
    } <= names


# How near to float32 it is.


def test_backbone_is_diffusers_up_to_rounding(tiny_fp16_bundle: Path) -> None:
    """As ONNX Runtime runs it, and with the rounding of a device: 11 bits, a dozen layers deep."""
    unet = UNet2DConditionModel.from_pretrained(tiny_fp16_bundle / "unet").eval()
    inputs = {
        name: value.half().float() if name.startswith(BETWEEN_GRAPHS) else value
        for name, value in backbone_inputs(3, 16, 8).items()
    }
    expected = unet_reference(unet, inputs).numpy()
    path = tiny_fp16_bundle / "backbone.onnx"
    for session in (open_session(path), open_model(rounded(path), path)):
        actual = run_session(session, inputs)["noise_pred"]
        assert actual.dtype == np.float32
        assert 1e-5 < relative_error(actual, expected) < 5e-3


def test_manifest_tells_each_graphs_error(tiny_bundle: Path, tiny_fp16_bundle: Path) -> None:
    exact, half = manifest(tiny_bundle)["graphs"], manifest(tiny_fp16_bundle)["graphs"]
    for name, graph in half.items():
        assert exact[name]["max_error"] < 1e-5 < graph["max_error"] < graph["tolerance"] == 2e-2
        assert exact[name]["largest_float16"] is None
        assert 0 < graph["largest_float16"]["value"] < 60000


def test_tolerance_is_the_precisions_own(tiny_fp16_bundle: Path) -> None:
    vae = AutoencoderKL.from_pretrained(tiny_fp16_bundle / "vae").eval()
    graph = decoder_graph(vae, 4).in_precision("fp16")
    with pytest.raises(ExportError, match="vae_decoder: output image differs from PyTorch"):
        check_graph(graph, tiny_fp16_bundle / "vae_decoder.onnx")


# What stays in float32 on request.


def test_kept_nodes_are_float32(tiny_checkpoint: TinyCheckpoint, tmp_path: Path) -> None:
    vae = AutoencoderKL.from_pretrained(tiny_checkpoint.base / "vae").eval()
    store = WeightStore(tmp_path, "fp16")
    store.save(vae, "vae", "model.safetensors")
    graph = decoder_graph(vae, 4).in_precision("fp16")
    path = export_graph(graph, store, ["decoder.up_blocks.[01].*", "decoder.conv_out.*"])
    inlined, known = types(onnx.load(path, load_external_data=False))
    kept = {
        node.name
        for node in inlined.node
        if node.op_type in PRODUCTS and known[node.output[0]] == TensorProto.FLOAT
    }
    assert "decoder.up_blocks.1.resnets.0.conv1.Conv" in kept
    assert {".".join(name.split(".")[:3]) for name in kept} == {
        "decoder.up_blocks.0",
        "decoder.up_blocks.1",
        "decoder.conv_out.Conv",
    }
    part = check_graph(graph, path, tolerance=1e-2)
    everything = export_graph(graph, store, ["*"])
    assert check_graph(graph, everything, tolerance=1e-5) < part
    assert check_overflow(graph, everything, [graph.random_inputs(1, 4, 4, seed=0)]) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "int8"}, "expected one of fp32, fp16"),
        ({"precision": "fp16", "weights": "fp32"}, "store fp16 weights"),
        ({"keep_fp32": ["vae_decoder/*"]}, "in which everything is"),
        ({"precision": "fp16", "keep_fp32": ["vae/*"]}, "one of the graphs text_encoder, "),
        ({"precision": "fp16", "keep_fp32": ["vae_decoder"]}, "expected GRAPH/NODES"),
        (
            {"precision": "fp16", "keep_fp32": ["text_encoder/decoder.*"]},
            "no node of graph text_encoder is called 'decoder",
        ),
    ],
)
def test_bad_arguments(
    tiny_checkpoint: TinyCheckpoint, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExportError, match=message):
        export_bundle(
            tiny_checkpoint.base,
            {"segmentation": tiny_checkpoint.adapter},
            tiny_checkpoint.controlnet,
            tiny_checkpoint.palette,
            tmp_path / "b",
            name="tiny",
            **changes,
        )
    assert not list(tmp_path.iterdir())
