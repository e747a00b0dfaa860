"""Makes a bundle: loads the models, writes weights once, exports and checks every graph."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from .calibration import Call, sampling_calls
from .check import check_graph
from .defaults import TOLERANCE, FactorDefaults
from .errors import ExportError
from .graphs import (
    adapter_graph,
    backbone_graph,
    decoder_graph,
    encoder_graph,
    preview_decoder_graph,
    text_encoder_graph,
)
from .image_networks import (
    HintPalette,
    ImageNetwork,
    NetworkSource,
    check_condition,
    name_networks,
)
from .manifest import HINT_PALETTE, PALETTE, BundleFacts, CheckedGraph, write_manifest
from .onnx_export import export_graph
from .output import check_output, replacing
from .overflow import check_overflow
from .palettes import PaletteSource, mapping, read_palette
from .picture import check_picture
from .progress import Progress, silent
from .signature import Graph, Precision
from .sources import Lora, Models, Source, TextualInversion, load_models
from .weights import DTYPES, Storage, WeightStore

_DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"
_TRANSFORMERS_FILE = "model.safetensors"

Controlnets = Source | NetworkSource | Sequence[Source | NetworkSource]


def export_bundle(
    base: Source,
    adapters: Mapping[str, Source],
    controlnets: Controlnets,
    palette: PaletteSource,
    output: Path,
    *,
    name: str,
    t2i_adapters: Sequence[Source | NetworkSource] = (),
    hint_palette: PaletteSource | None = None,
    tokenizer: Source | None = None,
    vae: Source | None = None,
    text_encoder: Source | None = None,
    loras: Sequence[Lora] = (),
    textual_inversions: Sequence[TextualInversion] = (),
    tiny_decoder: Source | None = None,
    weights: Storage = "fp16",
    precision: Precision = "fp32",
    keep_fp32: Sequence[str] = (),
    defaults: FactorDefaults | None = None,
    tolerance: float | None = None,
    overwrite: bool = False,
    check: bool = True,
    progress: Progress = silent,
) -> Path:
    """Write the bundle `output` from a base, a condition factor's adapter and what paints its maps.

    The bundle appears under its name only when it is complete, every graph has passed its check,
    and the engine has painted the picture from it that diffusers paints; until then an older bundle
    there stays as it was.

    Args:
        base: a diffusers folder, a Hugging Face id or a checkpoint; see `sources.load_base`.
        adapters: the condition factor's name (lower-case letters, digits, _) and its adapter; see
            `sources.load_adapter`.
        controlnets, t2i_adapters: the networks of the image factor; see `sources.load_controlnet`
            and `image_networks.NetworkSource`. One of them must see the condition factor's map.
        palette: a built-in palette's name, JSON file or description; see `palettes.read_palette`.
        hint_palette: the palette of the maps that these networks were trained on, if another.
        tokenizer: a folder or Hugging Face id, in place of the base's own.
        vae, text_encoder: the same, or one file; see `sources.parts`.
        loras: merged into the base in turn. textual_inversions: words that it learns after that.
        tiny_decoder: a decoder for previews of steps; see `sources.load_tiny_decoder`.
        weights: "fp16" or "fp32", the numbers on disk.
        precision: "fp32", or "fp16" for strongly typed float16 graphs, of fp16 weights; they are
            checked for overflow on a few prompts.
        keep_fp32: of a float16 bundle, nodes to keep in float32: ``GRAPH/NODES``, where NODES may
            have wildcards, such as ``vae_decoder/*``; see `precision.py`.
        tolerance: the largest error a graph may have; see `check.check_graph`. None takes the
            precision's own.
        overwrite: replace a bundle that is already there.
        check: open the bundle and compare a picture with diffusers'; see `picture.check_picture`.

    Returns:
        `output`.

    Raises:
        ExportError: something given can't be read or doesn't fit, a graph failed its check, or
            `output` exists, or came to exist meanwhile. Nothing is left behind.
    """
    factor, adapter = _only_factor(adapters)
    _check_arguments(name, weights, precision, keep_fp32)
    check_output(output, overwrite)
    chosen = defaults or FactorDefaults()
    chosen.check()
    palettes = {PALETTE: read_palette(palette)}
    hint = None
    if hint_palette is not None:
        palettes[HINT_PALETTE] = read_palette(hint_palette)
        table = mapping(palettes[PALETTE], palettes[HINT_PALETTE])
        recolor = {source: target for source, target in table.items() if target is not None}
        hint = HintPalette(HINT_PALETTE, recolor)
    progress("load models", 0, 1)
    control_sources, t2i_sources = _network_sources(controlnets), _network_sources(t2i_adapters)
    models = load_models(
        base,
        adapter,
        [entry.source for entry in control_sources],
        t2i_adapters=[entry.source for entry in t2i_sources],
        tokenizer=tokenizer,
        vae=vae,
        text_encoder=text_encoder,
        loras=loras,
        textual_inversions=textual_inversions,
        tiny_decoder=tiny_decoder,
    )
    networks = name_networks(
        factor,
        [
            *zip(control_sources, models.controlnets, strict=True),
            *zip(t2i_sources, models.t2i_adapters, strict=True),
        ],
    )
    if not any(network.condition == factor for network in networks):
        raise ExportError(
            f"no ControlNet or T2I-Adapter paints from the maps of the factor {factor!r}; give one"
        )
    facts = BundleFacts(
        name=name,
        condition=factor,
        weights=weights,
        precision=precision,
        keep_fp32=tuple(keep_fp32),
        max_length=models.max_length,
        hidden_size=models.text_encoder.config.hidden_size,
        latent_channels=models.vae.config.latent_channels,
        downscale=models.downscale,
        layout=models.layout,
        scheduler=dict(models.scheduler),
        defaults=chosen,
        image_size=_image_size(models, chosen),
        networks=tuple(network.as_json(factor, hint) for network in networks),
        preview_decoder=models.tiny_decoder is not None,
    )
    with replacing(output, overwrite) as root:
        store = WeightStore(root, weights)
        _save_weights(store, models, factor, networks)
        for file, entry in palettes.items():
            (root / file).write_text(json.dumps(entry, indent=1) + "\n", encoding="utf-8")
        models.tokenizer.save(root / "tokenizer")
        graphs = [graph.in_precision(precision) for graph in _graphs(models, factor, networks)]
        kept = _kept_nodes(keep_fp32, graphs)
        calls: dict[str, list[Call]] = {}
        if precision == "fp16":
            progress("sample the calibration prompts", 0, len(graphs))
            height, width = (side // (2 * facts.downscale) for side in facts.image_size)
            calls = sampling_calls(graphs, root / "tokenizer", facts.scheduler, (height, width))
        allowed = TOLERANCE[precision] if tolerance is None else tolerance
        checked = _export_and_check(store, graphs, kept, calls, allowed, progress)
        write_manifest(root, facts, checked)
        if check:
            done = len(graphs)
            progress("open the bundle, and paint a picture beside diffusers", done, done)
            progress(f"picture: difference {check_picture(root):.1e}", done, done)
    return output


def _graphs(models: Models, factor: str, networks: Sequence[ImageNetwork]) -> list[Graph]:
    length, downscale = models.max_length, models.downscale
    preview = models.tiny_decoder
    return [
        text_encoder_graph(models.text_encoder, length),
        adapter_graph(factor, models.adapter, models.unet),
        *(
            graph
            for network in networks
            for graph in network.graphs(models.layout, length, downscale)
        ),
        *([] if preview is None else [preview_decoder_graph(preview, downscale)]),
        decoder_graph(models.vae, downscale),
        encoder_graph(models.vae, downscale),
        # Last, when there is memory for the largest model and its session.
        backbone_graph(models.unet, length),
    ]


def _save_weights(
    store: WeightStore, models: Models, factor: str, networks: Sequence[ImageNetwork]
) -> None:
    # Since version 5.6 transformers leaves out a level of names that every other reader expects.
    level = "" if hasattr(models.text_encoder, "text_model") else "text_model."
    store.save(models.text_encoder, "text_encoder", _TRANSFORMERS_FILE, prefix=level)
    store.save(models.unet, "unet", _DIFFUSERS_FILE)
    store.save(models.adapter, f"adapter_{factor}", _DIFFUSERS_FILE)
    for network in networks:
        store.save(network.model, network.name, _DIFFUSERS_FILE)
    if models.tiny_decoder is not None:
        store.save(models.tiny_decoder, "preview_decoder", _DIFFUSERS_FILE)
    store.save(models.vae, "vae", _DIFFUSERS_FILE)


def _export_and_check(
    store: WeightStore,
    graphs: list[Graph],
    kept: Mapping[str, list[str]],
    calls: Mapping[str, list[Call]],
    tolerance: float,
    progress: Progress,
) -> list[CheckedGraph]:
    checked: list[CheckedGraph] = []
    for graph in graphs:
        progress(f"export {graph.name}", len(checked), len(graphs))
        path = export_graph(graph, store, kept[graph.name])
        # First, since what overflows also differs, but with a message that says less.
        largest = check_overflow(graph, path, calls[graph.name]) if calls else None
        error = check_graph(graph, path, tolerance)
        checked.append(CheckedGraph(graph, path.name, error, tolerance, largest))
        _release(graph, graphs[len(checked) :])
        progress(f"{graph.name}: largest error {error:.1e}", len(checked), len(graphs))
    return checked


def _release(graph: Graph, remaining: list[Graph]) -> None:
    """Free the parameters that no other graph needs; a bundle's models are large together."""
    needed = {parameter for other in remaining for parameter in other.module.parameters()}
    for parameter in graph.module.parameters():
        if parameter not in needed:
            parameter.data = torch.empty(0)


def _kept_nodes(patterns: Sequence[str], graphs: list[Graph]) -> dict[str, list[str]]:
    """Patterns of node names by graph."""
    kept: dict[str, list[str]] = {graph.name: [] for graph in graphs}
    for pattern in patterns:
        name, separator, nodes = pattern.partition("/")
        if name not in kept or not separator:
            raise ExportError(
                f"can't keep {pattern!r} in float32; expected GRAPH/NODES, such as "
                f"'vae_decoder/*', with one of the graphs {', '.join(kept)}"
            )
        kept[name].append(nodes)
    return kept


def _only_factor(adapters: Mapping[str, Source]) -> tuple[str, Source]:
    if len(adapters) != 1:
        raise ExportError(
            f"{len(adapters)} adapters given ({', '.join(adapters) or 'none'}); expected one, that "
            "of the condition factor whose maps the image is painted from"
        )
    ((factor, source),) = adapters.items()
    check_condition(factor)
    return factor, source


def _network_sources(given: Controlnets) -> list[NetworkSource]:
    several = [given] if isinstance(given, str | Path | NetworkSource) else given
    return [
        entry if isinstance(entry, NetworkSource) else NetworkSource(entry) for entry in several
    ]


def _check_arguments(name: str, weights: str, precision: str, keep_fp32: Sequence[str]) -> None:
    if not name.strip():
        raise ExportError("the bundle's name is empty; give it one")
    if weights not in DTYPES:
        raise ExportError(f"weights is {weights!r}; expected one of {', '.join(DTYPES)}")
    if precision not in TOLERANCE:
        raise ExportError(f"precision is {precision!r}; expected one of {', '.join(TOLERANCE)}")
    if precision == "fp16" and weights != "fp16":
        raise ExportError(
            f"precision fp16 reads its weights as fp16, but {weights} was asked for; store fp16 "
            "weights, or export with precision fp32"
        )
    if precision == "fp32" and keep_fp32:
        raise ExportError(
            f"{', '.join(keep_fp32)} can't be kept in float32 with precision fp32, in which "
            "everything is; leave it out, or export with precision fp16"
        )


def _image_size(models: Models, defaults: FactorDefaults) -> tuple[int, int]:
    size = defaults.image_size or models.image_size
    multiple = 2 * models.downscale * models.layout.multiple
    if any(side < multiple or side % multiple for side in size):
        raise ExportError(
            f"the image's size is {size[0]}x{size[1]}; expected multiples of {multiple}, so that "
            "a map of half that size still divides into latents"
        )
    return size
