"""The noise schedule that a base model was trained with.

diffusers reads a base's scheduler file with whatever sampler a pipeline has: keys that the sampler
knows are honoured, the others mean nothing to it, and what the file leaves out is the sampler's own
default. So it is here for DDIM, and for DPM-Solver++, whose defaults are those of Euler's samplers
and UniPC too; LCM and TCD have timesteps of their own. A key that asks DDIM or DPM-Solver++ for
something that the engine doesn't do is refused.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler

from ..errors import ExportError
from ..schemas import check_value, choices
from .sd1 import SUPPORTED
from .tensors import read_json

_SPACINGS = choices("spacing")
#: Which timesteps each sampler visits if the file doesn't say: diffusers' `from_config`.
_OWN_SPACING = {"ddim": "leading", "dpmsolver++": "linspace"}

#: What the engine does, for keys that DDIM or DPM-Solver++ would honour. diffusers' DPM-Solver++
#: takes the algorithms and solvers of its relatives (DEIS, UniPC) for its own.
_DONE = {
    "thresholding": (False,),
    "clip_sample": (False,),
    "algorithm_type": ("dpmsolver++", "deis"),
    "solver_order": (2,),
    "solver_type": ("midpoint", "logrho", "bh1", "bh2"),
    "final_sigmas_type": ("zero",),
    "use_karras_sigmas": (False,),
    "use_exponential_sigmas": (False,),
    "use_beta_sigmas": (False,),
    "use_lu_lambdas": (False,),
    "use_flow_sigmas": (False,),
    "use_dynamic_shifting": (False,),
}
_LEARNED = ("learned", "learned_range")
#: Beginnings of the classes whose noise isn't given by betas.
_FOREIGN = (
    "FlowMatch",
    "EDM",
    "CogVideoX",
    "VQDiffusion",
    "Karras",
    "ScoreSde",
    "CM",
    "Consistency",
)


def read_scheduler(folder: Path) -> dict[str, Any]:
    """The noise schedule in a diffusers folder's ``scheduler/scheduler_config.json``.

    It holds what `sources.Base` says. Where the file is silent, ``steps_offset`` is 1 and nothing
    is clipped, which is what StableDiffusionPipeline makes of such files.

    Raises:
        ExportError: the file is missing or malformed, the model predicts neither the noise nor v,
            or a key asks for what the engine doesn't do.
    """
    path = folder / "scheduler" / "scheduler_config.json"
    config = {key: value for key, value in read_json(path).items() if value is not None}
    _check_kind(config, path)
    spacing = config.get("timestep_spacing")
    if spacing is not None and spacing not in _SPACINGS:
        raise ExportError(
            f"{path}: timestep_spacing is {spacing!r}, expected one of {', '.join(_SPACINGS)}"
        )
    schedule: dict[str, Any] = {
        "num_train_timesteps": _whole(config, "num_train_timesteps", 1000, path),
        **_betas(config, path),
        "prediction_type": config.get("prediction_type", "epsilon"),
        "timestep_spacing": {name: spacing or own for name, own in _OWN_SPACING.items()},
        "steps_offset": _whole(config, "steps_offset", 1, path),
        "set_alpha_to_one": bool(config.get("set_alpha_to_one", True)),
    }
    if (
        config.get("rescale_betas_zero_snr")
        and schedule["prediction_type"] == "epsilon"
        and schedule["timestep_spacing"]["ddim"] != "leading"
    ):
        raise ExportError(
            f"{path}: rescale_betas_zero_snr with {spacing!r} timestep_spacing starts at a "
            "timestep where only noise is left, which a model that predicts noise can't leave; "
            "supported is 'leading', or prediction_type 'v_prediction'"
        )
    return schedule


def _check_kind(config: dict[str, Any], path: Path) -> None:
    name = str(config.get("_class_name", ""))
    if name.startswith(_FOREIGN):
        raise ExportError(
            f"{path} is a {name}, whose noise isn't that of {SUPPORTED}; give the scheduler file "
            "that the base was trained with"
        )
    prediction = config.get("prediction_type", "epsilon")
    if prediction not in ("epsilon", "v_prediction"):
        raise ExportError(
            f"{path}: prediction_type is {prediction!r}, expected 'epsilon' or 'v_prediction'"
        )
    for key, done in _DONE.items():
        if key in config and config[key] not in done:
            raise ExportError(
                f"{path}: {key} is {config[key]!r}, which the engine's samplers don't do; with "
                f"{done[0]!r} there they sample as diffusers does"
            )
    if config.get("variance_type") in _LEARNED:
        raise ExportError(
            f"{path}: variance_type is {config['variance_type']!r}: the model predicts a variance "
            f"beside the noise; supported is {SUPPORTED}"
        )


def _betas(config: dict[str, Any], path: Path) -> dict[str, Any]:
    """The keys that make the betas: a formula that the engine has, or the betas themselves."""
    kind = config.get("beta_schedule", "linear")
    given = "trained_betas" in config
    formula = kind in ("linear", "scaled_linear") and not given
    needed = ("beta_schedule", "beta_start", "beta_end") if formula else ()
    missing = [key for key in needed if key not in config]
    if missing:
        raise ExportError(f"{path} lacks {', '.join(missing)}")
    rescaled = bool(config.get("rescale_betas_zero_snr", False))
    count = config.get("num_train_timesteps", 1000)
    known = {
        key: config[key]
        for key in ("num_train_timesteps", "beta_start", "beta_end", "trained_betas")
        if key in config
    }
    try:
        scheduler = DDIMScheduler(**known, beta_schedule=kind, rescale_betas_zero_snr=rescaled)
    except (NotImplementedError, TypeError, ValueError, RuntimeError, OverflowError) as error:
        raise ExportError(
            f"{path}: diffusers' DDIMScheduler makes no betas of beta_schedule {kind!r}: {error}"
        ) from None
    betas = scheduler.betas
    _check_betas(betas if not rescaled else betas[:-1], count - rescaled, kind, path)
    _check_lambda(config, scheduler.alphas_cumprod, path)
    if formula and not rescaled and config["beta_start"] <= config["beta_end"]:
        return {key: config[key] for key in ("beta_start", "beta_end", "beta_schedule")}
    # Nine digits tell every float32 from its neighbours.
    return {
        "beta_schedule": kind,
        "trained_betas": [float(f"{beta:.9g}") for beta in betas.tolist()],
    }


def _check_betas(betas: torch.Tensor, count: int, kind: str, path: Path) -> None:
    if betas.shape != (count,):
        raise ExportError(
            f"{path}: trained_betas has {betas.numel()} values, expected {count}, one for each of "
            "num_train_timesteps"
        )
    levels = torch.cumprod(1.0 - betas.double(), dim=0)
    if not bool(((betas > 0) & (betas < 1)).all()) or bool((levels < 1e-30).any()):
        raise ExportError(
            f"{path}: the betas of beta_schedule {kind!r} go from {betas.min():.3g} to "
            f"{betas.max():.3g}; expected values between 0 and 1 that leave some of the picture to "
            "the last timestep"
        )


def _check_lambda(config: dict[str, Any], levels: torch.Tensor, path: Path) -> None:
    """DPM-Solver++ leaves timesteps out whose log signal-to-noise ratio is below a bound."""
    bound = float(config.get("lambda_min_clipped", float("-inf")))
    # Where nothing of the picture is left diffusers takes this for its share.
    clipped = torch.log(levels.double().clamp(min=2**-24) / (1 - levels.double())).min() / 2 < bound
    if bool(clipped):
        raise ExportError(
            f"{path}: lambda_min_clipped is {bound}, which leaves this schedule's noisiest "
            "timesteps out; the engine's samplers don't do that, so remove it"
        )


def _whole(config: dict[str, Any], key: str, otherwise: int, path: Path) -> int:
    value = config.get(key, otherwise)
    check_value("scheduler", key, value, path)
    return int(value)
