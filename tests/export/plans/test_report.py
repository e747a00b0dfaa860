"""Protects that the report names what was not fused."""

from __future__ import annotations

from fgdm.export.plans.description import Layer
from fgdm.export.plans.report import attention_bodies, report, unfused

OP = "/mid/attn2/SegFreeAttention (SegFreeAttention)"
LAYERS = [
    Layer("signal", "signal", ()),
    Layer("a", "gemm", (f"node_of_scores | {OP}",)),
    Layer("b", "kgen", (f"node_of_weights | {OP}", f"node_of_mean | {OP}", "/mid/Add")),
    Layer("c", "kgen", ("/conv/Add", "/conv/Sigmoid")),
    Layer("d", "correlation", ("/conv/Conv",)),
    Layer("e", "kgen", ("/mid/attn1/Transpose_3",)),
]


def test_an_attention_body_is_the_layers_that_hold_a_part_of_it() -> None:
    assert attention_bodies(LAYERS) == {"/mid/attn2/SegFreeAttention": LAYERS[1:3]}


def test_a_node_alone_in_its_layer_is_unfused_unless_it_is_a_product() -> None:
    assert unfused(LAYERS) == LAYERS[5:]


def test_the_report_for_a_person() -> None:
    assert list(report(LAYERS, "function")) == [
        "6 layers: 3 kgen, 1 signal, 1 gemm, 1 correlation",
        "SegFreeAttention, 1 of 1 bodies: not fused: 1 gemm, 1 kgen",
        "1 nodes fused with no neighbour: 1 attn1/Transpose",
    ]
    assert list(report(LAYERS[2:5], "function")) == [
        "3 layers: 2 kgen, 1 correlation",
        "SegFreeAttention, 1 of 1 bodies: fused into one layer",
        "0 nodes fused with no neighbour: none",
    ]
    assert next(report(LAYERS, "none", 8)).startswith("6 layers in 8 profiles: ")
    assert "SegFreeAttention: the plugin, one layer each" in list(report([], "plugin"))


def test_unfused_nodes_are_counted_by_operation() -> None:
    nodes = ["/a/attn1/Softmax", "/b/attn1/Softmax_4", "/Mul_3", "/c/pool/AveragePool", "v12"]
    layers = [Layer(node, "kgen", (node,)) for node in nodes]
    last = list(report(layers, "none"))[-1]
    assert last.endswith(": 2 attn1/Softmax, 1 Mul, 1 AveragePool, 1 v12")


def test_operations_of_exported_graphs_are_told_by_their_dotted_names() -> None:
    nodes = ["mid_block.attn1.Softmax", "up_blocks.0.attn1.Softmax_4", "conv_out.Add"]
    layers = [Layer(node, "kgen", (node,)) for node in nodes]
    assert list(report(layers, "none"))[-1].endswith(": 2 attn1/Softmax, 1 Add")
