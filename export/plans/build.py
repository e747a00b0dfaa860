"""Builds a bundle's plans: what is needed, less what is finished."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fgdm import machine, plans
from fgdm.bundle_files import check_hashes, check_sizes
from fgdm.errors import BundleError
from fgdm.file_tree import require_folder
from fgdm.inspect import human_size
from fgdm.manifest import Manifest, read_manifest
from fgdm.onnx_file import check_graph

from ..errors import ExportError
from ..progress import Progress, silent
from . import runtimes
from .chain import Chain
from .folder import building, clear_leftovers, remove
from .graph_file import GraphFile, read_graph_file
from .limits import check_buildable
from .options import Options
from .order import Order, Runtime, make_order, split
from .resources import affordable_jobs, available_memory, check_disk
from .workers import Workers


@dataclass
class Outcome:
    """Plans that were built, with their metadata, and that were there already."""

    built: list[tuple[Order, dict[str, Any]]] = field(default_factory=list)
    kept: list[Order] = field(default_factory=list)


def plan_orders(bundle: Path, options: Options) -> list[Order]:
    """The plans that the options ask for, largest first; nothing is built.

    Raises:
        ExportError: the runtime isn't installed or can't build a graph, or an option doesn't fit it
            or the bundle.
        BundleError: the bundle is missing or damaged, or a graph lacks a part (`onnx_file.gaps`).
    """
    require_folder(bundle, "fgdm build")
    return _plan_orders(bundle, read_manifest(bundle), options)


def _plan_orders(bundle: Path, manifest: Manifest, options: Options) -> list[Order]:
    target = runtimes.TARGETS[options.target]
    if options.plugin is not None and not target.needs_gpu:
        raise ExportError(
            f"--plugin {options.plugin} given, but {target.name} has no plugins; leave it out: "
            "the op's function body is compiled instead"
        )
    if options.plugin is not None and not options.plugin.is_file():
        raise ExportError(f"--plugin {options.plugin} isn't a file; give the plugin library's path")
    check_sizes(bundle, manifest)
    chain = Chain(manifest)
    needed = chain.needed(options.max_candidates, options.image_sizes, options.max_images)
    unknown = set(options.graphs) - {item.graph for item in needed}
    if unknown:
        raise ExportError(
            f"--graphs names {', '.join(sorted(unknown))}; this bundle runs "
            f"{', '.join(item.graph for item in needed)}"
        )
    trt = runtimes.load(target)
    gpus = runtimes.choose_gpus(target, trt, options.gpus)
    runtime = Runtime(target.name, str(trt.__version__), gpus, options.plugin)
    orders = []
    for item in needed:
        if options.graphs and item.graph not in options.graphs:
            continue
        file = _graph_file(bundle, manifest, item.graph)
        check_buildable(target.name, file.path)
        for part in [item] if options.share_weights else split(item):
            orders.append(make_order(chain, part, file, bundle, runtime))
    return sorted(orders, key=lambda order: -order.weight_bytes)


def build_plans(
    bundle: Path,
    options: Options,
    *,
    jobs: int = 1,
    progress: Progress = silent,
    remark: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Builds what is missing. Finished plans stay, whatever ends the work.

    jobs: builds at once, each in its own process; memory, or timing on a GPU, may allow fewer.
    remark: is told, before the work, what the caller may not expect of it.

    Raises:
        ExportError: as `plan_orders`; or another build has the bundle, memory or disk won't do, a
            graph can't be compiled, or a plan can't be written.
        BundleError: the bundle is missing or damaged.
    """
    require_folder(bundle, "fgdm build")
    manifest = read_manifest(bundle)
    orders = _plan_orders(bundle, manifest, options)
    outcome = Outcome()
    for text in _remarks(bundle, manifest, options):
        remark(text)
    with building(bundle):
        clear_leftovers(bundle)
        outcome.kept = [order for order in orders if _finished(order)]
        missing = [order for order in orders if order not in outcome.kept]
        if not missing:
            return outcome
        check_disk(bundle / plans.PLANS, missing)
        at_once = affordable_jobs(missing, jobs, available_memory())
        if runtimes.TARGETS[options.target].needs_gpu:
            at_once = 1
        if at_once < min(jobs, len(missing)):
            remark(_fewer_jobs(options.target, at_once, jobs))
        progress("check the bundle", 0, 1)
        check_hashes(bundle, manifest)
        for order in missing:
            order.stem.parent.mkdir(exist_ok=True)
        display = _Display(progress, missing, at_once)

        def done(order: Order, metadata: dict[str, Any]) -> None:
            outcome.built.append((order, metadata))
            display.advance(order, 100)

        deserialise = _can_deserialise(options.target, missing[0].covers["gpus"])
        try:
            Workers(at_once, display.advance, deserialise=deserialise).run(missing, done)
        finally:
            clear_leftovers(bundle)
    return outcome


def prune_plans(bundle: Path) -> list[plans.Plan]:
    """Removes and returns the obsolete plans of every target.

    Those are plans of other graphs, weights or precision, and damaged ones; a plan for another GPU
    or runtime version stays. Raises ExportError if a build has the bundle.
    """
    require_folder(bundle, "fgdm build --prune")
    with building(bundle):
        clear_leftovers(bundle)
        found = obsolete_plans(bundle)
        for plan in found:
            remove(bundle, plan.target, plan.key)
    return found


def obsolete_plans(bundle: Path) -> list[plans.Plan]:
    """The plans that `prune_plans` would remove; `problem` says why."""
    return [plan for plan in plans.find_plans(bundle, read_manifest(bundle)) if plan.obsolete]


def _graph_file(bundle: Path, manifest: Manifest, name: str) -> GraphFile:
    graph = next(graph for graph in manifest.graphs if graph.name == name)
    file = read_graph_file(bundle, graph.file)
    check_graph(file.path.read_bytes(), graph)
    listed = {entry.path for entry in manifest.files}
    unlisted = set(file.weight_files) - listed
    if unlisted:
        raise ExportError(
            f"{graph.file} refers to {', '.join(sorted(unlisted))}, which the manifest doesn't "
            "list; export the bundle again"
        )
    return file


def _finished(order: Order) -> bool:
    plan = order.stem.with_suffix(".plan")
    try:
        metadata = plans.read_metadata(order.stem.with_suffix(".json"))
        return plan.stat().st_size == metadata.size
    except (BundleError, OSError):
        return False


def _remarks(bundle: Path, manifest: Manifest, options: Options) -> Iterator[str]:
    if manifest.precision == "fp32":
        yield (
            "this bundle's graphs compute in float32, and so will the plans: the runtimes don't "
            "lower a graph's precision; for float16 plans, export it with --precision fp16"
        )


def _fewer_jobs(target: str, at_once: int, asked: int) -> str:
    if runtimes.TARGETS[target].needs_gpu:
        return (
            f"--jobs {asked} lowered to 1: {target} times kernels on the GPU, one build at a time"
        )
    free = human_size(available_memory())
    return f"--jobs {asked} lowered to {at_once}: {free} of memory is available"


def _can_deserialise(target: str, gpus: Sequence[str]) -> bool:
    here = {plans.architecture(gpu) for gpu in machine.find_gpus()}
    return runtimes.TARGETS[target].needs_gpu or bool(here & set(gpus))


class _Display:
    """Progress of one plan at a time, or of all together where several are built at once."""

    def __init__(self, progress: Progress, orders: Sequence[Order], at_once: int) -> None:
        self._progress, self._at_once = progress, at_once
        self._percents = {order.key: 0 for order in orders}

    def advance(self, order: Order, percent: int) -> None:
        self._percents[order.key] = percent
        if self._at_once == 1:
            self._progress(order.label, percent, 100)
        else:
            total = len(self._percents)
            self._progress(f"{total} plans", sum(self._percents.values()) // total, 100)
