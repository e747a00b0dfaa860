"""A factor for a bundle that is there: what comes, and that everything else stays."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from fgdm.export.adapter import TimestepAdapter
from fgdm.export.addition import add_factor
from fgdm.export.cli import run
from fgdm.export.defaults import ConditionDefaults
from fgdm.export.errors import ExportError
from fgdm.export.factors import AdapterSource, FactorSource
from fgdm.export.image_networks import NetworkSource
from fgdm.inspect import describe

from tests.export.test_bundle import contents
from tests.export.test_cli import parse
from tests.tiny_models import TinyCheckpoint, build_adapter

SCENES = Path(__file__).parents[2] / "bundles" / "scenes"
MANIFESTS = ("manifest.json", "manifest.sha256")


@pytest.fixture
def adapter(tmp_path: Path) -> Path:
    """An adapter that sees the latents of two factors."""
    return build_adapter(tmp_path / "adapter", latents=2)


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "bundles" / "tiny"
    shutil.copytree(tiny_bundle, copy)
    (copy / "NOTICE").write_text("not in the manifest")
    return copy


def manifest_of(bundle: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((bundle / "manifest.json").read_text())
    return content


def assert_only_added(bundle: Path, before: dict[str, bytes], old: dict[str, Any]) -> set[str]:
    """Nothing but the manifest changed, which says the same of what was there; the new files."""
    after, new = contents(bundle), manifest_of(bundle)
    assert {name for name in before if after[name] != before[name]} == set(MANIFESTS)
    assert new["files"].items() >= old["files"].items()
    assert new["graphs"].items() >= old["graphs"].items()
    assert new["factors"][: len(old["factors"]) - 1] == old["factors"][:-1]
    image, was = new["factors"][-1], old["factors"][-1]
    count = len(was["conditionings"])
    assert image | {"conditionings": image["conditionings"][:count]} == was
    assert {name for name in new if new[name] != old[name]} <= {
        *("schema", "created_by", "factors", "graphs", "files", "keep_fp32")
    }
    added = set(after) - set(before)
    assert added == set(new["files"]) - set(old["files"])
    assert describe(bundle, verify=True).manifest.schema == 3
    assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]
    return added


def test_a_factor_and_its_controlnet(
    bundle: Path, adapter: Path, tiny_checkpoint: TinyCheckpoint
) -> None:
    before, old = contents(bundle), manifest_of(bundle)
    result = add_factor(
        bundle,
        "depth",
        FactorSource(
            AdapterSource(adapter, ("segmentation", "depth")),
            defaults=ConditionDefaults(prompt_prefix="a depth map of ", num_inference_steps=7),
        ),
        NetworkSource(tiny_checkpoint.controlnet, scale=0.5),
    )
    assert result == bundle
    added = assert_only_added(bundle, before, old)
    names = ("adapter_depth", "controlnet_depth", "controlnet_depth_hint")
    assert {file.split("/")[0] for file in added} == {
        *(f"{name}.onnx" for name in names),
        *names[:2],
    }
    _, depth, image = manifest_of(bundle)["factors"]
    assert (depth["name"], depth["output"], depth["height"]) == ("depth", "depth", 32)
    assert (depth["prompt_prefix"], depth["num_inference_steps"]) == ("a depth map of ", 7)
    assert depth["conditionings"][0]["latents"] == ["segmentation", "depth"]
    assert image["conditionings"][-1]["condition"] == "depth"
    assert image["conditionings"][-1]["scale"] == 0.5
    stored = TimestepAdapter.from_pretrained(bundle / "adapter_depth").state_dict()
    given = TimestepAdapter.from_pretrained(adapter).state_dict()
    assert all(torch.equal(stored[key], value.half().float()) for key, value in given.items())


def test_a_float16_bundle_gets_float16_graphs(
    tiny_fp16_bundle: Path, adapter: Path, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundles" / "tiny"
    shutil.copytree(tiny_fp16_bundle, bundle)
    before, old = contents(bundle), manifest_of(bundle)
    factor = FactorSource(AdapterSource(adapter, ("segmentation", "depth")))
    keep = ["adapter_depth/adapter.body.0.*"]
    add_factor(bundle, "depth", factor, keep_fp32=keep)
    assert_only_added(bundle, before, old)
    manifest = manifest_of(bundle)
    graph = manifest["graphs"]["adapter_depth"]
    assert graph["precision"] == "fp16" and graph["largest_float16"]["value"] > 0
    assert [port["dtype"] for port in graph["outputs"]] == ["float16"] * 3
    assert manifest["keep_fp32"] == keep


def test_the_shipped_bundle_takes_factors(tmp_path: Path) -> None:
    """A factor may see another that was added before."""
    bundle = tmp_path / "bundles" / "scenes"
    shutil.copytree(SCENES, bundle)
    before, old = contents(bundle), manifest_of(bundle)
    config = json.loads((SCENES / "adapter_segmentation" / "config.json").read_text())
    torch.manual_seed(2)
    kinds = {
        key: config[key]
        for key in ("channels", "num_res_blocks", "time_embed_dim", "norm_num_groups")
    }
    TimestepAdapter(in_channels=4, **kinds).save_pretrained(tmp_path / "one")
    TimestepAdapter(in_channels=8, **kinds).save_pretrained(tmp_path / "two")
    add_factor(bundle, "far", FactorSource(tmp_path / "one", output="depth"), check=False)
    sees = AdapterSource(tmp_path / "two", ("far", "edges"))
    add_factor(bundle, "edges", FactorSource(sees, output="sketch"), check=False)
    assert_only_added(bundle, before, old)
    names = [factor["name"] for factor in manifest_of(bundle)["factors"]]
    assert names == ["segmentation", "depth", "normal", "sketch", "pose", "far", "edges", "image"]


def test_another_label_factor_takes_the_bundle_s_palette(
    bundle: Path, tiny_checkpoint: TinyCheckpoint
) -> None:
    add_factor(bundle, "panoptic", tiny_checkpoint.adapter, check=False)
    assert manifest_of(bundle)["factors"][1]["palette"] == "palette.json"
    add_factor(bundle, "coarse", tiny_checkpoint.adapter, palette="ade20k", check=False)
    assert manifest_of(bundle)["factors"][2]["palette"] == "palette_coarse.json"


def test_what_fails_leaves_the_bundle(
    bundle: Path, adapter: Path, tiny_checkpoint: TinyCheckpoint
) -> None:
    before = contents(bundle)
    sees = FactorSource(AdapterSource(adapter, ("segmentation", "depth")))
    (bundle / "adapter_normal.onnx").write_bytes(b"")
    before = contents(bundle)
    for name, factor, options, message in (
        ("depth", sees, {"tolerance": 0.0}, r"graph adapter_depth: .* differs from PyTorch"),
        ("segmentation", sees, {}, r"has a factor segmentation already; its factors are segm"),
        ("image", sees, {}, r"has a factor image already"),
        ("depth", adapter, {}, r"sees the latents of 2 factors; say which"),
        ("depth", sees, {"palette": "ade20k"}, r"no factor makes labels"),
        ("depth", sees, {"keep_fp32": ["backbone/*"]}, r"can't be kept in float32 with precision"),
        ("normal", tiny_checkpoint.adapter, {}, r"holds adapter_normal, which its manifest"),
    ):
        with pytest.raises(ExportError, match=message):
            add_factor(bundle, name, factor, check=False, **options)
        assert contents(bundle) == before
        assert [path.name for path in bundle.parent.iterdir()] == [bundle.name]
    (bundle / "palette.json").write_text("{}")
    with pytest.raises(ExportError, match=r"bundle .* is damaged: palette\.json"):
        add_factor(bundle, "depth", sees, check=False)


def test_the_command(
    bundle: Path,
    adapter: Path,
    tiny_checkpoint: TinyCheckpoint,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = [
        "--add-factor=edges",
        f"--into={bundle}",
        f"--adapter=edges:segmentation,edges={adapter}",
        "--makes=edges=sketch:black",
        "--condition-steps=6",
        "--condition-size=48x64",
        f"--controlnet={tiny_checkpoint.controlnet}:0.5",
    ]
    assert run(parse(*arguments)) == 0
    edges = manifest_of(bundle)["factors"][1]
    assert (edges["output"], edges["lines"], edges["num_inference_steps"]) == ("sketch", "black", 6)
    assert (edges["height"], edges["width"]) == (48, 64)
    assert manifest_of(bundle)["factors"][2]["conditionings"][-1]["graph"] == "controlnet_edges"
    for change, message in (
        (["--precision=fp16"], "changes nothing else of the bundle; leave out --precision"),
        (["--steps=3"], "leave out options of the image"),
        (["--add-factor=depth"], "--adapter depth=SOURCE; got those of edges"),
        (
            ["--condition-steps=depth=3"],
            "the factor 'depth', which has no --adapter or --backbone;",
        ),
    ):
        assert run(parse(*arguments, *change)) == 1
        assert message in capsys.readouterr().err
    assert run(parse("--add-factor=depth")) == 1
    assert "needs --into" in capsys.readouterr().err
    assert run(parse(f"--into={bundle}")) == 1
    assert "--into is for --add-factor" in capsys.readouterr().err
    assert run(parse("--base=sd15")) == 1
    assert "needs a --base and an --output" in capsys.readouterr().err
