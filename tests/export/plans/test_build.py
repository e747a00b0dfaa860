"""Protects plans from interruptions, rivals and full disks, with a stand-in for TensorRT."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fgdm.errors import BundleError
from fgdm.export.errors import ExportError
from fgdm.export.plans.build import (
    build_plans,
    obsolete_plans,
    plan_orders,
    prune_plans,
)
from fgdm.export.plans.folder import building
from fgdm.export.plans.options import Options
from fgdm.export.plans.order import Order
from fgdm.manifest import read_manifest
from fgdm.plans import find_plans, plan_key

from tests.export.plans.small_bundle import WEIGHTS, reseal
from tests.export.test_schemas import closed

Behave = Callable[..., None]

OPTIONS = Options("tensorrt", max_candidates=1)
ONE = Options("tensorrt", max_candidates=1, graphs=("controlnet_hint",))
LABELS = {
    *("backbone 16×16, 1 row", "backbone 16×16, 2 rows"),
    *("backbone 32×32, 1 row", "backbone 32×32, 2 rows"),
    *("controlnet_segmentation 32×32, 1 row", "controlnet_segmentation 32×32, 2 rows"),
    *("adapter_segmentation 16×16, 1 row", "controlnet_hint 32×32, 1 row"),
    *("vae_decoder 16×16, 1 row", "vae_decoder 32×32, 1 row"),
    *("vae_encoder 16×16, 1 row", "vae_encoder 32×32, 1 row"),
    "text_encoder 1 row",
}


def plan_of(order: Order) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(order.stem.with_suffix(".plan").read_bytes())
    return content


def files(bundle: Path) -> dict[str, bytes]:
    """Everything in a bundle but the lock and the plans' timing cache."""
    return {
        path.relative_to(bundle).as_posix(): path.read_bytes()
        for path in sorted(bundle.rglob("*"))
        if path.is_file() and path.name != ".lock" and path.suffix != ".cache"
    }


def assert_consistent(bundle: Path) -> None:
    """Every plan is finished and usable, and nothing else was left."""
    for plan in find_plans(bundle, read_manifest(bundle), verify=True):
        assert plan.problem is None
    kinds = {
        "".join(path.suffixes) for path in bundle.glob("plans/*/*") if path.name[:6] != "timing"
    }
    assert kinds <= {".plan", ".json", ".layers.json"}


def test_one_plan_for_each_graph_resolution_and_bucket(bundle: Path, tensorrt: Behave) -> None:
    before = files(bundle)
    outcome = build_plans(bundle, OPTIONS)
    assert {order.label for order, _ in outcome.built} == LABELS
    assert {name: data for name, data in files(bundle).items() if "plans" not in name} == before
    assert_consistent(bundle)
    for order, metadata in outcome.built:
        assert metadata == json.loads(order.stem.with_suffix(".json").read_text())
        assert [error.message for error in closed("plan").iter_errors(metadata)] == []
        assert metadata["covers"]["gpus"] == ["sm_89"]
        assert metadata["built"]["checked"] == "deserialised"
        (profile,) = plan_of(order)["profiles"]
        for item in order.covers["inputs"]:
            assert profile[item["name"]] == item["shapes"] * 3


def test_a_second_run_builds_nothing_and_a_wider_one_only_the_rest(
    bundle: Path, tensorrt: Behave
) -> None:
    build_plans(bundle, OPTIONS)
    before = files(bundle)
    again = build_plans(bundle, OPTIONS)
    assert again.built == [] and {order.label for order in again.kept} == LABELS
    assert files(bundle) == before
    wider = build_plans(bundle, Options("tensorrt", max_candidates=2))
    assert {order.label for order, _ in wider.built} == {
        "backbone 16×16, 4 rows",
        "adapter_segmentation 16×16, 2 rows",
        "vae_decoder 16×16, 2 rows",
    }


def test_shared_weights_are_one_plan_a_graph_with_every_profile(
    bundle: Path, tensorrt: Behave
) -> None:
    outcome = build_plans(bundle, Options("tensorrt", max_candidates=10, share_weights=True))
    assert len(outcome.built) == 7
    (backbone,) = [o for o, _ in outcome.built if o.covers["graph"] == "backbone"]
    shapes = [profile["sample"][0] for profile in plan_of(backbone)["profiles"]]
    assert plan_of(backbone)["extra_memory"] == [1.0] + 7 * [0.0]
    small = [[rows, 4, 4, 4] for rows in (1, 2, 4, 8, 16, 20)]
    assert shapes == [*small, [1, 4, 8, 8], [2, 4, 8, 8]]


def test_the_plugin_takes_the_place_of_the_function_body(
    bundle: Path, tensorrt: Behave, tmp_path: Path
) -> None:
    library = tmp_path / "libfgdm_plugin.so"
    library.write_text("fgdm::SegFreeAttention 1")
    options = Options("tensorrt", max_candidates=1, graphs=("backbone", "vae_decoder"))
    plain = build_plans(bundle, options)
    for order, metadata in plain.built:
        functions = ["SegFreeAttention"] if order.covers["graph"] == "backbone" else []
        assert plan_of(order)["functions"] == functions
        assert metadata["covers"]["segfree_attention"] == ("function" if functions else "none")
    kernel = build_plans(bundle, Options(**{**vars(options), "plugin": library}))
    assert [order.covers["graph"] for order in kernel.kept] == ["vae_decoder"] * 2
    for order, metadata in kernel.built:
        assert plan_of(order)["functions"] == [] and plan_of(order)["libraries"] == [str(library)]
        assert metadata["covers"]["segfree_attention"] == "plugin"
        assert metadata["covers"]["plugin"]["version"] == "1"


def test_tf32_is_switched_off_and_the_plan_says_so(bundle: Path, tensorrt: Behave) -> None:
    for order, metadata in build_plans(bundle, OPTIONS).built:
        assert json.loads(order.stem.with_suffix(".plan").read_bytes())["flags"] == []
        assert metadata["covers"]["tf32"] is False


def test_a_library_without_the_plugin(bundle: Path, tensorrt: Behave, tmp_path: Path) -> None:
    library = tmp_path / "libother.so"
    library.write_text("fgdm::SegFreeAttention 2")
    options = Options("tensorrt", max_candidates=1, graphs=("backbone",), plugin=library)
    with pytest.raises(ExportError, match="no plugin fgdm::SegFreeAttention version 1"):
        build_plans(bundle, options)
    with pytest.raises(ExportError, match=r"no_such\.so isn't a file"):
        build_plans(bundle, Options("tensorrt", plugin=tmp_path / "no_such.so"))
    with pytest.raises(ExportError, match="tensorrt-rtx has no plugins"):
        build_plans(bundle, Options("tensorrt-rtx", plugin=library))


def test_the_timing_cache_goes_from_build_to_build(bundle: Path, tensorrt: Behave) -> None:
    build_plans(bundle, Options("tensorrt", max_candidates=1, graphs=("controlnet_segmentation",)))
    cache = bundle / "plans/tensorrt/timing.sm_89.cache"
    assert cache.read_bytes() == b"timed;" * 2
    cache.write_bytes(b"another driver's timings")
    build_plans(bundle, ONE)
    assert cache.read_bytes() == b"timed;"


def test_several_jobs_on_one_gpu_are_lowered_with_a_remark(bundle: Path, tensorrt: Behave) -> None:
    remarks: list[str] = []
    build_plans(bundle, OPTIONS, jobs=4, remark=remarks.append)
    assert any("--jobs 4 lowered to 1" in text for text in remarks)


def test_progress_names_the_plan_and_reaches_100(bundle: Path, tensorrt: Behave) -> None:
    seen: list[tuple[str, int, int]] = []
    build_plans(bundle, ONE, progress=lambda *step: seen.append(step))
    percents = [done for what, done, total in seen if what == "controlnet_hint 32×32, 1 row"]
    assert percents == [25, 50, 75, 100, 100]


# What the key covers.


def keys(bundle: Path, options: Options = ONE) -> set[str]:
    return {order.key for order in plan_orders(bundle, options)}


def test_each_ingredient_changes_the_key(
    bundle: Path, tensorrt: Behave, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = [keys(bundle)]
    assert keys(bundle) == seen[0]

    def changed() -> None:
        (now,) = keys(bundle)
        assert {now} not in seen
        seen.append({now})

    graph = bundle / "controlnet_hint.onnx"
    graph.write_bytes(graph.read_bytes().replace(b"\x01g", b"\x01h"))  # the graph's name
    reseal(bundle)
    changed()
    weights = bytearray((bundle / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (bundle / WEIGHTS).write_bytes(weights)
    reseal(bundle)
    changed()
    reseal(bundle, precision="fp16")
    changed()
    monkeypatch.setattr("tensorrt.__version__", "10.14.0")
    changed()
    monkeypatch.setattr("fgdm.export.plans.runtimes.machine.find_gpus", lambda: ())
    assert keys(bundle, Options(**{**vars(ONE), "gpus": ("sm_87",)})).isdisjoint(set().union(*seen))
    monkeypatch.setattr("fgdm.export.plans.order.RECIPE", 3)
    assert keys(bundle, Options(**{**vars(ONE), "gpus": ("sm_89",)})).isdisjoint(set().union(*seen))


def test_shapes_buckets_and_plugin_change_the_key(bundle: Path, tensorrt: Behave) -> None:
    backbone = Options("tensorrt", max_candidates=2, graphs=("backbone",))
    separate = keys(bundle, backbone)
    assert len(separate) == 5
    library = bundle / "manifest.json"
    for change in (
        {"image_sizes": ((48, 48),)},
        {"share_weights": True},
        {"plugin": library},
    ):
        others = keys(bundle, Options(**{**vars(backbone), **change}))
        assert others.isdisjoint(separate)


def test_what_does_not_matter_does_not(bundle: Path, tensorrt: Behave) -> None:
    before = keys(bundle)
    (bundle / "palette.json").write_text("{}")
    reseal(bundle, name="another name")
    assert keys(bundle) == before


# What goes wrong.


def test_stale_plans_are_found_and_pruned(bundle: Path, tensorrt: Behave) -> None:
    build_plans(bundle, OPTIONS)
    assert obsolete_plans(bundle) == []
    graph = bundle / "vae_decoder.onnx"
    graph.write_bytes(graph.read_bytes().replace(b"\x01g", b"\x01h"))
    reseal(bundle)
    stale = obsolete_plans(bundle)
    assert [plan.problem for plan in stale] == [
        "stale: vae_decoder.onnx changed since it was built"
    ] * 2
    assert prune_plans(bundle) == stale
    labels = {plan.metadata.graph for plan in find_plans(bundle, read_manifest(bundle))}  # type: ignore[union-attr]
    assert labels == {label.split()[0] for label in LABELS} - {"vae_decoder"}
    assert len(build_plans(bundle, OPTIONS).built) == 2


def test_a_truncated_plan_is_built_again(bundle: Path, tensorrt: Behave) -> None:
    ((order, _),) = build_plans(bundle, ONE).built
    plan = order.stem.with_suffix(".plan")
    content = plan.read_bytes()
    plan.write_bytes(content[:-1])
    assert "instead of" in str(obsolete_plans(bundle)[0].problem)
    assert len(build_plans(bundle, ONE).built) == 1
    assert plan.read_bytes() == content


def test_edited_metadata_is_no_longer_believed(bundle: Path, tensorrt: Behave) -> None:
    ((order, metadata),) = build_plans(bundle, ONE).built
    metadata["covers"]["gpus"] = ["sm_90"]
    assert plan_key(metadata["covers"]) != order.key
    order.stem.with_suffix(".json").write_text(json.dumps(metadata))
    assert "has been altered" in str(obsolete_plans(bundle)[0].problem)


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        ({"parse_error": "no converter"}, r"controlnet_hint\.onnx: node /mid_block/conv \(Conv\)"),
        ({"build_error": "no tactic"}, "can't build controlnet_hint.onnx: no tactic"),
        ({"no_space": True}, "No space left on device; free some room"),
        ({"die": True}, r"controlnet_hint 32×32, 1 row was ended by signal 9 .*memory runs out"),
        ({"dtype": "HALF"}, "hint is float16, expected float32"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_failed_build_leaves_nothing(
    bundle: Path, tensorrt: Behave, behaviour: dict[str, Any], message: str
) -> None:
    before = files(bundle)
    tensorrt(**behaviour)
    with pytest.raises(ExportError, match=message):
        build_plans(bundle, ONE)
    assert files(bundle) == before
    tensorrt()
    assert len(build_plans(bundle, ONE).built) == 1


def test_a_disk_that_is_too_small_is_known_before_the_work(
    bundle: Path, tensorrt: Behave, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(bundle)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ExportError, match=r"13 plans will take about .* 1\.0 MB free"):
        build_plans(bundle, OPTIONS)


def test_a_damaged_bundle_gets_no_plans(bundle: Path, tensorrt: Behave) -> None:
    weights = bytearray((bundle / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (bundle / WEIGHTS).write_bytes(weights)
    with pytest.raises(BundleError, match=r"weights\.bin has been altered"):
        build_plans(bundle, ONE)
    assert list(bundle.glob("plans/tensorrt/*")) == []


def test_graphs_that_the_bundle_does_not_run(bundle: Path, tensorrt: Behave) -> None:
    with pytest.raises(ExportError, match=r"--graphs names unet; this bundle runs .*backbone"):
        build_plans(bundle, Options("tensorrt", graphs=("backbone", "unet")))


def test_two_builds_at_once(bundle: Path, tensorrt: Behave) -> None:
    with building(bundle), pytest.raises(ExportError, match=f"built by process {os.getpid()} on"):
        build_plans(bundle, ONE)
    assert len(build_plans(bundle, ONE).built) == 1


# Builds that are ended from outside, in processes of their own.


def start_build(bundle: Path) -> subprocess.Popen[str]:
    command = ["build", str(bundle), "--target", "tensorrt", "--gpu", "sm_89"]
    return subprocess.Popen(
        [sys.executable, "-m", "fgdm", *command, "--max-candidates", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PATH": ""},  # no nvidia-smi: the GPU is the one that is named
    )


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def plans_in(bundle: Path) -> int:
    return len(list(bundle.glob("plans/tensorrt/*.plan")))


def builders(bundle: Path) -> list[Path]:
    """Processes that work on a bundle's plans: those that have its weights or plans folder open."""
    found = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = command.read_bytes()
        except OSError:
            continue
        environment = command.with_name("environ")
        if b"fgdm.export.plans.worker" in text and str(bundle).encode() in environment.read_bytes():
            found.append(command)
    return found


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGINT], ids=["killed", "Ctrl-C"])
def test_an_ended_build_leaves_only_finished_plans_and_no_lock(
    bundle: Path, tensorrt: Behave, ending: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_BUNDLE", str(bundle))
    tensorrt(step_seconds=0.1, steps=8)
    process = start_build(bundle)
    wait_for(lambda: plans_in(bundle) >= 1)
    process.send_signal(ending)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (130 if ending == signal.SIGINT else -9)
    if ending == signal.SIGINT:
        assert "finished plans are kept" in errors and "cancelled" in errors
        assert_consistent(bundle)
    wait_for(lambda: not builders(bundle))  # an orphan stops by itself
    finished = len(find_plans(bundle, read_manifest(bundle)))
    assert 1 <= finished < len(LABELS)
    tensorrt()
    outcome = build_plans(bundle, OPTIONS)
    assert_consistent(bundle)
    assert len(outcome.built) + len(outcome.kept) == len(LABELS) and outcome.kept


def test_a_stop_that_comes_with_the_order_is_heeded(bundle: Path, tensorrt: Behave) -> None:
    (order,) = plan_orders(bundle, ONE)
    task = json.dumps({"order": order.as_json(), "deserialise": True})
    done = subprocess.run(
        [sys.executable, "-m", "fgdm.export.plans.worker"],
        input=f"{task}\nstop\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {"stopped": True}
    assert not list(bundle.glob("plans/*/*"))


def test_what_a_killed_build_may_leave_is_cleared(bundle: Path, tensorrt: Behave) -> None:
    ((order, _),) = build_plans(bundle, ONE).built
    folder = order.stem.parent
    other = "0" * 64
    for name in (f".{other}.plan.77.abcd.part", f"{other}.plan", f"{other}.layers.json"):
        (folder / name).write_bytes(b"half")
    build_plans(bundle, ONE)
    assert not [path for path in folder.iterdir() if other in path.name]
    assert_consistent(bundle)
