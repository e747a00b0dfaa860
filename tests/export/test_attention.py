"""The op: its ONNX function and its PyTorch form against float64 and against the paper."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from diffusers.models.attention_processor import Attention
from fgdm.export.attention import SegFreeAttnProcessor, segfree_attention
from fgdm.export.functions import OPSET, segfree_attention_function
from numpy.typing import NDArray
from onnx import TensorProto, helper

from tests.export.paper_attention import PaperAttnProcessor

Inputs = dict[str, NDArray[Any]]


def reference(inputs: Inputs) -> NDArray[np.float64]:
    """DESIGN's five steps, one patch at a time, in float64."""
    q, k, v = (inputs[name].astype(np.float64) for name in "qkv")
    out = np.empty(q.shape)
    for b in range(q.shape[0]):
        for p in range(q.shape[2]):
            scores = np.einsum("hd,htd->ht", q[b, :, p], k[b]) / np.sqrt(q.shape[3])
            weights = np.exp(scores - scores.max(1, keepdims=True))
            weights /= weights.sum(1, keepdims=True)
            best, best_token = -1.0, -1
            for token, weight in enumerate(weights.mean(0)):
                if inputs["argmax_mask"][b, token] and weight > best:
                    best, best_token = weight, token
            if best_token >= 0:
                weights[:, best_token] *= inputs["attn_scale"][b]
            out[b, :, p] = np.einsum("ht,htd->hd", weights, v[b])
    return out


def random_inputs(seed: int, patches: int = 11, tokens: int = 9) -> Inputs:
    rng = np.random.default_rng(seed)
    batch, heads, width = 4, 3, 8

    def normal(count: int) -> NDArray[np.float32]:
        return 2 * rng.standard_normal((batch, heads, count, width), dtype=np.float32)

    mask = np.ones((batch, tokens), bool)
    mask[:, 0] = False
    return {
        "q": normal(patches),
        "k": normal(tokens),
        "v": normal(tokens),
        "attn_scale": np.array([1, -10, 0, 2.5], np.float32),
        "argmax_mask": mask,
    }


def open_op(element: int) -> onnxruntime.InferenceSession:
    """A model of one node, with every size dynamic; `element` is the type of q, k, v and out."""

    def info(name: str, dtype: int, *shape: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, dtype, shape)

    inputs = [
        info("q", element, "B", "H", "P", "d"),
        info("k", element, "B", "H", "T", "d"),
        info("v", element, "B", "H", "T", "d"),
        info("attn_scale", TensorProto.FLOAT, "B"),
        info("argmax_mask", TensorProto.BOOL, "B", "T"),
    ]
    node = helper.make_node(
        "SegFreeAttention",
        [entry.name for entry in inputs],
        ["out"],
        domain="fgdm",
        plugin_version="1",
        plugin_namespace="fgdm",
    )
    output = info("out", element, "B", "H", "P", "d")
    model = helper.make_model(
        helper.make_graph([node], "op", inputs, [output]),
        functions=[segfree_attention_function()],
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("fgdm", 1)],
        ir_version=10,
    )
    onnx.checker.check_model(model, full_check=True)
    return onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )


@pytest.fixture(scope="module")
def op_session() -> onnxruntime.InferenceSession:
    return open_op(TensorProto.FLOAT)


def check(session: onnxruntime.InferenceSession, inputs: Inputs) -> None:
    expected = reference(inputs)
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    eager = segfree_attention(**tensors).numpy()
    (runtime,) = session.run(None, inputs)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(eager, expected, rtol=0, atol=2e-6 * scale)
    np.testing.assert_allclose(runtime, expected, rtol=0, atol=2e-6 * scale)


@pytest.mark.parametrize("shape", [(1, 2), (11, 9), (64, 77)])
def test_equals_float64(op_session: onnxruntime.InferenceSession, shape: tuple[int, int]) -> None:
    check(op_session, random_inputs(1, *shape))


def test_float16_equals_float64_up_to_rounding() -> None:
    """Inputs that differ in their 12th bit would have other maxima: both see the rounded ones."""
    inputs = random_inputs(10, patches=64, tokens=77)
    for name in "qkv":
        inputs[name] = inputs[name].astype(np.float16)
    (out,) = open_op(TensorProto.FLOAT16).run(None, inputs)
    assert out.dtype == np.float16
    expected = reference(inputs)
    off = np.abs(out - expected).max((1, 3)) > 4e-3 * np.abs(expected).max()
    # Scores are float16 too, so that a patch with a near tie may take the other token.
    assert off.mean() < 0.02


def test_float16_has_float32_weights() -> None:
    """A token whose weight leads by 2e-4 is the strongest, though float16 would see a tie."""
    inputs = random_inputs(11, patches=1, tokens=77)
    inputs["q"][:], inputs["k"][:] = 0, 0
    inputs["q"][..., 0], inputs["k"][:, :, 5, 0] = 1, 2e-4 * 8**0.5
    inputs["attn_scale"][:] = 0
    for name in "qkv":
        inputs[name] = inputs[name].astype(np.float16)
    (out,) = open_op(TensorProto.FLOAT16).run(None, inputs)
    expected = reference(inputs)
    np.testing.assert_allclose(out, expected, rtol=0, atol=1e-3 * np.abs(expected).max())
    tie = {**inputs, "k": np.zeros_like(inputs["k"])}
    assert np.abs(reference(tie) - expected).max() > 0.01, "tokens 1 and 5 can't be told apart"


def test_mask_decides_what_may_be_strongest(op_session: onnxruntime.InferenceSession) -> None:
    inputs = random_inputs(2)
    inputs["argmax_mask"] = np.random.default_rng(3).random((4, 9)) < 0.4
    check(op_session, inputs)


def test_row_with_nothing_allowed_is_plain(op_session: onnxruntime.InferenceSession) -> None:
    inputs = random_inputs(4)
    inputs["argmax_mask"][:] = False
    plain = {**inputs, "attn_scale": np.ones(4, np.float32)}
    check(op_session, inputs)
    np.testing.assert_array_equal(op_session.run(None, inputs)[0], op_session.run(None, plain)[0])


def test_first_of_equal_tokens_wins(op_session: onnxruntime.InferenceSession) -> None:
    inputs = random_inputs(5)
    strongest = 6 * inputs["q"].mean(2)
    inputs["k"][:, :, 3] = inputs["k"][:, :, 7] = strongest
    inputs["q"][:] = strongest[:, :, None]
    check(op_session, inputs)
    swapped = {**inputs, "v": inputs["v"].copy()}
    swapped["v"][:, :, [3, 7]] = inputs["v"][:, :, [7, 3]]
    (first,), (second,) = op_session.run(None, inputs), op_session.run(None, swapped)
    assert np.abs(first[1] - second[1]).max() > 0.1, "tokens 3 and 7 can't be told apart"


def test_scale_one_is_plain_attention(op_session: onnxruntime.InferenceSession) -> None:
    inputs = random_inputs(6)
    inputs["attn_scale"][:] = 1
    q, k, v = (torch.from_numpy(inputs[name]) for name in "qkv")
    plain = torch.nn.functional.scaled_dot_product_attention(q, k, v).numpy()
    np.testing.assert_allclose(op_session.run(None, inputs)[0], plain, rtol=0, atol=1e-5)


def test_scale_zero_drops_the_token(op_session: onnxruntime.InferenceSession) -> None:
    inputs = random_inputs(7)
    inputs["attn_scale"][:] = 0
    inputs["argmax_mask"][:] = False
    inputs["argmax_mask"][:, 4] = True
    without = {**inputs, "v": inputs["v"].copy()}
    without["v"][:, :, 4] = 0
    (dropped,), (silent,) = op_session.run(None, inputs), op_session.run(None, without)
    np.testing.assert_allclose(dropped, silent, rtol=0, atol=1e-6)


def test_processor_is_the_papers_equations() -> None:
    torch.manual_seed(8)
    attn = Attention(query_dim=32, cross_attention_dim=24, heads=4, dim_head=8)
    attn.to_q.weight.data *= 4
    hidden, context = torch.randn(3, 50, 32), torch.randn(3, 13, 24)
    scales = [1.0, -10.0, 0.0]
    mask = torch.ones(3, 13, dtype=torch.bool)
    mask[:, 0] = False
    with torch.no_grad():
        expected = PaperAttnProcessor(scales)(attn, hidden, context)
        actual = SegFreeAttnProcessor()(
            attn, hidden, context, attn_scale=torch.tensor(scales), argmax_mask=mask
        )
    torch.testing.assert_close(actual, expected, rtol=0, atol=1e-5)
