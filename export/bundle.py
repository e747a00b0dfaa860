"""Makes a bundle: loads the models, writes weights once, exports and checks every graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from .calibration import Call, sampling_calls
from .defaults import TOLERANCE, ConditionDefaults, FactorDefaults, ImageDefaults
from .errors import ExportError
from .factors import (
    IMAGE,
    ConditionFactor,
    FactorAdapter,
    FactorSource,
    check_size,
    label_factors,
    make_condition,
    name_adapters,
    read_factors,
)
from .graph_files import export_graphs, kept_nodes
from .graphs import (
    backbone_graph,
    cache_levels,
    decoder_graph,
    encoder_graph,
    preview_decoder_graph,
    shallow_backbone_graph,
    shallow_backbones,
    text_encoder_graph,
)
from .image_networks import ImageNetwork, NetworkSource, name_networks
from .manifest import PALETTE, BundleFacts, write_manifest
from .map_palettes import read_palettes
from .output import check_output, replacing
from .own_backbone import OwnBackbone, load_own_backbone
from .palettes import PaletteSource
from .picture import check_picture
from .progress import Progress, silent
from .runtime_loras import RuntimeLora, RuntimeLoras, load_runtime_loras
from .signature import Graph, Precision
from .sources import Lora, Models, Source, TextualInversion, load_models
from .weights import DTYPES, Storage, WeightStore

#: A model's weights in a bundle's folder for it.
DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"
_TRANSFORMERS_FILE = "model.safetensors"

Controlnets = Source | NetworkSource | Sequence[Source | NetworkSource]


def export_bundle(
    base: Source,
    adapters: Mapping[str, Source | FactorSource],
    controlnets: Controlnets,
    palette: PaletteSource | None,
    output: Path,
    *,
    name: str,
    t2i_adapters: Sequence[Source | NetworkSource] = (),
    hint_palette: PaletteSource | None = None,
    tokenizer: Source | None = None,
    vae: Source | None = None,
    text_encoder: Source | None = None,
    loras: Sequence[Lora] = (),
    runtime_loras: Sequence[RuntimeLora] = (),
    textual_inversions: Sequence[TextualInversion] = (),
    tiny_decoder: Source | None = None,
    weights: Storage = "fp16",
    precision: Precision = "fp32",
    keep_fp32: Sequence[str] = (),
    attention_maps: bool = False,
    defaults: FactorDefaults | None = None,
    tolerance: float | None = None,
    overwrite: bool = False,
    check: bool = True,
    progress: Progress = silent,
) -> Path:
    """Write the bundle `output` of a base, condition factors' adapters and what paints their maps.

    The bundle appears under its name only when it is complete, every graph has passed its check,
    and the engine has painted the picture from it that diffusers paints; until then an older bundle
    there stays as it was.

    Args:
        base: a diffusers folder, a Hugging Face id or a checkpoint; see `sources.load_base`.
        adapters: the condition factors by name (lower-case letters, digits, _), in the chain's
            order: an adapter, see `sources.load_adapters`, or a `factors.FactorSource`. "image"
            has adapters of the image factor, or its own backbone. None at all makes a bundle that
            only paints.
        controlnets, t2i_adapters: the networks of the image factor; see `sources.load_controlnet`
            and `image_networks.NetworkSource`. Where there are condition factors, the image must
            see at least one of their maps. An image with a backbone of its own has none.
        palette: of the factors that make labels: a built-in palette's name, JSON file or
            description; see `palettes.read_palette`. None where no factor does.
        hint_palette: the palette of the maps that these networks were trained on, if another.
        tokenizer: a folder or Hugging Face id, in place of the base's own.
        vae, text_encoder: the same, or one file; see `sources.parts`.
        loras: merged into the base in turn. textual_inversions: words that it learns after that.
        runtime_loras: put beside it, for requests to weigh; see `runtime_loras.py`.
        tiny_decoder: a decoder for previews of steps; see `sources.load_tiny_decoder`.
        weights: "fp16" or "fp32", the numbers on disk.
        precision: "fp32", or "fp16" for strongly typed float16 graphs, of fp16 weights; they are
            checked for overflow on a few prompts.
        keep_fp32: of a float16 bundle, nodes to keep in float32: ``GRAPH/NODES``, where NODES may
            have wildcards, such as ``vae_decoder/*``; see `precision.py`.
        attention_maps: whether backbones make them, for edits with ``attention``.
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
    factors = read_factors(adapters)
    _check_arguments(name, weights, precision, keep_fp32)
    check_output(output, overwrite)
    chosen = defaults or FactorDefaults()
    chosen.check()
    palettes, hint = read_palettes(palette, hint_palette, label_factors(factors))
    progress("load models", 0, 1)
    control_sources, t2i_sources = network_sources(controlnets), network_sources(t2i_adapters)
    models = load_models(
        base,
        [entry.source for factor in factors.values() for entry in factor.adapter_sources],
        [entry.source for entry in control_sources],
        t2i_adapters=[entry.source for entry in t2i_sources],
        tokenizer=tokenizer,
        vae=vae,
        text_encoder=text_encoder,
        loras=loras,
        textual_inversions=textual_inversions,
        tiny_decoder=tiny_decoder,
    )
    image_size = _image_size(models, chosen, factors)
    conditions, image = _assemble(models, factors, chosen, image_size)
    shared = [entry.name for entry in conditions if entry.backbone is None]
    shared += [IMAGE] if image.backbone is None else []
    weighed = load_runtime_loras(runtime_loras, models.unet, models.text_encoder, shared)
    levels = len(cache_levels(models.unet))
    for condition in conditions:
        _check_cache(condition.name, condition.defaults, levels)
    _check_cache(IMAGE, chosen.image, levels)
    labels = label_factors(factors)
    networks = name_networks(
        [condition.name for condition in conditions],
        [
            *zip(control_sources, models.controlnets, strict=True),
            *zip(t2i_sources, models.t2i_adapters, strict=True),
        ],
    )
    _check_use(conditions, image, networks)
    facts = BundleFacts(
        name=name,
        conditions=tuple(condition.as_json() for condition in conditions),
        weights=weights,
        precision=precision,
        keep_fp32=tuple(keep_fp32),
        max_length=models.max_length,
        hidden_size=models.text_encoder.config.hidden_size,
        latent_channels=models.vae.config.latent_channels,
        downscale=models.downscale,
        layout=models.layout,
        scheduler=dict(models.scheduler),
        image=chosen.image,
        image_size=image_size,
        networks=(
            *(adapter.as_json() for adapter in image.adapters),
            *(network.as_json(labels, hint) for network in networks),
        ),
        preview_decoder=models.tiny_decoder is not None,
        image_backbone=None if image.backbone is None else image.backbone.as_json(),
        shallow_backbones=shallow_backbones(models.unet),
        loras=weighed.as_json(),
    )
    every: list[ConditionFactor | _Image] = [*conditions, image]
    own = _FactorNetworks(
        tuple(adapter for factor in every for adapter in factor.adapters),
        tuple(factor.backbone for factor in every if factor.backbone is not None),
    )
    with replacing(output, overwrite) as root:
        store = WeightStore(root, weights)
        _save_weights(store, models, own, networks)
        weighed.save(root, precision)
        for file, content in palettes.items():
            (root / file).write_text(content, encoding="utf-8")
        models.tokenizer.save(root / "tokenizer")
        graphs = [
            graph.in_precision(precision)
            for graph in _graphs(models, own, networks, weighed, attention_maps)
        ]
        kept = kept_nodes(keep_fp32, graphs)
        calls: dict[str, list[Call]] = {}
        if precision == "fp16":
            progress("sample the calibration prompts", 0, len(graphs))
            height, width = (side // (2 * facts.downscale) for side in facts.image_size)
            calls = sampling_calls(graphs, root / "tokenizer", facts.scheduler, (height, width))
        allowed = TOLERANCE[precision] if tolerance is None else tolerance
        checked = export_graphs(store, graphs, kept, calls, allowed, progress)
        write_manifest(root, facts, checked)
        if check:
            done = len(graphs)
            progress("open the bundle, and paint a picture beside diffusers", done, done)
            progress(f"picture: difference {check_picture(root):.1e}", done, done)
    return output


@dataclass(frozen=True)
class _FactorNetworks:
    """Adapters of the factors, and backbones of their own."""

    adapters: tuple[FactorAdapter, ...]
    backbones: tuple[OwnBackbone, ...]


@dataclass(frozen=True)
class _Image:
    """What the image factor is given as condition factors are."""

    adapters: tuple[FactorAdapter, ...] = ()
    backbone: OwnBackbone | None = None


def _graphs(
    models: Models,
    own: _FactorNetworks,
    networks: Sequence[ImageNetwork],
    weighed: RuntimeLoras,
    attention_maps: bool,
) -> list[Graph]:
    length, downscale = models.max_length, models.downscale
    preview, levels = models.tiny_decoder, cache_levels(models.unet)
    return [
        weighed.text_encoder(text_encoder_graph(models.text_encoder, length)),
        *(adapter.graph(models.unet) for adapter in own.adapters),
        *(
            graph
            for network in networks
            for graph in network.graphs(models.layout, length, downscale)
        ),
        *([] if preview is None else [preview_decoder_graph(preview, downscale)]),
        decoder_graph(models.vae, downscale),
        encoder_graph(models.vae, downscale),
        # Last, when there is memory for the largest models and their sessions.
        *(backbone.graph(length, attention_maps) for backbone in own.backbones),
        *(weighed.backbone(shallow_backbone_graph(models.unet, length, level)) for level in levels),
        weighed.backbone(backbone_graph(models.unet, length, len(levels), attention_maps)),
    ]


def _save_weights(
    store: WeightStore,
    models: Models,
    own: _FactorNetworks,
    networks: Sequence[ImageNetwork],
) -> None:
    # Since version 5.6 transformers leaves out a level of names that every other reader expects.
    level = "" if hasattr(models.text_encoder, "text_model") else "text_model."
    store.save(models.text_encoder, "text_encoder", _TRANSFORMERS_FILE, prefix=level)
    store.save(models.unet, "unet", DIFFUSERS_FILE)
    every: list[FactorAdapter | OwnBackbone | ImageNetwork] = [
        *own.adapters,
        *own.backbones,
        *networks,
    ]
    for entry in every:
        store.save(entry.model, entry.name, DIFFUSERS_FILE)
    if models.tiny_decoder is not None:
        store.save(models.tiny_decoder, "preview_decoder", DIFFUSERS_FILE)
    store.save(models.vae, "vae", DIFFUSERS_FILE)


def _assemble(
    models: Models,
    factors: Mapping[str, FactorSource],
    defaults: FactorDefaults,
    image_size: tuple[int, int],
) -> tuple[list[ConditionFactor], _Image]:
    """The condition factors in order, and what the image is given beside its networks."""
    conditions: list[ConditionFactor] = []
    image = _Image()
    loaded = iter(models.adapters)
    for name, factor in factors.items():
        earlier = [condition.name for condition in conditions]
        backbone = None
        if factor.backbone is not None:
            backbone = load_own_backbone(name, factor.backbone, earlier, models.unet)
        adapters = name_adapters(
            name,
            factor.adapter_sources,
            [next(loaded) for _ in factor.adapter_sources],
            earlier,
            models.vae.config.latent_channels,
        )
        if name == IMAGE:
            image = _Image(adapters, backbone)
        else:
            entry = make_condition(
                name, factor, adapters, defaults.condition, image_size, PALETTE, backbone
            )
            conditions.append(entry)
    return conditions, image


def _check_use(
    conditions: Sequence[ConditionFactor],
    image: _Image,
    networks: Sequence[ImageNetwork],
) -> None:
    made = [condition.name for condition in conditions]
    seen = {network.condition for network in networks}.union(*(a.latents for a in image.adapters))
    if image.backbone is not None:
        seen.update(image.backbone.latents)
        check_no_networks(networks)
    if made and not seen & set(made):
        raise ExportError(
            f"no ControlNet or T2I-Adapter paints from the maps of {', '.join(made)}; give one"
        )


def _check_cache(owner: str, defaults: ConditionDefaults | ImageDefaults, levels: int) -> None:
    if defaults.cache_interval > 1 and defaults.cache_level > levels:
        raise ExportError(
            f"{owner}: cache_level is {defaults.cache_level}; expected 1 to {levels}, which this "
            "UNet has beside its deepest"
        )


def check_no_networks(networks: Sequence[ImageNetwork]) -> None:
    """Raises ExportError where the image has networks and a backbone of its own."""
    if networks:
        raise ExportError(
            f"the image has a backbone of its own, which takes no {networks[0].name}; leave out "
            "its ControlNets and T2I-Adapters"
        )


def network_sources(given: Controlnets) -> list[NetworkSource]:
    """What was given, each with what it sees and its scale."""
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
    check_keep_fp32(precision, keep_fp32)


def check_keep_fp32(precision: str, keep_fp32: Sequence[str]) -> None:
    """Raises ExportError where a float32 bundle is to keep nodes in float32."""
    if precision == "fp32" and keep_fp32:
        raise ExportError(
            f"{', '.join(keep_fp32)} can't be kept in float32 with precision fp32, in which "
            "everything is; leave it out, or export with precision fp16"
        )


def _image_size(
    models: Models, defaults: FactorDefaults, factors: Mapping[str, FactorSource]
) -> tuple[int, int]:
    """Checked, as the sizes of all maps are."""
    size = defaults.image_size or models.image_size
    multiple = models.downscale * models.layout.multiple
    own = {
        name: (factor.defaults or defaults.condition).size
        for name, factor in factors.items()
        if name != IMAGE
    }
    halved = None in own.values()
    if halved:
        multiple *= 2
    if any(side < multiple or side % multiple for side in size):
        why = ", so that a map of half that size still divides into latents" if halved else ""
        raise ExportError(
            f"the image's size is {size[0]}x{size[1]}; expected multiples of {multiple}{why}"
        )
    for name, own_size in own.items():
        if own_size is not None:
            check_size(name, own_size, models.downscale * models.layout.multiple)
    return size
