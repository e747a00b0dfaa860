"""What a bundle's factors do when a request doesn't say otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

from .errors import ExportError
from .schemas import check_value, choices

#: What the engine can sample with.
SAMPLERS = choices("factor", "sampler")
#: Which timesteps or noise levels they visit.
SPACINGS = choices("factor", "timestep_spacing")

#: The largest error of a graph against PyTorch by precision, relative to an output's scale.
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}

#: The largest difference of the engine's map and picture from diffusers' by precision, as root mean
#: squares: of the map's latents relative to their own, of the picture relative to 255.
PICTURE_TOLERANCE = {"fp32": 2e-3, "fp16": 3e-2}


@dataclass(frozen=True)
class ConditionDefaults:
    """Of a condition factor: DDIM and classifier-free guidance, as the papers have them.

    size: height and width of its maps in pixels; None is half the image's.
    sampler: one of SAMPLERS. timestep_spacing: one of SPACINGS; None is the base's own for the
    sampler. cache_interval: of so many steps the first goes through the whole backbone, the others
    through its outer `cache_level` levels alone.
    stop_at_recall: the recall, 0 to 1, with which a map has won, so that the others need not be
    finished; 0 samples every map to its end. wave: how many are sampled at a time until one has
    won; 0 is all at once. min_area: the fraction of a map, 0 to 1, from which on a class counts as
    found; best the least that the image factor still paints. The three are for factors that make
    labels.
    """

    num_inference_steps: int = 10
    sampler: str = "ddim"
    guidance_scale: float = 7.5
    stop_at_recall: float = 0.0
    wave: int = 0
    min_area: float = 0.002
    prompt_prefix: str = ""
    prompt_suffix: str = ""
    size: tuple[int, int] | None = None
    timestep_spacing: str | None = None
    cache_interval: int = 1
    cache_level: int = 1

    def check(self, factor: str) -> None:
        """Raises ExportError for a value that no engine would accept; `factor` is whose it is."""
        _check(self, factor, dict.fromkeys(("stop_at_recall", "wave", "min_area"), "label_factor"))


@dataclass(frozen=True)
class ImageDefaults:
    """Of the image factor. Scales are the usual ones (the papers' w is scale - 1).

    sampler, timestep_spacing, cache_interval, cache_level: as of a condition factor.
    guidance: "segfree" or "cfg".
    segfree_scale: the a of the degraded branch. segfree_start: the share of the steps before
    segmentation-free guidance sets in, in 0..1.
    """

    num_inference_steps: int = 20
    sampler: str = "ddim"
    guidance: str = "segfree"
    guidance_scale: float = 7.5
    segfree_guidance_scale: float = 3.5
    segfree_scale: float = 10.0
    segfree_start: float = 0.5
    prompt_suffix: str = ""
    timestep_spacing: str | None = None
    cache_interval: int = 1
    cache_level: int = 1

    def check(self) -> None:
        """Raises ExportError for a value that no engine would accept."""
        _check(self, "image factor", {})


@dataclass(frozen=True)
class FactorDefaults:
    """Of a bundle. image_size: height and width in pixels; None takes the autoencoder's own size.

    condition: of every condition factor that has no defaults of its own.
    """

    image_size: tuple[int, int] | None = None
    condition: ConditionDefaults = field(default_factory=ConditionDefaults)
    image: ImageDefaults = field(default_factory=ImageDefaults)

    def check(self) -> None:
        """Raises ExportError for a value that no engine would accept."""
        self.condition.check("condition factor")
        self.image.check()


def cache_json(defaults: ConditionDefaults | ImageDefaults) -> dict[str, int]:
    """What a factor's entry in the manifest says of its cache."""
    if defaults.cache_interval == 1:
        return {}
    return {"cache_interval": defaults.cache_interval, "cache_level": defaults.cache_level}


def _check(
    defaults: ConditionDefaults | ImageDefaults, owner: str, parts: Mapping[str, str]
) -> None:
    """parts: what of the manifest a field is in, where that isn't any factor."""
    for entry in fields(defaults):
        if entry.name != "size":
            part = parts.get(entry.name, "factor")
            check_value(part, entry.name, getattr(defaults, entry.name), owner)
    goes_by_timesteps = defaults.sampler in ("ddim", "lcm", "tcd")
    if goes_by_timesteps and defaults.timestep_spacing in ("karras", "exponential"):
        raise ExportError(
            f"{owner}: timestep_spacing is {defaults.timestep_spacing!r}, which {defaults.sampler} "
            "doesn't have; expected leading, trailing or linspace"
        )
