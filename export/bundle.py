"""Makes a bundle: loads the models, writes weights once, exports and checks every graph."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .calibration import Call, sampling_calls
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
from .overflow import check_overflow
from .palettes import read_palette
from .progress import Progress, silent
from .signature import Graph, Precision
from .sources import TOKENIZER_FILES, Models, load_models
from .weights import DTYPES, Storage, WeightStore

_DIFFUSERS_FILE = "diffusion_pytorch_model.safetensors"
_TRANSFORMERS_FILE = "model.safetensors"


def export_bundle(
    base: Path,
    adapters: Mapping[str, Path],
    controlnet: Path,
    palette: Mapping[str, Any] | Path,
    output: Path,
    *,
    name: str,
    weights: Storage = "fp16",
    precision: Precision = "fp32",
    keep_fp32: Sequence[str] = (),
    defaults: FactorDefaults | None = None,
    tolerance: float | None = None,
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
        palette: a palette's description or JSON file; see `palettes.read_palette`.
        weights: "fp16" or "fp32", the numbers on disk.
        precision: "fp32", or "fp16" for strongly typed float16 graphs, of fp16 weights; they are
            checked for overflow on a few prompts.
        keep_fp32: of a float16 bundle, nodes to keep in float32: ``GRAPH/NODES``, where NODES may
            have wildcards, such as ``vae_decoder/*``; see `precision.py`.
        tolerance: the largest error a graph may have; see `check.check_graph`. None takes the
            precision's own.
        overwrite: replace a bundle that is already there.

    Returns:
        `output`.

    Raises:
        ExportError: something given can't be read or doesn't fit, a graph failed its check, or
            `output` exists. Nothing is left behind.
    """
    condition, adapter = _only_condition(adapters)
    _check_arguments(name, weights, precision, keep_fp32)
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
        precision=precision,
        keep_fp32=tuple(keep_fp32),
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
        graphs = [graph.in_precision(precision) for graph in _graphs(models, condition)]
        kept = _kept_nodes(keep_fp32, graphs)
        calls: dict[str, list[Call]] = {}
        if precision == "fp16":
            progress("sample the calibration prompts", 0, len(graphs))
            latent = (
                facts.image_size[0] // facts.downscale,
                facts.image_size[1] // facts.downscale,
            )
            calls = sampling_calls(graphs, root / "tokenizer", scheduler, latent)
        allowed = TOLERANCE[precision] if tolerance is None else tolerance
        write_manifest(
            root, facts, _export_and_check(store, graphs, kept, calls, allowed, progress)
        )
    return output


def _graphs(models: Models, condition: str) -> list[Graph]:
    length, downscale = models.max_length, models.downscale
    return [
        text_encoder_graph(models.text_encoder, length),
        backbone_graph(models.unet, length),
        adapter_graph(condition, models.adapter, models.unet),
        hint_graph(models.controlnet, downscale),
        controlnet_graph(condition, models.controlnet, length),
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
        progress(f"{graph.name}: largest error {error:.1e}", len(checked), len(graphs))
    return checked


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
