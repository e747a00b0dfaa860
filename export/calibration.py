"""The inputs that a bundle's graphs meet when real prompts are sampled, for the check on overflow.

The chain is run by the float32 modules: prompts through tokenizer and text encoder, then for every
adapter and ControlNet a few steps of DDIM from pure noise to a picture, with classifier-free
guidance in the first half and the degraded branch of segmentation-free guidance in the second. The
picture that an adapter leads to is the next ControlNet's hint, and its latents are what an adapter
of several latents, or a factor's own backbone, sees beside the noisy one. All of it has the size of
a map: how large activations get depends on weights, prompt and timestep more than on the picture's
size, and PyTorch takes minutes for pictures of 512×512 on two cores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Generator, Tensor
from torch.nn.functional import interpolate
from transformers import CLIPTokenizer

from .check import run_module
from .graphs import BACKBONE, is_shallow
from .signature import Graph

PROMPTS = (
    "",
    "two dogs and a child with a red ball beside a bench in a park, under a blue sky",
    "a photograph of a street at night, bright neon signs, wet asphalt, best quality, 8k",
)
_STEPS = 4
_GUIDANCE_SCALE = 7.5
_SEGFREE_SCALE = 10.0

#: The inputs of one call of a graph, with a batch of one.
Call = Mapping[str, Tensor]


def sampling_calls(
    graphs: Sequence[Graph],
    tokenizer: Path,
    scheduler: Mapping[str, Any],
    latent_size: tuple[int, int],
) -> dict[str, list[Call]]:
    """Every call of every graph while `PROMPTS` are sampled, by the graph's name.

    Args:
        graphs: in the bundle's order: a hint encoder comes before its ControlNet.
        tokenizer: the folder of CLIP's tokenizer.
        scheduler: as `manifest.read_scheduler` returns it.
        latent_size: height and width of a map's latents.
    """
    return _Chain(graphs, scheduler, latent_size).run(tokenizer)


class _Chain:
    """`values` holds what the ports of the graphs carry at the moment, by their names."""

    def __init__(
        self,
        graphs: Sequence[Graph],
        scheduler: Mapping[str, Any],
        latent_size: tuple[int, int],
    ) -> None:
        self.graphs = graphs
        self.scheduler = DDIMScheduler.from_config({**scheduler, "timestep_spacing": "trailing"})
        self.scheduler.set_timesteps(_STEPS)
        self.latent_size = latent_size
        downscale = max(graph.downscale for graph in graphs)
        self.picture_size = tuple(side * downscale for side in latent_size)
        self.generator = Generator().manual_seed(0)
        # What every call of a graph has, as the graph takes it: once, since LoRAs may be large.
        self.shared = {graph.name: _as_taken(graph, graph.calibration) for graph in graphs}
        self.shallow: list[Graph] = []
        self.embeddings: list[Tensor] = []
        self.values: dict[str, Tensor] = {}
        self.calls: dict[str, list[Call]] = {graph.name: [] for graph in graphs}

    def run(self, tokenizer: Path) -> dict[str, list[Call]]:
        (text_encoder,) = self._graphs_with("input_ids")
        backbones = self._graphs_with("noise_pred")
        (backbone,) = (graph for graph in backbones if graph.name == BACKBONE)
        self.shallow = [graph for graph in backbones if is_shallow(graph)]
        autoencoder = [*self._graphs_with("latents")]
        self._encode_prompts(text_encoder, tokenizer)
        prompts = cycle(self.embeddings[1:])
        if not any("_residual" in spec.name for graph in self.graphs for spec in graph.outputs):
            self._sample(None, backbone, next(prompts))
            for coder in autoencoder:
                self._call(coder)
        for graph in self.graphs:
            if any("_residual" in spec.name for spec in graph.outputs):
                self._sample(graph, backbone, next(prompts))
                for coder in autoencoder:
                    self._call(coder)
                picture = self.values["image"] / 2 + 0.5
                self.values["controlnet_cond"] = interpolate(picture.clamp(0, 1), self.picture_size)
            elif graph not in (text_encoder, *backbones, *autoencoder):
                self._call(graph)  # a hint encoder
        for own in backbones:
            if own is not backbone and own not in self.shallow:
                self._sample(None, own, next(prompts))
        return self.calls

    def _graphs_with(self, port: str) -> list[Graph]:
        return [
            graph
            for graph in self.graphs
            if any(spec.name == port for spec in (*graph.inputs, *graph.outputs))
        ]

    def _encode_prompts(self, text_encoder: Graph, folder: Path) -> None:
        tokenizer = CLIPTokenizer.from_pretrained(folder)
        length = text_encoder.inputs[0].shape[1]
        for prompt in PROMPTS:
            tokens = tokenizer(
                prompt,
                padding="max_length",
                max_length=length,
                truncation=True,
                return_tensors="pt",
            )
            self.values["input_ids"] = tokens.input_ids
            self._call(text_encoder)
            self.embeddings.append(self.values["encoder_hidden_states"])

    def _sample(self, conditioning: Graph | None, backbone: Graph, embeddings: Tensor) -> None:
        """Guided DDIM steps from noise, with one graph's residuals and zeros for all others."""
        blank = backbone.random_inputs(1, *self.latent_size, seed=0)
        for name, value in blank.items():
            if "_residual" in name:
                self.values[name] = torch.zeros_like(value)
        self.values["argmax_mask"] = torch.arange(embeddings.shape[1])[None] > 0
        self.values["conditioning_scale"] = torch.ones(1)
        shape = 1, int(backbone.outputs[0].shape[1]), *self.latent_size
        sample = torch.randn(shape, generator=self.generator)
        for step, timestep in enumerate(self.scheduler.timesteps):
            segfree = step >= _STEPS // 2
            noise = []
            for row_embeddings, scale in (
                (embeddings, 1.0),
                (embeddings, -_SEGFREE_SCALE) if segfree else (self.embeddings[0], 1.0),
            ):
                self.values.update(
                    sample=sample,
                    timestep=timestep.reshape(1).float(),
                    encoder_hidden_states=row_embeddings,
                    attn_scale=torch.tensor([scale]),
                )
                if conditioning is not None:
                    self._call(conditioning)
                self._call(backbone)
                noise.append(self.values["noise_pred"])
                if backbone.name == BACKBONE:
                    for shallow in self.shallow:
                        self._call(shallow)
            positive, negative = noise
            guided = negative + _GUIDANCE_SCALE * (positive - negative)
            sample = self.scheduler.step(guided, timestep, sample).prev_sample
        self.values["latents"] = sample

    def _call(self, graph: Graph) -> None:
        """Run a graph's module on `values`; a port that nothing has written yet gets noise."""
        drawn = graph.random_inputs(1, *self.latent_size, seed=0)
        known = {**self.values, **graph.calibration}
        inputs = {name: known.get(name, value) for name, value in drawn.items()}
        if "sample" in drawn and inputs["sample"].shape != drawn["sample"].shape:
            sample = inputs["sample"]
            seen = drawn["sample"].shape[1] // sample.shape[1]
            earlier = self.values.get("latents", sample)
            inputs["sample"] = torch.cat([sample] + (seen - 1) * [earlier], dim=1)
        shared = self.shared[graph.name]
        own = {name: value for name, value in inputs.items() if name not in shared}
        self.calls[graph.name].append({**_as_taken(graph, own), **shared})
        for spec, output in zip(graph.outputs, run_module(graph, inputs), strict=True):
            self.values[spec.name] = torch.from_numpy(output)


def _as_taken(graph: Graph, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The values in the types of the graph's inputs."""
    types = {spec.name: spec.dtype for spec in graph.inputs}
    return {
        name: value.half() if types[name] == "float16" else value for name, value in values.items()
    }
