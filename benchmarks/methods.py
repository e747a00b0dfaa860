"""The systems that `benchmarks.compliance` compares: one table, a row each.

A row of system "fgdm" is nothing but keyword arguments of ``Engine.generate``: to measure another
set of options, add a row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

System = Literal["base", "diffusers", "attend_and_excite", "fgdm"]


@dataclass(frozen=True)
class Method:
    """One row of the comparison.

    system: "base", the base model alone in the engine's runtime; "diffusers", the same in PyTorch;
    "attend_and_excite", in PyTorch; or "fgdm". candidates: images or maps to choose from. options:
    further arguments of ``Engine.generate``, of the base those that a map would have. repaint: how
    many more pictures fgdm may paint where the bundle's segmenter misses something in one.
    """

    name: str
    title: str
    system: System
    candidates: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    repaint: int = 0


#: Steps of an image in the papers.
PAPER_STEPS = 20
#: How the papers sample, whatever a bundle does by itself; but maps by DPM-Solver++.
AS_IN_THE_PAPERS: Mapping[str, Any] = {
    "num_inference_steps": PAPER_STEPS,
    "sampler": "ddim",
    "timestep_spacing": "leading",
    "cache_interval": 1,
    "condition_sampler": "dpmsolver++",
    "condition_timestep_spacing": "leading",
}

#: What guided the bundle's pictures before they took few steps.
_BEFORE_FEW_STEPS = {"segfree_scale": 20.0, "segfree_guidance_scale": 2.5, "segfree_start": 0.05}


def _fgdm(
    name: str,
    title: str,
    candidates: int,
    condition_steps: int,
    repaint: int = 0,
    **options: Any,
) -> Method:
    paper = {
        **AS_IN_THE_PAPERS,
        **_BEFORE_FEW_STEPS,
        "condition_steps": condition_steps,
        "stop_at_recall": 0.0,
    }
    return Method(name, title, "fgdm", candidates, {**paper, **options}, repaint)


_INTERVALS: Mapping[str, Any] = {
    "guidance_interval": (0.0, 0.8),
    "condition_guidance_interval": (0.0, 0.8),
}
_FEW_STEPS: Mapping[str, Any] = {
    "condition_timestep_spacing": "trailing",
    "sampler": "dpmsolver++",
    "timestep_spacing": "trailing",
    "num_inference_steps": 6,
    "segfree_scale": 10.0,
    "segfree_guidance_scale": 2.0,
    "segfree_start": 0.33,
    "min_area": 0.006,
}
_CACHE: Mapping[str, Any] = {"cache_interval": 2}
_EVERY: Mapping[str, Any] = {"stop_at_recall": 1.0, "wave": 1, **_FEW_STEPS, **_CACHE}

#: What FG-DM's Tables 3 and 4 hold. Maps are sampled by DPM-Solver++, and once by DDIM.
PAPER = (
    Method("base_1", "base, N = 1", "base"),
    Method("base_10", "base, N = 10, then the segmenter", "base", 10),
    Method("diffusers_1", "base in diffusers, N = 1", "diffusers"),
    Method("diffusers_10", "base in diffusers, N = 10, then the segmenter", "diffusers", 10),
    Method("attend_and_excite", "attend-and-excite", "attend_and_excite"),
    *(
        _fgdm(f"fgdm_{count}x{steps}", f"FG-DM, N = {count}, {steps} steps a map", count, steps)
        for count in (1, 5, 10)
        for steps in (10, 20)
    ),
    _fgdm("ddim", "FG-DM, N = 10, 10 steps a map of DDIM", 10, 10, condition_sampler="ddim"),
)

#: FG-DM with N = 10 and 10 steps a map, spending less: one option each, then all of them.
SAVINGS = (
    _fgdm("prune", "drop the worse half after steps 3 and 6", 10, 10, prune=[3, 6]),
    _fgdm("stop", "stop at the first map that holds everything", 10, 10, stop_at_recall=1.0),
    _fgdm("waves", "stop likewise, four maps at a time", 10, 10, stop_at_recall=1.0, wave=4),
    _fgdm("intervals", "guidance in the first 80 % of the steps", 10, 10, **_INTERVALS),
    _fgdm("few_steps", "DPM-Solver++, 6 trailing steps a map and the image", 10, 6, **_FEW_STEPS),
    _fgdm("cache", "every second image step through one level alone", 10, 10, **_CACHE),
    _fgdm(
        "few_steps_cache",
        "few steps and the cache: all ten maps finished",
        10,
        6,
        **_FEW_STEPS,
        **_CACHE,
    ),
    _fgdm("every_saving", "stopping, one map at a time, few steps, the cache", 10, 6, **_EVERY),
    _fgdm("repaint", "the same, painted again up to twice", 10, 6, 2, **_EVERY),
    _fgdm(
        "repaint_fewer_steps",
        "the same with 5 steps a map, 4 the image",
        10,
        5,
        2,
        **{**_EVERY, "num_inference_steps": 4},
    ),
    Method(
        "base_10_few_steps",
        "base, N = 10, 6 trailing steps of DPM-Solver++, the segmenter",
        "base",
        10,
        {
            "condition_steps": 6,
            "condition_sampler": "dpmsolver++",
            "condition_timestep_spacing": "trailing",
        },
    ),
)

METHODS = {method.name: method for method in (*PAPER, *SAVINGS)}
