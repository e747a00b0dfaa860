"""A bundle's plans: compiled graphs, what each was built for, and whether it fits this machine.

Reads the .json beside every .plan; no runtime is imported. `fgdm build` writes them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from fgdm import machine
from fgdm.bundle_files import sha256
from fgdm.errors import BundleError
from fgdm.fields import Fields, JsonObject, parse_object
from fgdm.file_tree import FileTree, Folder, open_tree
from fgdm.manifest import Manifest

#: The folder of plans in a bundle: plans/<target>/<key>.plan with <key>.json.
PLANS = "plans"

#: The newest metadata schema that this version reads and writes.
SCHEMA = 1

_KEY = re.compile(r"[0-9a-f]{64}")
_LARGEST_COUNT = 2**40


class NewerSchemaError(BundleError):
    """The metadata of a plan or a compiled context was written by a newer fgdm."""


@dataclass(frozen=True)
class Metadata:
    """What a plan's .json says.

    covers: everything the key is the hash of, in the clear. attention: what SegFreeAttention was
    compiled from, "function", "plugin" or "none". profiles: (height, width, rows) of each, in
    pixels, 0 where the graph has no resolution. size, sha256: of the .plan file.
    built: how it was built (seconds, peak_memory in bytes, checked, layers).
    """

    covers: JsonObject
    graph: str
    attention: str
    runtime: str
    gpus: tuple[str, ...]
    profiles: tuple[tuple[int, int, int], ...]
    size: int
    sha256: str
    built: JsonObject


@dataclass(frozen=True)
class Plan:
    """A compiled graph under plans/<target>/.

    size: bytes of the .plan file, None if there is none. problem: why no machine can use it.
    obsolete: whether that is final, because it is damaged or the bundle has changed since.
    """

    target: str
    key: str
    size: int | None
    metadata: Metadata | None
    problem: str | None
    obsolete: bool


@dataclass(frozen=True)
class Host:
    """What decides whether a plan fits a machine.

    runtimes: the installed version of each target's runtime, None where it isn't installed.
    """

    gpus: tuple[machine.Gpu, ...]
    runtimes: Mapping[str, str | None]


def is_key(name: str) -> bool:
    """Whether a name may be the key of a plan or a compiled context."""
    return _KEY.fullmatch(name) is not None


def plan_key(covers: Mapping[str, object]) -> str:
    """The SHA-256, in hex, of what a plan or a compiled context depends on."""
    text = json.dumps(covers, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def find_plans(bundle: Path, manifest: Manifest, *, verify: bool = False) -> tuple[Plan, ...]:
    """Every plan of the bundle, complete or not; `verify` reads each one and checks its hash."""
    files = open_tree(bundle)
    paths = [PurePosixPath(name) for name in files.names()]
    stems = {
        path.with_suffix("")
        for path in paths
        if len(path.parts) == 3 and path.parts[0] == PLANS
        if path.suffix in (".plan", ".json") and is_key(path.stem)
    }
    found = [_plan(files, stem, manifest, verify) for stem in stems]
    return tuple(sorted(found, key=_order))


def _order(plan: Plan) -> tuple[str, str, tuple[tuple[int, int, int], ...], str]:
    """By target, graph and profiles; those without metadata first."""
    graph = "" if plan.metadata is None else plan.metadata.graph
    return plan.target, graph, () if plan.metadata is None else plan.metadata.profiles, plan.key


def _plan(files: FileTree, stem: PurePosixPath, manifest: Manifest, verify: bool) -> Plan:
    compiled, described = str(stem.with_suffix(".plan")), str(stem.with_suffix(".json"))
    size = files.size(compiled) if files.has(compiled) else None
    metadata, problem, obsolete = None, None, True
    try:
        content = _content(files, described)
        metadata = _parse_metadata(content, stem.with_suffix(".json").name)
        if size is None:
            problem = "its .plan file is missing"
        elif size != metadata.size:
            problem = f"its .plan file has {size} bytes instead of {metadata.size}"
        elif verify and sha256(files, compiled) != metadata.sha256:
            problem = "its .plan file has been altered (its SHA-256 differs)"
        else:
            problem = staleness(metadata, manifest)
            if problem is None:
                _check_by_core(content, stem.with_suffix(".json").name, manifest)
    except NewerSchemaError as error:
        problem, obsolete = str(error), False
    except BundleError as error:
        problem = str(error)
    return Plan(stem.parent.name, stem.name, size, metadata, problem, obsolete and bool(problem))


def read_metadata(path: Path) -> Metadata:
    """A plan's .json; BundleError if it can't be read or isn't what `fgdm build` writes."""
    return _parse_metadata(_content(Folder(path.parent), path.name), path.name)


def _parse_metadata(content: bytes, name: str) -> Metadata:
    fields = Fields(parse_object(content, name), name)
    if fields.whole("schema", 1, 2**31) > SCHEMA:
        raise NewerSchemaError(f"{name} was written by a newer fgdm; upgrade fgdm")
    covers = fields.fields("covers")
    if plan_key(covers.value) != name.removesuffix(".json"):
        raise BundleError(f"{name}: what it covers has been altered; build the plan again")
    plan = fields.fields("plan")
    return Metadata(
        covers=covers.value,
        graph=covers.text("graph"),
        attention=covers.text("segfree_attention"),
        runtime=covers.text("runtime"),
        gpus=tuple(str(gpu) for gpu in covers.items("gpus")),
        profiles=tuple(
            _profile(Fields(item, f"{name}, profiles")) for item in covers.items("profiles")
        ),
        size=plan.whole("size", 0, _LARGEST_COUNT),
        sha256=plan.text("sha256"),
        built=fields.fields("built").value,
    )


def _check_by_core(content: bytes, name: str, manifest: Manifest) -> None:
    """Asks the core whether an engine would take a plan's .json; it reads more of it than we do.
    BundleError if not; nothing where no core is built."""
    try:
        from fgdm import _core  # noqa: PLC0415 (the rest works where the core isn't built)
    except ImportError:
        return
    hashes = {entry.path: entry.sha256 for entry in manifest.files}
    _core.check_plan(content, name, hashes)


def _content(files: FileTree, name: str) -> bytes:
    try:
        return files.read(name)
    except OSError as error:
        raise BundleError(
            f"{PurePosixPath(name).name}: {error.strerror}; build the plan again"
        ) from None


def _profile(fields: Fields) -> tuple[int, int, int]:
    height, width = fields.whole("height", 0, 2**16), fields.whole("width", 0, 2**16)
    return height, width, fields.whole("rows", 1, 2**16)


def profile_label(height: int, width: int, rows: int) -> str:
    """A profile for a person, such as "256×256, 2 rows"."""
    count = f"{rows} row{'s' if rows > 1 else ''}"
    return f"{height}×{width}, {count}" if height else count


def staleness(metadata: Metadata, manifest: Manifest) -> str | None:
    """Why a plan isn't one of this bundle: its graph, weights or precision are others.

    Nor is one that TensorRT was allowed to compute in TF32, as plans before recipe 2 were.
    """
    here = {entry.path: entry.sha256 for entry in manifest.files}
    files = metadata.covers.get("files")
    changed = [
        path
        for path, sha256 in (files.items() if isinstance(files, dict) else ())
        if here.get(path) != sha256
    ]
    if changed:
        return f"stale: {', '.join(changed)} changed since it was built"
    if metadata.covers.get("precision") != manifest.precision:
        return f"stale: the bundle's precision is {manifest.precision} now"
    if metadata.covers.get("tf32") is not False:
        return "stale: built with TF32 allowed, so its float32 isn't float32"
    return None


def look() -> Host:
    """This machine. Runs nvidia-smi; loads a runtime's library if its package isn't installed."""
    versions = {item.target: machine.plan_runtime_version(item) for item in machine.PLAN_RUNTIMES}
    return Host(machine.find_gpus(), versions)


def obstacles(plan: Plan, here: Host) -> tuple[str, ...]:
    """What keeps a plan from running on a machine; nothing if it fits."""
    if plan.problem is not None or plan.metadata is None:
        return (plan.problem or "its metadata is missing",)
    found = [_gpu_obstacle(plan.metadata.gpus, here.gpus)]
    installed = here.runtimes.get(plan.target)
    if installed is None:
        found.append(f"{plan.target} {plan.metadata.runtime} isn't installed")
    elif not same_version(installed, plan.metadata.runtime):
        found.append(f"built with {plan.target} {plan.metadata.runtime}, {installed} is installed")
    return tuple(reason for reason in found if reason is not None)


def _gpu_obstacle(built_for: Sequence[str], gpus: Sequence[machine.Gpu]) -> str | None:
    if not gpus:
        return "no NVIDIA GPU"
    here = [architecture(gpu) for gpu in gpus]
    if set(here) & set(built_for):
        return None
    known = ", ".join(dict.fromkeys(name or "unknown to nvidia-smi" for name in here))
    return f"built for {', '.join(built_for)}; this GPU is {known}"


def architecture(gpu: machine.Gpu) -> str | None:
    """A GPU's architecture as plans name it: compute capability 8.9 is sm_89."""
    digits = gpu.compute_capability.replace(".", "")
    return f"sm_{digits}" if digits.isdecimal() else None


def same_version(one: str, other: str) -> bool:
    """Whether two versions agree as far as both go: 10.3.0 and 10.3.0.30 do. Plans need that."""
    pairs = zip(one.split("."), other.split("."), strict=False)
    return all(first == second for first, second in pairs)
