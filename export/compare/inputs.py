"""What a bundle's graphs are given while real prompts are sampled, from the bundle alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from fgdm import manifest as manifests
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from ..calibration import Call, sampling_calls
from ..check import open_session, run_session
from ..errors import ExportError
from ..lora_branches import DOWN, SCALE, UP
from ..signature import Draw, Graph, TensorSpec, normal, one_token

Feed = Mapping[str, NDArray[Any]]


def calibrated_feeds(bundle: Path, name: str) -> list[Feed]:
    """Every call of the graph `name` while the prompts of `calibration` are sampled: arrays by
    input, in the graph's own types. ONNX Runtime's CPU provider computes all other graphs.

    Raises:
        BundleError: `bundle` is none.
        ExportError: it has no graph of that name.
    """
    manifest = manifests.read_manifest(bundle)
    if name not in {graph.name for graph in manifest.graphs}:
        known = ", ".join(graph.name for graph in manifest.graphs)
        raise ExportError(f"{bundle} has no graph {name}; it has {known}")
    said = json.loads((bundle / manifests.MANIFEST).read_text(encoding="utf-8"))
    sides = [
        (factor.height, factor.width) for factor in manifest.factors if factor.kind == "condition"
    ] or [(factor.height, factor.width) for factor in manifest.factors]
    height, width = (side // manifest.latent_downscale for side in min(sides))
    downscale = manifest.latent_downscale
    graphs = [_graph(bundle, manifest, graph, downscale) for graph in manifest.graphs]
    tokenizer = bundle / said["text_encoder"]["tokenizer"]
    calls = sampling_calls(graphs, tokenizer, said["scheduler"], (height, width))[name]
    return [_feed(call) for call in calls]


def _graph(
    bundle: Path, manifest: manifests.Manifest, graph: manifests.Graph, downscale: int
) -> Graph:
    return Graph(
        name=graph.name,
        module=_Session(bundle / graph.file, graph),
        inputs=tuple(map(_spec, graph.inputs)),
        outputs=tuple(map(_spec, graph.outputs)),
        downscale=downscale,
        calibration=_first_lora(bundle, manifest, graph),
    )


def _first_lora(
    bundle: Path, manifest: manifests.Manifest, graph: manifests.Graph
) -> dict[str, Tensor]:
    """The first LoRA that changes what the graph makes, at a weight of 1, where it takes any."""
    if SCALE not in {port.name for port in graph.inputs}:
        return {}
    role = "text_encoder" if graph.name == manifest.text_encoder else "backbone"
    for lora in manifest.loras:
        tensors = load_file(bundle / lora.file)
        if f"{role}.{DOWN}" in tensors:
            matrices = {name: tensors[f"{role}.{name}"].float() for name in (DOWN, UP)}
            return {**matrices, SCALE: torch.ones(1, lora.rank)}
    return {}


def _spec(port: manifests.Port) -> TensorSpec:
    draws: dict[str, Draw] = {"int64": _zeros, "bool": one_token}
    return TensorSpec(port.name, port.shape, port.dtype, draws.get(port.dtype, normal))


def _zeros(shape: tuple[int, ...], _: torch.Generator) -> Tensor:
    return torch.zeros(shape, dtype=torch.int64)


def _feed(call: Call) -> Feed:
    return {name: value.numpy() for name, value in call.items()}


class _Session(nn.Module):
    """A graph of a bundle as `Graph.module`: takes and returns float32. Opened when it is called
    first."""

    def __init__(self, path: Path, graph: manifests.Graph) -> None:
        super().__init__()
        self._path, self._graph = path, graph
        self._session: onnxruntime.InferenceSession | None = None

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        if self._session is None:
            self._session = open_session(self._path)
        names = [port.name for port in self._graph.inputs]
        found = run_session(self._session, dict(zip(names, inputs, strict=True)))
        outputs = [found[port.name] for port in self._graph.outputs]
        return tuple(torch.from_numpy(output.astype(np.float32)) for output in outputs)
