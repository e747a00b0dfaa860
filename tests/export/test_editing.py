"""Inversions and edits equal diffusers' LEDITS++ pipeline and inverse schedulers, on the same
weights, noise and masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler
from diffusers.pipelines.ledits_pp.pipeline_leditspp_stable_diffusion import compute_noise_ddim
from fgdm import Edit, Engine, Inversion
from fgdm.export.reference import make_scheduler
from numpy.typing import NDArray
from PIL import Image

from benchmarks.ledits import load_pipeline

SCENES = Path(__file__).parents[2] / "bundles" / "scenes"
pytestmark = pytest.mark.filterwarnings("ignore")  # diffusers'

SIDE, TAKEN, TOTAL = 128, 10, 12
#: What the image factor sees of the chain: nothing, as diffusers' pipeline.
ALONE: dict[str, Any] = {"factors": {"segmentation": None}}
NOISE_SEED = 11

Latents = NDArray[np.float32]


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(SCENES, backend="cpu", threads=1) as opened:
        yield opened


@pytest.fixture(scope="module")
def pipeline(engine: Engine) -> Any:
    return load_pipeline(SCENES, engine.manifest["scheduler"])


def _picture() -> Image.Image:
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 255, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def _noise(like: torch.Tensor) -> Latents:
    """As the pipeline draws it, which begins with the least noisy latents."""
    generator = torch.Generator().manual_seed(NOISE_SEED)
    drawn = [torch.randn(like.shape, generator=generator) for _ in range(TAKEN)]
    noise: Latents = torch.cat(drawn[::-1]).numpy()
    return noise


def _encoded(pipeline: Any) -> torch.Tensor:
    with torch.no_grad():
        encoded: torch.Tensor = pipeline.encode_image(_picture(), dtype=torch.float32)[0]
    return encoded


@pytest.fixture(scope="module")
def inverted(engine: Engine, pipeline: Any) -> tuple[Inversion, Latents]:
    """Ours, and the noise maps of the pipeline, the noisiest latents' first."""
    pipeline.invert(
        _picture(),
        num_inversion_steps=TAKEN,
        skip=0.2,
        generator=torch.Generator().manual_seed(NOISE_SEED),
    )
    ours = engine.invert(
        image=_picture(),
        steps=TOTAL,
        skip=(TOTAL - TAKEN) / TOTAL,
        timestep_spacing="leading",
        noise=_noise(_encoded(pipeline)),
        **ALONE,
    )
    return ours, pipeline.zs.numpy()[:, 0]


def _deviations(engine: Engine) -> NDArray[np.float64]:
    """What the noise of each step is multiplied by, from diffusers' sigmas (Lu et al., section 5:
    sigma_t sqrt(1 - exp(-2h)))."""
    scheduler = make_scheduler(engine.manifest["scheduler"], "dpmsolver++_sde")
    scheduler.set_timesteps(TOTAL)
    ratio = scheduler.sigmas.double().numpy()[TOTAL - TAKEN :]
    sigma = ratio / np.sqrt(1 + ratio**2)
    with np.errstate(divide="ignore"):
        decay = (ratio[1:] / ratio[:-1]) ** 2
    made: NDArray[np.float64] = sigma[1:] * np.sqrt(1 - decay)
    return made


def test_noise_maps_equal_the_pipelines(
    engine: Engine, inverted: tuple[Inversion, Latents]
) -> None:
    ours, theirs = inverted
    # The last step has no noise: theirs is 0, ours what the prediction lacks of the picture.
    scaled = ours.remainders[:-1] / _deviations(engine)[:-1, None, None, None]
    np.testing.assert_allclose(scaled, theirs[:-1], atol=1e-3)
    assert (theirs[-1] == 0).all()


def _final_latents(engine: Engine, inversion: Inversion, edits: list[Edit]) -> Latents:
    """Of the last step, which ends at its predicted x0, of LEDITS++ as it was published."""
    seen: list[Latents] = []
    engine.edit(
        inversion,
        edits,
        keep=False,
        step_callback=lambda info: seen.append(info.predicted_x0()),
        **ALONE,
    )
    return seen[-1]


def _theirs(pipeline: Any, **options: Any) -> Latents:
    latents: Latents = (
        pipeline(
            output_type="latent",
            use_cross_attn_mask=False,
            use_intersect_mask=False,
            **options,
        )
        .images.detach()
        .numpy()
    )
    return latents


def _user_mask() -> NDArray[np.bool_]:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[32:96, 16:80] = True  # whole cells of the latents
    return mask


@pytest.mark.parametrize("masked", [False, True])
def test_edits_equal_the_pipelines(
    engine: Engine, pipeline: Any, inverted: tuple[Inversion, Latents], masked: bool
) -> None:
    ours, _ = inverted
    last_as_theirs = ours.remainders.copy()
    last_as_theirs[-1] = 0
    inversion = dataclasses.replace(ours, remainders=last_as_theirs)
    mask = _user_mask() if masked else None
    edits = [
        Edit("a red house", scale=6.0, threshold=0.8, warm_up=1, mask=mask),
        Edit("a tree", "-", scale=4.0, threshold=0.6, cool_down=7, mask=mask),
    ]
    final = _final_latents(engine, inversion, edits)
    cells = SIDE // final.shape[-1]
    theirs = _theirs(
        pipeline,
        editing_prompt=[edit.prompt for edit in edits],
        reverse_editing_direction=[False, True],
        edit_guidance_scale=[6.0, 4.0],
        edit_threshold=[0.8, 0.6],
        edit_warmup_steps=[1, 0],
        edit_cooldown_steps=[TAKEN, 7],
        user_mask=None
        if mask is None
        else torch.tensor(mask[::cells, ::cells], dtype=torch.float32)[None, None],
    )
    np.testing.assert_allclose(final, theirs, atol=1e-3)
    plain = _final_latents(engine, inversion, [Edit("a tree", scale=0.0)])
    assert np.abs(final - plain).max() > 0.1, "the edits did nothing"


def _psnr(a: Image.Image, b: Image.Image) -> float:
    error = np.mean((np.asarray(a, float) - np.asarray(b, float)) ** 2)
    return float(10 * np.log10(255**2 / max(float(error), 1e-12)))


@pytest.mark.parametrize("sampler", ["dpmsolver++_sde", "ddim"])
@pytest.mark.parametrize("guidance_scale", [1.0, 3.5])
def test_reconstruction(engine: Engine, pipeline: Any, sampler: str, guidance_scale: float) -> None:
    """Without an edit, only what the autoencoder loses is lost."""
    inversion = engine.invert(
        image=_picture(),
        prompt="a red house",
        guidance_scale=guidance_scale,
        sampler=sampler,
        steps=TOTAL,
        **ALONE,
    )
    nothing = [Edit("a tree", scale=0.0)]
    ours = engine.edit(inversion, nothing, seed=4, keep=False, **ALONE).image
    latents = _encoded(pipeline) / pipeline.vae.config.scaling_factor
    with torch.no_grad():
        decoded = pipeline.vae.decode(latents).sample
    trip = pipeline.image_processor.postprocess(decoded)[0]
    assert _psnr(ours, trip) >= 45


def _predict(pipeline: Any) -> Callable[[torch.Tensor, Any], torch.Tensor]:
    embeddings = pipeline.encode_prompt(
        device="cpu", num_images_per_prompt=1, enable_edit_guidance=False
    )[1]

    def predict(latents: torch.Tensor, timestep: Any) -> torch.Tensor:
        with torch.no_grad():
            output: torch.Tensor = pipeline.unet(
                latents, timestep, encoder_hidden_states=embeddings
            ).sample
        return output

    return predict


def test_ddim_noise_maps_equal_a_loop_of_the_paper(engine: Engine, pipeline: Any) -> None:
    """Whose steps are diffusers' `compute_noise_ddim`; its `invert` itself raises with DDIM."""
    pipeline.batch_size = 1
    scheduler: Any = DDIMScheduler.from_config(
        make_scheduler(engine.manifest["scheduler"], "ddim").config
    )
    scheduler.set_timesteps(TOTAL)
    clean = _encoded(pipeline)
    noise = _noise(clean)
    predict = _predict(pipeline)
    timesteps = scheduler.timesteps[-TAKEN:]
    points = [
        scheduler.add_noise(clean, torch.tensor(one)[None], timestep[None])
        for one, timestep in zip(noise, timesteps, strict=True)
    ] + [clean]
    theirs = []
    for i, timestep in enumerate(timesteps):
        noise_map, points[i + 1] = compute_noise_ddim(
            scheduler, points[i + 1], points[i], timestep, predict(points[i], timestep), 1.0
        )
        theirs.append(noise_map[0].numpy())
    ours = engine.invert(
        image=_picture(),
        steps=TOTAL,
        skip=(TOTAL - TAKEN) / TOTAL,
        sampler="ddim",
        timestep_spacing="leading",
        noise=noise,
        **ALONE,
    )
    stride = scheduler.config.num_train_timesteps // TOTAL
    deviations = [float(scheduler._get_variance(int(t), int(t) - stride)) ** 0.5 for t in timesteps]
    scaled = ours.remainders / np.array(deviations, np.float32)[:, None, None, None]
    np.testing.assert_allclose(scaled, np.stack(theirs), atol=1e-3)


def test_plain_ddim_inversion_equals_diffusers(engine: Engine, pipeline: Any) -> None:
    pipeline.batch_size = 1
    inverse: Any = DDIMInverseScheduler.from_config(
        make_scheduler(engine.manifest["scheduler"], "ddim").config
    )
    inverse.set_timesteps(TOTAL)
    latents = _encoded(pipeline)
    predict = _predict(pipeline)
    for timestep in inverse.timesteps[:TAKEN]:
        latents = inverse.step(predict(latents, timestep), timestep, latents).prev_sample
    ours = engine.invert(
        image=_picture(),
        steps=TOTAL,
        skip=(TOTAL - TAKEN) / TOTAL,
        sampler="ddim",
        eta=0.0,
        timestep_spacing="leading",
        **ALONE,
    )
    np.testing.assert_allclose(ours.latents, latents[0].numpy(), atol=1e-3)
