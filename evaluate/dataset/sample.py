"""A sample: one result as PNG files and a record, or why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from fgdm.compliance import number_instances
from fgdm.factor_result import FactorResult
from fgdm.result import Result
from numpy.typing import NDArray
from PIL import Image

from ..parameters import least_area

#: Version of a sample's record.
SCHEMA = 1
#: The name of the picture beside those of the factors.
IMAGE = "image"


@dataclass(frozen=True)
class Made:
    """What became of an index.

    record: its JSON (docs/dataset.md). pictures: PNG files by "image" and factor; none of a sample
    that was rejected. Equal for equal recipes, bundles and runtimes, to the byte.
    """

    index: int
    record: dict[str, Any]
    pictures: Mapping[str, bytes]

    @property
    def rejected(self) -> bool:
        return not self.pictures


def file_name(picture: str) -> str:
    """Of a picture of a sample."""
    return f"{picture.replace('/', '_')}.png"


def pictures_of(
    result: Result, palettes: Mapping[str, Mapping[str, Any]]
) -> dict[str, Image.Image]:
    """The image and the chosen map of every factor.

    Labels are class indices in palette mode: a viewer shows the palette's colours, an array of it
    holds the indices, and 255 is unlabeled.
    """
    pictures = {IMAGE: result.image}
    for name, factor in result.factors.items():
        palette = palettes.get(name)
        pictures[name] = factor.map if palette is None else _indexed(factor.labels, palette)
    return pictures


def record_of(
    index: int,
    result: Result,
    outputs: Mapping[str, str],
    palettes: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """A sample's record, without what it took to get there.

    outputs: what each factor makes. Nothing in it depends on the clock or on the sample's company.
    """
    whole = result.to_json()
    said = ("prompt", "requested", "excluded", "unrecognized", "truncated", "seed")
    found = ("recall", "found", "missing", "compliance", "not_understood")
    requirements = [
        {**one.to_json(), "met": met}
        for one, met in zip(result.requirements, result.met, strict=False)
    ]
    return {
        "schema": SCHEMA,
        "index": index,
        **{key: whole[key] for key in (*said, *found)},
        "requirements": requirements,
        "image": _described(IMAGE, result.image),
        "factors": {
            name: {
                "output": outputs[name],
                **_described(name, factor.map),
                **(_of_labels(name, factor, palettes[name], result) if name in palettes else {}),
            }
            for name, factor in result.factors.items()
        },
        "parameters": whole["parameters"],
        "engine": whole["engine"],
    }


def _described(name: str, picture: Image.Image) -> dict[str, Any]:
    return {"file": file_name(name), "width": picture.width, "height": picture.height}


def _of_labels(
    name: str, factor: FactorResult, palette: Mapping[str, Any], result: Result
) -> dict[str, Any]:
    """The candidate that was kept, the fraction of the map that each class has, and how many
    instances each thing has, as compliance counts them."""
    labels = factor.labels
    areas = np.bincount(labels.ravel(), minlength=256) / labels.size
    names = {entry["index"]: entry["name"] for entry in palette["classes"]}
    numbers = number_instances(labels, **instance_options(result.parameters, name))
    owners = np.zeros(int(numbers.max()) + 1, np.intp)
    owners[numbers.ravel()] = labels.ravel()
    counts = np.bincount(owners[1:], minlength=256)
    things = [e["index"] for e in palette["classes"] if e.get("kind", "thing") == "thing"]
    return {
        "candidate": factor.chosen,
        "candidates": len(factor.candidates),
        "areas": {names[i]: round(float(areas[i]), 6) for i in sorted(names) if areas[i] > 0},
        "instances": {names[i]: int(counts[i]) for i in sorted(things) if counts[i]},
    }


def instance_options(parameters: Mapping[str, Any], factor: str) -> dict[str, Any]:
    """By which instances are counted on a factor's map, of
    ``fgdm.compliance.number_instances``."""
    least = least_area(parameters, factor)
    return {"min_area": least, "opening": parameters["instance_opening"] or 0}


def _indexed(labels: NDArray[np.uint8], palette: Mapping[str, Any]) -> Image.Image:
    colors = [(0, 0, 0)] * 256
    for entry in palette["classes"]:
        colors[entry["index"]] = tuple(entry["color"])
    picture = Image.fromarray(np.ascontiguousarray(labels))
    picture.putpalette([level for color in colors for level in color])
    return picture
