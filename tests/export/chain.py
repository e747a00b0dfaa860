"""The whole chain twice: in `fgdm.Engine`, and in loops that diffusers' own pipelines run.

Both read their weights from the bundle's subfolders and start from the same latents, in float32. A
`Trace` keeps what a loop predicted in each step and the latents it went on with. The engine's are
recovered from the predicted x₀ that its step callback shows.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    MultiControlNetModel,
    StableDiffusionControlNetPipeline,
    UNet2DConditionModel,
)
from fgdm.export.adapter import TimestepAdapter, timestep_embedding
from fgdm.export.reference import make_scheduler
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from tests.export.paper_attention import use_paper_attention

Array = NDArray[np.float64]


@dataclass
class Trace:
    """One array (rows, 4, h, w) a step: the guided noise prediction, and the latents after it."""

    noise: list[Array] = field(default_factory=list)
    latents: list[Array] = field(default_factory=list)

    def worst_error(self, expected: Trace) -> float:
        """The largest difference from another loop, relative to the scale of what it has there."""
        return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in self._beside(expected))

    def relative_error(self, expected: Trace) -> float:
        """The largest norm of a step's difference from another loop, relative to the norm of what
        it has there. Where two tokens are nearly tied for a patch's strongest, two loops may choose
        differently, which moves that patch and nothing else; this weighs it by its size."""
        return max(
            float(np.linalg.norm(a - b) / np.linalg.norm(b)) for a, b in self._beside(expected)
        )

    def _beside(self, expected: Trace) -> list[tuple[Array, Array]]:
        assert len(self.noise) == len(expected.noise) > 0
        return [
            *zip(self.noise, expected.noise, strict=True),
            *zip(self.latents, expected.latents, strict=True),
        ]


@dataclass(frozen=True)
class Settings:
    """What is generated: sizes in pixels, steps and scales, as the two loops share them."""

    image_size: int
    downscale: int
    prompt: str = "Two dogs beside a park bench on the grass"
    negative: str = "a man"
    objects: tuple[str, ...] = ("dog", "bench")
    map_steps: int = 4
    image_steps: int = 6
    candidates: int = 2
    guidance_scale: float = 5.0
    segfree_guidance_scale: float = 3.5
    segfree_scale: float = 10.0
    conditioning_scales: tuple[float, ...] = (0.8,)
    cache_interval: int = 1
    cache_level: int = 1
    noise_seed: int = 31

    @cached_property
    def latents(self) -> dict[str, NDArray[np.float32]]:
        """Initial noise of the image and of the maps."""
        rng = np.random.default_rng(self.noise_seed)
        side = self.image_size // self.downscale
        return {
            "image": rng.standard_normal((1, 4, side, side), np.float32),
            "maps": rng.standard_normal((self.candidates, 4, side // 2, side // 2), np.float32),
        }


class _RecordingScheduler(DDIMScheduler):  # type: ignore[misc]
    """diffusers' DDIM that keeps the noise predictions it is given, and what it makes of them."""

    def watch(self) -> Trace:
        self.trace = Trace()
        return self.trace

    def step(self, model_output: Tensor, *args: Any, **kwargs: Any) -> Any:
        result = super().step(model_output, *args, **kwargs)
        after = result[0] if isinstance(result, tuple) else result.prev_sample
        self.trace.noise.append(model_output.numpy().astype(np.float64))
        self.trace.latents.append(after.numpy().astype(np.float64))
        return result


def _scheduler(bundle: Path) -> _RecordingScheduler:
    """The bundle's noise schedule, in diffusers' hands."""
    schedule = json.loads((bundle / "manifest.json").read_text())["scheduler"]
    made: _RecordingScheduler = _RecordingScheduler.from_config(
        make_scheduler(schedule, "ddim").config
    )
    return made


def run_engine(bundle: Path, settings: Settings, guidance: str) -> tuple[Any, dict[str, Trace]]:
    """The engine's result, and a trace per factor."""
    from fgdm.engine import Engine  # noqa: PLC0415 (needs the compiled core)

    scheduler = _scheduler(bundle)
    alphas = scheduler.alphas_cumprod
    current = {
        "segmentation": settings.latents["maps"].astype(np.float64),
        "image": settings.latents["image"].astype(np.float64),
    }
    traces = {name: Trace() for name in current}

    def watch(info: Any) -> None:
        """DDIM solved for the noise, and one step of it to know the next step's latents."""
        x0 = info.predicted_x0().astype(np.float64)
        timestep = int(info.timestep)
        alpha = float(alphas[timestep])
        noise = (current[info.factor] - alpha**0.5 * x0) / (1 - alpha) ** 0.5
        earlier = timestep - 1000 // info.num_steps
        alpha = float(alphas[earlier] if earlier >= 0 else scheduler.final_alpha_cumprod)
        current[info.factor] = alpha**0.5 * x0 + (1 - alpha) ** 0.5 * noise
        traces[info.factor].noise.append(noise)
        traces[info.factor].latents.append(current[info.factor])

    with Engine(bundle, backend="cpu") as engine:
        result = engine.generate(
            settings.prompt,
            negative_prompt=settings.negative,
            objects=list(settings.objects),
            candidates=settings.candidates,
            seed=0,
            condition_steps=settings.map_steps,
            num_inference_steps=settings.image_steps,
            guidance=guidance,
            guidance_scale=settings.guidance_scale,
            condition_guidance_scale=settings.guidance_scale,
            segfree_scale=settings.segfree_scale,
            segfree_guidance_scale=settings.segfree_guidance_scale,
            segfree_start=0.5,
            cache_interval=settings.cache_interval,
            cache_level=settings.cache_level,
            height=settings.image_size,
            width=settings.image_size,
            controlnet_conditioning_scale=list(settings.conditioning_scales),
            latents=settings.latents["image"],
            condition_latents=settings.latents["maps"],
            step_callback=watch,
        )
    return result, traces


def load_pipeline(
    bundle: Path, controlnets: Sequence[str] | None = None
) -> StableDiffusionControlNetPipeline:
    """diffusers' pipeline over the bundle's own weights, in float32, with all its ControlNets or
    those named."""
    networks = [
        ControlNetModel.from_pretrained(bundle / name, torch_dtype=torch.float32)
        for name in controlnets or _controlnets(bundle)
    ]
    made = StableDiffusionControlNetPipeline(
        vae=AutoencoderKL.from_pretrained(bundle / "vae", torch_dtype=torch.float32),
        text_encoder=CLIPTextModel.from_pretrained(bundle / "text_encoder", dtype=torch.float32),
        tokenizer=CLIPTokenizer.from_pretrained(bundle / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(bundle / "unet", torch_dtype=torch.float32),
        controlnet=networks[0] if len(networks) == 1 else MultiControlNetModel(networks),
        scheduler=_scheduler(bundle),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


def _controlnets(bundle: Path) -> list[str]:
    image = json.loads((bundle / "manifest.json").read_text())["factors"][-1]
    return [str(entry["graph"]) for entry in image["conditionings"]]


def cache_deep_features(
    pipeline: StableDiffusionControlNetPipeline, level: int, whole_steps: Collection[int]
) -> None:
    """In all other steps the last `level` up blocks of the UNet begin with what they began with in
    the last whole step, whatever the blocks before them made, and ControlNets give what they gave
    then: DeepCache, without leaving anything out."""
    kept: dict[str, Any] = {}
    step = -1
    block, controlnet = pipeline.unet.up_blocks[-level], pipeline.controlnet.forward

    def count(*_: Any) -> None:
        nonlocal step
        step += 1

    def exchange(_: Any, args: tuple[Any, ...], inputs: dict[str, Any]) -> tuple[Any, Any]:
        if step in whole_steps:
            kept["hidden"] = inputs["hidden_states"]
        return args, inputs | {"hidden_states": kept["hidden"]}

    def residuals(*args: Any, **kwargs: Any) -> Any:
        if step + 1 in whole_steps:  # the UNet's step comes after it
            down, middle = controlnet(*args, **kwargs)
            kept["down"], kept["middle"] = [one.clone() for one in down], middle.clone()
        return [one.clone() for one in kept["down"]], kept["middle"].clone()

    pipeline.unet.register_forward_pre_hook(count)
    block.register_forward_pre_hook(exchange, with_kwargs=True)
    pipeline.controlnet.forward = residuals


def reference_maps(
    pipeline: StableDiffusionControlNetPipeline, adapter: TimestepAdapter, settings: Settings
) -> tuple[Array, Trace]:
    """A plain guidance loop, with the adapter's features as diffusers' intrablock residuals.

    Returns the decoded maps (N, h, w, 3) in 0..255, rounded, and the trace.
    """
    scheduler, unet, vae = pipeline.scheduler, pipeline.unet, pipeline.vae
    trace: Trace = scheduler.watch()
    scheduler.set_timesteps(settings.map_steps)
    with torch.no_grad():
        positive, negative = pipeline.encode_prompt(
            settings.prompt, "cpu", settings.candidates, True, negative_prompt=settings.negative
        )
        sample = torch.from_numpy(settings.latents["maps"])
        for timestep in scheduler.timesteps:
            emb = timestep_embedding(unet, timestep.repeat(settings.candidates), torch.float32)
            features = adapter(sample, emb)
            with_text, without = (
                unet(
                    sample,
                    timestep,
                    context,
                    down_intrablock_additional_residuals=[one.clone() for one in features],
                ).sample
                for context in (positive, negative)
            )
            guided = without + settings.guidance_scale * (with_text - without)
            sample = scheduler.step(guided, timestep, sample).prev_sample
        decoded = vae.decode(sample / vae.config.scaling_factor).sample
    pictures = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().permute(0, 2, 3, 1)
    return pictures.numpy().astype(np.float64), trace


def reference_image(
    pipeline: StableDiffusionControlNetPipeline,
    settings: Settings,
    guidance: str,
    chosen_map: NDArray[np.uint8],
) -> tuple[Array, Trace]:
    """`StableDiffusionControlNetPipeline`; for segfree its negative branch changes half-way.

    Returns the picture (H, W, 3) in 0..255, rounded, and the trace.
    """
    hint = torch.from_numpy(chosen_map.repeat(2, 0).repeat(2, 1)).permute(2, 0, 1)[None] / 255
    several = isinstance(pipeline.controlnet, MultiControlNetModel)
    scales = settings.conditioning_scales
    paper = use_paper_attention(pipeline.unet, (1.0, 1.0))

    def degrade(pipe: Any, step: int, timestep: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Algorithm 1: from the middle on, the negative branch is the prompt, degraded."""
        if guidance == "segfree" and step == settings.image_steps // 2 - 1:
            paper.scales = (-settings.segfree_scale, 1.0)
            pipe._guidance_scale = settings.segfree_guidance_scale
            _, positive = state["prompt_embeds"].chunk(2)
            return {"prompt_embeds": torch.cat([positive, positive])}
        return {}

    trace: Trace = pipeline.scheduler.watch()
    picture = pipeline(
        settings.prompt,
        image=[hint] * len(scales) if several else hint,
        negative_prompt=settings.negative,
        num_inference_steps=settings.image_steps,
        guidance_scale=settings.guidance_scale,
        controlnet_conditioning_scale=list(scales) if several else scales[0],
        latents=torch.from_numpy(settings.latents["image"]),
        callback_on_step_end=degrade,
        callback_on_step_end_tensor_inputs=["latents", "prompt_embeds"],
        output_type="np",
    ).images[0]
    return (picture * 255).round().astype(np.float64), trace
