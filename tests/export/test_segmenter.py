"""Adding a segmenter to a bundle changes nothing else of it; the bundle reads maps with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from fgdm.cli.command import main
from fgdm.engine import Engine
from fgdm.errors import RequestError
from fgdm.inspect import describe
from onnx import TensorProto, helper, numpy_helper

MANIFESTS = {"manifest.json", "manifest.sha256"}


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "bundles" / "tiny"
    shutil.copytree(tiny_bundle, copy)
    return copy


def nearest_color(path: Path, colors: list[list[int]], outputs: int = 1) -> Path:
    """A graph that sees the palette's class of the nearest colour, at a quarter of the size."""
    values = 2 * np.asarray(colors, np.float32) / 255 - 1
    weights = {
        "weight": (2 * values)[:, :, None, None].repeat(4, 2).repeat(4, 3) / 16,
        "bias": -(values**2).sum(1),
    }
    node = helper.make_node("Conv", ["picture", *weights], ["seen"], strides=[4, 4])
    again = helper.make_node("Identity", ["seen"], ["again"])
    shape = [1, len(colors), "rows", "columns"]
    graph = helper.make_graph(
        [node, again][:outputs],
        "nearest",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
            for name in ("seen", "again")[:outputs]
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    return path


def colors_of(bundle: Path) -> list[list[int]]:
    classes = json.loads((bundle / "palette.json").read_text())["classes"]
    return [entry["color"] for entry in classes]


def contents(bundle: Path) -> dict[str, bytes]:
    files = (path for path in bundle.rglob("*") if path.is_file())
    return {path.relative_to(bundle).as_posix(): path.read_bytes() for path in files}


def test_a_bundle_gets_a_segmenter_and_reads_maps(bundle: Path, tmp_path: Path) -> None:
    with (
        Engine(bundle, backend="cpu") as engine,
        pytest.raises(RequestError, match=r"has no segmenter .* fgdm export --add-segmenter FILE"),
    ):
        engine.segment(np.zeros((64, 64, 3), np.uint8))
    before, colors = contents(bundle), colors_of(bundle)
    old = json.loads(before["manifest.json"])
    file = nearest_color(tmp_path / "any.onnx", colors)
    assert main(["export", "--add-segmenter", str(file), "--into", str(bundle)]) == 0
    after = contents(bundle)
    assert {name for name in before if before[name] != after[name]} == MANIFESTS
    assert set(after) - set(before) == {"segmenter.onnx"}
    new = json.loads(after["manifest.json"])
    assert {name: entry for name, entry in new["files"].items() if name in old["files"]} == (
        old["files"]
    )
    assert describe(bundle, verify=True).manifest.segmenter == "segmenter"
    with Engine(bundle, backend="cpu") as engine:
        image, (factor, *_) = engine.manifest["factors"][-1], engine.manifest["factors"]
        high, wide = factor["height"], factor["width"]
        labels = np.zeros((high, 2 * wide), np.uint8)
        labels[high // 2 :, wide // 2 :] = 2
        scale = image["height"] // high
        picture = np.asarray(colors, np.uint8)[labels].repeat(scale, 0).repeat(scale, 1)
        np.testing.assert_array_equal(engine.segment(picture), labels)


def test_what_is_no_segmenter_of_the_bundle_is_refused(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before, colors = contents(bundle), colors_of(bundle)
    text = tmp_path / "text.onnx"
    text.write_text("no graph")
    into = ["--into", str(bundle)]
    for words, message in (
        ([str(text), *into], "as ONNX"),
        ([str(tmp_path / "none.onnx"), *into], "as ONNX"),
        ([str(nearest_color(tmp_path / "two.onnx", colors, 2)), *into], "1 inputs and 2 outputs"),
        ([str(bundle / "text_encoder.onnx"), *into], "isn't float32 of four dimensions"),
        ([str(nearest_color(tmp_path / "few.onnx", colors[:2])), *into], "a score for each class"),
        ([str(text)], "--add-segmenter needs --into"),
        ([str(text), *into, "--add-factor", "depth"], "leave out --add-factor"),
    ):
        assert main(["export", "--add-segmenter", *words]) == 1
        assert message in capsys.readouterr().err
    assert contents(bundle) == before
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]
    file = nearest_color(tmp_path / "any.onnx", colors)
    for code in (0, 1):
        assert main(["export", "--add-segmenter", str(file), *into]) == code
    assert "has a segmenter already" in capsys.readouterr().err
