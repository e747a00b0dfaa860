"""Chains of factors, one after another and jointly, against a loop over diffusers' classes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel
from diffusers.schedulers import (
    scheduling_dpmsolver_multistep,
    scheduling_euler_ancestral_discrete,
    scheduling_lcm,
    scheduling_tcd,
)
from fgdm._core import normal_noise
from fgdm.engine import Engine
from fgdm.export.bundle import export_bundle
from fgdm.export.factors import AdapterSource, FactorSource
from fgdm.export.image_networks import NetworkSource
from fgdm.export.reference import Reference, _all_residuals, make_scheduler
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from tests.tiny_models import TinyCheckpoint, build_adapter

STOCHASTIC = (
    scheduling_dpmsolver_multistep,
    scheduling_euler_ancestral_discrete,
    scheduling_lcm,
    scheduling_tcd,
)
Array = NDArray[np.float32]
STEPS, SCALE, PROMPT, NEGATIVE = 4, 3.0, "a dog on the grass", "blurry"
FACTORS = ("segmentation", "depth", "normal", "sketch")


@pytest.fixture(scope="module")
def chain(tiny_checkpoint: TinyCheckpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four condition factors, each of which sees those before it in another way, and an image that
    sees the third by an adapter and two by ControlNets."""
    folder = tmp_path_factory.mktemp("graph")
    two = build_adapter(folder / "two", latents=2, seed=6)
    own = tiny_checkpoint.adapter
    return export_bundle(
        tiny_checkpoint.base,
        {
            "segmentation": own,
            "depth": FactorSource(AdapterSource(own, ("segmentation",))),
            "normal": FactorSource(AdapterSource(two, ("depth", "normal"))),
            "sketch": FactorSource(
                [AdapterSource(own, ("segmentation",)), AdapterSource(two, ("depth", "normal"))]
            ),
            "image": FactorSource(AdapterSource(own, ("normal",))),
        },
        [
            NetworkSource(tiny_checkpoint.controlnet, "segmentation"),
            NetworkSource(tiny_checkpoint.controlnet, "depth", 0.5),
        ],
        tiny_checkpoint.palette,
        folder / "bundle",
        name="graph",
        check=False,
    )


class Loop:
    """Samples groups of factors with diffusers' UNet and schedulers.

    refresh: the steps after which joint ControlNets see the maps anew; 0: there are none.
    clean: by factor, the clean latents that every step predicts.
    """

    def __init__(
        self,
        reference: Reference,
        noise: dict[str, Array],
        refresh: int = 0,
        sampling: tuple[str, str] | None = None,
    ) -> None:
        """sampling: the sampler and spacing of all factors, in place of their own."""
        self._reference, self._noise, self._refresh = reference, noise, refresh
        self._sampling = sampling
        self.drawn: Array | None = None  # what a stochastic sampler adds next
        self._factors = {f["name"]: f for f in [*reference.conditions, reference.image]}
        self._controls: dict[str, torch.Tensor] = {}
        self.latents: dict[str, Array] = {}
        self.clean: dict[str, list[Array]] = {name: [] for name in noise}

    @torch.no_grad()
    def run(self, group: Sequence[str]) -> None:
        """Every factor of the group takes each step in turn, and sees those before it as they are.
        Factors that have not been run are left out. ControlNets see maps of the group only."""
        reference = self._reference
        schedulers = {}
        for name in group:
            factor = self._factors[name]
            schedule = reference._manifest["scheduler"]
            schedulers[name] = make_scheduler(
                schedule, *(self._sampling or (factor["sampler"], None))
            )
            schedulers[name].set_timesteps(STEPS)
            begins_at = np.float32(schedulers[name].init_noise_sigma)
            self.latents[name] = self._noise[name] * begins_at
        for step in range(STEPS):
            for name in group:
                self._step(self._factors[name], schedulers[name], step)
                if self._refresh and step % self._refresh == 0:
                    self._controls[name] = self._control_image(self._factors[name])

    def _step(self, factor: dict[str, Any], scheduler: Any, step: int) -> None:
        reference, name = self._reference, factor["name"]
        sample = torch.from_numpy(self.latents[name])
        adapters = reference._adapters(factor, self.latents, sample.shape)
        prompt = factor.get("prompt_prefix", "") + PROMPT + factor.get("prompt_suffix", "")
        embeddings = reference._embeddings([prompt, NEGATIVE])
        time = scheduler.timesteps[step]
        scaled = scheduler.scale_model_input(sample, time)
        pair = scaled.repeat(2, 1, 1, 1)
        place, size = list(self._factors).index(name), sample.numel()
        self.drawn = normal_noise(1, 0, place, step + 1, size).reshape(sample.shape)
        more = reference._features(adapters, pair, time)
        networks = [
            (
                ControlNetModel.from_pretrained(reference._root / entry["graph"]).eval(),
                self._controls[entry["condition"]],
                entry["scale"],
            )
            for entry in factor["conditionings"]
            if entry["kind"] == "controlnet" and entry["condition"] in self._controls
        ]
        more |= _all_residuals(networks, pair, time, embeddings)
        positive, negative = self._predict(factor, pair, time, embeddings, more).chunk(2)
        guided = negative + SCALE * (positive - negative)
        alpha = scheduler.alphas_cumprod[int(time)]
        if hasattr(scheduler, "sigmas"):
            alpha = 1 / (1 + scheduler.sigmas[step] ** 2)
        self.clean[name].append(((scaled - (1 - alpha) ** 0.5 * guided) / alpha**0.5).numpy())
        self.latents[name] = scheduler.step(guided, time, sample).prev_sample.numpy()

    def _control_image(self, factor: dict[str, Any]) -> torch.Tensor:
        """What the image's ControlNets see of the map that a factor's last step predicted."""
        reference = self._reference
        vae = AutoencoderKL.from_pretrained(reference._root / "vae").eval()
        clean = torch.from_numpy(self.clean[factor["name"]][-1])
        decoded = vae.decode(clean / vae.config.scaling_factor).sample
        picture = (255 * (decoded / 2 + 0.5).clamp(0, 1)).round()
        mode = "bilinear"
        if factor.get("palette"):
            mode = "nearest"
            classes = reference._palette(factor["palette"])["classes"]
            colors = torch.tensor([entry["color"] for entry in classes], dtype=torch.float32)
            nearest = torch.cdist(picture.flatten(2)[0].T, colors).argmin(1)
            picture = colors[nearest].T.reshape(picture.shape)
        size = reference.image["height"], reference.image["width"]
        return interpolate(picture / 255, size, mode=mode)

    def _predict(
        self, factor: dict[str, Any], pair: Tensor, time: Tensor, embeddings: Tensor, more: Any
    ) -> Tensor:
        """The noise of two rows, positive and negative."""
        predicted: Tensor = self._reference._unet(pair, time, embeddings, **more).sample
        return predicted


@pytest.fixture(scope="module")
def noise(chain: Path) -> dict[str, Array]:
    rng = np.random.default_rng(3)
    reference = Reference(chain)
    return {
        factor["name"]: rng.standard_normal(
            (1, 4, factor["height"] // 4, factor["width"] // 4), np.float32
        )
        for factor in [*reference.conditions, reference.image]
    }


@pytest.fixture(scope="module")
def engine(chain: Path) -> Any:
    with Engine(chain, backend="cpu", threads=1) as opened:
        yield opened


def _options(noise: dict[str, Array], names: Sequence[str]) -> dict[str, Any]:
    sampled: dict[str, Any] = {
        name: {"latents": noise[name], "candidates": 1} if name in names else None
        for name in FACTORS
    }
    return {
        "negative_prompt": NEGATIVE,
        "factors": sampled,
        "latents": noise["image"],
        "condition_steps": STEPS,
        "condition_guidance_scale": SCALE,
        "num_inference_steps": STEPS,
        "guidance": "cfg",
        "guidance_scale": SCALE,
        "stop_at_recall": 0.0,
        "seed": 1,
    }


@pytest.mark.parametrize(
    ("names", "joint"),
    [
        (FACTORS[:1], ()),
        (FACTORS[:2], ()),
        (FACTORS[:3], ()),
        (FACTORS, ()),
        (("segmentation", "sketch"), ()),  # what is left out is zeros
        (FACTORS[:2], FACTORS[:2]),
        (FACTORS[:3], FACTORS[:3]),
        (FACTORS, FACTORS),
        (FACTORS, FACTORS[1:3]),
    ],
)
def test_every_step_is_that_of_an_independent_loop(
    chain: Path,
    engine: Engine,
    noise: dict[str, Array],
    names: Sequence[str],
    joint: Sequence[str],
) -> None:
    loop = Loop(Reference(chain), noise)
    run: set[str] = set()
    for name in names:
        if name not in run:
            group = joint if name in joint else (name,)
            loop.run(group)
            run.update(group)
    seen: dict[str, list[Array]] = {name: [] for name in names}

    def watch(info: Any) -> None:
        if info.factor != "image":
            seen[info.factor].append(info.predicted_x0())

    result = engine.generate(PROMPT, joint=joint, step_callback=watch, **_options(noise, names))
    assert list(result.factors) == list(names)  # in the chain's order
    for name in names:
        assert len(seen[name]) == STEPS
        for ours, theirs in zip(seen[name], loop.clean[name], strict=True):
            error = np.abs(ours - theirs).max() / np.abs(theirs).max()
            assert error <= 1e-3, name


@pytest.mark.parametrize(
    ("names", "joint", "refresh"),
    [
        (("normal",), ("normal", "image"), None),  # by the adapter alone
        (("normal", "sketch"), ("normal", "sketch", "image"), None),
        (("segmentation",), ("segmentation", "image"), 1),  # by a ControlNet alone
        (("segmentation", "depth"), ("segmentation", "depth", "image"), 3),
        (FACTORS, (*FACTORS, "image"), 2),
    ],
)
def test_a_joint_image_takes_the_steps_of_an_independent_loop(
    chain: Path,
    engine: Engine,
    noise: dict[str, Array],
    names: Sequence[str],
    joint: Sequence[str],
    refresh: int | None,
) -> None:
    loop = Loop(Reference(chain), noise, refresh or 0)
    loop.run(joint)
    seen: dict[str, list[Array]] = {name: [] for name in joint}

    def watch(info: Any) -> None:
        seen[info.factor].append(info.predicted_x0())

    engine.generate(
        PROMPT, joint=joint, joint_refresh=refresh, step_callback=watch, **_options(noise, names)
    )
    for name in joint:
        assert len(seen[name]) == STEPS
        for ours, theirs in zip(seen[name], loop.clean[name], strict=True):
            error = np.abs(ours - theirs).max() / np.abs(theirs).max()
            assert error <= 1e-3, name


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers'
@pytest.mark.parametrize(
    ("sampler", "spacing"),
    [
        ("ddim", "trailing"),
        ("dpmsolver++", "karras"),
        ("dpmsolver++_sde", "trailing"),
        ("euler", "linspace"),
        ("euler", "exponential"),
        ("euler_ancestral", "leading"),
        ("unipc", "trailing"),
        ("lcm", "trailing"),
        ("tcd", "trailing"),
    ],
)
def test_every_sampler_takes_the_steps_of_diffusers(
    chain: Path,
    engine: Engine,
    noise: dict[str, Array],
    monkeypatch: pytest.MonkeyPatch,
    sampler: str,
    spacing: str,
) -> None:
    """The whole way of one factor and of another that sees it, with the engine's own noise."""
    loop = Loop(Reference(chain), noise, sampling=(sampler, spacing))
    for module in STOCHASTIC:
        monkeypatch.setattr(module, "randn_tensor", lambda *_, **__: torch.from_numpy(loop.drawn))
    for name in FACTORS[:2]:
        loop.run([name])
    seen: dict[str, list[Array]] = {name: [] for name in FACTORS}

    def watch(info: Any) -> None:
        if info.factor != "image":
            seen[info.factor].append(info.predicted_x0())

    engine.generate(
        PROMPT,
        condition_sampler=sampler,
        condition_timestep_spacing=spacing,
        step_callback=watch,
        **_options(noise, FACTORS[:2]),
    )
    for name in FACTORS[:2]:
        for ours, theirs in zip(seen[name], loop.clean[name], strict=True):
            assert np.abs(ours - theirs).max() <= 1e-3 * np.abs(theirs).max(), name


def test_the_picture_is_painted_from_all_of_them(
    chain: Path, engine: Engine, noise: dict[str, Array]
) -> None:
    """By an adapter that sees latents, and by ControlNets that see a label map and a picture."""
    reference = Reference(chain)
    loop = Loop(reference, noise)
    for name in FACTORS:
        loop.run([name])
    image = reference.image
    result = engine.generate(PROMPT, **_options(noise, FACTORS))

    def enlarged(name: str, mode: str) -> NDArray[Any]:
        picture = np.asarray(result.factors[name].map, np.float32)
        planes = torch.from_numpy(picture).permute(2, 0, 1)[None]
        larger = interpolate(planes, (image["height"], image["width"]), mode=mode)
        return np.asarray(larger[0].permute(1, 2, 0).numpy())

    theirs = reference.picture(
        [PROMPT, NEGATIVE],
        noise["image"],
        STEPS,
        SCALE,
        {
            "segmentation": enlarged("segmentation", "nearest"),
            "depth": enlarged("depth", "bilinear"),
        },
        loop.latents,
    )
    error = np.mean((np.asarray(result.image, float) - theirs) ** 2)
    assert 10 * np.log10(255**2 / error) >= 40
