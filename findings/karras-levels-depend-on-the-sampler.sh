#!/usr/bin/env bash
# Karras' noise levels of one configuration end at 0.69 with diffusers' Euler and Heun, and at 0.03 with DPM-Solver and UniPC.
#
# Packages: diffusers 0.42.1, torch 2.13.0.
# Documentation: use_karras_sigmas takes "Karras sigmas for step sizes in the noise schedule", and samplers are exchanged by
#   Other.from_config(scheduler.config), which keeps the configuration.
# Expected: the formula of Karras et al. (equation 5, rho = 7) between the training's smallest and largest level, 0.029 and 14.6 of Stable
#   Diffusion, whoever samples and whatever timestep_spacing says, since the formula replaces the spacing.
# Seen: DPM-Solver and UniPC do that. Euler and Heun take the levels of the spacing's first and last timestep as its ends: with "trailing"
#   and 4 steps the last level is 0.69, from where the picture is finished in one leap; with "linspace" and 1 step the only level is the
#   smallest, 0.029, at timestep 0, so that pure noise is taken for a finished picture. Exponential levels do the same.
# For diffusion models: a setting that was tuned with one sampler means another schedule with the other, with few steps another picture; a
#   port that computes the levels by the formula differs from one of the two.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check numpy==2.4.6 torch==2.13.0 diffusers==0.42.1 transformers==5.23.0
cd "$place"
"$place/venv/bin/python" - <<'END'
import warnings

warnings.filterwarnings("ignore")
import numpy as np
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler, HeunDiscreteScheduler, UniPCMultistepScheduler

betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
euler = EulerDiscreteScheduler(**betas, use_karras_sigmas=True, timestep_spacing="trailing")
alphas = euler.alphas_cumprod.numpy().astype(np.float64)
smallest, largest = (((1 - alphas[i]) / alphas[i]) ** 0.5 for i in (0, -1))
ramp = np.linspace(0, 1, 4)
formula = (largest ** (1 / 7) + ramp * (smallest ** (1 / 7) - largest ** (1 / 7))) ** 7
print("formula   ", formula.round(3))
last = {}
for kind in (EulerDiscreteScheduler, HeunDiscreteScheduler, DPMSolverMultistepScheduler, UniPCMultistepScheduler):
    sampler = kind.from_config(euler.config)
    sampler.set_timesteps(4)
    levels = np.unique(sampler.sigmas.numpy())[::-1][:4]
    last[kind.__name__] = float(levels[-1])
    print(f"{kind.__name__:28}", levels.round(3))
single = EulerDiscreteScheduler(**betas, use_karras_sigmas=True)
single.set_timesteps(1)
print("Euler, 1 step of linspace: timestep", float(single.timesteps[0]), "level", round(float(single.sigmas[0]), 3))
by_formula = (last["DPMSolverMultistepScheduler"], last["UniPCMultistepScheduler"])
if not np.allclose(by_formula, smallest, rtol=1e-3):
    raise SystemExit("changed: DPM-Solver or UniPC ends elsewhere now")
if not np.allclose((last["EulerDiscreteScheduler"], last["HeunDiscreteScheduler"]), 0.693, atol=2e-3):
    raise SystemExit("changed: Euler or Heun ends elsewhere now")
if float(single.timesteps[0]) != 0:
    raise SystemExit("changed: a single step of Euler begins with noise now")
print("as recorded: the same configuration, two sets of noise levels")
END
