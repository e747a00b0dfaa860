"""Protects that TensorRT-RTX itself builds a bundle's graphs, for GPUs that aren't here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fgdm.export.errors import ExportError
from fgdm.export.plans.build import build_plans
from fgdm.export.plans.options import Options
from fgdm.export.plans.report import attention_bodies, read_layers
from fgdm.inspect import describe

from tests.export.plans.small_bundle import reseal

pytestmark = [pytest.mark.tensorrt_rtx, pytest.mark.nightly]

GPUS = ("sm_86", "sm_89")


def test_every_graph_of_a_bundle(tiny_bundle: Path, tmp_path: Path) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))
    options = Options("tensorrt-rtx", GPUS, max_candidates=1)
    outcome = build_plans(bundle, options, jobs=2)
    assert len(outcome.built) == 21
    for order, metadata in outcome.built:
        assert metadata["covers"]["runtime"].startswith("1.")
        assert metadata["covers"]["gpus"] == ["sm_86", "sm_89"]
        assert metadata["built"]["seconds"] > 0 and metadata["built"]["peak_memory"] > 10**8
        assert metadata["plan"]["size"] > order.weight_bytes / 2
        # Where this machine has one of the GPUs, the plan itself was asked.
        assert metadata["built"]["checked"] in ("described", "deserialised")
    (backbone, _) = next(
        item for item in outcome.built if item[0].label == "backbone 32×32, 2 rows"
    )
    assert backbone.covers["segfree_attention"] == "function"
    layers = read_layers(backbone.stem.with_suffix(".layers.json"))
    bodies = attention_bodies(layers)
    assert len(bodies) == 7 and all("attn2.SegFreeAttention" in node for node in bodies)
    assert build_plans(bundle, options).built == []

    description = describe(bundle, verify=True)
    shown = json.loads(json.dumps(description.to_json()))["plans"]
    assert len(shown) == 21 and all(plan["problem"] is None for plan in shown)


def test_one_plan_with_several_profiles_holds_the_weights_once(
    tiny_bundle: Path, tmp_path: Path
) -> None:
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "tiny"))
    graphs = ("adapter_segmentation",)
    single = Options("tensorrt-rtx", GPUS, max_candidates=4, graphs=graphs)
    separate = build_plans(bundle, single)
    shared = build_plans(bundle, Options(**{**vars(single), "share_weights": True}))
    ((order, metadata),) = shared.built
    assert len(separate.built) == 3 and len(order.covers["profiles"]) == 3
    apart = sum(metadata["plan"]["size"] for _, metadata in separate.built)
    assert metadata["plan"]["size"] < apart - 1.8 * order.weight_bytes


def test_the_small_graphs_share_a_weight_file_by_offset(bundle: Path) -> None:
    outcome = build_plans(bundle, Options("tensorrt-rtx", ("sm_120",), max_candidates=1))
    assert len(outcome.built) == 13


def test_a_graph_that_does_not_parse_names_the_node(bundle: Path) -> None:
    path = bundle / "controlnet_hint.onnx"
    path.write_bytes(path.read_bytes().replace(b"Conv", b"Cnov"))
    reseal(bundle)
    options = Options("tensorrt-rtx", ("sm_86",), graphs=("controlnet_hint",))
    with pytest.raises(ExportError, match=r"can't parse controlnet_hint\.onnx: node .*Cnov"):
        build_plans(bundle, options)
    assert list(bundle.glob("plans/*/*")) == []


def test_an_architecture_that_it_does_not_know(bundle: Path) -> None:
    with pytest.raises(ExportError, match=r"can't build for sm_90; it knows sm_75, .*sm_121"):
        build_plans(bundle, Options("tensorrt-rtx", ("sm_90",)))
