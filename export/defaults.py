"""What a bundle's factors do when a request doesn't say otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import ExportError

#: What the engine can sample with.
SAMPLERS = ("ddim", "dpmsolver++")
#: Which timesteps they visit.
SPACINGS = ("leading", "trailing", "linspace")

#: The largest error of a graph against PyTorch by precision, relative to an output's scale.
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}

#: The largest difference of the engine's map and picture from diffusers' by precision, as root mean
#: squares: of the map's latents relative to their own, of the picture relative to 255.
PICTURE_TOLERANCE = {"fp32": 2e-3, "fp16": 3e-2}


@dataclass(frozen=True)
class ConditionDefaults:
    """Of a condition factor: DDIM and classifier-free guidance, as the papers have them.

    size: height and width of its maps in pixels; None is half the image's.
    sampler: "ddim" or "dpmsolver++". timestep_spacing: "leading", "trailing" or "linspace"; None is
    the base's own for the sampler.
    stop_at_recall: the recall, 0 to 1, with which a map has won, so that the others need not be
    finished; 0 samples every map to its end. min_area: the fraction of a map, 0 to 1, from which on
    a class counts as found; best the least that the image factor still paints. Both are for factors
    that make labels.
    """

    num_inference_steps: int = 10
    sampler: str = "ddim"
    guidance_scale: float = 7.5
    stop_at_recall: float = 0.0
    min_area: float = 0.002
    prompt_prefix: str = ""
    prompt_suffix: str = ""
    size: tuple[int, int] | None = None
    timestep_spacing: str | None = None

    def check(self, factor: str) -> None:
        """Raises ExportError for a value that no engine would accept; `factor` is whose it is."""
        _check_sampling(factor, self.num_inference_steps, self.sampler, self.timestep_spacing)
        _check_fraction(f"{factor}: stop_at_recall", self.stop_at_recall)
        _check_fraction(f"{factor}: min_area", self.min_area)


@dataclass(frozen=True)
class ImageDefaults:
    """Of the image factor. Scales are the usual ones (the papers' w is scale - 1).

    sampler: "ddim" or "dpmsolver++". timestep_spacing: as of a condition factor. guidance:
    "segfree" or "cfg". segfree_scale: the a of the degraded branch. segfree_start: the share of the
    steps before segmentation-free guidance sets in, in 0..1.
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

    def check(self) -> None:
        """Raises ExportError for a value that no engine would accept."""
        _check_sampling(
            "image factor", self.num_inference_steps, self.sampler, self.timestep_spacing
        )
        _check_fraction("image factor: segfree_start", self.segfree_start)
        if self.guidance not in ("segfree", "cfg"):
            raise ExportError(
                f"image factor: guidance is {self.guidance!r}; expected 'segfree' or 'cfg'"
            )


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


def _check_sampling(factor: str, steps: int, sampler: str, spacing: str | None) -> None:
    if not 1 <= steps <= 1000:
        raise ExportError(f"{factor}: num_inference_steps is {steps}; expected 1 to 1000")
    if sampler not in SAMPLERS:
        raise ExportError(
            f"{factor}: sampler is {sampler!r}; expected one of {', '.join(SAMPLERS)}"
        )
    if spacing not in (None, *SPACINGS):
        raise ExportError(
            f"{factor}: timestep_spacing is {spacing!r}; expected one of {', '.join(SPACINGS)}"
        )


def _check_fraction(what: str, value: float) -> None:
    if not 0.0 <= value <= 1.0:
        raise ExportError(f"{what} is {value}; expected 0 to 1")
