"""Protects scorers of pictures, and painting again: what is tried, in which order, what is kept."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from fgdm.cli import command

pytest.importorskip("fgdm._core", reason="the C++ core is not built")
pytest.importorskip("onnxruntime", reason="fgdm[cpu] is not installed")

import fgdm
from fgdm import BackendError, Engine, RequestError, repaint
from fgdm.requirements import Requirements
from fgdm.scorers import DualEncoderScorer, Score, SegmenterScorer
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

BUNDLE = Path(__file__).parents[2] / "bundles" / "scenes"
PALETTE: dict[str, Any] = json.loads((BUNDLE / "palette.json").read_text())
COLORS = np.array([entry["color"] for entry in PALETTE["classes"]], np.float32) / 127.5 - 1.0
QUICK: dict[str, Any] = {
    "candidates": 3,
    "condition_steps": 1,
    "num_inference_steps": 1,
    "stop_at_recall": 0.0,
}


def save(
    path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], **weights: Any
) -> Path:
    made = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "test", inputs, outputs, made)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def nearest_color(path: Path, colors: Any = COLORS) -> Path:
    """A segmenter that knows the palette's colours: the largest of 2 c x - c c is the nearest c."""
    value = helper.make_tensor_value_info
    return save(
        path,
        [helper.make_node("Conv", ["pixels", "weight", "bias"], ["scores"])],
        [value("pixels", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [value("scores", TensorProto.FLOAT, [1, len(colors), "h", "w"])],
        weight=(2.0 * colors)[:, :, None, None],
        bias=-(colors**2).sum(1),
    )


def dual_encoders(folder: Path) -> tuple[Path, Path]:
    """The picture's mean colour, and a text that is always red."""
    value = helper.make_tensor_value_info
    image = save(
        folder / "image.onnx",
        [
            helper.make_node("GlobalAveragePool", ["pixel_values"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["image_embeds"]),
        ],
        [value("pixel_values", TensorProto.FLOAT, [1, 3, 8, 8])],
        [value("image_embeds", TensorProto.FLOAT, [1, 3])],
    )
    text = save(
        folder / "text.onnx",
        [
            helper.make_node("Cast", ["input_ids"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["numbers", "weight"], ["zero"]),
            helper.make_node("Add", ["zero", "red"], ["text_embeds"]),
        ],
        [value("input_ids", TensorProto.INT32, [1, 77])],
        [value("text_embeds", TensorProto.FLOAT, [1, 3])],
        weight=np.zeros((77, 3), np.float32),
        red=np.array([[1.0, -1.0, -1.0]], np.float32),
    )
    return image, text


def picture(*names: str) -> Image.Image:
    """Blocks of classes' colours from left to right, on the first class of the ground."""
    colors = {entry["name"]: entry["color"] for entry in PALETTE["classes"]}
    pixels = np.full((32, 64, 3), colors["grass"], np.uint8)
    for place, name in enumerate(names):
        pixels[10:20, 4 + 20 * place : 14 + 20 * place] = colors[name]
    return Image.fromarray(pixels)


def test_a_segmenter_checks_a_picture_as_a_map(tmp_path: Path) -> None:
    scorer = SegmenterScorer(nearest_color(tmp_path / "model.onnx"), PALETTE)
    required: Requirements = {
        "objects": [{"class": "dog", "count": 2}],
        "relations": [{"subject": "dog", "relation": "left of", "object": "house"}],
    }
    good = scorer(picture("dog", "dog", "house"), "", required)
    met = ("dog", "house", "2 dog", "2 dog left of house")
    assert good == Score(1.0, True, (), met)
    bad = scorer(picture("dog", "house", "dog"), "", required)
    assert bad == Score(0.75, False, met[3:], met[:3])
    lenient = SegmenterScorer(tmp_path / "model.onnx", PALETTE, threshold=0.7)
    assert lenient(picture("dog", "house", "dog"), "", required).passed


def test_a_dual_encoder_compares_directions(tmp_path: Path) -> None:
    image, text = dual_encoders(tmp_path)
    scorer = DualEncoderScorer(
        image, text, BUNDLE / "tokenizer", threshold=0.9, mean=(0.5,) * 3, std=(0.5,) * 3
    )
    red = scorer(Image.new("RGB", (30, 20), (255, 0, 0)), "a red car", {})
    assert red.passed and red.value == pytest.approx(1.0)
    assert scorer(Image.new("RGB", (30, 20), (0, 255, 255)), "a", {}).value == pytest.approx(-1.0)


def test_models_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    few = nearest_color(tmp_path / "few.onnx", COLORS[:5])
    with pytest.raises(BackendError, match=r"shape \(1, 5, 32, 64\), expected \(1, 23,"):
        SegmenterScorer(few, PALETTE)(picture("dog"), "", {})
    with pytest.raises(RequestError, match="expected an ONNX file"):
        SegmenterScorer(tmp_path / "absent.onnx", PALETTE)
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    with pytest.raises(BackendError, match="can't load"):
        SegmenterScorer(tmp_path / "broken.onnx", PALETTE)
    _, text = dual_encoders(tmp_path)
    with pytest.raises(BackendError, match="shape"):
        DualEncoderScorer(text, text, BUNDLE / "tokenizer", threshold=0.0)(picture("dog"), "", {})


class Scripted:
    """A scorer that gives the values it was told."""

    def __init__(self, *values: float) -> None:
        self.values = list(values)
        self.seen: list[tuple[bytes, str, Requirements]] = []

    def __call__(self, image: Image.Image, prompt: str, requirements: Requirements) -> Score:
        self.seen.append((image.tobytes(), prompt, requirements))
        value = self.values[len(self.seen) - 1]
        return Score(value, value >= 1.0, () if value >= 1.0 else ("everything",))


@pytest.fixture(scope="module")
def engine(tiny_bundle: Path) -> Any:
    with Engine(tiny_bundle, threads=1) as opened:
        yield opened


def test_the_next_best_map_then_the_next_seed(engine: Engine) -> None:
    scorer = Scripted(0.1, 0.4, 0.2, 0.3, 1.0)
    result = repaint.generate(engine, "a dog", scorer, repaint=9, seed=7, **QUICK)
    told = result.repaint
    assert told is not None
    assert (told.passed, told.kept, len(told.attempts)) == (True, 4, 5)
    assert [one.seed for one in told.attempts] == [7, 7, 7, 8, 8]
    assert sorted(one.candidate for one in told.attempts[:3]) == [0, 1, 2], "each map once"
    assert told.attempts[0].unmet == ("everything",)
    assert {prompt for _, prompt, _ in scorer.seen} == {"a dog"}
    assert scorer.seen[3][0] != scorer.seen[0][0], "another seed"
    assert result.image.tobytes() == scorer.seen[4][0]
    first = engine.generate("a dog", seed=7, **QUICK)
    assert first.image.tobytes() == scorer.seen[0][0]
    assert told.attempts[0].candidate == first.candidates[first.chosen].index
    others = sorted(
        (one for one in first.candidates if one.index != told.attempts[0].candidate),
        key=lambda one: (-one.recall, -one.smallest_area),
    )
    assert [one.candidate for one in told.attempts[1:3]] == [one.index for one in others]
    schema = Path(fgdm.__file__).with_name("result.schema.json")
    jsonschema.validate(result.to_json(), json.loads(schema.read_text()))


def test_a_map_that_holds_less_is_not_painted(engine: Engine) -> None:
    """What a map lacks no picture of it shows."""
    sampled = engine.generate("a dog", seed=7, **QUICK)
    for second, third, then in (
        ((0.4, 1.0), (0.5, 0.9), []),
        ((0.5, 1.0), (0.5, 0.9), [1]),
        ((0.5, 1.0), (1.0, 0.0), [2]),
    ):
        held = [(0.5, 1.0), second, third]
        maps = [
            replace(one, recall=recall, compliance=compliance)
            for one, (recall, compliance) in zip(sampled.candidates, held, strict=True)
        ]
        painting = repaint.Painting(engine, "a dog", {"seed": 7}, repaint=2)
        painting.take(replace(sampled, candidates=tuple(maps), chosen=0), Score(0.0, False))
        for index in then:
            assert painting.options is not None and painting.options["seed"] == 7
            given = painting.options["factors"]["segmentation"]["map"]
            assert given is maps[index].map
            painting.take(sampled, Score(0.0, False))
        assert painting.options is not None and painting.options["seed"] == 8
        assert "factors" not in painting.options


def test_maps_are_chosen_as_the_picture_is_judged(engine: Engine) -> None:
    def first(**options: Any) -> dict[str, Any]:
        painting = repaint.Painting(engine, "two dogs", options, repaint=1)
        assert painting.options is not None
        return painting.options

    assert first(seed=1) == {"seed": 1, "select": "compliance"}
    assert first(select=None, stop_at_recall=None)["select"] == "compliance"
    assert first(select="recall") == {"select": "recall"}
    assert first(stop_at_recall=0.5) == {"stop_at_recall": 0.5}


def test_what_is_asked_for_is_read_once(engine: Engine) -> None:
    """Of an iterator nothing is left the second time; a factor may have words of its own."""

    def required(**options: Any) -> Requirements:
        return repaint.Painting(engine, "a dog", options, repaint=1).required

    names = ["dog", "cat"]
    painting = repaint.Painting(engine, "a dog", {"objects": iter(names)}, repaint=1)
    assert painting.options is not None and painting.options["objects"] == names
    assert painting.required == {"objects": names}
    own = {"segmentation": {"objects": iter(["cat"])}}
    painting = repaint.Painting(engine, "a dog", {"factors": own}, repaint=1)
    assert painting.options is not None
    assert painting.options["factors"]["segmentation"]["objects"] == ["cat"]
    assert painting.required == {"objects": ["cat"]}
    with pytest.raises(RequestError, match="factors"):
        repaint.generate(engine, "a dog", Scripted(), factors=[5])  # type: ignore[arg-type]
    worded = {"segmentation": {"prompt": "two cats"}}
    assert required(factors=worded) == engine.find_requirements("two cats").requirements
    for wrong in (5, True, "dog"):
        with pytest.raises(RequestError, match="objects must be a list"):
            repaint.generate(engine, "a dog", Scripted(), objects=wrong)  # type: ignore[arg-type]


def test_noise_that_is_given_is_of_the_first_seed_alone(engine: Engine) -> None:
    options: dict[str, Any] = {**QUICK, "candidates": 1}
    sampled = engine.generate("a dog", seed=7, **options)
    spec, image = engine.manifest["factors"][0], engine.manifest["factors"][-1]
    cell = engine.manifest["autoencoder"]["downscale"]
    noise: dict[str, Any] = {
        "latents": np.zeros((1, 4, image["height"] // cell, image["width"] // cell), np.float32),
        "condition_latents": np.zeros(
            (1, 4, spec["height"] // cell, spec["width"] // cell), np.float32
        ),
    }
    scorer = Scripted(0.0, 0.0)
    result = repaint.generate(engine, "a dog", scorer, repaint=1, seed=7, **options, **noise)
    assert result.repaint is not None
    assert scorer.seen[0][0] != scorer.seen[1][0], "drawn anew"
    assert sampled.seed == 7


def test_a_closed_engine_looks_at_nothing() -> None:
    engine = Engine(BUNDLE, threads=1)
    white = Image.new("RGB", (128, 128), "white")
    assert not engine.score(white, "", {"objects": ["dog"]}).passed
    engine.close()
    with pytest.raises(fgdm.Error, match="closed"):
        engine.score(white, "", {"objects": ["dog"]})
    with pytest.raises(fgdm.Error, match="closed"):
        engine.segment(white)


def test_a_bundles_own_segmenter_looks_by_itself(engine: Engine) -> None:
    prompt = "two dogs beside a house under a tree"
    options: dict[str, Any] = {**QUICK, "condition_steps": 2, "num_inference_steps": 2, "seed": 3}
    with Engine(BUNDLE, threads=1) as scenes:
        result = repaint.generate(scenes, prompt, repaint=2, **options)
        scorer = SegmenterScorer(BUNDLE / "segmenter.onnx", PALETTE)
        expected = repaint.generate(scenes, prompt, scorer, repaint=2, **options)
        required = scenes.find_requirements(prompt).requirements
        score = scenes.score(result.image, prompt, required)
        assert score == scorer(result.image, prompt, required)
    assert result.repaint == expected.repaint and result.repaint is not None
    assert result.repaint.attempts[result.repaint.kept].met == score.met
    assert (np.asarray(result.image) == np.asarray(expected.image)).all()
    for wanted in (
        lambda: repaint.generate(engine, "a dog"),
        lambda: engine.score(picture("dog"), "a dog", {"objects": ["dog"]}),
    ):
        with pytest.raises(RequestError, match="no segmenter that could check the picture"):
            wanted()


def test_what_is_best_is_kept_when_none_passes(engine: Engine) -> None:
    scorer = Scripted(0.1, 0.5, 0.5)
    result = repaint.generate(engine, "a dog", scorer, repaint=2, seed=7, **QUICK)
    assert result.repaint is not None
    assert (result.repaint.passed, result.repaint.kept) == (False, 1)
    assert result.image.tobytes() == scorer.seen[1][0]
    assert len(result.candidates) == 3, "the maps that its own was one of"
    kept = result.repaint.attempts[1]
    assert result.candidates[result.chosen].index == kept.candidate
    factor = result.factors["segmentation"]
    assert factor.map.tobytes() == result.map.tobytes() and not factor.given
    assert result.map_rows == 3 * 2, "given maps take none"


def test_the_first_picture_that_passes_is_the_only_one(engine: Engine) -> None:
    scorer = Scripted(1.0)
    result = repaint.generate(engine, "a dog", scorer, repaint=5, seed=7, **QUICK)
    assert result.repaint is not None
    assert len(result.repaint.attempts) == 1
    given: Requirements = {"objects": ["dog"], "absent": ["ball"]}
    scorer = Scripted(1.0, 1.0)
    repaint.generate(engine, "a dog", scorer, requirements=given, seed=7, **QUICK)
    assert scorer.seen[0][2] == given


def test_what_can_not_be_painted_again_is_refused(engine: Engine) -> None:
    with pytest.raises(RequestError, match="expected 0 to 100"):
        repaint.generate(engine, "a dog", Scripted(), repaint=-1)
    with pytest.raises(RequestError, match="leave joint out"):
        repaint.generate(engine, "a dog", Scripted(), joint=["segmentation", "image"])
    with pytest.raises(RequestError, match="no map to paint again from"):
        repaint.generate(
            engine, "a dog", Scripted(1.0), factors={"segmentation": None}, num_inference_steps=1
        )


def test_the_command_paints_again(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    palette = json.loads((tiny_bundle / "palette.json").read_text())
    colors = np.array([entry["color"] for entry in palette["classes"]], np.float32) / 127.5 - 1.0
    model = nearest_color(tmp_path / "model.onnx", colors)
    name = palette["classes"][0]["name"]
    words = [
        *("generate", f"two {name}s", "--bundle", str(tiny_bundle)),
        *("--output", str(tmp_path / "out"), "--requirements"),
        json.dumps({"objects": [{"class": name, "count": 999}]}),
        *("--candidates", "2", "--condition-steps", "1", "--num-inference-steps", "1"),
        *("--seed", "3", "--repaint", "2", "--segmenter", str(model)),
    ]
    assert command.main(words) == 0
    told = json.loads((tmp_path / "out/result.json").read_text())["repaint"]
    assert (told["passed"], len(told["attempts"])) == (False, 3)
    assert f"999 {name}" in told["attempts"][0]["unmet"]
    out = capsys.readouterr().out
    assert "NONE passed" in out and "not met by the picture" in out
    assert command.main(words[:-2]) == 2
    assert "this bundle has no segmenter that could check" in capsys.readouterr().err


def test_the_command_scores_by_two_encoders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    image, text = (str(path) for path in dual_encoders(tmp_path))
    words = [*("generate", "a dog", "--bundle", str(BUNDLE), "--output", str(tmp_path / "out"))]
    words += ["--candidates", "1", "--condition-steps", "1", "--num-inference-steps", "1"]
    words += ["--seed", "3", "--quiet", "--dual-encoder", image, text]
    assert command.main([*words, "-1"]) == 0
    told = json.loads((tmp_path / "out/result.json").read_text())["repaint"]
    (attempt,) = told["attempts"]
    assert told["passed"] and -1.0 <= attempt["value"] <= 1.0
    for cosine in ("much", "nan", "84"):
        assert command.main([*words, cosine]) == 2
        assert f"the cosine of --dual-encoder is '{cosine}'" in capsys.readouterr().err


@pytest.mark.nightly
def test_the_scenes_dual_encoder_paints_until_a_picture_fits(tmp_path: Path) -> None:
    """The graphs that ship, with the bundle's tokenizer: of what was painted the picture is kept
    that they find nearest to the prompt."""
    folder = BUNDLE.parents[1] / "benchmarks" / "dual_encoder"
    image, text = str(folder / "image_encoder.onnx"), str(folder / "text_encoder.onnx")
    words = [*("generate", "a dog", "--bundle", str(BUNDLE), "--output", str(tmp_path / "out"))]
    words += ["--candidates", "2", "--condition-steps", "2", "--num-inference-steps", "2"]
    words += ["--seed", "3", "--quiet", "--repaint", "2", "--dual-encoder", image, text]
    assert command.main([*words, "1"]) == 0, "no cosine is 1: all are tried"
    told = json.loads((tmp_path / "out/result.json").read_text())["repaint"]
    values = [attempt["value"] for attempt in told["attempts"]]
    assert not told["passed"] and len(set(values)) == 3
    assert values[told["kept"]] == max(values)
    scorer = DualEncoderScorer(image, text, BUNDLE / "tokenizer", threshold=0.0)
    picture = Image.open(tmp_path / "out/image.png")
    assert scorer.cosine(picture, "a dog") == pytest.approx(max(values), abs=1e-4)
    assert command.main([*words, "-1"]) == 0
    told = json.loads((tmp_path / "out/result.json").read_text())["repaint"]
    assert told["passed"] and len(told["attempts"]) == 1


def test_the_command_chooses_by_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_rules.py").write_text("def last(maps):\n    return len(maps) - 1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    words = ["generate", "a dog", "--bundle", str(BUNDLE), "--quiet", "--candidates", "3"]
    words += ["--condition-steps", "1", "--num-inference-steps", "1", "--select", "own_rules:last"]
    assert command.main(words) == 0
    assert json.loads((tmp_path / "out/result.json").read_text())["chosen"] == 2
