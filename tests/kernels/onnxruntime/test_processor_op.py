"""Protects the core's own op in ONNX Runtime sessions on the processor: it replaces the graph's
function, agrees with it, obeys the session's threads, and refuses what it can't compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fgdm
import numpy as np
import onnxruntime
import pytest
from fgdm.export.functions import segfree_attention_function
from numpy.typing import NDArray
from onnx import TensorProto, helper

Inputs = dict[str, NDArray[Any]]

LIBRARY = fgdm.custom_ops_library()


def graph(function: bool = True, element: int = TensorProto.FLOAT, **attributes: str) -> bytes:
    """One node between nodes of other ops, with the function's body or without."""
    shapes = {"q": "BHPd", "k": "BHTd", "v": "BHTd", "attn_scale": "B", "argmax_mask": "BT"}
    types = {"attn_scale": TensorProto.FLOAT, "argmax_mask": TensorProto.BOOL}
    words = {"plugin_version": "1", "plugin_namespace": "fgdm", **attributes}
    op = helper.make_node("SegFreeAttention", list(shapes), ["raw"], domain="fgdm", **words)
    last = helper.make_node("Identity", ["raw"], ["out"])
    values = [
        helper.make_tensor_value_info(name, types.get(name, element), list(shape))
        for name, shape in shapes.items()
    ]
    output = helper.make_tensor_value_info("out", element, list("BHPd"))
    model = helper.make_model(
        helper.make_graph([op, last], "graph", values, [output]),
        opset_imports=[helper.make_opsetid("", 18), helper.make_opsetid("fgdm", 1)],
        ir_version=10,
        functions=[segfree_attention_function()] if function else [],
    )
    return bytes(model.SerializeToString())


def session(model: bytes, *, own: bool, threads: int = 1) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    if own:
        options.register_custom_ops_library(LIBRARY)
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def draw(
    rows: int, heads: int, patches: int, tokens: int, size: int, seed: int = 0, spread: float = 1.0
) -> Inputs:
    """Every second row is plain. All tokens but the first may be the strongest."""
    random = np.random.default_rng(seed)

    def normal(count: int) -> NDArray[np.float32]:
        return spread * random.standard_normal((rows, heads, count, size), dtype=np.float32)

    mask = np.ones((rows, tokens), bool)
    mask[:, 0] = tokens == 1
    scale = np.where(np.arange(rows) % 2, 1, -10).astype(np.float32)
    q, k, v = normal(patches), normal(tokens), normal(tokens)
    return {"q": q, "k": k, "v": v, "attn_scale": scale, "argmax_mask": mask}


def is_decided(inputs: Inputs) -> NDArray[np.bool_]:
    """(B, P): where no rounding decides which token is the strongest."""
    q, k = (inputs[name].astype(np.float64) for name in "qk")
    scores = q @ k.swapaxes(2, 3) / np.sqrt(q.shape[3])
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    means = np.where(inputs["argmax_mask"][:, None], weights.mean(1), 0)
    if means.shape[-1] == 1:
        return np.ones(means.shape[:2], bool)
    second, first = np.moveaxis(np.sort(means, axis=-1)[..., -2:], -1, 0)
    return np.asarray(first > second * (1 + 1e-5))


def check(model: bytes, inputs: Inputs, threads: int = 1) -> None:
    """The op against the function's body, patch by patch where one token is the strongest."""
    (found,) = session(model, own=True, threads=threads).run(None, inputs)
    (expected,) = session(model, own=False).run(None, inputs)
    decided = is_decided(inputs)
    assert decided.mean() > 0.9
    places = np.broadcast_to(decided[:, None, :, None], found.shape)
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found[places], expected[places], rtol=0, atol=5e-6 * scale)


@pytest.mark.parametrize("function", [True, False])
def test_a_registered_op_replaces_the_function(function: bool, tmp_path: Path) -> None:
    """Without the body nothing else could run the node; with it, a profile names what ran."""
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(LIBRARY)
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "profile")
    providers = ["CPUExecutionProvider"]
    opened = onnxruntime.InferenceSession(graph(function), options, providers=providers)
    opened.run(None, draw(1, 2, 8, 5, 4))
    text = Path(opened.end_profiling()).read_text()
    assert "SegFreeAttention" in text and "Softmax" not in text


@pytest.mark.parametrize("tokens", [1, 2, 77, 154, 231])
@pytest.mark.parametrize(("heads", "size"), [(8, 40), (1, 64), (4, 24), (3, 7)])
def test_agrees_with_the_function(tokens: int, heads: int, size: int) -> None:
    for patches in (1, 50, 64):
        check(graph(), draw(3, heads, patches, tokens, size))


@pytest.mark.parametrize("size", [40, 80, 160])
def test_agrees_at_the_shapes_of_stable_diffusion(size: int) -> None:
    check(graph(), draw(2, 8, 256, 77, size, spread=1.5), threads=2)


def test_a_row_without_an_allowed_token_is_plain() -> None:
    inputs = draw(2, 4, 33, 77, 16)
    inputs["argmax_mask"][:] = False
    plain = {**inputs, "attn_scale": np.ones(2, np.float32)}
    opened = session(graph(), own=True)
    np.testing.assert_array_equal(opened.run(None, inputs)[0], opened.run(None, plain)[0])


def test_first_of_equal_tokens_wins_as_in_the_function() -> None:
    inputs = draw(1, 4, 40, 77, 16)
    inputs["k"][:, :, 70] = inputs["k"][:, :, 13] = 4 * inputs["q"].mean(2)
    inputs["q"][:] = inputs["q"].mean(2, keepdims=True)
    (expected,) = session(graph(), own=False).run(None, inputs)
    (found,) = session(graph(), own=True).run(None, inputs)
    np.testing.assert_allclose(found, expected, rtol=0, atol=5e-6 * np.abs(expected).max())


def test_does_not_depend_on_the_threads_or_on_company() -> None:
    inputs = draw(4, 8, 300, 77, 40)
    one = session(graph(), own=True).run(None, inputs)[0]
    np.testing.assert_array_equal(session(graph(), own=True, threads=3).run(None, inputs)[0], one)
    last = {name: value[3:] for name, value in inputs.items()}
    np.testing.assert_array_equal(session(graph(), own=True).run(None, last)[0], one[3:])


def test_no_patch_and_no_row_are_no_work() -> None:
    opened = session(graph(), own=True)
    for rows, patches in ((2, 0), (0, 8)):
        (found,) = opened.run(None, draw(rows, 2, patches, 5, 4))
        assert found.shape == (rows, 2, patches, 4)


def test_each_head_may_choose_for_itself() -> None:
    inputs = draw(1, 3, 20, 9, 8)
    (found,) = session(graph(argmax="per_head"), own=True).run(None, inputs)
    (mean,) = session(graph(), own=True).run(None, inputs)
    for head in range(3):
        alone = {n: v[:, head : head + 1] if v.ndim == 4 else v for n, v in inputs.items()}
        (expected,) = session(graph(), own=True).run(None, alone)
        np.testing.assert_array_equal(found[:, head], expected[:, 0])
    assert np.abs(found - mean).max() > 0.1


def test_an_unknown_attribute_is_refused() -> None:
    with pytest.raises(Exception, match=r'argmax is "median", expected "mean" or "per_head"'):
        session(graph(argmax="median"), own=True)


def test_inputs_that_do_not_fit_each_other_are_refused() -> None:
    opened = session(graph(), own=True)
    inputs = draw(2, 2, 8, 5, 4)
    for name, cut, said in (
        (
            "v",
            (slice(None), slice(None), slice(4)),
            r"v is \(2, 2, 4, 4\), expected \(2, 2, 5, 4\)",
        ),
        ("attn_scale", slice(1), r"attn_scale is \(1\), expected \(2\)"),
        ("argmax_mask", (slice(None), slice(3)), r"argmax_mask is \(2, 3\), expected \(2, 5\)"),
        ("k", (slice(None), slice(None), slice(0)), r"k is \(2, 2, 0, 4\), expected"),
    ):
        with pytest.raises(Exception, match=said):
            opened.run(None, {**inputs, name: inputs[name][cut]})


def test_float16_is_left_to_the_function() -> None:
    """The runtime refuses it with the op, so the engine doesn't register the op for such graphs."""
    with pytest.raises(Exception, match="float16"):
        session(graph(element=TensorProto.FLOAT16), own=True)
