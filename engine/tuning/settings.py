"""What is tried: steps and spacings of maps and of the image, its cache, and waves of maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .race import Setting

#: Steps of the careful setting, or the bundle's own if these are more.
CAREFUL_STEPS = 20

_MAP_STEPS = (4, 5, 6, 8, 10)
_IMAGE_STEPS = (5, 6, 8, 10, 15)
_SPACINGS = ("trailing", "leading")
_CACHES = ((2, 1), (2, 2), (3, 1), (3, 2))
_WAVES = (0, 1, 2, 4)
#: Of models distilled for few steps, trailing ones, of which more are no better.
_DISTILLED = ("lcm", "tcd")

#: What a field of the manifest is called among a condition factor's options in a request.
_OPTIONS = {"num_inference_steps": "condition_steps"}

#: Says whether a sampler has so many steps over a spacing, and nothing bad is known about them.
IsSound = Callable[[str, int, str], bool]


def label_factor(manifest: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The factor whose recall decides: the last of those that are sampled by themselves and make
    labels; None if there is none."""
    found = [
        factor
        for factor in manifest["factors"]
        if factor["kind"] == "condition"
        and factor.get("output") in (None, "labels")
        and not factor.get("optional")
    ]
    return found[-1] if found else None


def image_factor(manifest: Mapping[str, Any]) -> Mapping[str, Any]:
    """The last factor."""
    factor: Mapping[str, Any] = manifest["factors"][-1]
    return factor


def spacing_of(factor: Mapping[str, Any], scheduler: Mapping[str, Any]) -> str:
    """The factor's timestep spacing: its own, else the noise schedule's for its sampler."""
    if own := factor.get("timestep_spacing"):
        return str(own)
    sampler = factor.get("sampler") or "ddim"
    if sampler in _DISTILLED:
        return "trailing"
    spacings = scheduler["timestep_spacing"]
    if isinstance(spacings, str):
        return spacings
    return str(spacings["ddim" if sampler == "ddim" else "dpmsolver++"])


def map_settings(
    factor: Mapping[str, Any], scheduler: Mapping[str, Any], is_sound: IsSound
) -> list[Setting]:
    """Steps and spacings of the maps: first the careful setting, then the bundle's own, then what
    isn't known to be bad, as few leading steps are."""
    return [
        Setting(name, of_factor(factor, fields), fields)
        for name, fields in _sampling(factor, scheduler, is_sound, _MAP_STEPS)
    ]


def image_settings(
    factor: Mapping[str, Any], scheduler: Mapping[str, Any], is_sound: IsSound
) -> list[Setting]:
    """Steps and spacings of the image, every step through the whole backbone."""
    return [
        Setting(name, fields, fields)
        for name, fields in _sampling(factor, scheduler, is_sound, _IMAGE_STEPS)
    ]


def cache_settings(careful: Setting, chosen: Setting, manifest: Mapping[str, Any]) -> list[Setting]:
    """Caches over the chosen steps and spacing, and the bundle's own over its own; only the two
    given where the bundle has no shallow graphs."""
    image = image_factor(manifest)
    levels = len(manifest["backbone"].get("shallow") or ()) if not image.get("backbone") else 0
    cached = [_with_cache(chosen, *pair) for pair in _CACHES if pair[1] <= levels]
    if (image.get("cache_interval") or 1) > 1:
        steps, spacing = image["num_inference_steps"], spacing_of(image, manifest["scheduler"])
        name, fields = _sampled(int(steps), spacing, " (the bundle's)")
        own = Setting(name, fields, fields)
        own = _with_cache(own, image["cache_interval"], image.get("cache_level") or 1)
        cached = [own, *(entry for entry in cached if entry.options != own.options)]
    return [careful, chosen, *cached]


def wave_settings(factor: Mapping[str, Any], chosen: Setting, candidates: int) -> list[Setting]:
    """Waves of the maps, first the one that samples all at once."""
    waves = {*_WAVES, int(factor.get("wave") or 0)}
    return [
        Setting(
            f"wave {wave}" if wave else "all maps at once",
            merged(chosen.options, of_factor(factor, {"wave": wave})),
            {"wave": wave},
        )
        for wave in sorted(waves)
        if wave < candidates
    ]


def of_factor(factor: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a request says to set these fields of the manifest of a condition factor, and no other
    factor's."""
    options = {_OPTIONS.get(name, name): value for name, value in fields.items()}
    return {"factors": {factor["name"]: options}}


def merged(*options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a request, where a later one counts; those of factors, too, are told apart."""
    result: dict[str, Any] = {}
    factors: dict[str, Any] = {}
    for some in options:
        result |= some
        for name, own in some.get("factors", {}).items():
            factors[name] = {**factors.get(name, {}), **own}
    return {**result, "factors": factors} if factors else result


def _sampling(
    factor: Mapping[str, Any],
    scheduler: Mapping[str, Any],
    is_sound: IsSound,
    numbers: Sequence[int],
) -> list[tuple[str, dict[str, Any]]]:
    """Names and fields."""
    sampler, spacing = factor.get("sampler") or "ddim", spacing_of(factor, scheduler)
    own = (int(factor["num_inference_steps"]), spacing)
    most = own[0] if sampler in _DISTILLED else max(own[0], CAREFUL_STEPS)
    pairs = [(most, "trailing"), own]
    pairs += [(steps, tried) for tried in _SPACINGS for steps in numbers if steps < most]
    tried_pairs = [pair for pair in dict.fromkeys(pairs) if pair == own or is_sound(sampler, *pair)]
    return [_sampled(*pair, " (the bundle's)" if pair == own else "") for pair in tried_pairs]


def _sampled(steps: int, spacing: str, remark: str) -> tuple[str, dict[str, Any]]:
    return (
        f"{steps} steps, {spacing}{remark}",
        {"num_inference_steps": steps, "timestep_spacing": spacing},
    )


def _with_cache(setting: Setting, interval: int, level: int) -> Setting:
    cache = {"cache_interval": interval, "cache_level": level}
    return Setting(
        f"{setting.name}, cache {interval}, level {level}",
        {**setting.options, **cache},
        {**setting.fields, **cache},
    )
