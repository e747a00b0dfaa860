"""What is tried begins with a careful setting and holds the bundle's own, as an engine reads it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fgdm.tuning import settings

core = pytest.importorskip("fgdm._core", reason="the compiled core isn't built")
MANIFEST = json.loads((Path(__file__).parents[3] / "bundles/scenes/manifest.json").read_text())
SAMPLERS = ("ddim", "dpmsolver++", "dpmsolver++_sde", "euler", "euler_ancestral", "unipc")
SPACINGS: tuple[Any, ...] = (
    "leading",
    "trailing",
    {"ddim": "leading", "dpmsolver++": "trailing"},
    {"ddim": "linspace", "dpmsolver++": "leading"},
)


@pytest.mark.parametrize("spacings", SPACINGS)
@pytest.mark.parametrize("sampler", [*SAMPLERS, "lcm", "tcd", None])
def test_the_spacing_is_the_one_that_an_engine_takes(sampler: str | None, spacings: Any) -> None:
    scheduler = {**MANIFEST["scheduler"], "timestep_spacing": spacings}
    schedule = core.NoiseSchedule(json.dumps({**MANIFEST, "scheduler": scheduler}))
    found = settings.spacing_of({"sampler": sampler}, scheduler)
    named = sampler or "ddim"
    assert schedule.timesteps(named, 5, found) == schedule.timesteps(named, 5)
    assert settings.spacing_of({"sampler": sampler, "timestep_spacing": "karras"}, {}) == "karras"


@pytest.mark.parametrize(("sampler", "most"), [("dpmsolver++", 20), ("lcm", 6), ("tcd", 6)])
def test_more_steps_of_a_distilled_model_are_not_more_careful(sampler: str, most: int) -> None:
    maps = {"name": "a", "num_inference_steps": 6, "sampler": sampler}
    tried = settings.map_settings(maps, {"timestep_spacing": "trailing"}, lambda *_: True)
    assert tried[0].fields == {"num_inference_steps": most, "timestep_spacing": "trailing"}
    assert max(setting.fields["num_inference_steps"] for setting in tried) == most


def test_maps_are_set_for_their_factor_alone() -> None:
    """A chain's other factors would take a request's steps, and the manifest has none for them."""
    maps = {"name": "a", "num_inference_steps": 6, "sampler": "ddim", "wave": 3}
    tried = settings.map_settings(maps, {"timestep_spacing": "trailing"}, lambda *_: True)
    waves = settings.wave_settings(maps, tried[1], 4)
    steps = {"condition_steps": 6, "timestep_spacing": "trailing"}
    assert [setting.options for setting in waves] == [
        {"factors": {"a": {**steps, "wave": wave}}} for wave in (0, 1, 2, 3)
    ]


def test_later_options_count() -> None:
    found = settings.merged(
        {"cache_interval": 1, "factors": {"a": {"x": 1}, "b": {"y": 1}}},
        {"cache_interval": 2},
        {"factors": {"a": {"x": 2, "z": 3}}},
    )
    assert found == {"cache_interval": 2, "factors": {"a": {"x": 2, "z": 3}, "b": {"y": 1}}}
