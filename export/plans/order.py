"""One plan to build: all that its key covers, and where it will lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fgdm.manifest import Port
from fgdm.plans import PLANS, plan_key, profile_label

from ..op import OP_DOMAIN
from .chain import Chain, GraphProfiles
from .graph_file import GraphFile

#: Counts changes of what `compile.py` asks of the runtimes, so that older plans are built again.
RECIPE = 2


@dataclass(frozen=True)
class Runtime:
    """What plans are built with and for.

    version: of the target's runtime. gpus: architectures, such as "sm_89". plugin: path of the
    library whose plugin replaces the op's function body, None to keep the body.
    """

    target: str
    version: str
    gpus: tuple[str, ...]
    plugin: Path | None = None


@dataclass(frozen=True)
class Order:
    """A plan to build. covers: all that it depends on, ready for JSON; its hash is the key.

    weight_bytes: what the weights take in the plan.
    """

    bundle: Path
    covers: dict[str, Any]
    weight_bytes: int
    plugin: Path | None

    def as_json(self) -> dict[str, Any]:
        """For another process; `from_json` makes the order of it."""
        plugin = None if self.plugin is None else str(self.plugin)
        return {**vars(self), "bundle": str(self.bundle), "plugin": plugin}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Order:
        plugin = None if value["plugin"] is None else Path(value["plugin"])
        return cls(**{**value, "bundle": Path(value["bundle"]), "plugin": plugin})

    @property
    def key(self) -> str:
        return plan_key(self.covers)

    @property
    def stem(self) -> Path:
        """The plan's path without its suffix."""
        return self.bundle / PLANS / str(self.covers["target"]) / self.key

    @property
    def label(self) -> str:
        """Graph and profile, for a person."""
        profiles = self.covers["profiles"]
        if len(profiles) > 1:
            return f"{self.covers['graph']}, {len(profiles)} profiles"
        return f"{self.covers['graph']} {profile_label(**profiles[0])}"


def make_order(
    chain: Chain, item: GraphProfiles, file: GraphFile, bundle: Path, runtime: Runtime
) -> Order:
    """The order for one plan that holds all profiles of `item`."""
    manifest = chain.manifest
    graph = next(graph for graph in manifest.graphs if graph.name == item.graph)
    hashes = {entry.path: entry.sha256 for entry in manifest.files}
    plugin = runtime.plugin if file.op is not None else None
    covers = {
        "recipe": RECIPE,
        "target": runtime.target,
        "runtime": runtime.version,
        "gpus": list(runtime.gpus),
        "precision": manifest.precision,
        "tf32": False,
        "graph": graph.name,
        "graph_file": graph.file,
        "files": {path: hashes[path] for path in (graph.file, *file.weight_files)},
        "profiles": [vars(profile) for profile in item.profiles],
        "inputs": _tensors(chain, item, graph.inputs),
        "outputs": _tensors(chain, item, graph.outputs),
        "segfree_attention": _attention(file, plugin),
        "plugin": None
        if plugin is None
        else {"name": file.op, "namespace": OP_DOMAIN, "version": file.op_version},
    }
    return Order(bundle, covers, file.weight_bytes, plugin)


def split(item: GraphProfiles) -> list[GraphProfiles]:
    """The same profiles with a plan of its own for each."""
    return [GraphProfiles(item.graph, (profile,)) for profile in item.profiles]


def _attention(file: GraphFile, plugin: Path | None) -> str:
    if file.op is None:
        return "none"
    return "function" if plugin is None else "plugin"


def _tensors(chain: Chain, item: GraphProfiles, ports: Sequence[Port]) -> list[dict[str, Any]]:
    shapes: list[dict[str, tuple[int, ...]]] = [
        chain.shapes(item.graph, profile) for profile in item.profiles
    ]
    return [
        {
            "name": port.name,
            "dtype": port.dtype,
            "shapes": [list(at_profile[port.name]) for at_profile in shapes],
        }
        for port in ports
    ]
