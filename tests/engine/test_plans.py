"""Protects that a plan that can't run here, or isn't this bundle's, is told apart and says why."""

from __future__ import annotations

import ctypes
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fgdm import inspect, machine
from fgdm.manifest import read_manifest
from fgdm.plans import Host, Plan, find_plans, obstacles, plan_key, same_version

MakeBundle = Callable[..., Path]

L4 = machine.Gpu("NVIDIA L4", "24 GiB", "1", "8.9")
H100 = machine.Gpu("NVIDIA H100", "80 GiB", "1", "9.0")
FITTING = Host((H100, L4), {"tensorrt-rtx": "1.7.1.116"})


def write_plan(bundle: Path, **changes: Any) -> Path:
    """A finished plan of the bundle's backbone for sm_86 and sm_89; its path without suffix."""
    manifest = json.loads((bundle / "manifest.json").read_text())
    covers = {
        "target": "tensorrt-rtx",
        "runtime": "1.7.1.116",
        "gpus": ["sm_86", "sm_89"],
        "precision": "fp32",
        "tf32": False,
        "graph": "backbone",
        "files": {"backbone.onnx": manifest["files"]["backbone.onnx"]["sha256"]},
        "profiles": [{"rows": 2, "height": 64, "width": 64}, {"rows": 1, "height": 0, "width": 0}],
        "inputs": [
            {"name": "sample", "dtype": "float32", "shapes": [[2, 4, 16, 16], [1, 4, 8, 8]]}
        ],
        "outputs": [],
        "segfree_attention": "function",
        **changes,
    }
    stem = bundle / "plans/tensorrt-rtx" / plan_key(covers)
    stem.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(b"plan").hexdigest()
    metadata = {
        "schema": 1,
        "covers": covers,
        "plan": {"size": 4, "sha256": digest},
        "built": {"seconds": 1.5},
    }
    stem.with_suffix(".json").write_text(json.dumps(metadata))
    stem.with_suffix(".plan").write_bytes(b"plan")
    return stem


def only_plan(bundle: Path, *, verify: bool = False) -> Plan:
    (plan,) = find_plans(bundle, read_manifest(bundle), verify=verify)
    return plan


def test_a_plan_that_fits(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    stem = write_plan(bundle)
    plan = only_plan(bundle)
    assert (plan.target, plan.key, plan.size) == ("tensorrt-rtx", stem.name, 4)
    assert plan.problem is None and not plan.obsolete
    assert plan.metadata is not None
    assert plan.metadata.profiles == ((64, 64, 2), (0, 0, 1))
    assert obstacles(plan, FITTING) == ()


@pytest.mark.parametrize(
    ("here", "reasons"),
    [
        (Host((), FITTING.runtimes), ["no NVIDIA GPU"]),
        (Host((H100,), FITTING.runtimes), ["built for sm_86, sm_89; this GPU is sm_90"]),
        (
            Host((machine.Gpu("Orin", "", "", "[N/A]"),), FITTING.runtimes),
            ["built for sm_86, sm_89; this GPU is unknown to nvidia-smi"],
        ),
        (Host((L4,), {"tensorrt-rtx": None}), ["tensorrt-rtx 1.7.1.116 isn't installed"]),
        (
            Host((L4,), {"tensorrt-rtx": "1.8.0.1"}),
            ["built with tensorrt-rtx 1.7.1.116, 1.8.0.1 is installed"],
        ),
        (Host((), {}), ["no NVIDIA GPU", "tensorrt-rtx 1.7.1.116 isn't installed"]),
    ],
    ids=["no GPU", "other GPU", "unknown GPU", "no runtime", "other version", "both"],
)
def test_every_obstacle_is_named(make_bundle: MakeBundle, here: Host, reasons: list[str]) -> None:
    bundle = make_bundle()
    write_plan(bundle)
    assert list(obstacles(only_plan(bundle), here)) == reasons


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"files": {"backbone.onnx": "0" * 64}}, "stale: backbone.onnx changed since"),
        ({"files": {"gone.bin": "0" * 64}}, "stale: gone.bin changed since"),
        ({"precision": "fp16"}, "stale: the bundle's precision is fp32 now"),
        ({"tf32": True}, "stale: built with TF32 allowed"),
        ({"tf32": None}, "stale: built with TF32 allowed"),  # as where it isn't said: recipe 1
    ],
)
def test_a_plan_of_another_bundle_is_stale(
    make_bundle: MakeBundle, changes: dict[str, Any], reason: str
) -> None:
    bundle = make_bundle()
    write_plan(bundle, **changes)
    plan = only_plan(bundle)
    assert plan.obsolete and plan.problem is not None and plan.problem.startswith(reason)
    assert obstacles(plan, FITTING) == (plan.problem,)


def test_damage_is_named(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    stem = write_plan(bundle)
    stem.with_suffix(".plan").write_bytes(b"plam")
    assert only_plan(bundle).problem is None
    assert "altered" in str(only_plan(bundle, verify=True).problem)
    stem.with_suffix(".plan").write_bytes(b"pla")
    assert only_plan(bundle).problem == "its .plan file has 3 bytes instead of 4"
    stem.with_suffix(".plan").unlink()
    assert only_plan(bundle).problem == "its .plan file is missing"
    for content in (b"\xff", b"{}", b'{"schema": 1, "covers": {}}'):
        stem.with_suffix(".json").write_bytes(content)
        plan = only_plan(bundle)
        assert plan.metadata is None and plan.obsolete and stem.name in str(plan.problem)


def test_what_the_engine_alone_reads_is_checked_too(make_bundle: MakeBundle) -> None:
    pytest.importorskip("fgdm._core", reason="the compiled core isn't built")
    bundle = make_bundle()
    write_plan(bundle, inputs=[{"name": "sample", "shapes": [[2, 4, 16, 16]]}])
    plan = only_plan(bundle)
    assert plan.obsolete and "sample has 1 shapes, expected one for each of 2" in str(plan.problem)


def test_a_newer_plan_is_neither_used_nor_obsolete(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    metadata = write_plan(bundle).with_suffix(".json")
    metadata.write_text(metadata.read_text().replace('"schema": 1', '"schema": 2'))
    plan = only_plan(bundle)
    assert not plan.obsolete and "upgrade fgdm" in str(plan.problem)


def test_inspect_lists_plans_and_says_whether_they_fit(
    make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = make_bundle()
    stem = write_plan(bundle)
    monkeypatch.setattr(machine, "find_gpus", lambda: (L4,))
    monkeypatch.setattr(machine, "plan_runtime_version", lambda runtime: "1.7.1")
    description = inspect.describe(bundle)
    text = "\n".join(description.lines())
    assert f"tensorrt-rtx/{stem.name[:12]}  4 B" in text
    assert "backbone  64×64, 2 rows | 1 row  (tensorrt-rtx 1.7.1.116, sm_86, sm_89" in text
    assert "fits this machine" in text
    monkeypatch.setattr(machine, "find_gpus", lambda: ())
    description = inspect.describe(bundle)
    assert "doesn't fit: no NVIDIA GPU" in "\n".join(description.lines())
    (shown,) = json.loads(json.dumps(description.to_json()))["plans"]
    assert shown["fits"] is False and shown["obstacles"] == ["no NVIDIA GPU"]
    assert shown["metadata"]["gpus"] == ["sm_86", "sm_89"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("10.3.0", "10.3.0.30", True),
        ("1.7.1.116", "1.7.1.116", True),
        ("1.7.1.116", "1.7.1.117", False),
        ("10.3.0", "10.13.0", False),
    ],
)
def test_versions_agree_as_far_as_both_go(one: str, other: str, same: bool) -> None:
    assert same_version(one, other) is same


@pytest.mark.parametrize(
    ("number", "version"), [(100300, "10.3.0"), (10701, "1.7.1"), (8601, "8.6.1")]
)
def test_a_library_without_a_package_tells_its_version(
    monkeypatch: pytest.MonkeyPatch, number: int, version: str
) -> None:
    library = SimpleNamespace(getInferLibVersion=lambda: number)
    monkeypatch.setattr(machine, "package_version", lambda name: None)
    monkeypatch.setattr(machine, "loadable", lambda names: "libnvinfer.so.10")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    assert machine.plan_runtime_version(machine.PLAN_RUNTIMES[0]) == version
    monkeypatch.setattr(machine, "loadable", lambda names: None)
    assert machine.plan_runtime_version(machine.PLAN_RUNTIMES[0]) is None
