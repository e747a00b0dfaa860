"""What a job's candidates and pictures look like while they form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from fgdm import edit
from fgdm.compliance import MapCheck, check_map
from fgdm.picture_files import png
from numpy.typing import NDArray
from PIL import Image

from .pictures import in_base64
from .requests import Task
from .runs import Step

#: Of a factor whose bundle doesn't say.
MIN_AREA = 0.002


@dataclass(frozen=True, eq=False)
class FormingMap:
    """A candidate after so many steps. pixels: RGB (h, w, 3), as the decoder makes it."""

    step: int
    num_steps: int
    pixels: NDArray[np.uint8]
    number: int

    @cached_property
    def picture(self) -> str:
        """As PNG in base64."""
        return in_base64(png(Image.fromarray(self.pixels)))

    def labels(self, palette: dict[str, Any]) -> NDArray[np.uint8]:
        """Its class indices."""
        colors = [tuple(entry["color"]) for entry in palette["classes"]]
        return edit.from_picture(self.pixels, colors, palette["tolerance"])


def described(check: MapCheck) -> dict[str, Any]:
    """The requirements, each with its kind, its text and ``met``, which is null where a map can't
    say; the share that is met."""
    pairs = zip(check.requirements, check.met, strict=True)
    return {
        "requirements": [{**one.to_json(), "met": met} for one, met in pairs],
        "compliance": check.compliance,
    }


class Forming:
    """The newest map of every candidate, and the newest preview of every picture. `take` is for
    the event loop; `news` may run on another thread."""

    def __init__(self) -> None:
        self._maps: dict[tuple[int, str, int], FormingMap] = {}
        self._pictures: dict[int, tuple[int, Image.Image]] = {}
        self._number = 0

    def take(self, step: Step) -> None:
        """Remembers what a step shows."""
        self._number += 1
        for candidate, pixels in step.maps.items():
            made = FormingMap(step.step + 1, step.num_steps, pixels, self._number)
            self._maps[step.picture, step.factor, candidate] = made
        if step.preview is not None:
            self._pictures[step.picture] = self._number, step.preview

    def news(self, task: Task, since: int) -> tuple[dict[str, Any], int]:
        """What came after number `since`, and the number to ask with the next time.

        ``maps``: picture, factor, candidate, step and num_steps, with ``labels`` (class indices as
        8-bit grey PNG in base64) of factors that make labels, and the requirements as `described`;
        ``image`` (RGB) of others.
        ``previews``: picture and ``image``.
        """
        engine = task.model.engine
        makes_labels = {
            factor["name"]
            for factor in engine.manifest["factors"]
            if factor.get("output", "labels") == "labels" and factor["kind"] == "condition"
        }
        maps: list[dict[str, Any]] = []
        palette = engine.palette
        latest = self._number
        for (picture, factor, candidate), made in list(self._maps.items()):
            if not since < made.number <= latest:
                continue
            if palette is not None and factor in makes_labels:
                shown = _checked(made.labels(palette), palette, task, factor)
            else:
                shown = {"image": made.picture}
            maps.append(
                {
                    "picture": picture,
                    "factor": factor,
                    "candidate": candidate,
                    "step": made.step,
                    "num_steps": made.num_steps,
                    **shown,
                }
            )
        previews = [
            {"picture": picture, "image": in_base64(png(preview))}
            for picture, (number, preview) in list(self._pictures.items())
            if since < number <= latest
        ]
        return {"maps": maps, "previews": previews}, latest


def _checked(
    labels: NDArray[np.uint8], palette: dict[str, Any], task: Task, factor: str
) -> dict[str, Any]:
    """A map of class indices, and which requirements it meets, as the candidate will have it."""
    options = {**task.options, **task.options.get("factors", {}).get(factor, {})}
    if "requirements" in options:
        required = options["requirements"]
    elif "objects" in options:
        required = {"objects": options["objects"]}
    else:
        required = task.model.engine.find_requirements(
            options.get("prompt", task.prompt), options.get("articles_count", False)
        ).requirements
    manifest = task.model.engine.manifest["factors"]
    (entry,) = (each for each in manifest if each["name"] == factor)
    found = check_map(
        labels,
        required,
        palette,
        min_area=options.get("min_area", entry.get("min_area") or MIN_AREA),
        opening=options.get("instance_opening", 0),
    )
    return {"labels": in_base64(png(Image.fromarray(labels))), **described(found)}
