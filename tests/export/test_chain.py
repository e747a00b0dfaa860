"""The whole chain in `fgdm.Engine` against loops that diffusers' own pipelines run.

Same weights (read from the bundle's subfolders), same latents, float32. The engine's noise
predictions are recovered from the predicted x₀ that its step callback shows; they must agree within
1e-4 of their scale, and the pictures to 40 dB.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    ControlNetModel,
    DDIMScheduler,
    StableDiffusionControlNetPipeline,
    UNet2DConditionModel,
)
from fgdm.export.adapter import TimestepAdapter, timestep_embedding
from numpy.typing import NDArray
from torch import Tensor
from transformers import CLIPTextModel, CLIPTokenizer

from tests.export.paper_attention import use_paper_attention
from tests.tiny_models import IMAGE_SIZE, PALETTE, TinyCheckpoint

pytest.importorskip("fgdm._core", reason="the compiled core isn't built")

PROMPT, NEGATIVE = "Two dogs beside a park bench on the grass", "a man"
MAP_STEPS, IMAGE_STEPS, CANDIDATES = 4, 6, 2
GUIDANCE, SEGFREE_GUIDANCE, SEGFREE_SCALE = 5.0, 3.5, 10.0
TOLERANCE = 1e-4
LATENT = IMAGE_SIZE // 4


@dataclass
class Trace:
    """What a loop predicted: one array (rows, 4, h, w) per step, guidance applied."""

    noise: list[NDArray[np.float64]] = field(default_factory=list)


class RecordingScheduler(DDIMScheduler):
    """diffusers' DDIM that keeps the noise predictions it is given."""

    def watch(self) -> Trace:
        self.trace = Trace()
        return self.trace

    def step(self, model_output: Tensor, *args: Any, **kwargs: Any) -> Any:
        self.trace.noise.append(model_output.numpy().astype(np.float64))
        return super().step(model_output, *args, **kwargs)


@pytest.fixture(scope="module")
def latents() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(31)

    def normal(rows: int, size: int) -> NDArray[np.float32]:
        return rng.standard_normal((rows, 4, size, size), dtype=np.float32)

    return {"image": normal(1, LATENT), "maps": normal(CANDIDATES, LATENT // 2)}


@pytest.fixture
def pipeline(
    tiny_bundle: Path, tiny_checkpoint: TinyCheckpoint
) -> StableDiffusionControlNetPipeline:
    made = StableDiffusionControlNetPipeline(
        vae=AutoencoderKL.from_pretrained(tiny_bundle / "vae"),
        text_encoder=CLIPTextModel.from_pretrained(tiny_bundle / "text_encoder").float(),
        tokenizer=CLIPTokenizer.from_pretrained(tiny_bundle / "tokenizer"),
        unet=UNet2DConditionModel.from_pretrained(tiny_bundle / "unet"),
        controlnet=ControlNetModel.from_pretrained(tiny_bundle / "controlnet_segmentation"),
        scheduler=RecordingScheduler.from_pretrained(tiny_checkpoint.base / "scheduler"),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def generated(
    tiny_bundle: Path,
    tiny_checkpoint: TinyCheckpoint,
    latents: dict[str, NDArray[np.float32]],
) -> Callable[[str], tuple[Any, dict[str, Trace]]]:
    """Runs the engine once per kind of guidance: its result, and a trace per factor."""
    from fgdm.engine import Engine  # noqa: PLC0415 (needs the compiled core)

    engine = Engine(tiny_bundle, backend="cpu", precision="fp32")
    alphas = DDIMScheduler.from_pretrained(tiny_checkpoint.base / "scheduler").alphas_cumprod
    done: dict[str, tuple[Any, dict[str, Trace]]] = {}

    def run(guidance: str) -> tuple[Any, dict[str, Trace]]:
        if guidance in done:
            return done[guidance]
        current = {
            "segmentation": latents["maps"].astype(np.float64),
            "image": latents["image"].astype(np.float64),
        }
        traces = {name: Trace() for name in current}

        def watch(info: Any) -> None:
            """DDIM solved for the noise, and one step of it to know the next step's latents."""
            x0 = info.predicted_x0().astype(np.float64)
            alpha = float(alphas[info.timestep])
            noise = (current[info.factor] - alpha**0.5 * x0) / (1 - alpha) ** 0.5
            traces[info.factor].noise.append(noise)
            earlier = info.timestep - 1000 // info.num_steps
            alpha = float(alphas[max(earlier, 0)])
            current[info.factor] = alpha**0.5 * x0 + (1 - alpha) ** 0.5 * noise

        result = engine.submit(
            PROMPT,
            negative_prompt=NEGATIVE,
            objects=["dog", "bench"],
            candidates=CANDIDATES,
            seed=0,
            condition_steps=MAP_STEPS,
            num_inference_steps=IMAGE_STEPS,
            guidance=guidance,
            guidance_scale=GUIDANCE,
            condition_guidance_scale=GUIDANCE,
            segfree_scale=SEGFREE_SCALE,
            segfree_guidance_scale=SEGFREE_GUIDANCE,
            segfree_start=0.5,
            controlnet_conditioning_scale=0.8,
            latents=latents["image"],
            condition_latents=latents["maps"],
            step_callback=watch,
        ).result()
        done[guidance] = result, traces
        return done[guidance]

    return run


def compare_noise(actual: Trace, expected: Trace) -> None:
    assert len(actual.noise) == len(expected.noise)
    for step, (noise, reference) in enumerate(zip(actual.noise, expected.noise, strict=True)):
        error = np.abs(noise - reference).max() / np.abs(reference).max()
        assert error <= TOLERANCE, f"step {step}: {error:.1e} of the prediction's scale"


def psnr(actual: NDArray[Any], expected: NDArray[Any]) -> float:
    """Of two uint8 pictures, in dB."""
    error = np.mean((actual.astype(np.float64) - expected) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-12)))


def test_maps(
    pipeline: StableDiffusionControlNetPipeline,
    tiny_bundle: Path,
    latents: dict[str, NDArray[np.float32]],
    generated: Callable[[str], tuple[Any, dict[str, Trace]]],
) -> None:
    """A plain guidance loop, with the adapter's features as diffusers' intrablock residuals."""
    adapter = TimestepAdapter.from_pretrained(tiny_bundle / "adapter_segmentation").eval()
    scheduler, unet, vae = pipeline.scheduler, pipeline.unet, pipeline.vae
    trace = scheduler.watch()
    scheduler.set_timesteps(MAP_STEPS)
    with torch.no_grad():
        positive, negative = pipeline.encode_prompt(
            PROMPT, "cpu", CANDIDATES, True, negative_prompt=NEGATIVE
        )
        sample = torch.from_numpy(latents["maps"])
        for timestep in scheduler.timesteps:
            emb = timestep_embedding(unet, timestep.repeat(CANDIDATES), torch.float32)
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
            guided = without + GUIDANCE * (with_text - without)
            sample = scheduler.step(guided, timestep, sample).prev_sample
        decoded = vae.decode(sample / vae.config.scaling_factor).sample
    pictures = ((decoded / 2 + 0.5).clamp(0, 1) * 255).round().permute(0, 2, 3, 1).numpy()

    result, traces = generated("cfg")
    compare_noise(traces["segmentation"], trace)
    colors = np.array([entry["color"] for entry in PALETTE["classes"]])
    for candidate, picture in zip(result.candidates, pictures, strict=True):
        nearest = np.abs(picture[:, :, None] - colors).max(-1).min(-1)
        chosen = np.asarray(candidate.map).astype(int)
        assert (chosen[:, :, None] == colors).all(-1).any(-1).all(), "only palette colours"
        # One step of 255 is what rounding may add between equally near colours.
        assert (np.abs(picture - chosen).max(-1) <= nearest + 1).all()


@pytest.mark.parametrize("guidance", ["cfg", "segfree"])
def test_image(
    guidance: str,
    pipeline: StableDiffusionControlNetPipeline,
    latents: dict[str, NDArray[np.float32]],
    generated: Callable[[str], tuple[Any, dict[str, Trace]]],
) -> None:
    """`StableDiffusionControlNetPipeline`; for segfree its negative branch changes half-way."""
    result, traces = generated(guidance)
    chosen = np.asarray(result.map)
    hint = torch.from_numpy(chosen.repeat(2, 0).repeat(2, 1)).permute(2, 0, 1)[None] / 255
    paper = use_paper_attention(pipeline.unet, (1.0, 1.0))

    def degrade(pipe: Any, step: int, timestep: int, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Algorithm 1: from the middle on, the negative branch is the prompt, degraded."""
        if guidance == "segfree" and step == IMAGE_STEPS // 2 - 1:
            paper.scales = (-SEGFREE_SCALE, 1.0)
            pipe._guidance_scale = SEGFREE_GUIDANCE
            _, positive = state["prompt_embeds"].chunk(2)
            return {"prompt_embeds": torch.cat([positive, positive])}
        return {}

    trace = pipeline.scheduler.watch()
    picture = pipeline(
        PROMPT,
        image=hint,
        negative_prompt=NEGATIVE,
        num_inference_steps=IMAGE_STEPS,
        guidance_scale=GUIDANCE,
        controlnet_conditioning_scale=0.8,
        latents=torch.from_numpy(latents["image"]),
        callback_on_step_end=degrade,
        callback_on_step_end_tensor_inputs=["latents", "prompt_embeds"],
        output_type="np",
    ).images[0]

    compare_noise(traces["image"], trace)
    expected = (picture * 255).round()
    assert expected.std() > 5, "the pictures hold something to compare"
    assert psnr(np.asarray(result.image), expected) >= 40


def test_segfree_is_not_cfg(generated: Callable[[str], tuple[Any, dict[str, Trace]]]) -> None:
    (_, cfg), (_, segfree) = generated("cfg"), generated("segfree")
    first, last = IMAGE_STEPS // 2 - 1, IMAGE_STEPS // 2
    assert np.allclose(cfg["image"].noise[first], segfree["image"].noise[first], atol=1e-6)
    assert np.abs(cfg["image"].noise[last] - segfree["image"].noise[last]).max() > 0.01
