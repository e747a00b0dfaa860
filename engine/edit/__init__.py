"""Editing label maps: regions, pieces, strokes, undo. Pure functions of numpy arrays.

A map is uint8 (height, width) of class indices, UNLABELED where there is none; a mask is bool of
the same shape. Coordinates are pixels, x to the right and y down; points of strokes and polygons
are continuous, with the centre of the upper left pixel at (0.5, 0.5). Every edge is hard: a pixel
has one class or another. Functions return new arrays and leave their arguments alone, `History`
apart. What isn't allowed raises RequestError.

The studio's page has the same functions in JavaScript (engine/studio/edit); one set of cases tests
both. The tools are those of the FG-DM paper's editor (A.2.2).

    from fgdm import Engine, edit

    with Engine("bundles/scenes") as engine:
        first = engine.generate("a dog beside a house", seed=1)
        dog = edit.region_at(first.labels, 20, 50)
        moved = edit.move(first.labels, dog, dx=12, dy=0)
        again = engine.generate("a dog beside a house", factors={"segmentation": {"map": moved}})
"""

from __future__ import annotations

from .history import History
from .pictures import from_picture, to_picture
from .pieces import Piece, duplicate, flipped, lift, move, paste, resized, rotated
from .recall import Recall, measure
from .regions import (
    UNLABELED,
    Labels,
    Mask,
    bounds,
    components,
    erase,
    flood,
    recolor,
    region_at,
    replace_background,
)
from .strokes import polygon, polygon_mask, stroke

__all__ = [
    "UNLABELED",
    "History",
    "Labels",
    "Mask",
    "Piece",
    "Recall",
    "bounds",
    "components",
    "duplicate",
    "erase",
    "flipped",
    "flood",
    "from_picture",
    "lift",
    "measure",
    "move",
    "paste",
    "polygon",
    "polygon_mask",
    "recolor",
    "region_at",
    "replace_background",
    "resized",
    "rotated",
    "stroke",
    "to_picture",
]
