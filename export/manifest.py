"""manifest.json: what a bundle holds, readable without loading a graph."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fgdm import __version__
from fgdm.manifest import MANIFEST, MANIFEST_HASH, SCHEMA, hash_line

from .defaults import ImageDefaults, cache_json
from .layout import BackboneLayout
from .overflow import Magnitude
from .schemas import check_form
from .signature import Graph, Precision, TensorSpec

PALETTE, HINT_PALETTE = "palette.json", "hint_palette.json"


@dataclass(frozen=True)
class CheckedGraph:
    """A graph that is in the bundle, with what its checks found.

    largest: the largest value of a float16 node on the calibration prompts; None in float32.
    """

    graph: Graph
    file: str
    max_error: float
    tolerance: float
    largest: Magnitude | None = None

    def as_json(self) -> dict[str, Any]:
        stride = self.graph.attention_stride
        return {
            "file": self.file,
            "precision": self.graph.precision,
            "inputs": [_tensor(spec) for spec in self.graph.inputs],
            "outputs": [_tensor(spec) for spec in self.graph.outputs],
            **({} if stride is None else {"attention_stride": stride}),
            "max_error": self.max_error,
            "tolerance": self.tolerance,
            "largest_float16": self.largest and asdict(self.largest),
        }


@dataclass(frozen=True)
class BundleFacts:
    """All that a manifest says beside graphs and files.

    downscale: the picture's size over the latent's. scheduler: as `sources.Base` has it.
    image_size: height and width in pixels. keep_fp32: nodes that a float16 bundle keeps in float32.
    conditions: the condition factors, and networks: those of the image factor, as the manifest
    describes them. image_backbone: the image's own, if it has one, as `OwnBackbone.as_json`.
    shallow_backbones: as `graphs.shallow_backbones`. loras: as `RuntimeLoras.as_json`.
    """

    name: str
    conditions: tuple[dict[str, Any], ...]
    weights: str
    precision: Precision
    keep_fp32: tuple[str, ...]
    max_length: int
    hidden_size: int
    latent_channels: int
    downscale: int
    layout: BackboneLayout
    scheduler: dict[str, Any]
    image: ImageDefaults
    image_size: tuple[int, int]
    networks: tuple[dict[str, Any], ...]
    preview_decoder: bool
    image_backbone: dict[str, Any] | None
    shallow_backbones: list[dict[str, Any]]
    loras: tuple[dict[str, Any], ...] = ()


def write_manifest(root: Path, facts: BundleFacts, graphs: list[CheckedGraph]) -> None:
    """Write the manifest of a new bundle in `root`; see `save_manifest`."""
    manifest = {
        "schema": SCHEMA,
        "name": facts.name,
        "created_by": f"fgdm {__version__}",
        "precision": facts.precision,
        "keep_fp32": list(facts.keep_fp32),
        "weights": facts.weights,
        "text_encoder": {
            "graph": "text_encoder",
            "tokenizer": "tokenizer",
            "max_length": facts.max_length,
            "hidden_size": facts.hidden_size,
        },
        "autoencoder": {
            "decoder": "vae_decoder",
            "encoder": "vae_encoder",
            "preview_decoder": "preview_decoder" if facts.preview_decoder else None,
            "latent_channels": facts.latent_channels,
            "downscale": facts.downscale,
        },
        "backbone": {
            "graph": "backbone",
            "argmax_mask": "not_bos",
            "downscale": facts.layout.multiple,
            "intrablock_residuals": [entry.as_json() for entry in facts.layout.intrablock],
            "down_residuals": [entry.as_json() for entry in facts.layout.down],
            "mid_residual": facts.layout.middle.as_json(),
            "shallow": facts.shallow_backbones,
        },
        "scheduler": facts.scheduler,
        "factors": [*facts.conditions, _image(facts)],
        **({"loras": list(facts.loras)} if facts.loras else {}),
        "graphs": {entry.graph.name: entry.as_json() for entry in graphs},
        "files": {
            path.relative_to(root).as_posix(): describe_file(path)
            for path in sorted(root.rglob("*"))
            if path.is_file()
        },
    }
    save_manifest(root, manifest)


def save_manifest(root: Path, manifest: dict[str, Any]) -> None:
    """Write `root`/manifest.json, and manifest.sha256 beside it, which holds its hash as
    ``sha256sum`` writes it. Raises ExportError for what its schema refuses."""
    check_form("manifest", manifest)
    content = (json.dumps(manifest, indent=1) + "\n").encode("utf-8")
    (root / MANIFEST).write_bytes(content)
    (root / MANIFEST_HASH).write_bytes(hash_line(content))


def describe_file(path: Path) -> dict[str, Any]:
    """Size in bytes and sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return {"size": path.stat().st_size, "sha256": digest.hexdigest()}


def _image(facts: BundleFacts) -> dict[str, Any]:
    image, (height, width) = facts.image, facts.image_size
    spacing = image.timestep_spacing
    return {
        "name": "image",
        "kind": "image",
        "conditionings": list(facts.networks),
        "height": height,
        "width": width,
        "num_inference_steps": image.num_inference_steps,
        "sampler": image.sampler,
        **({} if spacing is None else {"timestep_spacing": spacing}),
        **cache_json(image),
        "guidance": image.guidance,
        "guidance_scale": image.guidance_scale,
        "segfree_guidance_scale": image.segfree_guidance_scale,
        "segfree_scale": image.segfree_scale,
        "segfree_start": image.segfree_start,
        "prompt_suffix": image.prompt_suffix,
        **(facts.image_backbone or {}),
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}
