"""Every sampler over every spacing against diffusers, with the same noise and the same model.

The model is a function of numpy; what it is told and given must be the same in both. Where a
scheduler of diffusers has no such spacing (docs/samplers.md), it is handed the timesteps and noise
levels that the formula makes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    TCDScheduler,
    UniPCMultistepScheduler,
)
from diffusers.schedulers import (
    scheduling_dpmsolver_multistep,
    scheduling_euler_ancestral_discrete,
    scheduling_lcm,
    scheduling_tcd,
)
from fgdm._core import NoiseSchedule
from fgdm.errors import RequestError
from fgdm.export.defaults import SAMPLERS, SPACINGS
from numpy.typing import NDArray

#: diffusers makes arrays of tensors.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

SCENES = Path(__file__).parents[2] / "bundles/scenes/manifest.json"
SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": 1000,
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
}
CLASSES: dict[str, tuple[Any, dict[str, Any]]] = {
    "ddim": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False}),
    "dpmsolver++": (DPMSolverMultistepScheduler, {}),
    "dpmsolver++_sde": (DPMSolverMultistepScheduler, {"algorithm_type": "sde-dpmsolver++"}),
    "euler": (EulerDiscreteScheduler, {}),
    "euler_ancestral": (EulerAncestralDiscreteScheduler, {}),
    "unipc": (UniPCMultistepScheduler, {}),
    "lcm": (LCMScheduler, {}),
    "tcd": (TCDScheduler, {}),
}
OF_TIMESTEPS = ("ddim", "lcm", "tcd")
OF_LEVELS = ("karras", "exponential")
STEPS = (1, 2, 3, 4, 5, 8, 10, 15, 20, 30, 50)
SHAPE = (1, 4, 6, 6)

Array = NDArray[np.float32]


def model(x: Array, timestep: float) -> Array:
    """As large as the noise, and neither linear nor the same at all times."""
    output: Array = (0.7 * x + 0.5 * np.sin(2 * x + timestep / 300)).astype(np.float32)
    return output


def ours(schedule: dict[str, Any], prediction: str) -> NoiseSchedule:
    manifest = json.loads(SCENES.read_text())
    own = {"timestep_spacing": "leading", "prediction_type": prediction, **schedule}
    return NoiseSchedule(json.dumps({**manifest, "scheduler": own}))


def run_ours(schedule: NoiseSchedule, sampler: str, spacing: str, noise: Array) -> Array:
    """The last latents. noise: that which sampling begins with, and that of each step."""
    steps = len(noise) - 1
    x: Array = noise[0] * np.float32(schedule.initial_scale(sampler, steps, spacing))
    before = two_before = np.zeros_like(x)
    times = schedule.timesteps(sampler, steps, spacing)
    numbers = schedule.coefficients(sampler, steps, spacing)
    for time, (a, b, c, d, e, f, g, h), z in zip(times, numbers, noise[1:], strict=True):
        output = model(x, time)
        clean = a * x + b * output
        x = (c * x + d * output + e * clean + f * before + g * two_before + h * z).astype(x.dtype)
        before, two_before = clean.astype(x.dtype), before
    return x


@pytest.fixture
def given_noise(monkeypatch: pytest.MonkeyPatch) -> list[Array]:
    """What diffusers draws next, in place of its own noise."""
    waiting: list[Array] = []
    for module in (
        scheduling_dpmsolver_multistep,
        scheduling_euler_ancestral_discrete,
        scheduling_lcm,
        scheduling_tcd,
    ):
        monkeypatch.setattr(
            module, "randn_tensor", lambda *_, **__: torch.from_numpy(waiting.pop())
        )
    return waiting


def theirs(
    schedule: dict[str, Any], prediction: str, sampler: str, spacing: str, steps: int
) -> Any:
    """diffusers' scheduler with its timesteps set."""
    kind, more = CLASSES[sampler]
    levels = {f"use_{spacing}_sigmas": True} if spacing in OF_LEVELS else {}
    own = {} if spacing in OF_LEVELS else {"timestep_spacing": spacing}
    arguments = {**schedule, **more, **own, "prediction_type": prediction}
    if sampler == "euler_ancestral" and levels:
        made = kind(**arguments)
        source = EulerDiscreteScheduler(**schedule, **levels)
        made.set_timesteps(steps)
        source.set_timesteps(steps)
        made.timesteps, made.sigmas = source.timesteps, source.sigmas
        return made
    made = kind(**arguments, **levels)
    if sampler in ("lcm", "tcd") and spacing != "trailing":
        made.set_timesteps(timesteps=ours(schedule, prediction).timesteps("ddim", steps, spacing))
    else:
        made.set_timesteps(steps)
    return made


def run_theirs(scheduler: Any, noise: Array, waiting: list[Array]) -> Array:
    x = torch.from_numpy(noise[0]) * scheduler.init_noise_sigma
    for time, z in zip(scheduler.timesteps, noise[1:], strict=True):
        scaled = scheduler.scale_model_input(x, time)
        output = torch.from_numpy(model(scaled.numpy(), float(time)))
        waiting[:] = [z]
        x = scheduler.step(output, time, x).prev_sample
    made: Array = x.numpy()
    return made


COMBINATIONS = [
    (sampler, spacing)
    for sampler in SAMPLERS
    for spacing in SPACINGS
    if not (sampler in OF_TIMESTEPS and spacing in OF_LEVELS)
]


def check(
    schedule: dict[str, Any],
    prediction: str,
    sampler: str,
    spacing: str,
    waiting: list[Array],
    tolerance: float,
) -> None:
    rng = np.random.default_rng(5)
    own = {key: value for key, value in schedule.items() if key != "rescale_betas_zero_snr"}
    for steps in STEPS:
        if steps == 1 and spacing in OF_LEVELS and sampler.startswith("euler"):
            continue  # diffusers takes the level of its only "linspace" timestep, 0
        noise = rng.standard_normal((steps + 1, *SHAPE), np.float32)
        mine = ours(own, prediction)
        scheduler = theirs(schedule, prediction, sampler, spacing, steps)
        expected = scheduler.timesteps.tolist()
        if len(expected) > 1 and expected[0] == expected[1]:
            continue  # diffusers begins with the second of them
        if spacing == "exponential" and expected[0] == 998:
            # diffusers makes a whole number of 998.99…, and so of no other timestep.
            expected[0] = 999
            scheduler.timesteps[0] = 999
        exact = not (spacing in OF_LEVELS and sampler.startswith("euler"))
        times = mine.timesteps(sampler, steps, spacing)
        assert np.allclose(times, expected, rtol=0, atol=0 if exact else 2e-3), steps
        made = run_ours(mine, sampler, spacing, noise)
        other = run_theirs(scheduler, noise, waiting)
        assert np.abs(made - other).max() <= tolerance * np.abs(other).max(), steps


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("sampler", "spacing"), COMBINATIONS)
def test_samplers_are_those_of_diffusers(
    sampler: str, spacing: str, prediction: str, given_noise: list[Array]
) -> None:
    check(SCHEDULE, prediction, sampler, spacing, given_noise, 1e-4)


@pytest.mark.parametrize(("sampler", "spacing"), COMBINATIONS)
def test_schedules_that_end_in_noise(sampler: str, spacing: str, given_noise: list[Array]) -> None:
    """With v-prediction, as such models have it; α is 0 at the last timestep, or 2^-12.

    diffusers' latents of Euler's samplers are 4096 times as large there, in float32.
    """
    betas = DDIMScheduler(**SCHEDULE, rescale_betas_zero_snr=True).betas.tolist()
    schedule = {
        **{key: value for key, value in SCHEDULE.items() if "beta" not in key},
        "beta_schedule": "scaled_linear",
        "trained_betas": betas,
        "rescale_betas_zero_snr": sampler not in OF_TIMESTEPS,
    }
    tolerance = 1e-3 if sampler.startswith("euler") else 1e-4
    check(schedule, "v_prediction", sampler, spacing, given_noise, tolerance)


@pytest.mark.parametrize("sampler", OF_TIMESTEPS)
def test_what_goes_by_timesteps_has_no_spaced_noise_levels(sampler: str) -> None:
    for spacing in OF_LEVELS:
        with pytest.raises(RequestError, match=f'"{spacing}" spacing of "{sampler}" does not'):
            ours(SCHEDULE, "epsilon").timesteps(sampler, 5, spacing)


def test_distilled_models_have_fifty_timesteps() -> None:
    schedule = ours(SCHEDULE, "epsilon")
    assert schedule.timesteps("lcm", 4) == [999, 759, 499, 259]
    assert schedule.timesteps("tcd", 50)[-1] == 19
    with pytest.raises(RequestError, match="the most that works is 50"):
        schedule.timesteps("lcm", 51)
