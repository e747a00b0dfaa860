"""How far a picture shows its map."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fgdm.errors import RequestError
from fgdm.evaluate.dataset.agreement import ious, load_segmenter, segmenter_identity
from onnx import TensorProto, helper, numpy_helper, save
from PIL import Image


def whole(picture: Image.Image) -> np.ndarray:
    return np.full((2, 2), 3, np.uint8)


def wrong(picture: Image.Image) -> np.ndarray:
    return np.zeros((2, 2), np.float32)


def test_ious_are_those_of_sets_of_pixels() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice(np.array([0, 1, 2, 9, 255], np.uint8), (40, 30))
    seen = np.where(rng.random((40, 30)) < 0.6, labels, 2).astype(np.uint8)
    counted = {(y, x) for y, x in np.argwhere(labels != 255).tolist()}
    for label, iou in ious(labels, seen).items():
        a = {(y, x) for y, x in counted if labels[y, x] == label}
        b = {(y, x) for y, x in counted if seen[y, x] == label}
        assert iou == pytest.approx(len(a & b) / len(a | b))
    assert set(ious(labels, seen)) == {0, 1, 2, 9}
    assert ious(labels, labels) == {0: 1.0, 1: 1.0, 2: 1.0, 9: 1.0}


def test_another_size_is_brought_to_the_maps() -> None:
    labels = np.array([[0, 1], [2, 3]], np.uint8)
    assert ious(labels, np.kron(labels, np.ones((4, 4), np.uint8))) == dict.fromkeys(range(4), 1.0)


def write_graph(path: Path, channels: int = 3, rank: int = 4) -> None:
    """Scores of three classes: how red, green and blue a pixel is; half the size."""
    weights = numpy_helper.from_array(
        np.eye(3, channels, dtype=np.float32).reshape(3, channels, 1, 1), "w"
    )
    size: list[str | int] = [1, channels, "h", "w"]
    nodes = [
        helper.make_node("AveragePool", ["x"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["p", "w"], ["s"]),
        helper.make_node("Squeeze", ["s"], ["y"])
        if rank == 3
        else helper.make_node("Identity", ["s"], ["y"]),
    ]
    shape = ["c", "a", "b"] if rank == 3 else [1, 3, "a", "b"]
    graph = helper.make_graph(
        nodes,
        "segmenter",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [weights],
    )
    opset = [helper.make_opsetid("", 17)]
    save(helper.make_model(graph, opset_imports=opset, ir_version=8), str(path))


def test_a_graph_sees_what_it_scores(tmp_path: Path) -> None:
    path = tmp_path / "seen.onnx"
    write_graph(path)
    picture = Image.new("RGB", (8, 4), (255, 0, 0))
    picture.paste((0, 0, 255), (4, 0, 8, 4))
    seen = load_segmenter(str(path))(picture)
    assert seen.dtype == np.uint8
    assert seen.tolist() == [[0, 0, 2, 2]] * 2
    assert len(segmenter_identity(str(path))) == 64
    assert segmenter_identity("a:b") == "a:b"


def test_functions_and_what_is_none(tmp_path: Path) -> None:
    here = __name__
    picture = Image.new("RGB", (4, 4))
    assert load_segmenter(f"{here}:whole")(picture).tolist() == [[3, 3], [3, 3]]
    with pytest.raises(RequestError, match=r"must return uint8 class indices.*float32"):
        load_segmenter(f"{here}:wrong")(picture)
    for name, words in (
        ("none", "expected FILE.onnx or MODULE:FUNCTION"),
        (f"{here}:none", "expected FILE.onnx or MODULE:FUNCTION"),
        ("fgdm:__version__", "isn't a function"),
        (str(tmp_path / "none.onnx"), "can't load the segmenter"),
    ):
        with pytest.raises(RequestError, match=words):
            load_segmenter(name)
    with pytest.raises(RequestError, match="can't read the segmenter"):
        segmenter_identity(str(tmp_path / "none.onnx"))
    write_graph(tmp_path / "four.onnx", channels=4)
    with pytest.raises(RequestError, match="must take one picture"):
        load_segmenter(str(tmp_path / "four.onnx"))
    write_graph(tmp_path / "three.onnx", rank=3)
    with pytest.raises(RequestError, match=r"returned \(3, 2, 2\), expected"):
        load_segmenter(str(tmp_path / "three.onnx"))(picture)
