"""A base's scheduler file: the engine samples as diffusers does with it, or export refuses it."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UniPCMultistepScheduler,
)
from fgdm._core import NoiseSchedule
from fgdm.errors import RequestError
from fgdm.export.errors import ExportError
from fgdm.export.sources.scheduler import read_scheduler
from fgdm.export.sources.sd1 import SCHEDULER

SCENES = Path(__file__).parents[3] / "bundles/scenes/manifest.json"
CLASSES: dict[str, Any] = {"ddim": DDIMScheduler, "dpmsolver++": DPMSolverMultistepScheduler}

#: The file of Stable Diffusion 1.4 and 1.5.
SD15 = {
    "_class_name": "PNDMScheduler",
    "_diffusers_version": "0.6.0",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "num_train_timesteps": 1000,
    "set_alpha_to_one": False,
    "skip_prk_steps": True,
    "steps_offset": 1,
    "trained_betas": None,
    "clip_sample": False,
}
COSINE = {**SD15, "beta_schedule": "squaredcos_cap_v2"}
RESCALED = {**SD15, "rescale_betas_zero_snr": True}
#: Betas that no formula makes.
TRAINED = (0.001 + 0.01 * np.linspace(0, 1, 1000) ** 3).tolist()


def write(folder: Path, config: dict[str, Any]) -> Path:
    """A diffusers folder with this scheduler file."""
    (folder / "scheduler").mkdir(exist_ok=True)
    (folder / "scheduler/scheduler_config.json").write_text(json.dumps(config))
    return folder


def engine_schedule(schedule: Any) -> NoiseSchedule:
    """What the engine makes of a noise schedule in a manifest."""
    manifest = json.loads(SCENES.read_text())
    return NoiseSchedule(json.dumps({**manifest, "scheduler": dict(schedule)}))


def diffusers_sampler(sampler: str, folder: Path, **changes: Any) -> Any:
    """diffusers' sampler made from a base's scheduler file, as its documentation does it."""
    config = CLASSES[sampler].load_config(folder / "scheduler")
    return CLASSES[sampler].from_config(config, **changes)


def set_timesteps(scheduler: Any, steps: int) -> list[int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # diffusers makes arrays of tensors
        scheduler.set_timesteps(steps)
    times: list[int] = scheduler.timesteps.tolist()
    return times


def largest_difference(ours: NoiseSchedule, sampler: str, theirs: Any, steps: int) -> float:
    """Of all latents and predicted pictures of a run, in units of the largest of them.

    Every step predicts other noise, about as large as the latent, as a model does.
    """
    times = ours.timesteps(sampler, steps)
    assert times == set_timesteps(theirs, steps)
    generator = torch.Generator().manual_seed(steps)
    noise = torch.randn(steps, 1, 4, 8, 8, generator=generator)
    expected = torch.randn(1, 4, 8, 8, generator=generator)
    given = expected.numpy()
    before = np.zeros_like(given)
    worst = 0.0
    for i, (a, b, c, d, e, f, *_) in enumerate(ours.coefficients(sampler, steps)):
        predicted = (noise[i] + expected) / 2**0.5
        clean = a * given + b * predicted.numpy()
        given = c * given + d * predicted.numpy() + e * clean + f * before
        before = clean
        expected = theirs.step(predicted, int(times[i]), expected).prev_sample
        scale = float(expected.abs().max())
        worst = max(worst, float(np.abs(given - expected.numpy()).max()) / scale)
    return worst


FILES: dict[str, dict[str, Any]] = {
    "sd15": SD15,
    "linear": {**SD15, "beta_schedule": "linear"},
    "cosine": COSINE,
    "cosine, trailing": {**COSINE, "timestep_spacing": "trailing"},
    "trained": {**SD15, "trained_betas": TRAINED},
    "zero_snr": RESCALED,
    "zero_snr, cosine": {**COSINE, "rescale_betas_zero_snr": True},
    "alpha_to_one": {**SD15, "set_alpha_to_one": True},
    "no word on alpha": {key: v for key, v in SD15.items() if key != "set_alpha_to_one"},
    "leading": {**SD15, "timestep_spacing": "leading"},
    "trailing": {**SD15, "timestep_spacing": "trailing"},
    "linspace": {**SD15, "timestep_spacing": "linspace"},
    "offset 0": {**SD15, "steps_offset": 0},
    "500 timesteps": {**SD15, "num_train_timesteps": 500},
    "irrelevant": {
        **SD15,
        "euler_at_final": True,
        "lower_order_final": False,
        "variance_type": "fixed_small",
        "dynamic_thresholding_ratio": 0.9,
        "sample_max_value": 2.0,
        "flow_shift": 3.0,
        "lambda_min_clipped": -5.1,
        "interpolation_type": "linear",
        "timestep_type": "continuous",
    },
}


@pytest.mark.parametrize("sampler", CLASSES)
@pytest.mark.parametrize("name", FILES)
def test_steps_are_those_of_diffusers_from_config(tmp_path: Path, name: str, sampler: str) -> None:
    """Protects parity with what diffusers' users get from a base's own file."""
    folder = write(tmp_path, FILES[name])
    ours = engine_schedule(read_scheduler(folder))
    for steps in (1, 2, 4, 10, 14, 15, 20, 50):
        theirs = diffusers_sampler(sampler, folder)
        assert largest_difference(ours, sampler, theirs, steps) < 1e-3, steps


@pytest.mark.parametrize("sampler", CLASSES)
@pytest.mark.parametrize(
    "kind",
    [
        PNDMScheduler,
        EulerDiscreteScheduler,
        DEISMultistepScheduler,
        UniPCMultistepScheduler,
        DPMSolverMultistepScheduler,
    ],
)
def test_files_of_other_samplers_are_read_as_diffusers_reads_them(
    tmp_path: Path, kind: Any, sampler: str
) -> None:
    """Protects fine-tuned bases: their files are what `save_pretrained` makes of any sampler."""
    config = {key: value for key, value in SD15.items() if key != "_class_name"}
    kind.from_config(config).save_pretrained(tmp_path / "scheduler")
    ours = engine_schedule(read_scheduler(tmp_path))
    changes: dict[str, dict[str, Any]] = {
        "ddim": {"clip_sample": False},  # as StableDiffusionPipeline sets it
        # diffusers 0.42.1 takes a DEIS file's own word for this only to refuse it.
        "dpmsolver++": {"algorithm_type": "dpmsolver++"},
    }
    theirs = diffusers_sampler(sampler, tmp_path, **changes[sampler])
    assert largest_difference(ours, sampler, theirs, 10) < 1e-4


@pytest.mark.parametrize("sampler", CLASSES)
def test_what_a_file_leaves_out_is_what_the_pipeline_makes_of_it(
    tmp_path: Path, sampler: str
) -> None:
    config = {key: v for key, v in SD15.items() if key not in ("steps_offset", "clip_sample")}
    folder = write(tmp_path, {**config, "timestep_spacing": "leading"})
    parts = dict.fromkeys(
        ("vae", "text_encoder", "tokenizer", "unet", "safety_checker", "feature_extractor")
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the pipeline says what it corrects
        pipeline: Any = StableDiffusionPipeline(
            **parts, scheduler=diffusers_sampler(sampler, folder), requires_safety_checker=False
        )
    ours = engine_schedule(read_scheduler(folder))
    assert largest_difference(ours, sampler, pipeline.scheduler, 10) < 1e-4


@pytest.mark.parametrize("sampler", CLASSES)
@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_timesteps_are_those_of_diffusers_for_every_number_of_steps(
    tmp_path: Path, spacing: str, sampler: str
) -> None:
    """Protects all numbers of steps, ties of rounding included.

    Where diffusers visits one more timestep, -1, ours ends before it. Where its timesteps aren't
    distinct, or begin below three quarters of the schedule with many steps, ours are refused.
    """
    folder = write(tmp_path, {**SD15, "timestep_spacing": spacing})
    ours = engine_schedule(read_scheduler(folder))
    theirs = diffusers_sampler(sampler, folder)
    longer, refused = [], []
    for steps in range(1, 1001):
        expected = set_timesteps(theirs, steps)
        try:
            times = ours.timesteps(sampler, steps)
        except RequestError:
            refused.append(steps)
            distinct = len(set(expected)) == steps and max(expected) < 1000
            assert not distinct or (steps > 300 and max(expected) < 750)
            continue
        if len(expected) == steps + 1:
            longer.append(steps)
            assert expected.pop() == -1
        assert times == expected
    assert bool(refused) == (
        spacing == "leading" or (spacing, sampler) == ("linspace", "dpmsolver++")
    )
    assert {61, 103, 121} <= set(longer) if spacing == "trailing" else not longer


def test_models_that_predict_v_may_start_from_noise_alone(tmp_path: Path) -> None:
    """Protects parity with fine-tuned bases of v-prediction and zero terminal SNR."""
    config = {**RESCALED, "prediction_type": "v_prediction", "timestep_spacing": "trailing"}
    folder = write(tmp_path, config)
    ours = engine_schedule(read_scheduler(folder))
    for sampler in CLASSES:
        for steps in (1, 4, 20):
            theirs = diffusers_sampler(sampler, folder)
            assert largest_difference(ours, sampler, theirs, steps) < 1e-4


def test_sd15_visits_what_the_documentation_says(tmp_path: Path) -> None:
    schedule = read_scheduler(write(tmp_path, SD15))
    assert schedule == {**SCHEDULER, "prediction_type": "epsilon"}
    ours = engine_schedule(schedule)
    assert ours.timesteps("ddim", 10)[:2] == [901, 801]
    assert ours.timesteps("dpmsolver++", 10)[:2] == [999, 899]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"beta_schedule": "sigmoid"}, "beta_schedule 'sigmoid'"),
        ({"beta_schedule": "laplace"}, "beta_schedule 'laplace'"),
        ({"beta_start": None}, "lacks beta_start"),
        ({"beta_start": "much"}, "scaled_linear"),
        ({"beta_end": 1.5}, "betas of beta_schedule 'scaled_linear' go from"),
        ({"trained_betas": [0.1, 0.2]}, "trained_betas has 2 values, expected 1000"),
        ({"trained_betas": [0.0] * 1000}, "expected values between 0 and 1"),
        ({"trained_betas": [0.5] * 1000}, "leave some of the picture"),
        ({"trained_betas": "many"}, "makes no betas"),
        ({"num_train_timesteps": 0}, "num_train_timesteps is 0"),
        ({"num_train_timesteps": 1e3}, "num_train_timesteps is 1000.0"),
        ({"steps_offset": -1}, "steps_offset is -1"),
        ({"steps_offset": "1"}, "steps_offset is '1'"),
        ({"timestep_spacing": "karras"}, "timestep_spacing is 'karras'"),
        ({"prediction_type": "sample"}, "prediction_type is 'sample'"),
        ({"clip_sample": True}, "clip_sample is True"),
        ({"thresholding": True}, "thresholding is True"),
        ({"algorithm_type": "sde-dpmsolver++"}, "algorithm_type is 'sde-dpmsolver\\+\\+'"),
        ({"solver_order": 3}, "solver_order is 3"),
        ({"solver_type": "heun"}, "solver_type is 'heun'"),
        ({"final_sigmas_type": "sigma_min"}, "final_sigmas_type is 'sigma_min'"),
        ({"use_karras_sigmas": True}, "use_karras_sigmas is True"),
        ({"use_exponential_sigmas": True}, "use_exponential_sigmas is True"),
        ({"use_beta_sigmas": True}, "use_beta_sigmas is True"),
        ({"use_lu_lambdas": True}, "use_lu_lambdas is True"),
        ({"use_flow_sigmas": True}, "use_flow_sigmas is True"),
        ({"use_dynamic_shifting": True}, "use_dynamic_shifting is True"),
        ({"variance_type": "learned_range"}, "variance_type is 'learned_range'"),
        ({"beta_schedule": "squaredcos_cap_v2", "lambda_min_clipped": -5.1}, "lambda_min_clipped"),
        ({"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}, "zero_snr with 'trail"),
        ({"_class_name": "FlowMatchEulerDiscreteScheduler"}, "is a FlowMatchEulerDiscrete"),
    ],
)
def test_what_the_engine_does_not_do_is_refused_by_name(
    tmp_path: Path, changes: dict[str, Any], named: str
) -> None:
    with pytest.raises(ExportError, match=named) as error:
        read_scheduler(write(tmp_path, {**SD15, **changes}))
    assert "scheduler_config.json" in str(error.value)
