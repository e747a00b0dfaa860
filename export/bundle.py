"""Makes a bundle: loads the models, writes weights once, exports and checks every graph."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from .check import check_graph
from .defaults import TOLERANCE, FactorDefaults
from .errors import ExportError
from .graphs import (
    adapter_graph,
    backbone_graph,
    controlnet_graph,
    decoder_graph,
    encoder_graph,
    hint_graph,
    text_encoder_graph,
)
from .manifest import MANIFEST, PALETTE, BundleFacts, CheckedGraph, write_manifest
from .onnx_export import export_graph
from .palettes import PaletteSource, read_palette
from .progress import Progress, silent
from .signature import Graph
from .sources import Lora, Models, Source, load_models
from .weights import DTYPES, Storage, WeightStore

_DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"
_TRANSFORMERS_FILE = "model.safetensors"


def export_bundle(
    base: Source,
    adapters: Mapping[str, Source],
    controlnet: Source | Sequence[Source],
    palette: PaletteSource,
    output: Path,
    *,
    name: str,
    tokenizer: Source | None = None,
    loras: Sequence[Lora] = (),
    tiny_decoder: Source | None = None,
    weights: Storage = "fp16",
    defaults: FactorDefaults | None = None,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Path:
    """Write the bundle `output` from a base, a condition factor's adapter and a ControlNet.

    The bundle appears under its name only when it is complete and every graph has passed its check;
    until then an older bundle there stays as it was.

    Args:
        base: a diffusers folder, a Hugging Face id or a checkpoint; see `sources.load_base`.
        adapters: the condition factor's name (lower-case letters, digits, _) and its adapter; see
            `sources.load_adapter`.
        controlnet: the ControlNet, trained on that factor's maps, or a list of it alone; see
            `sources.load_controlnet`.
        palette: a built-in palette's name, JSON file or description; see `palettes.read_palette`.
        tokenizer: a folder or Hugging Face id, in place of the base's own.
        loras: merged into the base in turn.
        tiny_decoder: not in bundles yet; anything but None is refused.
        weights: "fp16" or "fp32", the numbers on disk; graphs compute in float32 from either.
        tolerance: the largest error a graph may have; see `check.check_graph`.
        overwrite: replace a bundle that is already there.

    Returns:
        `output`.

    Raises:
        ExportError: something given can't be read or doesn't fit, a graph failed its check, or
            `output` exists. Nothing is left behind.
    """
    condition, adapter = _only_condition(adapters)
    only_controlnet = _only_controlnet(controlnet)
    if tiny_decoder is not None:
        raise ExportError(
            f"the tiny decoder {tiny_decoder} was given, but bundles can't hold one yet; leave it "
            "out"
        )
    _check_arguments(name, weights)
    _check_output(output, overwrite)
    chosen = defaults or FactorDefaults()
    chosen.check()
    palette_json = read_palette(palette)
    progress("load models", 0, 1)
    models = load_models(base, adapter, [only_controlnet], tokenizer=tokenizer, loras=loras)
    facts = BundleFacts(
        name=name,
        condition=condition,
        weights=weights,
        max_length=models.max_length,
        hidden_size=models.text_encoder.config.hidden_size,
        latent_channels=models.vae.config.latent_channels,
        downscale=models.downscale,
        layout=models.layout,
        scheduler=dict(models.scheduler),
        defaults=chosen,
        image_size=_image_size(models, chosen),
    )
    with _replacing(output) as root:
        store = WeightStore(root, weights)
        _save_weights(store, models, condition)
        (root / PALETTE).write_text(json.dumps(palette_json, indent=1) + "\n", encoding="utf-8")
        models.tokenizer.save(root / "tokenizer")
        graphs = _export_and_check(store, _graphs(models, condition), tolerance, progress)
        write_manifest(root, facts, graphs)
    return output


def _graphs(models: Models, condition: str) -> list[Graph]:
    length, downscale = models.max_length, models.downscale
    (controlnet,) = models.controlnets
    return [
        text_encoder_graph(models.text_encoder, length),
        backbone_graph(models.unet, length),
        adapter_graph(condition, models.adapter, models.unet),
        hint_graph(f"controlnet_{condition}", controlnet, downscale),
        controlnet_graph(f"controlnet_{condition}", controlnet, length),
        decoder_graph(models.vae, downscale),
        encoder_graph(models.vae, downscale),
    ]


def _save_weights(store: WeightStore, models: Models, condition: str) -> None:
    store.save(models.text_encoder, "text_encoder", _TRANSFORMERS_FILE)
    store.save(models.unet, "unet", _DIFFUSERS_FILE)
    store.save(models.adapter, f"adapter_{condition}", _DIFFUSERS_FILE)
    store.save(models.controlnets[0], f"controlnet_{condition}", _DIFFUSERS_FILE)
    store.save(models.vae, "vae", _DIFFUSERS_FILE)


def _export_and_check(
    store: WeightStore, graphs: list[Graph], tolerance: float, progress: Progress
) -> list[CheckedGraph]:
    checked: list[CheckedGraph] = []
    for graph in graphs:
        progress(f"export {graph.name}", len(checked), len(graphs))
        path = export_graph(graph, store)
        error = check_graph(graph, path, tolerance)
        checked.append(CheckedGraph(graph, path.name, error, tolerance))
        progress(f"{graph.name}: largest error {error:.1e}", len(checked), len(graphs))
    return checked


def _only_condition(adapters: Mapping[str, Source]) -> tuple[str, Source]:
    if len(adapters) != 1:
        raise ExportError(
            f"{len(adapters)} adapters given ({', '.join(adapters) or 'none'}); expected one, that "
            "of the condition factor whose maps the ControlNet takes"
        )
    ((condition, source),) = adapters.items()
    plain = condition.isascii() and condition.replace("_", "a").isalnum()
    if not plain or condition != condition.lower() or condition in ("image", "hint"):
        raise ExportError(
            f"the condition factor's name is {condition!r}; expected lower-case letters, digits "
            "and _, and neither 'image' nor 'hint'"
        )
    return condition, source


def _only_controlnet(controlnet: Source | Sequence[Source]) -> Source:
    given = [controlnet] if isinstance(controlnet, str | Path) else controlnet
    if len(given) != 1:
        raise ExportError(
            f"{len(given)} ControlNets given ({', '.join(map(str, given)) or 'none'}); bundles "
            "hold exactly one so far"
        )
    return given[0]


def _check_arguments(name: str, weights: str) -> None:
    if not name.strip():
        raise ExportError("the bundle's name is empty; give it one")
    if weights not in DTYPES:
        raise ExportError(f"weights is {weights!r}; expected one of {', '.join(DTYPES)}")


def _check_output(output: Path, overwrite: bool) -> None:
    if not output.exists():
        return
    if not overwrite:
        raise ExportError(f"{output} exists; give another output, or ask to overwrite it")
    if not (output / MANIFEST).is_file():
        raise ExportError(f"{output} exists and isn't a bundle; it will not be overwritten")


def _image_size(models: Models, defaults: FactorDefaults) -> tuple[int, int]:
    size = defaults.image_size or models.image_size
    multiple = 2 * models.downscale * models.layout.multiple
    if any(side < multiple or side % multiple for side in size):
        raise ExportError(
            f"the image's size is {size[0]}x{size[1]}; expected multiples of {multiple}, so that "
            "a map of half that size still divides into latents"
        )
    return size


@contextmanager
def _replacing(output: Path) -> Iterator[Path]:
    """A folder beside `output` that takes its place if the block succeeds, and vanishes if not."""
    partial = output.with_name(f".{output.name}.{os.getpid()}.partial")
    previous = output.with_name(f".{output.name}.{os.getpid()}.previous")
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"can't write beside {output}: {error}") from error
    try:
        yield partial
        if not output.exists():
            partial.rename(output)
            return
        output.rename(previous)
        try:
            partial.rename(output)
        except BaseException:
            previous.rename(output)
            raise
        shutil.rmtree(previous)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
