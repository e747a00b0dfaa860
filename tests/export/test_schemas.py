"""Protects that what is written meets its schema, and that what would not is refused early."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fgdm.export.defaults import SAMPLERS, ConditionDefaults, FactorDefaults, ImageDefaults
from fgdm.export.errors import ExportError
from fgdm.export.manifest import save_manifest
from fgdm.export.schemas import check_form
from jsonschema import Draft202012Validator

from tests.engine.test_schemas import schema


def closed(name: str) -> Draft202012Validator:
    """A schema that takes no keys but those it names."""
    content = schema(name)
    for part in (content, *content["$defs"].values()):
        if part.get("type") == "object":
            part["unevaluatedProperties"] = False
    return Draft202012Validator(content)


def manifest_of(bundle: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle / "manifest.json").read_bytes())
    return content


@pytest.mark.parametrize("name", ["tiny_bundle", "tiny_fp16_bundle"])
def test_a_new_bundles_manifest_meets_the_schema_and_says_nothing_else(
    name: str, request: pytest.FixtureRequest
) -> None:
    manifest = manifest_of(request.getfixturevalue(name))
    validator = closed("manifest")
    assert [error.message for error in validator.iter_errors(manifest)] == []
    manifest["factors"][0]["surprise"] = 1
    assert not validator.is_valid(manifest)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (["factors", 1, "guidance_scale"], 2000, r"factors\[1\]\.guidance_scale: 2000 is greater"),
        (["factors", 0, "height"], 64.0, r"factors\[0\]\.height: 64.0 is not of type"),
        (["text_encoder", "max_length"], 2, r"text_encoder.max_length: 2 is less"),
        (["graphs", "backbone", "file"], "../b", "graphs.backbone.file"),
    ],
)
def test_a_manifest_that_no_engine_would_take_is_not_written(
    tiny_bundle: Path, tmp_path: Path, path: list[str | int], value: object, words: str
) -> None:
    manifest = manifest_of(tiny_bundle)
    target: Any = manifest
    for step in path[:-1]:
        target = target[step]
    target[path[-1]] = value
    with pytest.raises(ExportError, match=f"no engine would take it: {words}"):
        save_manifest(tmp_path, manifest)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ExportError, match="'schema' is a required property"):
        check_form("manifest", {})


@pytest.mark.parametrize(
    ("defaults", "words"),
    [
        (FactorDefaults(image=ImageDefaults(guidance_scale=2000)), "scale is 2000; expected 0 to"),
        (FactorDefaults(image=ImageDefaults(segfree_start=-0.1)), "start is -0.1; expected 0 to 1"),
        (FactorDefaults(image=ImageDefaults(guidance="x")), "'x'; expected one of cfg, segfree"),
        (FactorDefaults(image=ImageDefaults(prompt_suffix="a\n")), "expected text without control"),
        (
            FactorDefaults(condition=ConditionDefaults(num_inference_steps=1001)),
            "condition factor: num_inference_steps is 1001; expected a whole number from 1 to 1000",
        ),
        (FactorDefaults(condition=ConditionDefaults(sampler="x")), f"of {', '.join(SAMPLERS)}"),
        (
            FactorDefaults(condition=ConditionDefaults(timestep_spacing="karras")),
            "timestep_spacing is 'karras', which ddim doesn't have",
        ),
        (FactorDefaults(condition=ConditionDefaults(min_area=2)), "min_area is 2; expected 0 to 1"),
    ],
)
def test_a_default_that_the_schema_refuses_is_refused_before_any_work(
    defaults: FactorDefaults, words: str
) -> None:
    with pytest.raises(ExportError, match=re.escape(words)):
        defaults.check()
