"""The chain of a bundle in diffusers' own models, read from the bundle's own folders of weights.

Factors are sampled one after another; an adapter that sees earlier factors sees the latents that
their last steps left. Maps and pictures are sampled by plain loops over `UNet2DConditionModel`,
`ControlNetModel` and `T2IAdapter`, with diffusers' schedulers, in float32 on the CPU. Nothing of a
graph is used.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    T2IAdapter,
    TCDScheduler,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
)
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import CLIPTextModel, CLIPTokenizer
from transformers.utils import logging as transformers_logging

from .adapter import PlainAdapter, TimestepAdapter, timestep_embedding

#: What a loop hands to the UNet beside latents, timestep and embeddings.
_Residuals = Callable[[Tensor, Tensor, Tensor], dict[str, Any]]
#: Predicts the noise of latents, from timestep, embeddings and residuals.
_Predict = Callable[..., Tensor]


@dataclass(frozen=True)
class Sampled:
    """A map: the clean latents that the last step predicted, and those after it; (1, C, h, w)."""

    clean: NDArray[np.float32]
    final: NDArray[np.float32]


class Reference:
    """diffusers' models of the bundle in the folder `root`; each is loaded when it is needed.

    conditions, image: the factors, as the manifest describes them.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._manifest = json.loads((root / "manifest.json").read_text(encoding="utf-8"))
        *self.conditions, self.image = self._manifest["factors"]

    def maps(
        self,
        prompts: Mapping[str, Sequence[str]],
        noise: Mapping[str, NDArray[np.float32]],
        steps: int,
        guidance_scale: float,
    ) -> dict[str, Sampled]:
        """One map of every condition factor, in the chain's order.

        Args:
            prompts: by factor, the prompt and the negative prompt, as the text encoder gets them.
                A factor that isn't there is left out: whoever would see it sees zeros.
            noise: by factor, the latents to start from, (1, C, h, w).
        """
        made: dict[str, Sampled] = {}
        for factor in self.conditions:
            name = factor["name"]
            if name in prompts:
                seen = {earlier: sampled.final for earlier, sampled in made.items()}
                made[name] = self._map(
                    factor, prompts[name], noise[name], steps, guidance_scale, seen
                )
        return made

    def _map(
        self,
        factor: Mapping[str, Any],
        prompts: Sequence[str],
        noise: NDArray[np.float32],
        steps: int,
        guidance_scale: float,
        seen: Mapping[str, NDArray[np.float32]],
    ) -> Sampled:
        adapters = self._adapters(factor, seen, noise.shape)
        predict = self._predict(factor, seen, noise.shape)

        def residuals(sample: Tensor, timestep: Tensor, embeddings: Tensor) -> dict[str, Any]:
            return self._features(adapters, sample, timestep)

        clean, final = self._sample(
            factor, prompts, noise, steps, guidance_scale, predict, residuals
        )
        return Sampled(clean.numpy(), final.numpy())

    def picture(
        self,
        prompts: Sequence[str],
        noise: NDArray[np.float32],
        steps: int,
        guidance_scale: float,
        pictures: Mapping[str, NDArray[Any]],
        latents: Mapping[str, NDArray[np.float32]],
    ) -> NDArray[np.float64]:
        """The image factor's picture, (H, W, 3) in 0..255, not rounded.

        Args:
            prompts: the prompt and the negative one. noise: the latents to start from.
            pictures: what its networks see, by condition, (H, W, 3) in 0..255. A label map has the
                map's colours.
            latents: of the maps, by factor, for adapters of the image, or its own backbone.
        """
        networks = []
        for entry in self.image["conditionings"]:
            if entry["kind"] == "adapter":
                continue
            kind = T2IAdapter if entry["kind"] == "t2i_adapter" else ControlNetModel
            hint = self._recolored(pictures[entry["condition"]], entry)
            seen = torch.from_numpy(hint).permute(2, 0, 1)[None].float() / 255
            networks.append((_load(kind, self._root / entry["graph"]), seen, entry["scale"]))
        adapters = self._adapters(self.image, latents, noise.shape)
        predict = self._predict(self.image, latents, noise.shape)

        def residuals(sample: Tensor, timestep: Tensor, embeddings: Tensor) -> dict[str, Any]:
            made = _all_residuals(networks, sample, timestep, embeddings)
            features = self._features(adapters, sample, timestep)
            return {name: _sum(made.get(name), features.get(name)) for name in {**made, **features}}

        _, final = self._sample(
            self.image, prompts, noise, steps, guidance_scale, predict, residuals
        )
        vae = _load(AutoencoderKL, self._root / "vae")
        with torch.no_grad():
            decoded = vae.decode(final / vae.config.scaling_factor).sample[0]
        scaled = 255 * (decoded / 2 + 0.5).clamp(0, 1).permute(1, 2, 0)
        return cast("NDArray[np.float64]", scaled.numpy().astype(np.float64))

    def _adapters(
        self,
        factor: Mapping[str, Any],
        seen: Mapping[str, NDArray[np.float32]],
        shape: tuple[int, ...],
    ) -> list[tuple[Any, list[Tensor | None]]]:
        """The factor's adapters, each with the latents that it sees at the size of the factor's
        own, which None stands for. shape: (1, C, h, w)."""
        kinds = {kind.__name__: kind for kind in (TimestepAdapter, PlainAdapter)}
        adapters = []
        for entry in factor["conditionings"]:
            if entry["kind"] == "adapter":
                folder = self._root / entry["graph"]
                config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
                adapter = _load(kinds[config["_class_name"]], folder)
                adapters.append((adapter, _latents(factor, entry, seen, shape)))
        return adapters

    def _predict(
        self,
        factor: Mapping[str, Any],
        seen: Mapping[str, NDArray[np.float32]],
        shape: tuple[int, ...],
    ) -> _Predict:
        """The shared UNet, or the factor's own over the latents that it sees beside the sample."""
        if factor.get("backbone") is None:
            return lambda sample, *others, **more: self._unet(sample, *others, **more).sample
        unet = _load(UNet2DConditionModel, self._root / factor["backbone"])
        latents = _latents(factor, factor, seen, shape)

        def predict(sample: Tensor, timestep: Tensor, embeddings: Tensor, **more: Any) -> Tensor:
            predicted = unet(_beside(sample, latents), timestep, embeddings, **more).sample
            return cast(Tensor, predicted)

        return predict

    def _features(
        self,
        adapters: Sequence[tuple[Any, list[Tensor | None]]],
        sample: Tensor,
        timestep: Tensor,
    ) -> dict[str, Any]:
        """The sum of the adapters' features, under the name that diffusers' UNet takes."""
        if not adapters:
            return {}
        emb = timestep_embedding(self._unet, timestep.repeat(len(sample)), torch.float32)
        total = None
        for adapter, latents in adapters:
            total = _sum(total, list(adapter(_beside(sample, latents), emb)))
        return {"down_intrablock_additional_residuals": total}

    def token_ids(self, text: str) -> list[int]:
        """The prompt's ids, as diffusers' pipelines ask transformers for them."""
        length = self._manifest["text_encoder"]["max_length"]
        encoded = self._tokenizer(text, padding="max_length", max_length=length, truncation=True)
        return list(encoded.input_ids)

    @cached_property
    def added_tokens(self) -> list[str]:
        """Words that the tokenizer knows beside its vocabulary's, by id."""
        added = self._tokenizer.added_tokens_decoder
        return [str(added[number]) for number in sorted(added)]

    @cached_property
    def _tokenizer(self) -> CLIPTokenizer:
        return CLIPTokenizer.from_pretrained(self._root / "tokenizer")

    @cached_property
    def _unet(self) -> UNet2DConditionModel:
        return _load(UNet2DConditionModel, self._root / "unet")

    @cached_property
    def _text_encoder(self) -> CLIPTextModel:
        with _no_progress_bars():
            folder = self._root / "text_encoder"
            return CLIPTextModel.from_pretrained(folder, dtype=torch.float32).eval()

    @torch.no_grad()
    def _sample(
        self,
        factor: Mapping[str, Any],
        prompts: Sequence[str],
        noise: NDArray[np.float32],
        steps: int,
        guidance_scale: float,
        predict: _Predict,
        residuals: _Residuals,
    ) -> tuple[Tensor, Tensor]:
        """Classifier-free guidance: the last step's clean latents, and those after it."""
        scheduler = make_scheduler(self._manifest["scheduler"], *plain_sampler(factor))
        with warnings.catch_warnings():
            # diffusers 0.42 makes arrays of tensors in a way that numpy 2 will give up.
            warnings.simplefilter("ignore", DeprecationWarning)
            scheduler.set_timesteps(steps)
        embeddings = self._embeddings(prompts)
        sample = clean = torch.from_numpy(noise)
        for timestep in scheduler.timesteps:
            pair = sample.repeat(2, 1, 1, 1)
            more = residuals(pair, timestep, embeddings)
            positive, negative = predict(pair, timestep, embeddings, **more).chunk(2)
            guided = negative + guidance_scale * (positive - negative)
            alpha = scheduler.alphas_cumprod[int(timestep)]
            if scheduler.config.prediction_type == "v_prediction":
                clean = alpha**0.5 * sample - (1 - alpha) ** 0.5 * guided
            else:
                clean = (sample - (1 - alpha) ** 0.5 * guided) / alpha**0.5
            sample = scheduler.step(guided, timestep, sample).prev_sample
        return clean, sample

    def _embeddings(self, prompts: Sequence[str]) -> Tensor:
        ids = torch.tensor([self.token_ids(prompt) for prompt in prompts])
        return cast(Tensor, self._text_encoder(ids).last_hidden_state)

    def _recolored(self, picture: NDArray[Any], network: Mapping[str, Any]) -> NDArray[Any]:
        """A map in the colours of the palette that a network was trained on."""
        if network["hint_palette"] is None:
            return picture
        (condition,) = [f for f in self.conditions if f["name"] == network["condition"]]
        own, other = (
            {entry["name"]: entry["color"] for entry in self._palette(file)["classes"]}
            for file in (condition["palette"], network["hint_palette"])
        )
        result = np.zeros_like(picture)
        for source, target in network["recolor"].items():
            result[(picture == own[source]).all(-1)] = other[target]
        return result

    def _palette(self, file: str) -> dict[str, Any]:
        content: dict[str, Any] = json.loads((self._root / file).read_text(encoding="utf-8"))
        return content


def make_scheduler(schedule: Mapping[str, Any], sampler: str, spacing: str | None = None) -> Any:
    """diffusers' sampler of a manifest's name, on the noise schedule that the manifest has.

    spacing: of the timesteps; None is the schedule's for the sampler.
    """
    own = schedule["timestep_spacing"]  # a name for all samplers, or one for DDIM and the others
    if spacing is None:
        kind = "ddim" if sampler == "ddim" else "dpmsolver++"
        spacing = own if isinstance(own, str) else own[kind]
    arguments = {
        **schedule,
        # Nothing more happens to betas that end in pure noise, but the samplers must know.
        "rescale_betas_zero_snr": schedule.get("trained_betas", [0])[-1] == 1,
        "timestep_spacing": spacing,
    }
    if spacing in ("karras", "exponential"):
        arguments["timestep_spacing"] = "linspace"
        arguments[f"use_{spacing}_sigmas"] = True
    to_one = arguments.pop("set_alpha_to_one", False)
    if sampler == "ddim":
        return DDIMScheduler(**arguments, clip_sample=False, set_alpha_to_one=to_one)
    kinds: dict[str, tuple[Any, dict[str, Any]]] = {
        "dpmsolver++": (DPMSolverMultistepScheduler, {}),
        "dpmsolver++_sde": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
        "euler": (EulerDiscreteScheduler, {}),
        "euler_ancestral": (EulerAncestralDiscreteScheduler, {}),
        "unipc": (UniPCMultistepScheduler, {}),
        "lcm": (LCMScheduler, {}),
        "tcd": (TCDScheduler, {}),
    }
    made, more = kinds[sampler]
    return made(**arguments, **more)


#: Samplers without noise of their own and with whole timesteps, in place of those with.
_PLAIN = {
    "dpmsolver++_sde": "dpmsolver++",
    "euler": "ddim",
    "euler_ancestral": "ddim",
    "lcm": "ddim",
    "tcd": "ddim",
}


def plain_sampler(factor: Mapping[str, Any]) -> tuple[str, str | None]:
    """The sampler that a factor is compared with diffusers by, and its spacing (None: the
    schedule's): its own, where a plain loop can follow it."""
    spacing = factor.get("timestep_spacing")
    sampler = str(_PLAIN.get(factor["sampler"], factor["sampler"]))
    return sampler, None if spacing in ("karras", "exponential") else spacing


def _latents(
    factor: Mapping[str, Any],
    network: Mapping[str, Any],
    seen: Mapping[str, NDArray[np.float32]],
    shape: tuple[int, ...],
) -> list[Tensor | None]:
    """The latents that a network of a factor sees at the size of the factor's own, which None
    stands for. shape: (1, C, h, w)."""
    found: list[Tensor | None] = []
    for name in network.get("latents", [factor["name"]]):
        if name == factor["name"]:
            found.append(None)
        elif name in seen:
            found.append(interpolate(torch.from_numpy(seen[name]), shape[2:], mode="bilinear"))
        else:
            found.append(torch.zeros(shape))
    return found


def _beside(sample: Tensor, latents: Sequence[Tensor | None]) -> Tensor:
    """Latents (1, C, h, w) in every row of the sample (B, C, h, w), which None stands for,
    concatenated along the channels."""
    rows = len(sample)
    seen = [sample if entry is None else entry.repeat(rows, 1, 1, 1) for entry in latents]
    return torch.cat(seen, dim=1)


def _all_residuals(
    networks: Sequence[tuple[Any, Tensor, float]],
    sample: Tensor,
    timestep: Tensor,
    embeddings: Tensor,
) -> dict[str, Any]:
    """Sums over ControlNets and over T2I-Adapters, under the names that diffusers' UNet takes."""
    sums: dict[str, list[Tensor]] = {}
    for model, seen, scale in networks:
        if isinstance(model, T2IAdapter):
            name = "down_intrablock_additional_residuals"
            features = [feature * scale for feature in model(seen)]
        else:
            name = "controlnet"
            down, middle = model(
                sample,
                timestep,
                embeddings,
                seen.repeat(len(sample), 1, 1, 1),
                conditioning_scale=scale,
                return_dict=False,
            )
            features = [*down, middle]
        sums[name] = _sum(sums.get(name), features)
    residuals: dict[str, Any] = {}
    if "controlnet" in sums:
        *residuals["down_block_additional_residuals"], middle = sums.pop("controlnet")
        residuals["mid_block_additional_residual"] = middle
    return {**residuals, **sums}


def _sum(before: list[Tensor] | None, features: list[Tensor] | None) -> Any:
    """One by one; None adds nothing."""
    if before is None or features is None:
        return features if before is None else before
    return [old + new for old, new in zip(before, features, strict=True)]


@contextmanager
def _no_progress_bars() -> Iterator[None]:
    """transformers shows one for each model that it loads, into the middle of export's progress."""
    shown = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def _load(kind: Any, folder: Path) -> Any:
    return kind.from_pretrained(folder, torch_dtype=torch.float32).eval()
