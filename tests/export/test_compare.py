"""``fgdm compare``: errors as they are defined, and the first layer in which two runtimes part."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from fgdm.cli.command import main
from fgdm.export.compare import runtimes
from fgdm.export.compare.differences import MakeRunner, compare, error_of, first_difference
from fgdm.export.compare.inputs import calibrated_feeds
from fgdm.export.compare.values import Values
from onnx import helper, numpy_helper
from polygraphy.backend.base import BaseRunner

SCENES = Path(__file__).parents[2] / "bundles" / "scenes"
FEED = {"x": np.linspace(-1, 1, 6, dtype=np.float32).reshape(2, 3)}
LAYERS = [f"layer_{i}.Mul" for i in range(5)]


@pytest.mark.parametrize(
    ("one", "other", "error"),
    [
        ([1.0, 2.0], [1.0, 2.0], 0.0),
        ([1.0, 2.5], [1.0, 2.0], 0.25),
        ([0.0, 0.5], [0.0, 0.0], 0.5),
        ([np.nan, 2.0], [np.nan, 2.0], 0.0),
        ([1.0, 2.0], [np.nan, 2.0], np.inf),
        ([np.nan, 2.0], [1.0, 2.0], np.inf),
        ([np.inf, 2.0], [np.inf, 4.0], 0.5),
        ([np.inf, 2.0], [-np.inf, 2.0], np.inf),
        ([np.inf, 2.0], [1.0, 2.0], np.inf),
        ([[1.0, 2.0]], [1.0, 2.0], np.inf),
    ],
)
def test_the_error_is_a_share_of_the_scale(one: object, other: object, error: float) -> None:
    assert error_of(np.array(one, np.float32), np.array(other, np.float32)) == error


def test_whole_numbers_are_equal_or_not() -> None:
    assert error_of(np.array([1, 2]), np.array([1, 2])) == 0.0
    assert error_of(np.array([1, 2]), np.array([1, 3])) == np.inf


def five_layers(folder: Path) -> Path:
    """y = 2·2·2·2·2·x, whose third product is inside a function."""
    two = numpy_helper.from_array(np.float32(2.0), "two")
    double = helper.make_function(
        "fgdm",
        "Double",
        ["a", "b"],
        ["c"],
        [helper.make_node("Mul", ["a", "b"], ["c"], "product")],
        [helper.make_opsetid("", 18)],
    )
    nodes = []
    for i, layer in enumerate(LAYERS):
        kind, domain = ("Double", "fgdm") if i == 2 else ("Mul", "")
        before, after = f"v{i}" if i else "x", f"v{i + 1}" if i < 4 else "y"
        nodes.append(helper.make_node(kind, [before, "two"], [after], layer, domain=domain))
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "five",
        [value("x", onnx.TensorProto.FLOAT, ["rows", 3])],
        [value("y", onnx.TensorProto.FLOAT, ["rows", 3])],
        [two],
    )
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("fgdm", 1)]
    model = helper.make_model(graph, opset_imports=imports, functions=[double], ir_version=9)
    onnx.save(model, folder / "five.onnx")
    return folder / "five.onnx"


def on(values: Values, name: str, broken: int | None = None) -> MakeRunner:
    """A runtime that may have a fault: the layer `broken` adds in place of multiplying."""

    def runner(names: Sequence[str]) -> BaseRunner:
        model = values.model(names)
        if broken is not None:
            model.graph.node[broken].op_type = "Add"
        return runtimes.find(name)(model, Path(), [FEED])

    return runner


@pytest.mark.parametrize("at_once", [1, 2, 64])
@pytest.mark.parametrize("broken", [0, 2, 4])
def test_the_first_layer_that_differs_is_found(tmp_path: Path, broken: int, at_once: int) -> None:
    values = Values(five_layers(tmp_path))
    assert [value.kind for value in values.inner] == ["Mul"] * 5
    one, other = on(values, "cpu", broken), on(values, "plain")
    (whole,) = compare(values.outputs, one, other, [FEED, FEED])
    assert whole.error > 0.1 and whole.call == 0
    passed, first = first_difference(values, one, other, FEED, 1e-6, at_once)
    assert first is not None and first.value == values.inner[broken]
    assert [one.error for one in passed[:-1]] == [0.0] * broken
    if broken != 2:  # a function's inside has names of its own
        assert first.value.layer == LAYERS[broken]


def test_runtimes_that_agree_have_no_such_layer(tmp_path: Path) -> None:
    values = Values(five_layers(tmp_path))
    told: list[tuple[int, int]] = []
    passed, first = first_difference(
        values, on(values, "cpu"), on(values, "plain"), FEED, 0.0, 2, lambda *n: told.append(n)
    )
    assert first is None and len(passed) == 5 and told == [(2, 5), (4, 5), (5, 5)]


def test_feeds_are_those_of_sampling(tiny_bundle: Path) -> None:
    feeds = calibrated_feeds(tiny_bundle, "backbone")
    timesteps = [float(feed["timestep"][0]) for feed in feeds]
    scales = {float(feed["attn_scale"][0]) for feed in feeds}
    assert len(feeds) > 8 and max(timesteps) == 999 and len(set(timesteps)) > 2
    assert scales == {1.0, -10.0}
    assert all(np.isfinite(feed["sample"]).all() for feed in feeds)


def test_the_command(tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "figures.json"
    arguments = ["compare", str(tiny_bundle), "--b", "plain", "--calls", "3", "--graph"]
    assert main([*arguments, "backbone", "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert "3 calls on cpu and plain" in printed and "within the tolerance" in printed
    figures = json.loads(output.read_text())
    assert figures["tolerance"] == 1e-4 and figures["first_beyond"] is None
    assert 0.0 < figures["outputs"][0]["error"] < 1e-4

    tight = [*arguments, "backbone", "--tolerance", "1e-12", "--output", str(output)]
    assert main(tight) == 1
    first = json.loads(output.read_text())["first_beyond"]
    assert first["error"] > 1e-12
    assert f"beyond the tolerance first at {first['value']['layer']}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--b", "plain", "--graph", "unet"], 2, "has no graph unet; it has text_encoder"),
        (["--b", "abacus"], 2, "no runtime abacus; expected one of cpu, plain"),
        (["--b", "tensorrt"], 2, "pip install 'fgdm[tensorrt]'"),
        (["--b", "webgpu"], 2, "docs/runtimes.md"),
        (["--b", "plain", "--at-once", "0"], 2, "--at-once is 0"),
        (["--b", "plain", "--calls", "-1"], 2, "--calls is -1"),
        (["--b", "plain", "--tolerance", "nan"], 2, "--tolerance is nan"),
    ],
)
def test_what_cannot_be_compared(
    tiny_bundle: Path,
    arguments: list[str],
    code: int,
    words: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["compare", str(tiny_bundle), *arguments]) == code
    assert words in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_told_before_the_work(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    output = str(tmp_path / "file/figures.json")
    assert main(["compare", str(tiny_bundle), "--b", "plain", "--output", output]) == 5
    assert "sampling" not in capsys.readouterr().out


def test_a_graph_without_a_tolerance_wants_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(SCENES), "--b", "plain", "--graph", "segmenter"]) == 2
    assert "give --tolerance" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"\x08\x09"], ids=["missing", "cut"])
def test_a_damaged_bundle(
    tiny_bundle: Path, tmp_path: Path, content: bytes | None, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))
    (bundle / "vae_decoder.onnx").unlink()
    if content is not None:
        (bundle / "vae_decoder.onnx").write_bytes(content)
    assert main(["compare", str(bundle), "--b", "plain", "--graph", "text_encoder"]) == 3
    assert "vae_decoder.onnx" in capsys.readouterr().err


def test_no_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", str(tmp_path), "--b", "plain"]) == 3
    assert "manifest.json" in capsys.readouterr().err
