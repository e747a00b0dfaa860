"""Protects that the schemas of manifests and of plans' metadata say what the core takes.

What a schema refuses the core refuses. What only the core refuses breaks one of the rules that the
schema lists in words, because no schema can express them.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from fgdm import manifest as reader
from fgdm.errors import BundleError
from fgdm.plans import plan_key
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from docs import schema_tables
from tests.engine.changes import VALUES, changed, json_values, places, with_own_backbone

Json = dict[str, Any]

core = pytest.importorskip("fgdm._core", reason="the compiled core isn't built")
SCENES = Path(__file__).parents[2] / "bundles" / "scenes"


def schema(name: str) -> Json:
    text = (resources.files("fgdm") / f"{name}.schema.json").read_text(encoding="utf-8")
    content: Json = json.loads(text)
    return content


def for_readers(part: Any) -> Any:
    """A schema without what is marked x-informative, which engines pass over."""
    if isinstance(part, list):
        return [for_readers(item) for item in part]
    if not isinstance(part, dict):
        return part
    if part.get("x-informative") is True:
        return {}
    kept = {key: for_readers(value) for key, value in part.items()}
    if isinstance(kept.get("required"), list) and "properties" in kept:
        kept["required"] = [key for key in kept["required"] if kept["properties"][key]]
    return kept


@dataclass(frozen=True)
class Form:
    """A kind of document: its schema, how the core reads it, and for each of the schema's x-rules
    how the core says that it is broken."""

    schema: Json
    read: Callable[[Json], object]
    refusals: Sequence[str]

    @cached_property
    def for_readers(self) -> Draft202012Validator:
        return Draft202012Validator(for_readers(self.schema))

    def refusal(self, document: Json) -> str | None:
        try:
            self.read(document)
        except BundleError as error:
            return str(error)
        return None

    def broken_rule(self, document: Json) -> str | None:
        """The rule for which only the core refuses a document; None where schema and core agree."""
        words = self.refusal(document)
        refused = next(self.for_readers.iter_errors(document), None)
        if refused is not None:
            assert words is not None, f"only the schema refuses this: {refused}"
            return None
        if words is None:
            return None
        rules = zip(self.schema["x-rules"], self.refusals, strict=True)
        found: list[str] = [rule for rule, said in rules if re.search(said, words)]
        assert len(found) == 1, f"the schema takes this, and no rule is against it: {words}"
        return found[0]


def read_plan(document: Json) -> None:
    """By the core, under the name that its content asks for."""
    covers = document.get("covers")
    name = plan_key(covers) if isinstance(covers, dict) else "0" * 64
    core.check_plan(json.dumps(document).encode(), f"{name}.json", HASHES)


#: Of the files of the plan's bundle.
HASHES = {"backbone.onnx": "0" * 64, "unet/weights.bin": "1" * 64}

_JSON = r"is not valid JSON|should be a whole number, not \S+[.e]|twice"
MANIFEST = Form(
    schema("manifest"),
    lambda document: core.check_manifest(json.dumps(document).encode()),
    (
        r"describes none|has (no|the) (in|out)put|has no outputs|has two tensors called",
        r'which is not in "files"',
        r'should end with one of kind "image"|two factors are called',
        r"which is no earlier factor",
        r"doesn't see the factor's own latent",
        r"has a cache_interval of",
        r"which is no label map",
        r"takes latents of -?\d+ channels",
        r"without a fixed number of channels",
        r"has steps that its sampler can't take",
        r"expected a divisor of backbone.downscale",
        r"is not divisible by",
        r"expected 0 < beta_start <= beta_end < 1|one for each training|\(the last may be 1\)"
        r"|no picture is left at",
        r"two LoRAs are called|the LoRA .* changes the factor",
        _JSON,
    ),
)
PLAN = Form(
    schema("plan"),
    read_plan,
    (
        r"has been altered",
        r"stale: .* changed since",
        r"expected one for each of \d profiles",
        _JSON,
    ),
)


def sound_plan() -> Json:
    tensors = [{"name": "sample", "dtype": "float32", "shapes": [[2, 4, 8, 8], [4, 4, 8, 8]]}]
    return {
        "schema": 1,
        "covers": {
            "recipe": 2,
            "target": "tensorrt",
            "runtime": "10.3.0",
            "gpus": ["sm_89"],
            "precision": "fp32",
            "tf32": False,
            "graph": "backbone",
            "graph_file": "backbone.onnx",
            "files": HASHES,
            "profiles": [{"rows": rows, "height": 32, "width": 32} for rows in (2, 4)],
            "inputs": tensors,
            "outputs": tensors,
            "segfree_attention": "plugin",
            "plugin": {"name": "SegFreeAttention", "namespace": "fgdm", "version": "1"},
        },
        "plan": {"size": 4, "sha256": "2" * 64},
        "built": {"seconds": 1.5},
    }


#: What a graph that takes LoRAs has beside its other inputs.
LORA_INPUTS = [
    {"name": "lora_down", "dtype": "float32", "shape": [96, "lora_rank"]},
    {"name": "lora_up", "dtype": "float32", "shape": [64, "lora_rank"]},
    {"name": "lora_scale", "dtype": "float32", "shape": ["batch", "lora_rank"]},
]


def full(sound: Json) -> Json:
    """The manifest with every optional field."""
    manifest = copy.deepcopy(sound)
    label, sketch, image = manifest["factors"]
    label |= {"output": "labels", "stop_at_recall": 0.5, "min_area": 0.01}
    label |= {"timestep_spacing": "trailing"}
    label |= {"sampler": "ddim", "prompt_prefix": "a map of ", "prompt_suffix": ""}
    label["conditionings"][0]["latents"] = ["segmentation"]
    sketch["lines"] = None
    image |= {"guidance": "segfree", "segfree_guidance_scale": 2.5, "segfree_scale": 20}
    image["segfree_start"] = 0.05
    palette = {"hint_palette": "palette.json", "recolor": {"dog": "animal"}, "scale": 0.5}
    image["conditionings"][0] |= palette
    manifest["autoencoder"]["preview_decoder"] = "vae_decoder"
    manifest["segmenter"] = "vae_decoder"
    for graph in ("backbone", "text_encoder"):
        manifest["graphs"][graph]["inputs"] += copy.deepcopy(LORA_INPUTS)
    for shallow in manifest["backbone"].get("shallow", []):
        manifest["graphs"][shallow["graph"]]["inputs"] += copy.deepcopy(LORA_INPUTS)
    lora = {"name": "style", "file": "palette.json", "rank": 4}
    manifest["loras"] = [lora | {"factors": ["segmentation", "image"]}]
    spacing = {"ddim": "leading", "dpmsolver++": "linspace"}
    manifest["scheduler"] |= {"timestep_spacing": spacing, "set_alpha_to_one": False}
    return manifest


def with_betas(sound: Json) -> Json:
    """The manifest with betas in place of their formula, and a network that is a T2I-Adapter."""
    manifest = full(sound)
    betas = [0.01 * (i + 1) for i in range(50)]
    manifest["scheduler"] |= {"num_train_timesteps": len(betas), "trained_betas": betas}
    manifest["graphs"]["t2i"] = {
        "file": "backbone.onnx",
        "inputs": [
            {"name": "controlnet_cond", "dtype": "float32", "shape": ["batch", 3, "h", "w"]},
            {"name": "conditioning_scale", "dtype": "float32", "shape": ["batch"]},
        ],
        "outputs": [manifest["graphs"]["adapter_segmentation"]["outputs"][0]],
    }
    network = {"kind": "t2i_adapter", "graph": "t2i", "condition": "a picture"}
    manifest["factors"][-1]["conditionings"].append(network)
    return manifest


def single_changes(sound: Json) -> Iterator[Json]:
    plain = list(places(full(sound)))
    for manifest in (full(sound), with_betas(sound), with_own_backbone(sound)):
        assert MANIFEST.refusal(manifest) is MANIFEST.broken_rule(manifest) is None
        for number, path in enumerate(places(manifest)):
            # Ports and files are all alike, and most has been seen before: a few values each.
            seen = path[0] in ("files", "graphs") or (path in plain and manifest != full(sound))
            every = 23 if seen else 4
            for value in VALUES[number % every :: every]:
                yield changed(manifest, path, value)


@pytest.mark.parametrize("name", ["manifest", "plan", "context", "result"])
def test_a_schema_is_one_of_draft_2020_12(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))


@pytest.mark.nightly
def test_the_manifests_schema_and_the_core_agree(sound_manifest: Json) -> None:
    broken = {MANIFEST.broken_rule(manifest) for manifest in single_changes(sound_manifest)}
    manifest = full(sound_manifest)
    network = ("factors", 2, "conditionings", 0, "condition")
    shape = ("graphs", "adapter_sketch", "inputs", 0, "shape", 1)
    for path, value in (
        (network, "sketch"),
        (shape, 12),
        (("graphs", "controlnet_hint", "outputs", 0, "shape", 1), "channels"),
        (("scheduler", "trained_betas"), [0.5]),
        (("scheduler", "beta_start"), 0.5),
        (("schema",), 3.0),
        (("factors", 0, "height"), 72),
        (("factors", 2, "cache_interval"), 2),
        (("backbone", "mid_residual", "stride"), 3),
        (("factors",), manifest["factors"][:1] * 2 + manifest["factors"][1:]),
        (("factors",), manifest["factors"][::-1]),
        (("loras",), 2 * manifest["loras"]),
        (("loras", 0, "factors", 0), "poses"),
    ):
        rule = MANIFEST.broken_rule(changed(manifest, path, value))
        assert rule is not None, path
        broken.add(rule)
    own = with_own_backbone(sound_manifest)
    broken.add(MANIFEST.broken_rule(changed(own, ("factors", 1, "latents"), ["segmentation"])))
    assert broken - {None} == set(MANIFEST.schema["x-rules"])


@given(data=st.data(), value=json_values)
@settings(max_examples=200, deadline=None)
def test_the_manifests_schema_and_the_core_agree_on_any_value(
    sound_manifest: Json, data: st.DataObject, value: object
) -> None:
    manifest = full(sound_manifest)
    MANIFEST.broken_rule(
        changed(manifest, data.draw(st.sampled_from(list(places(manifest)))), value)
    )


def test_the_plans_schema_and_the_core_agree() -> None:
    plan = sound_plan()
    assert PLAN.refusal(plan) is PLAN.broken_rule(plan) is None
    broken = {
        PLAN.broken_rule(changed(plan, path, value)) for path in places(plan) for value in VALUES
    }
    other = {"gone.bin": "0" * 64}
    broken.add(PLAN.broken_rule(changed(plan, ("covers", "files"), other)))
    assert broken - {None} == set(PLAN.schema["x-rules"])


@given(data=st.data(), value=json_values)
@settings(max_examples=200, deadline=None)
def test_the_plans_schema_and_the_core_agree_on_any_value(
    data: st.DataObject, value: object
) -> None:
    plan = sound_plan()
    PLAN.broken_rule(changed(plan, data.draw(st.sampled_from(list(places(plan)))), value))


def test_unknown_keys_are_passed_over(sound_manifest: Json) -> None:
    manifest = full(sound_manifest)
    objects = [(), *places(manifest)]
    for path in objects:
        target: Any = manifest
        for step in path:
            target = target[step]
        by_name = path in (("graphs",), ("files",)) or path[-1:] == ("recolor",)
        if isinstance(target, dict) and not by_name:
            target["surprise"] = ["unknown"]
    assert MANIFEST.refusal(manifest) is MANIFEST.broken_rule(manifest) is None


def test_the_bundle_that_ships_is_valid() -> None:
    manifest = json.loads((SCENES / "manifest.json").read_bytes())
    assert list(Draft202012Validator(MANIFEST.schema).iter_errors(manifest)) == []


def test_pythons_reader_knows_the_schemas_values() -> None:
    parts = MANIFEST.schema["$defs"]
    assert MANIFEST.schema["properties"]["schema"]["maximum"] == reader.SCHEMA
    assert parts["condition_factor"]["properties"]["output"]["enum"] == [*reader.OUTPUTS, None]
    assert parts["sketch_factor"]["properties"]["lines"]["enum"] == [*reader.LINES, None]


def test_the_tables_in_the_docs_are_those_of_the_schemas() -> None:
    """Where not: python -m docs.schema_tables"""
    page = schema_tables.PAGE.read_text(encoding="utf-8")
    assert schema_tables.updated(page) == page
    assert page.count("| `num_inference_steps` | whole number from 1 to 1000 | required |") == 1
