"""A bundle's manifest.json, read and checked without loading a graph.

Holds what describing and verifying a bundle needs. The core knows what an engine needs besides, and
takes no manifest that is refused here: check_manifest asks it.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from fgdm import __version__
from fgdm.errors import BundleError
from fgdm.fields import Fields, is_plain, parse_object
from fgdm.file_tree import FileTree, is_archive, is_inner_name, open_tree

#: The newest manifest schema that this version reads.
SCHEMA = 3

#: The manifest, and the file with its SHA-256 as sha256sum writes it.
MANIFEST = "manifest.json"
MANIFEST_HASH = "manifest.sha256"

#: What a condition factor may make: a label map, or a picture of a kind.
OUTPUTS = ("labels", "depth", "normal", "sketch", "pose")
#: The lines of a sketch: white on black, or black on white.
LINES = ("white", "black")

_LARGEST_SIDE = 2**16


@dataclass(frozen=True)
class Port:
    """An input or output of a graph; `shape` mixes fixed sizes and the names of dynamic ones."""

    name: str
    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Graph:
    """An ONNX graph of the bundle."""

    name: str
    file: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]


@dataclass(frozen=True)
class Conditioning:
    """A conditioning network of a factor: "adapter", "controlnet" or "t2i_adapter".

    condition: the map or control image that it sees; None for an adapter.
    latents: the factors whose latents an adapter sees, its own factor's for the noisy latent; ()
    for other networks.
    """

    kind: str
    graph: str
    hint_graph: str | None
    condition: str | None
    latents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Factor:
    """One model of the chain; height and width in pixels of the map or image it makes.

    own_backbone: the graph of a backbone of its own; None over the shared one. latents: the factors
    whose latents that backbone sees, its own name for the noisy one.
    output: of a condition factor, one of OUTPUTS; None of the image. lines: of a sketch, one of
    LINES. cache_interval, cache_level: as in requests. stop_at_recall, wave: likewise; 0 of what
    makes no labels. optional: left out, unless a request names it.
    """

    name: str
    kind: str
    conditionings: tuple[Conditioning, ...]
    height: int
    width: int
    num_inference_steps: int
    sampler: str
    guidance: str
    guidance_scale: float
    segfree_guidance_scale: float | None = None  # of the image, in its segmentation-free steps
    output: str | None = None
    lines: str | None = None
    timestep_spacing: str | None = None  # None: the noise schedule's for the sampler
    own_backbone: str | None = None
    latents: tuple[str, ...] = ()
    cache_interval: int = 1
    cache_level: int = 1
    stop_at_recall: float = 0.0
    wave: int = 0
    optional: bool = False


@dataclass(frozen=True)
class Lora:
    """A LoRA that requests weigh, of that rank; factors: those that it changes."""

    name: str
    file: str
    rank: int
    factors: tuple[str, ...]


@dataclass(frozen=True)
class FileEntry:
    """A file as the manifest records it; sha256 in lower-case hex."""

    path: str
    size: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """What a bundle says about itself.

    text_encoder, backbone, encoder, decoders: names of graphs. backbone is the one of all factors
    that have none of their own; the shallow ones are its outer level, its two outer ones and so on.
    The decoders turn latents into pictures, one of them for previews
    where there are two. latent_downscale: pixels of a latent's
    cell along one axis; size_multiple: what every height and width in pixels must be a multiple of.
    segmenter: the graph that reads a map from a picture; None without one.
    """

    name: str
    schema: int
    created_by: str
    precision: str
    weights: str
    text_encoder: str
    backbone: str
    shallow_backbones: tuple[str, ...]
    encoder: str
    decoders: tuple[str, ...]
    latent_downscale: int
    size_multiple: int
    factors: tuple[Factor, ...]
    graphs: tuple[Graph, ...]
    files: tuple[FileEntry, ...]
    segmenter: str | None = None
    loras: tuple[Lora, ...] = ()


def read_manifest(bundle: Path) -> Manifest:
    """Reads manifest.json and checks it against manifest.sha256.

    Raises BundleError if either is missing or altered, or the schema is newer than ours.
    """
    return parse_manifest(read_checked(bundle), str(bundle / MANIFEST))


def check_manifest(bundle: Path) -> None:
    """Asks the core whether an engine would take the bundle's manifest: every field, the chain of
    factors, each graph's inputs and outputs. BundleError if not; nothing where no core is built."""
    try:
        from fgdm import _core  # noqa: PLC0415 (the rest works where the core isn't built)
    except ImportError:
        return
    _core.check_manifest(read_checked(bundle))


def check_archive(bundle: Path) -> None:
    """Asks the core whether an engine would take the bundle, if it is an archive. BundleError if
    not; nothing where no core is built."""
    try:
        from fgdm import _core  # noqa: PLC0415 (the rest works where the core isn't built)
    except ImportError:
        return
    if is_archive(bundle):
        _core.check_archive(str(bundle))


def sampling_weaknesses(bundle: Path, manifest: Manifest) -> tuple[str, ...]:
    """What the core knows to be bad about the factors' numbers of steps and spacings; nothing where
    no core is built."""
    try:
        from fgdm import _core  # noqa: PLC0415 (the rest works where the core isn't built)
    except ImportError:
        return ()
    schedule = _core.NoiseSchedule(read_checked(bundle).decode())
    found = (
        (factor.name, schedule.known_weakness(*_sampling(factor))) for factor in manifest.factors
    )
    return tuple(f"{name}: {weakness}" for name, weakness in found if weakness)


def _sampling(factor: Factor) -> tuple[str, int, str | None]:
    return factor.sampler, factor.num_inference_steps, factor.timestep_spacing


def read_checked(bundle: Path) -> bytes:
    """The bytes of manifest.json, whose hash is a recorded one. BundleError if it isn't.

    While the manifest is being replaced, its hash stands beside that of the one before.
    """
    files = open_tree(bundle)
    for _ in range(2):  # once more, where both were replaced between the two reads
        content = _read(files, MANIFEST)
        recorded = {line[:64] for line in _read(files, MANIFEST_HASH).splitlines()}
        if hashlib.sha256(content).hexdigest().encode() in recorded:
            return content
    raise BundleError(
        f"{bundle / MANIFEST} doesn't match {MANIFEST_HASH}, so one of them has been altered; "
        "copy the bundle again or export it again"
    )


def hash_line(content: bytes) -> bytes:
    """The line of a manifest in manifest.sha256."""
    return f"{hashlib.sha256(content).hexdigest()}  {MANIFEST}\n".encode("ascii")


def _read(files: FileTree, name: str) -> bytes:
    try:
        return files.read(name)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise BundleError(
            f"can't read {files.root / name}: {reason}; a bundle is a folder with a {MANIFEST} and "
            f"its hash in {MANIFEST_HASH}, as `fgdm export` writes it, or what `fgdm pack` makes "
            "of it"
        ) from None


def parse_manifest(content: bytes, source: str) -> Manifest:
    """Parses the bytes of a manifest; `source` names it in errors (BundleError)."""
    top = Fields(parse_object(content, source), source)
    schema = top.whole("schema", 1, 2**31)
    if schema > SCHEMA:
        raise BundleError(
            f"{source} has schema {schema}, but fgdm {__version__} reads schema {SCHEMA}; "
            "upgrade fgdm, or export the bundle again with this version"
        )
    listed = top.fields("files")
    files = tuple(_file(listed, path) for path in listed.names())
    paths = {entry.path for entry in files}
    described = top.fields("graphs")
    graphs = tuple(_graph(described, name, paths) for name in described.names())
    names = {graph.name for graph in graphs}
    factors = tuple(
        _factor(Fields(value, f"{source}, factors[{i}]"), names)
        for i, value in enumerate(top.items("factors"))
    )
    if not factors or factors[-1].kind != "image":
        raise BundleError(f"{source}: the last factor must be the image; export the bundle again")
    backbone, autoencoder = top.fields("backbone"), top.fields("autoencoder")
    downscale = autoencoder.whole("downscale", 1, 64)
    return Manifest(
        name=top.text("name"),
        schema=schema,
        created_by=top.text("created_by"),
        precision=top.text("precision"),
        weights=top.text("weights"),
        text_encoder=_role(top.fields("text_encoder"), "graph", names),
        backbone=_role(backbone, "graph", names),
        shallow_backbones=tuple(
            _role(Fields(value, f"{source}, backbone, shallow[{i}]"), "graph", names)
            for i, value in enumerate(backbone.items("shallow"))
        )
        if backbone.value.get("shallow") is not None
        else (),
        encoder=_role(autoencoder, "encoder", names),
        decoders=tuple(
            _role(autoencoder, role, names)
            for role in ("decoder", "preview_decoder")
            if autoencoder.value.get(role) is not None
        ),
        latent_downscale=downscale,
        size_multiple=downscale * backbone.whole("downscale", 1, 64),
        factors=factors,
        graphs=graphs,
        files=files,
        segmenter=None if top.value.get("segmenter") is None else _role(top, "segmenter", names),
        loras=tuple(
            _lora(Fields(value, f"{source}, loras[{i}]"), paths)
            for i, value in enumerate(top.items("loras"))
        )
        if top.value.get("loras") is not None
        else (),
    )


def _file(files: Fields, path: str) -> FileEntry:
    if not is_inner_name(path):
        raise BundleError(
            f"{files.place}: {path!a:.60} must be a path inside the bundle; export the bundle again"
        )
    entry = files.fields(path)
    sha256 = entry.text("sha256")
    if len(sha256) != 64 or set(sha256) - set("0123456789abcdef"):
        raise BundleError(
            f"{entry.place}: sha256 must be 64 lower-case hex digits, got {sha256!a:.70}; "
            "export the bundle again"
        )
    return FileEntry(path, entry.whole("size", 0, 2**63 - 1), sha256)


def _graph(graphs: Fields, name: str, paths: set[str]) -> Graph:
    fields = graphs.fields(name)
    file = fields.text("file")
    if file not in paths:
        raise BundleError(
            f"{fields.place}: its file {file!a:.60} isn't listed under files; "
            "export the bundle again"
        )
    return Graph(name, file, _ports(fields, "inputs"), _ports(fields, "outputs"))


def _ports(graph: Fields, key: str) -> tuple[Port, ...]:
    return tuple(
        _port(Fields(value, f"{graph.place}, {key}[{i}]"))
        for i, value in enumerate(graph.items(key))
    )


def _port(fields: Fields) -> Port:
    shape: list[int | str] = []
    for size in fields.items("shape"):
        fixed = isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**31
        named = isinstance(size, str) and is_plain(size)
        if not fixed and not named:
            raise BundleError(
                f"{fields.place}: a shape lists sizes and names of sizes, got {size!a:.60}; "
                "export the bundle again"
            )
        shape.append(size)  # type: ignore[arg-type]
    return Port(fields.text("name"), fields.text("dtype"), tuple(shape))


def _role(fields: Fields, role: str, graphs: set[str]) -> str:
    """The name of the graph that fills a role."""
    named = fields.text(role)
    if named not in graphs:
        raise BundleError(
            f"{fields.place}: its {role} {named!a:.60} isn't listed under graphs; "
            "export the bundle again"
        )
    return named


def _lora(fields: Fields, paths: set[str]) -> Lora:
    name, file = fields.text("name"), fields.text("file")
    if file not in paths:
        raise BundleError(
            f"{fields.place}: its file {file!a:.60} isn't listed under files; "
            "export the bundle again"
        )
    return Lora(name, file, fields.whole("rank", 1, 65536), fields.texts("factors"))


def _conditioning(fields: Fields, graphs: set[str], owner: str) -> Conditioning:
    """A network of the factor `owner`."""
    kind, graph = fields.text("kind"), _role(fields, "graph", graphs)
    if kind == "adapter":
        return Conditioning(kind, graph, None, None, _latents(fields, owner))
    hint_graph = _role(fields, "hint_graph", graphs) if kind == "controlnet" else None
    return Conditioning(kind, graph, hint_graph, fields.text("condition"))


def _latents(network: Fields, owner: str) -> tuple[str, ...]:
    """The factors whose latents a network of the factor `owner` sees."""
    return (owner,) if network.value.get("latents") is None else network.texts("latents")


def _cache(factor: Fields, key: str, most: int) -> int:
    return 1 if factor.value.get(key) is None else factor.whole(key, 1, most)


def _recall(factor: Fields) -> float:
    given = factor.value.get("stop_at_recall") is not None
    return factor.number("stop_at_recall") if given else 0.0


def _wave(factor: Fields) -> int:
    return 0 if factor.value.get("wave") is None else factor.whole("wave", 0, 1000)


def _factor(fields: Fields, graphs: set[str]) -> Factor:
    name, kind = fields.text("name"), fields.choice("kind", ("condition", "image"))
    output = lines = None
    if kind == "condition":
        given = fields.value.get("output") is not None
        output = fields.choice("output", OUTPUTS) if given else "labels"
    if output == "sketch":
        given = fields.value.get("lines") is not None
        lines = fields.choice("lines", LINES) if given else "white"
    has_own = fields.value.get("backbone") is not None
    return Factor(
        name=name,
        kind=kind,
        conditionings=tuple(
            _conditioning(Fields(value, f"{fields.place}, conditionings[{i}]"), graphs, name)
            for i, value in enumerate(fields.items("conditionings"))
        ),
        height=fields.whole("height", 1, _LARGEST_SIDE),
        width=fields.whole("width", 1, _LARGEST_SIDE),
        num_inference_steps=fields.whole("num_inference_steps", 1, 1000),
        sampler="ddim" if fields.value.get("sampler") is None else fields.text("sampler"),
        guidance=fields.text("guidance"),
        guidance_scale=fields.number("guidance_scale"),
        segfree_guidance_scale=None
        if fields.value.get("segfree_guidance_scale") is None
        else fields.number("segfree_guidance_scale"),
        output=output,
        lines=lines,
        timestep_spacing=None
        if fields.value.get("timestep_spacing") is None
        else fields.text("timestep_spacing"),
        own_backbone=_role(fields, "backbone", graphs) if has_own else None,
        latents=_latents(fields, name) if has_own else (),
        cache_interval=_cache(fields, "cache_interval", 1000),
        cache_level=_cache(fields, "cache_level", 16),
        stop_at_recall=_recall(fields) if output == "labels" else 0.0,
        wave=_wave(fields) if output == "labels" else 0,
        optional=fields.value.get("optional") is True,
    )
