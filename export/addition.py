"""Adds a condition factor to a bundle that is there; every other file stays byte for byte."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel
from fgdm import __version__
from fgdm.bundle_files import check_hashes
from fgdm.errors import BundleError
from fgdm.file_tree import require_folder
from fgdm.manifest import MANIFEST, SCHEMA, check_manifest, read_manifest
from torch import nn

from .bundle import (
    DIFFUSERS_FILE,
    Controlnets,
    check_keep_fp32,
    check_no_networks,
    network_sources,
)
from .calibration import Call, sampling_calls
from .defaults import TOLERANCE, ConditionDefaults
from .errors import ExportError
from .factors import (
    IMAGE,
    ConditionFactor,
    FactorSource,
    check_size,
    label_factors,
    make_condition,
    name_adapters,
    read_factors,
)
from .graph_files import export_graphs, kept_nodes
from .graphs import backbone_graph, decoder_graph, text_encoder_graph
from .image_networks import HintPalette, ImageNetwork, NetworkSource, name_networks
from .layout import backbone_layout
from .manifest import HINT_PALETTE, PALETTE, describe_file, save_manifest
from .map_palettes import read_palettes
from .output import replacing
from .own_backbone import load_own_backbone
from .palettes import PaletteSource
from .picture import check_picture
from .progress import Progress, silent
from .signature import Graph
from .sources import Source, load_controlnet
from .sources.folders import load_folder, load_text_encoder
from .sources.models import check_networks, load_condition_adapters, load_t2i_adapter
from .weights import WeightStore


def add_factor(
    bundle: Path,
    name: str,
    factor: Source | FactorSource,
    controlnets: Controlnets = (),
    *,
    t2i_adapters: Sequence[Source | NetworkSource] = (),
    palette: PaletteSource | None = None,
    hint_palette: PaletteSource | None = None,
    keep_fp32: Sequence[str] = (),
    tolerance: float | None = None,
    check: bool = True,
    progress: Progress = silent,
) -> Path:
    """Put a condition factor before the image of the bundle in the folder `bundle`.

    Its weights and graphs are of the bundle's own precision. Of the files that are there, only the
    manifest and its hash change, so that plans stay valid. A copy of the bundle takes its place
    when it has passed a new bundle's checks; until then the old one stays as it was.

    Args:
        name, factor: the factor, whose adapter or own backbone may see the latents of those that
            are there.
        controlnets, t2i_adapters: further networks of the image; one that doesn't say what it sees
            sees the new factor's maps.
        palette: of a factor that makes labels; None takes that of the bundle's own label maps.
        hint_palette, tolerance, check: as in `bundle.export_bundle`.
        keep_fp32: the same, for the new graphs.

    Returns:
        `bundle`.

    Raises:
        ExportError: there is no such bundle, or it is damaged or has such a factor already;
            something given can't be read or doesn't fit; or a check failed.
    """
    bundle = bundle.resolve()
    content = read_bundle(bundle)
    manifest = json.loads(content)
    conditions = [entry["name"] for entry in manifest["factors"][:-1]]
    if name in conditions or name == IMAGE:
        raise ExportError(
            f"{bundle} has a factor {name} already; its factors are {', '.join(conditions)} and "
            "the image"
        )
    (given,) = read_factors({name: factor}).values()
    check_keep_fp32(manifest["precision"], keep_fp32)
    palettes, hint, palette_file = _palettes(bundle, manifest, name, given, palette, hint_palette)
    progress("load models", 0, 1)
    sources = network_sources(controlnets), network_sources(t2i_adapters)
    new = _load(bundle, manifest, name, given, sources, palette_file)
    graphs = new.graphs(manifest)
    kept = kept_nodes(keep_fp32, graphs)
    calls: dict[str, list[Call]] = {}
    if manifest["precision"] == "fp16":
        progress("sample the calibration prompts", 0, len(graphs))
        calls = _calls(bundle, manifest, new.unet, graphs)
    with replacing(bundle, overwrite=True) as root:
        copy_bundle(bundle, root)
        before = _files(root)
        store = WeightStore(root, manifest["weights"])
        store.adopt(new.unet, "unet", DIFFUSERS_FILE)
        for folder, model in new.models().items():
            if (root / folder).exists() or (root / f"{folder}.onnx").exists():
                raise ExportError(
                    f"{bundle} holds {folder}, which its manifest doesn't know; move it away"
                )
            store.save(model, folder, DIFFUSERS_FILE)
        for file, text in palettes.items():
            (root / file).write_text(text, encoding="utf-8")
        allowed = TOLERANCE[manifest["precision"]] if tolerance is None else tolerance
        checked = export_graphs(store, graphs, kept, calls, allowed, progress)
        labels = label_factors({name: given})
        seen = [network.as_json(labels, hint) for network in new.networks]
        manifest["factors"][-1]["conditionings"] += seen
        manifest["factors"].insert(-1, new.condition.as_json())
        manifest["graphs"] |= {entry.graph.name: entry.as_json() for entry in checked}
        manifest["files"] |= {file: describe_file(root / file) for file in _files(root) - before}
        manifest["keep_fp32"] = [*manifest.get("keep_fp32", []), *keep_fp32]
        save_manifest(root, manifest | {"schema": SCHEMA, "created_by": f"fgdm {__version__}"})
        if check:
            done = len(graphs)
            progress("open the bundle, and paint a picture beside diffusers", done, done)
            progress(f"picture: difference {check_picture(root):.1e}", done, done)
        if (bundle / MANIFEST).read_bytes() != content:
            raise ExportError(f"{bundle} has been changed since; add {name} again")
    return bundle


@dataclass(frozen=True)
class _Addition:
    """What comes into a bundle, and the bundle's own UNet."""

    condition: ConditionFactor
    networks: tuple[ImageNetwork, ...]
    unet: UNet2DConditionModel

    def models(self) -> dict[str, nn.Module]:
        """By name, of their graphs and folders."""
        backbone = self.condition.backbone
        return {
            **{adapter.name: adapter.model for adapter in self.condition.adapters},
            **{network.name: network.model for network in self.networks},
            **({} if backbone is None else {backbone.name: backbone.model}),
        }

    def graphs(self, manifest: Mapping[str, Any]) -> list[Graph]:
        length = manifest["text_encoder"]["max_length"]
        downscale = manifest["autoencoder"]["downscale"]
        layout, backbone = backbone_layout(self.unet), self.condition.backbone
        shared = manifest["graphs"][manifest["backbone"]["graph"]]
        attention_maps = shared.get("attention_stride") is not None
        return [
            graph.in_precision(manifest["precision"])
            for graph in (
                *(adapter.graph(self.unet) for adapter in self.condition.adapters),
                *(
                    g
                    for network in self.networks
                    for g in network.graphs(layout, length, downscale)
                ),
                *([] if backbone is None else [backbone.graph(length, attention_maps)]),
            )
        ]


def _load(
    bundle: Path,
    manifest: Mapping[str, Any],
    name: str,
    factor: FactorSource,
    sources: tuple[Sequence[NetworkSource], Sequence[NetworkSource]],
    palette: str,
) -> _Addition:
    """sources: of ControlNets, and of T2I-Adapters."""
    unet = load_folder(UNet2DConditionModel, bundle / "unet")
    earlier = [entry["name"] for entry in manifest["factors"][:-1]]
    backbone = None
    if factor.backbone is not None:
        backbone = load_own_backbone(name, factor.backbone, earlier, unet, manifest["graphs"])
    adapters = name_adapters(
        name,
        factor.adapter_sources,
        [load_condition_adapters(entry.source) for entry in factor.adapter_sources],
        earlier,
        manifest["autoencoder"]["latent_channels"],
        manifest["graphs"],
    )
    controlnets = [load_controlnet(entry.source) for entry in sources[0]]
    t2i_adapters = [load_t2i_adapter(entry.source) for entry in sources[1]]
    networks = name_networks(
        [name],
        [
            *zip(sources[0], controlnets, strict=True),
            *zip(sources[1], t2i_adapters, strict=True),
        ],
        manifest["graphs"],
    )
    downscale = manifest["autoencoder"]["downscale"]
    models = [adapter.model for adapter in adapters]
    check_networks(unet, downscale, models, controlnets, t2i_adapters)
    image = manifest["factors"][-1]
    size = image["height"], image["width"]
    if image.get("backbone") is not None:
        check_no_networks(networks)
    condition = make_condition(name, factor, adapters, ConditionDefaults(), size, palette, backbone)
    check_size(name, condition.size, downscale * manifest["backbone"]["downscale"])
    return _Addition(condition, networks, unet)


def read_bundle(bundle: Path) -> bytes:
    """The manifest of a bundle, of which every file has been checked."""
    require_folder(bundle, "what adds to a bundle")
    try:
        described = read_manifest(bundle)
        check_manifest(bundle)
        check_hashes(bundle, described)
    except BundleError as error:
        raise ExportError(str(error)) from error
    return (bundle / MANIFEST).read_bytes()


def _palettes(
    bundle: Path,
    manifest: Mapping[str, Any],
    name: str,
    factor: FactorSource,
    palette: PaletteSource | None,
    hint_palette: PaletteSource | None,
) -> tuple[dict[str, str], HintPalette | None, str]:
    """Texts of new palette files, how the new factor's maps are recoloured, and its palette."""

    def unused(file: str) -> str:
        return file if file not in manifest["files"] else file.replace(".", f"_{name}.")

    labels = label_factors({name: factor})
    own = next((entry["palette"] for entry in manifest["factors"] if "palette" in entry), None)
    if not labels or palette is not None or own is None:
        files = unused(PALETTE), unused(HINT_PALETTE)
        return *read_palettes(palette, hint_palette, labels, files), files[0]
    files = str(own), unused(HINT_PALETTE)
    texts, hint = read_palettes(bundle / files[0], hint_palette, labels, files)
    return {file: text for file, text in texts.items() if file != files[0]}, hint, files[0]


def _calls(
    bundle: Path,
    manifest: Mapping[str, Any],
    unet: UNet2DConditionModel,
    graphs: Sequence[Graph],
) -> dict[str, list[Call]]:
    """What the new graphs meet while prompts are sampled with the bundle's own models."""
    length, downscale = manifest["text_encoder"]["max_length"], manifest["autoencoder"]["downscale"]
    vae = load_folder(AutoencoderKL, bundle / "vae")
    text_encoder = load_text_encoder(bundle / "text_encoder")
    chain = [
        text_encoder_graph(text_encoder, length),
        *graphs,
        decoder_graph(vae, downscale),
        backbone_graph(unet, length),
    ]
    image = manifest["factors"][-1]
    size = image["height"] // (2 * downscale), image["width"] // (2 * downscale)
    return sampling_calls(chain, bundle / "tokenizer", manifest["scheduler"], size)


def copy_bundle(bundle: Path, root: Path) -> None:
    """Into an empty folder. Raises ExportError."""
    # Not by links: onnx takes weights with a second link for an attack.
    try:
        shutil.copytree(bundle, root, dirs_exist_ok=True)
    except OSError as error:
        raise ExportError(f"can't copy {bundle} to {root.parent}: {error}") from error


def _files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}
