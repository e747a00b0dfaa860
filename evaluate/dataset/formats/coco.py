"""COCO's panoptic and instance annotations: things apart, each background one segment."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from fgdm.compliance import number_instances
from fgdm.errors import RequestError
from fgdm.files import temporary_beside, write_all
from fgdm.picture_files import png
from numpy.typing import NDArray
from PIL import Image

from ..sample import instance_options
from ..store import read_head, read_samples

Json = dict[str, Any]
Mask = NDArray[np.bool_]


class Segment(NamedTuple):
    """Pixels of a picture. category: the class's index in the palette, and 1 more."""

    category: int
    thing: bool
    mask: Mask


@dataclass(frozen=True)
class _Annotated:
    """A data set's folder, and the factor whose labels are annotated."""

    folder: Path
    factor: str
    things: Mapping[int, bool]

    def segments(self, path: Path, record: Json) -> list[Segment]:
        """Of a sample, at the picture's size.

        Things are the instances that compliance counts, by the request's min_area and
        instance_opening; what is smaller is nobody's.
        """
        with Image.open(path / record["factors"][self.factor]["file"]) as picture:
            labels = np.asarray(picture)
        numbers = number_instances(labels, **instance_options(record["parameters"], self.factor))
        size = (record["image"]["width"], record["image"]["height"])
        labels = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
        enlarged = Image.fromarray(numbers.astype(np.int32)).resize(size, Image.Resampling.NEAREST)
        numbers = np.asarray(enlarged)
        found = []
        for label in np.unique(labels):
            thing = self.things.get(int(label))
            if thing is None:
                continue
            own = labels == label
            masks = [numbers == n for n in np.unique(numbers[own]) if n] if thing else [own]
            found += [Segment(int(label) + 1, thing, mask) for mask in masks]
        return found


def write_coco(folder: Path) -> list[Path]:
    """coco/instances.json, coco/panoptic.json and coco/panoptic/00000012.png; the paths.

    Names of pictures are relative to the data set's folder. Raises RequestError for a data set
    without labels.
    """
    head = read_head(folder)
    made: Json = next((record["factors"] for _, record in read_samples(folder)), {})
    palettes = {name: one["palette"] for name, one in head["factors"].items() if name in made}
    factor = next((name for name in reversed(palettes) if palettes[name]), None)
    if factor is None:
        raise RequestError(f"{folder} has no label maps, so there is nothing for COCO to annotate")
    classes = palettes[factor]["classes"]
    things = {entry["index"]: entry.get("kind", "thing") == "thing" for entry in classes}
    source = _Annotated(folder, factor, things)
    names = {entry["index"] + 1: entry["name"] for entry in classes}
    target = folder / "coco"
    (target / "panoptic").mkdir(parents=True, exist_ok=True)

    def categories(with_backgrounds: bool) -> list[Json]:
        return [
            {"id": entry["index"] + 1, "name": entry["name"], "supercategory": kind}
            | ({"isthing": int(thing), "color": entry["color"]} if with_backgrounds else {})
            for entry in classes
            if (thing := things[entry["index"]]) or with_backgrounds
            for kind in ["thing" if thing else "background"]
        ]

    info = {"info": {"description": f"fgdm dataset, the map {factor}", "classes": len(names)}}
    instances, panoptic = target / "instances.json", target / "panoptic.json"
    _write(
        instances,
        {**info, "categories": categories(False)},
        {"images": _images(folder), "annotations": _instances(source)},
    )
    _write(
        panoptic,
        {**info, "categories": categories(True)},
        {"images": _images(folder), "annotations": _panoptic(source, target / "panoptic")},
    )
    return [instances, panoptic, target / "panoptic"]


def run_lengths(mask: Mask) -> list[int]:
    """COCO's uncompressed RLE: lengths of runs of 0 and 1 in turn, column by column."""
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate(([0], changes, [flat.size])))
    counts = [int(length) for length in lengths]
    return [0, *counts] if flat[0] else counts


def _images(folder: Path) -> Iterator[Json]:
    for path, record in read_samples(folder):
        yield {
            "id": record["index"],
            "file_name": str((path / record["image"]["file"]).relative_to(folder)),
            "width": record["image"]["width"],
            "height": record["image"]["height"],
            "caption": record["prompt"],
        }


def _instances(source: _Annotated) -> Iterator[Json]:
    number = 0
    for path, record in read_samples(source.folder):
        for category, thing, mask in source.segments(path, record):
            if thing:
                number += 1
                yield {
                    "id": number,
                    "image_id": record["index"],
                    "category_id": category,
                    "segmentation": {"size": list(mask.shape), "counts": run_lengths(mask)},
                    **_extent(mask),
                }


def _panoptic(source: _Annotated, pictures: Path) -> Iterator[Json]:
    stale = {path.name for path in pictures.iterdir() if re.fullmatch(r"\d{8,}\.png", path.name)}
    for path, record in read_samples(source.folder):
        segments = source.segments(path, record)
        size = (record["image"]["height"], record["image"]["width"])
        numbers = np.zeros(size, np.uint32)
        for number, segment in enumerate(segments, start=1):
            numbers[segment.mask] = number
        name = f"{record['index']:08}.png"
        channels = [(numbers >> shift) & 255 for shift in (0, 8, 16)]
        coded = Image.fromarray(np.stack(channels, 2).astype(np.uint8))
        write_all({pictures / name: png(coded)})
        stale.discard(name)
        yield {
            "image_id": record["index"],
            "file_name": name,
            "segments_info": [
                {"id": number, "category_id": segment.category, **_extent(segment.mask)}
                for number, segment in enumerate(segments, start=1)
            ],
        }
    for name in stale:
        (pictures / name).unlink()


def _extent(mask: Mask) -> Json:
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    x, y = int(columns[0]), int(rows[0])
    return {
        "area": int(mask.sum()),
        "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
        "iscrowd": 0,
    }


def _write(path: Path, head: Json, lists: Mapping[str, Iterable[Json]]) -> None:
    """A JSON object whose lists never are in memory."""
    temporary = temporary_beside(path)
    try:
        with open(temporary, "w", encoding="ascii") as stream:
            stream.write(json.dumps(head)[:-1])
            for name, entries in lists.items():
                stream.write(f", {json.dumps(name)}: [")
                for i, entry in enumerate(entries):
                    stream.write(("," if i else "") + "\n" + json.dumps(entry))
                stream.write("\n]")
            stream.write("}\n")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
