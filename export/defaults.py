"""What a bundle's factors do when a request doesn't say otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field

from .errors import ExportError

#: What the engine can sample with.
SAMPLERS = ("ddim", "dpmsolver++")

#: The largest error of a graph against PyTorch by precision, relative to an output's scale.
TOLERANCE = {"fp32": 1e-4, "fp16": 2e-2}

#: The largest difference of the engine's map and picture from diffusers' by precision, as root mean
#: squares: of the map's latents relative to their own, of the picture relative to 255.
PICTURE_TOLERANCE = {"fp32": 2e-3, "fp16": 3e-2}


@dataclass(frozen=True)
class ConditionDefaults:
    """Of the condition factor: DDIM and classifier-free guidance, as the papers have them.

    sampler: "ddim" or "dpmsolver++".
    stop_at_recall: the recall, 0 to 1, with which a map has won, so that the others need not be
    finished; 0 samples every map to its end. min_area: the fraction of a map, 0 to 1, from which on
    a class counts as found; best the least that the image factor still paints.
    """

    num_inference_steps: int = 10
    sampler: str = "ddim"
    guidance_scale: float = 7.5
    stop_at_recall: float = 0.0
    min_area: float = 0.002
    prompt_prefix: str = ""
    prompt_suffix: str = ""


@dataclass(frozen=True)
class ImageDefaults:
    """Of the image factor. Scales are the usual ones (the papers' w is scale - 1).

    sampler: "ddim" or "dpmsolver++". guidance: "segfree" or "cfg". segfree_scale: the a of the
    degraded branch. segfree_start: the share of the steps before segmentation-free guidance sets
    in, in 0..1.
    """

    num_inference_steps: int = 20
    sampler: str = "ddim"
    guidance: str = "segfree"
    guidance_scale: float = 7.5
    segfree_guidance_scale: float = 3.5
    segfree_scale: float = 10.0
    segfree_start: float = 0.5
    prompt_suffix: str = ""


@dataclass(frozen=True)
class FactorDefaults:
    """Of a bundle. image_size: height and width in pixels; None takes the autoencoder's own size.

    Maps have half the image's height and width.
    """

    image_size: tuple[int, int] | None = None
    condition: ConditionDefaults = field(default_factory=ConditionDefaults)
    image: ImageDefaults = field(default_factory=ImageDefaults)

    def check(self) -> None:
        """Raises ExportError for a value that no engine would accept."""
        for factor, settings in (("condition", self.condition), ("image", self.image)):
            if not 1 <= settings.num_inference_steps <= 1000:
                raise ExportError(
                    f"{factor} factor: num_inference_steps is {settings.num_inference_steps}; "
                    "expected 1 to 1000"
                )
            if settings.sampler not in SAMPLERS:
                raise ExportError(
                    f"{factor} factor: sampler is {settings.sampler!r}; "
                    f"expected one of {', '.join(SAMPLERS)}"
                )
        if self.image.guidance not in ("segfree", "cfg"):
            raise ExportError(
                f"image factor: guidance is {self.image.guidance!r}; expected 'segfree' or 'cfg'"
            )
        fractions = {
            "condition factor: stop_at_recall": self.condition.stop_at_recall,
            "condition factor: min_area": self.condition.min_area,
            "image factor: segfree_start": self.image.segfree_start,
        }
        for what, value in fractions.items():
            if not 0.0 <= value <= 1.0:
                raise ExportError(f"{what} is {value}; expected 0 to 1")
