"""Chains that a bundle's networks allow, the tables by hand, and a bundle of all factors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fgdm import Engine

from benchmarks.factor_chains import Chain, chains
from benchmarks.factor_tables import Row, beside, describe, main, tables


def _manifest(sees: dict[str, tuple[str, ...]], image: tuple[str, ...]) -> dict[str, Any]:
    """A manifest's factors: whose latents each sees, and whose maps the image's networks see."""
    return {
        "factors": [
            *(
                {"name": name, "kind": "condition", "conditionings": [{"latents": list(seen)}]}
                for name, seen in sees.items()
            ),
            {
                "name": "image",
                "kind": "image",
                "conditionings": [{"condition": name} for name in image],
            },
        ]
    }


@pytest.mark.parametrize(
    ("sees", "image", "expected"),
    [
        (
            {"segmentation": (), "depth": ("segmentation",)},
            ("segmentation",),
            ["image", "segmentation → image", "segmentation → depth → image"],
        ),
        (
            {"segmentation": (), "depth": ("segmentation",)},
            ("depth",),
            ["image", "depth → image", "segmentation → depth → image"],
        ),
        (
            {"depth": ("depth",), "segmentation": ("depth",)},
            ("segmentation",),
            ["image", "segmentation → image", "depth → segmentation → image"],
        ),
        (
            {"segmentation": (), "depth": ("segmentation",), "pose": ("segmentation",)},
            ("segmentation", "depth"),
            [
                "image",
                "segmentation → image",
                "depth → image",
                "segmentation → depth → image",
                "segmentation → depth → pose → image",
            ],
        ),
        ({"segmentation": ()}, ("segmentation",), ["image", "segmentation → image"]),
    ],
)
def test_a_chain_has_only_what_reaches_the_image(
    sees: dict[str, tuple[str, ...]], image: tuple[str, ...], expected: list[str]
) -> None:
    found = chains(_manifest(sees, image))
    assert [chain.title for chain in found if not chain.joint] == expected
    names = " + ".join(sees)
    joint = [f"({names}) → image"] if len(sees) > 1 else []
    assert [chain.title for chain in found if chain.joint] == [*joint, f"({names} + image)"]


def test_options_leave_the_other_factors_out() -> None:
    manifest = _manifest({"a": (), "b": (), "c": ()}, ("a",))
    manifest["factors"][-1]["num_inference_steps"] = 20
    of_bundle = {"condition_steps": None, "num_inference_steps": None}
    assert Chain(("a", "c"), ("a", "c")).options(manifest, None) == {
        "factors": {"a": {}, "b": None, "c": {}},
        "joint": ["a", "c"],
        **of_bundle,
    }
    with_image = Chain(("a", "b", "c"), ("a", "b", "c", "image"))
    for steps, expected in ((None, 20), (5, 5)):
        options = with_image.options(manifest, steps)
        assert options["joint"] == ["a", "b", "c", "image"]
        assert options["condition_steps"] == options["num_inference_steps"] == expected


def test_tables_by_hand() -> None:
    nan = float("nan")
    one, both = Chain(("segmentation",)), Chain(("segmentation", "pose"))
    figures = {
        Row("", Chain(())): {"picture_recall": [0.0, 0.5]},
        Row("", one): {"picture_recall": [0.5, 1.0], "map_recall": [1.0, 1.0]},
        Row("", both): {"picture_recall": [1.0, 1.0], "map_recall": [1.0, 1.0], "pose": [0.2, nan]},
        Row("", Chain(both.factors, both.factors)): {"pose": [0.6, nan]},
    }
    found = tables(figures)
    assert found["reference"] == "segmentation → image"
    assert found["order"]["image"]["picture_recall"]["estimate"] == -0.5
    assert found["order"][both.title]["picture_recall"]["estimate"] == 0.25
    assert "pose" not in found["order"][both.title]
    (joint,) = found["joint"].values()
    assert joint["pose"] == pytest.approx({"estimate": 0.4, "low": 0.4, "high": 0.4})
    assert describe({"pose": [0.2, nan, 0.4]})["pose"]["prompts"] == 2
    assert describe({"pose": [nan]}) == {}
    assert beside({"pose": [nan]}, {"pose": [1.0]}) == {}


def _arguments(untrained: Path, output: Path) -> list[str]:
    bundle = str(untrained / "bundles" / "scenes")
    few = ["--every", "100", "--candidates", "2", "--steps", "1", "--threads", "1"]
    return [bundle, *few, "--backend", "cpu", "--output", str(output)]


@pytest.mark.slow
@pytest.mark.nightly
def test_a_bundle_of_all_factors_is_measured(
    untrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "tables.json"
    assert main(_arguments(untrained, output)) == 0
    captured = capsys.readouterr()
    assert "prompt 2/2" in captured.err
    assert "Table 12, beside one after another" in captured.out
    results = json.loads(output.read_text())
    whole = "segmentation → depth → normal → sketch → pose → image"
    assert list(results["order"]) == ["image", whole]
    for title, figures in results["by_prompt"].items():
        assert len(figures["seconds"]) == 2
        assert ("miou" in figures) == (title != "image")
    assert np.isfinite(results["chains"][whole]["depth with the map"]["estimate"])
    assert results["limits"]["sketch"]["own"] > 0.9


@pytest.mark.slow
def test_interrupted_it_writes_nothing(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Engine, "generate", interrupt)
    assert main(_arguments(untrained, tmp_path / "tables.json")) == 130
    assert not list(tmp_path.iterdir())
