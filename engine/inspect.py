"""``fgdm inspect``: what a bundle holds, from its manifest and its graphs, but no weights."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from fgdm import machine
from fgdm.bundle_files import check_hashes, check_sizes
from fgdm.contexts import CONTEXTS, Context, find_contexts, is_compiled
from fgdm.file_tree import FileTree, open_tree, reading
from fgdm.manifest import (
    MANIFEST,
    MANIFEST_HASH,
    Conditioning,
    Factor,
    Manifest,
    Port,
    check_archive,
    check_manifest,
    read_manifest,
    sampling_weaknesses,
)
from fgdm.onnx_file import check_graph
from fgdm.plans import Host, Plan, find_plans, look, obstacles, profile_label

#: ONNX files end at 2 GiB, as all of protobuf does.
_LARGEST_GRAPH = 2**31

EPILOG = """\
examples:
  fgdm inspect bundles/scenes
  fgdm inspect bundles/scenes --verify --json

exit codes: 0 sound, 3 missing, truncated, altered, newer than this fgdm, or a graph that lacks
a part, such as an op's body that a tool has dropped
"""


@dataclass(frozen=True)
class Description:
    """A bundle whose files have been compared with its manifest.

    verified: by SHA-256, not by size alone. plans: each with what keeps it from running on this
    machine, nothing if it fits. contexts: compiled ones that are kept in the bundle. unlisted:
    files that the manifest doesn't know. weaknesses: of the factors' numbers of steps and spacings.
    attentions: nodes of ``fgdm::SegFreeAttention`` by the graphs that have some. attention: the
    kernel that backend "cpu" has for them on this machine, "" without one.
    """

    bundle: Path
    manifest: Manifest
    verified: bool
    plans: tuple[tuple[Plan, tuple[str, ...]], ...]
    contexts: tuple[Context, ...]
    unlisted: tuple[str, ...]
    weaknesses: tuple[str, ...] = ()
    attentions: dict[str, int] = field(default_factory=dict)
    attention: str = ""

    @property
    def size(self) -> int:
        """Bytes of all listed files."""
        return sum(entry.size for entry in self.manifest.files)

    def to_json(self) -> dict[str, object]:
        """Everything, ready for ``json.dumps``."""
        return {
            "bundle": str(self.bundle),
            **asdict(self.manifest),
            "size": self.size,
            "verified": self.verified,
            "plans": [
                {**asdict(plan), "fits": not reasons, "obstacles": list(reasons)}
                for plan, reasons in self.plans
            ],
            "contexts": [
                {**asdict(context), "folder": str(context.folder)} for context in self.contexts
            ],
            "unlisted": list(self.unlisted),
            "weaknesses": list(self.weaknesses),
            "attentions": self.attentions,
            "attention": self.attention,
        }

    def lines(self) -> Iterator[str]:
        """Everything, for a person to read."""
        manifest = self.manifest
        yield f"bundle {manifest.name}  ({self.bundle})"
        yield (
            f"  schema {manifest.schema}, made by {manifest.created_by}, graphs in "
            f"{manifest.precision}, weights in {manifest.weights}, {human_size(self.size)}"
        )
        yield "\nfactors, in order"
        for factor in manifest.factors:
            yield _factor_line(factor)
        for weakness in self.weaknesses:
            yield f"  note: {weakness}"
        if manifest.loras:
            yield "\nLoRAs that requests weigh (loras)"
        for lora in manifest.loras:
            changed = ", ".join(lora.factors)
            yield f"  {lora.name}  rank {lora.rank}, changes {changed}  ({lora.file})"
        yield "\ngraphs"
        for graph in manifest.graphs:
            yield f"  {graph.name}  ({graph.file})"
            yield from _port_lines("in ", graph.inputs)
            yield from _port_lines("out", graph.outputs)
        if self.attentions:
            kernel = f"  ({self.attention} kernel on backend cpu)" if self.attention else ""
            yield f"\nnodes of fgdm::SegFreeAttention{kernel}"
        for name, count in self.attentions.items():
            yield f"  {name}  {count}"
        yield "\nfiles" + ("  (every SHA-256 checked)" if self.verified else "  (sizes checked)")
        width = max((len(entry.path) for entry in manifest.files), default=0)
        for entry in manifest.files:
            yield f"  {entry.path:<{width}}  {human_size(entry.size):>10}  {entry.sha256[:12]}"
        yield "\nplans" if self.plans else "\nplans: none built"
        for plan, reasons in self.plans:
            yield from _plan_lines(plan, reasons)
        if self.contexts:
            yield "\ncompiled contexts"
        for context in self.contexts:
            yield from _context_lines(context)
        if self.unlisted:
            yield f"not in the manifest: {', '.join(self.unlisted)}"


def describe(bundle: Path, *, verify: bool = False) -> Description:
    """Reads a bundle's manifest and compares every file's size, with `verify` its SHA-256, with it.

    Raises BundleError for a missing, truncated, altered or newer bundle, and for a graph that lacks
    an input, an output or the body of an op, which a tool that rewrote it may have dropped.
    """
    files = open_tree(bundle)
    check_archive(bundle)
    manifest = read_manifest(bundle)
    check_manifest(bundle)
    if verify:
        check_hashes(bundle, manifest)
    else:
        check_sizes(bundle, manifest)
    graphs = {
        graph.name: check_graph(_graph_file(files, graph.file), graph) for graph in manifest.graphs
    }
    found = find_plans(bundle, manifest, verify=verify)
    here = look() if found else Host((), {})
    plans = tuple((plan, obstacles(plan, here)) for plan in found)
    weaknesses = sampling_weaknesses(bundle, manifest)
    attentions = {name: file.attentions for name, file in graphs.items() if file.attentions}
    own = machine.attention_kernel() if manifest.precision == "fp32" else ""
    return Description(
        bundle=bundle,
        manifest=manifest,
        verified=verify,
        plans=plans,
        contexts=find_contexts(bundle / CONTEXTS, manifest, verify=verify),
        unlisted=_unlisted(files, manifest),
        weaknesses=weaknesses,
        attentions=attentions,
        attention=own,
    )


def _graph_file(files: FileTree, name: str) -> bytes:
    with reading(files, name):
        return files.read(name, _LARGEST_GRAPH)


def _unlisted(files: FileTree, manifest: Manifest) -> tuple[str, ...]:
    listed = {entry.path for entry in manifest.files} | {MANIFEST, MANIFEST_HASH}
    return tuple(sorted(name for name in {*files.names()} - listed if not is_compiled(name)))


def _plan_lines(plan: Plan, reasons: tuple[str, ...]) -> Iterator[str]:
    size = "no .plan file" if plan.size is None else human_size(plan.size)
    yield f"  {plan.target}/{plan.key[:12]}  {size}"
    if plan.metadata is not None:
        profiles = " | ".join(profile_label(*profile) for profile in plan.metadata.profiles)
        built_for = f"{plan.target} {plan.metadata.runtime}, {', '.join(plan.metadata.gpus)}"
        if plan.metadata.attention != "none":
            built_for += f", attention from the {plan.metadata.attention}"
        yield f"    {plan.metadata.graph}  {profiles}  ({built_for})"
    yield f"    doesn't fit: {'; '.join(reasons)}" if reasons else "    fits this machine"


def _context_lines(context: Context) -> Iterator[str]:
    graph = "" if context.covers is None else context.covers.get("graph")
    yield f"  {context.target}/{context.key[:12]}  {human_size(context.size)}"
    if context.covers is not None:
        yield f"    {graph}  ({context.made_for})"
    if context.problem is not None:
        yield f"    of no use: {context.problem}"


def _factor_line(factor: Factor) -> str:
    made = "image" if factor.output is None else f"condition, {factor.output}"
    optional = ", optional" if factor.optional else ""
    lines = "" if factor.lines is None else f" in {factor.lines} lines"
    spacing = "" if factor.timestep_spacing is None else f" in {factor.timestep_spacing} spacing"
    cache = "" if factor.cache_interval == 1 else f", {_cache(factor)}"
    stop = f", {_stop(factor)}" if factor.stop_at_recall > 0 else ""
    networks = " + ".join(
        [
            *([] if factor.own_backbone is None else [_own_backbone(factor)]),
            *(_network(network, factor.name) for network in factor.conditionings),
        ]
    )
    return (
        f"  {factor.name}  {made}{lines}{optional}, {factor.width}×{factor.height} px, "
        f"{factor.num_inference_steps} steps of {factor.sampler}{spacing}{cache}{stop}, "
        f"{networks or 'no networks'}, "
        f"guidance {_guidance(factor)}"
    )


def _cache(factor: Factor) -> str:
    levels = "1 level" if factor.cache_level == 1 else f"{factor.cache_level} levels"
    return f"all but one of {factor.cache_interval} through {levels} alone"


def _stop(factor: Factor) -> str:
    wave = f"{factor.wave} at a time" if factor.wave else "all at once"
    return f"maps {wave} until one has recall {factor.stop_at_recall:g}"


def _own_backbone(factor: Factor) -> str:
    """Its graph, and what it sees unless that is the noisy latent alone."""
    sees = "" if factor.latents == (factor.name,) else f" on {', '.join(factor.latents)}"
    return f"own backbone{sees} ({factor.own_backbone})"


def _network(network: Conditioning, owner: str) -> str:
    """Its kind and graph, and what it sees unless that is an adapter's own noisy latent."""
    seen = network.latents if network.condition is None else (network.condition,)
    sees = "" if seen == (owner,) else f" on {', '.join(seen)}"
    return f"{network.kind}{sees} ({network.graph})"


def _guidance(factor: Factor) -> str:
    if factor.guidance == "segfree" and factor.segfree_guidance_scale is not None:
        return (
            f"segfree at {factor.segfree_guidance_scale:g}, cfg at {factor.guidance_scale:g} before"
        )
    return f"{factor.guidance} at {factor.guidance_scale:g}"


def _port_lines(label: str, ports: tuple[Port, ...]) -> Iterator[str]:
    """Ports one a line; a numbered family such as down_residual_0.. shares one."""
    position = 0
    while position < len(ports):
        port = ports[position]
        last = position
        stem, _, number = port.name.rpartition("_")
        if number == "0":
            while last + 1 < len(ports) and ports[last + 1].name == f"{stem}_{last + 1 - position}":
                last += 1
        if last > position:
            channels = ", ".join(
                str(p.shape[1]) if len(p.shape) > 1 else "?" for p in ports[position : last + 1]
            )
            yield (
                f"    {label} {stem}_0..{last - position}  {port.dtype}  "
                f"{last - position + 1} feature maps of {channels} channels"
            )
        else:
            sizes = ", ".join(str(size) for size in port.shape)
            yield f"    {label} {port.name}  {port.dtype} ({sizes})"
        position = last + 1


def human_size(count: int) -> str:
    """A number of bytes for a person: 1234567 is 1.2 MB."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's arguments."""
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help="folder or archive")
    parser.add_argument("--verify", action="store_true", help="re-hash every file")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Prints the description; the exit code."""
    description = describe(args.bundle, verify=args.verify)
    if args.json:
        print(json.dumps(description.to_json(), indent=2))
    else:
        print("\n".join(description.lines()))
    return 0
