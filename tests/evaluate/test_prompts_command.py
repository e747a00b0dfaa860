"""Protects the choice of fewer prompts: parts that nest, percentiles that are met, texts kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fgdm.cli import command
from fgdm.evaluate.making import PictureMaker, make_missing
from fgdm.evaluate.networks.texts import BundleTexts
from fgdm.evaluate.plan import Plan
from fgdm.evaluate.prompt_choice import around_percentiles, distances_of_parts, random_part
from fgdm.evaluate.run_folder import RunFolder
from fgdm.evaluate.settings import Setting
from fgdm.tuning.prompts import Prompt

ROOT = Path(__file__).parents[2]
SCENES = ROOT / "bundles/scenes"


def test_parts_of_one_seed_nest_and_larger_ones_are_nearer_to_all() -> None:
    assert set(random_part(100, 10, 3)) < set(random_part(100, 40, 3))
    embeddings = np.random.default_rng(0).normal(size=(400, 6))
    found = distances_of_parts(embeddings, [20, 100, 400], 3)
    assert found[20] > found[100] > found[400] == pytest.approx(0, abs=1e-6)
    with pytest.raises(ValueError, match="101 of 100"):
        random_part(100, 101, 0)


def test_prompts_around_a_percentile_are_those_of_the_nearest_ranks() -> None:
    scores = np.random.default_rng(1).permutation(101).astype(float)
    found = around_percentiles(scores.tolist(), 9)
    assert {p: sorted(scores[part]) for p, part in found.items()} == {
        90: [89, 90, 91],
        50: [49, 50, 51],
        10: [9, 10, 11],
    }
    assert around_percentiles([2.0, 3.0, 1.0], 3) == {90: [1], 50: [0], 10: [2]}
    with pytest.raises(ValueError, match="too few"):
        around_percentiles([1.0, 2.0], 3)
    with pytest.raises(ValueError, match="equal shares"):
        around_percentiles([1.0] * 20, 10)


def test_a_bundle_s_embeddings_are_read_where_a_prompt_ends() -> None:
    """The token that ends a prompt is read: words before it matter, padding doesn't."""
    network = BundleTexts(SCENES)
    found = network.embed(["a dog", "a dog ", "two dogs", "a dog " * 60])
    assert network.name == "text encoder of scenes" and found.shape == (4, 128)
    assert np.allclose(found[0], found[1]) and not np.allclose(found[0], found[2], atol=1e-2)
    assert np.isfinite(found).all()


def test_a_part_keeps_its_prompts_as_they_were(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--prompts", str(ROOT / "benchmarks/prompts.json"), "--bundle", str(SCENES)]
    output = tmp_path / "part.json"
    arguments = [*given, "--size", "20", "--sizes", "100", "--output", str(output)]
    assert command.main(["evaluate", "prompts", *arguments]) == 0
    whole = {one["prompt"]: one["things"] for one in json.loads(Path(given[1]).read_text())}
    part = json.loads(output.read_text())
    assert len(part) == 20
    assert all(whole[one["prompt"]] == one["objects"] for one in part)
    printed = capsys.readouterr().out
    near, far = (float(line.split()[1]) for line in reversed(printed.splitlines()[1:3]))
    assert "text encoder of scenes" in printed and 0 < near < far
    too_many = [*given, "--size", "900", "--output", str(output)]
    assert command.main(["evaluate", "prompts", *too_many]) == 2
    assert "900 of 200 prompts" in capsys.readouterr().err


def test_the_scenes_dual_encoder_may_embed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--prompts", str(ROOT / "benchmarks/prompts.json"), "--size", "20", "--sizes", "150"]
    given += ["--output", str(tmp_path / "part.json"), "--dual-encoder"]
    assert command.main(["evaluate", "prompts", *given, str(ROOT / "benchmarks/dual_encoder")]) == 0
    printed = capsys.readouterr().out
    far, near = (float(line.split()[1]) for line in printed.splitlines()[1:3])
    assert "by the scenes dual encoder" in printed and 0 < near < far
    assert command.main(["evaluate", "prompts", *given, str(tmp_path)]) == 2
    assert "can't read a dual encoder" in capsys.readouterr().err


def test_few_are_taken_around_percentiles_of_a_run_s_score(
    engine: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prompts = [Prompt(f"dog {i}", ("dog",)) for i in range(11)]
    plan = Plan.of(PictureMaker(engine).identity(), prompts, [Setting("cfg", {"candidates": 1})], 0)
    make_missing(PictureMaker(engine).make, RunFolder.opened(tmp_path, plan))
    scores = {"own": {"by_prompt": list(range(11))}}
    results = {"settings": [{"name": "cfg", "scores": scores}], "networks": {"scorers": ["own"]}}
    (tmp_path / "results.json").write_text(json.dumps(results))
    output = tmp_path / "few.json"
    arguments = ["--run", str(tmp_path), "--count", "3", "--output", str(output)]
    assert command.main(["evaluate", "prompts", *arguments]) == 0
    assert [one["prompt"] for one in json.loads(output.read_text())] == ["dog 9", "dog 5", "dog 1"]
    assert "percentile 90: 1 prompts, 9.000 to 9.000" in capsys.readouterr().out
    assert command.main(["evaluate", "prompts", *arguments, "--score", "none"]) == 2
    assert "no score 'none'; it has own" in capsys.readouterr().err
