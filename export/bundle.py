"""Makes a bundle: loads the models, writes weights once, exports and checks every graph."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
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
from .manifest import MANIFEST, PALETTE, BundleFacts, CheckedGraph, read_scheduler, write_manifest
from .onnx_export import export_graph
from .palettes import PaletteSource, read_palette
from .progress import Progress, silent
from .signature import Graph
from .sources import TOKENIZER_FILES, Models, load_models
from .weights import DTYPES, Storage, WeightStore

_DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"
_TRANSFORMERS_FILE = "model.safetensors"


def export_bundle(
    base: Path,
    adapters: Mapping[str, Path],
    controlnet: Path,
    palette: PaletteSource,
    output: Path,
    *,
    name: str,
    weights: Storage = "fp16",
    defaults: FactorDefaults | None = None,
    tolerance: float = TOLERANCE,
    overwrite: bool = False,
    progress: Progress = silent,
) -> Path:
    """Write the bundle `output` from a diffusers folder, an adapter and a ControlNet.

    The bundle appears under its name only when it is complete and every graph has passed its check;
    until then an older bundle there stays as it was.

    Args:
        base: a diffusers folder (unet, vae, text_encoder, tokenizer, scheduler) of SD 1.x's layout.
        adapters: the condition factor's name (lower-case letters, digits, _) and adapter's folder.
        controlnet: a diffusers ControlNet folder, trained on that factor's maps.
        palette: a built-in palette's name, JSON file or description; see `palettes.read_palette`.
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
    _check_arguments(name, weights)
    _check_output(output, overwrite)
    chosen = defaults or FactorDefaults()
    chosen.check()
    palette_json = read_palette(palette)
    scheduler = read_scheduler(base)
    progress("load models", 0, 1)
    models = load_models(base, adapter, controlnet)
    facts = BundleFacts(
        name=name,
        condition=condition,
        weights=weights,
        max_length=models.max_length,
        hidden_size=models.text_encoder.config.hidden_size,
        latent_channels=models.vae.config.latent_channels,
        downscale=models.downscale,
        layout=models.layout,
        scheduler=scheduler,
        defaults=chosen,
        image_size=_image_size(models, chosen),
    )
    with _replacing(output) as root:
        store = WeightStore(root, weights)
        _save_weights(store, models, condition)
        (root / PALETTE).write_text(json.dumps(palette_json, indent=1) + "\n", encoding="utf-8")
        (root / "tokenizer").mkdir()
        for file in TOKENIZER_FILES:
            if (models.tokenizer / file).is_file():
                shutil.copyfile(models.tokenizer / file, root / "tokenizer" / file)
        graphs = _export_and_check(store, _graphs(models, condition), tolerance, progress)
        write_manifest(root, facts, graphs)
    return output


def _graphs(models: Models, condition: str) -> list[Graph]:
    length, downscale = models.max_length, models.downscale
    return [
        text_encoder_graph(models.text_encoder, length),
        backbone_graph(models.unet, length),
        adapter_graph(condition, models.adapter, models.unet),
        hint_graph(f"controlnet_{condition}", models.controlnet, downscale),
        controlnet_graph(f"controlnet_{condition}", models.controlnet, length),
        decoder_graph(models.vae, downscale),
        encoder_graph(models.vae, downscale),
    ]


def _save_weights(store: WeightStore, models: Models, condition: str) -> None:
    store.save(models.text_encoder, "text_encoder", _TRANSFORMERS_FILE)
    store.save(models.unet, "unet", _DIFFUSERS_FILE)
    store.save(models.adapter, f"adapter_{condition}", _DIFFUSERS_FILE)
    store.save(models.controlnet, f"controlnet_{condition}", _DIFFUSERS_FILE)
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


def _only_condition(adapters: Mapping[str, Path]) -> tuple[str, Path]:
    if len(adapters) != 1:
        raise ExportError(
            f"{len(adapters)} adapters given ({', '.join(adapters) or 'none'}); expected one, that "
            "of the condition factor whose maps the ControlNet takes"
        )
    ((condition, folder),) = adapters.items()
    plain = condition.isascii() and condition.replace("_", "a").isalnum()
    if not plain or condition != condition.lower() or condition in ("image", "hint"):
        raise ExportError(
            f"the condition factor's name is {condition!r}; expected lower-case letters, digits "
            "and _, and neither 'image' nor 'hint'"
        )
    return condition, folder


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
